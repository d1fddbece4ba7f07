//! Who may ask, and what a page may do.

use http_body_util::{BodyExt, Full};
use hyper::Request;

use crate::harness::{Harness, json};

#[tokio::test]
async fn only_the_session_and_only_this_host() -> anyhow::Result<()> {
    let harness = Harness::new("access").await?;
    let console = harness.console().await?;
    let paths = [
        "/api/v1/meshes".to_owned(),
        "/api/v1/events".to_owned(),
        format!("/api/v1/meshes/{}/m", harness.namespace),
        format!("/api/v1/meshes/{}/m/events", harness.namespace),
        format!("/api/v1/components/{}/function/m-shout", harness.namespace),
        format!("/api/v1/components/{}/function/m-shout/logs", harness.namespace),
        "/api/v1/none".to_owned(),
        "/api/v1/session".to_owned(),
    ];
    let one_time = format!("Bearer {}", console.one_time);
    for path in &paths {
        for wrong in [None, Some("Bearer "), Some("Bearer x"), Some("Basic x"), Some(one_time.as_str())] {
            let headers: Vec<_> = wrong.into_iter().map(|wrong| ("authorization", wrong)).collect();
            let (status, answer) = json(console.get(path, &headers).await?).await?;
            assert_eq!(status, 401, "{path} {wrong:?} {answer}");
        }
    }
    assert_eq!(console.exchange("wrong").await?.0, 401);
    let session = console.session().await?;
    assert_eq!(console.exchange(&console.one_time).await?.0, 401, "it works once");

    // A page whose name was made to lead here (DNS rebinding), with the token even.
    for host in ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1"] {
        for path in paths.iter().map(String::as_str).chain(["/", "/assets/app.js"]) {
            let response = console.get(path, &[("authorization", &session), ("host", host)]).await?;
            assert_eq!(response.status(), 421, "{host} {path}");
        }
    }
    for path in &paths[..6] {
        let response = console.get(path, &[("authorization", &session)]).await?;
        assert_eq!(response.status(), 200, "{path}");
    }
    // Nothing can be written.
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let request = Request::builder().method(method).uri(&paths[2]);
        let request = request.header("host", &console.host).header("authorization", &session);
        assert_eq!(console.send(request.body(Full::default())?).await?.status(), 405, "{method}");
    }
    Ok(())
}

#[tokio::test]
async fn names_are_no_paths() -> anyhow::Result<()> {
    let harness = Harness::new("paths").await?;
    let console = harness.console().await?;
    let session = console.session().await?;
    for path in [
        format!("/api/v1/components/{}/function/..%2fsecrets", harness.namespace),
        format!("/api/v1/components/{}/secret/x", harness.namespace),
        "/api/v1/components/..%2f../function/x".to_owned(),
        format!("/api/v1/components/{}/function/m-shout%3fx=1", harness.namespace),
        "/assets/..%2fCargo.toml".to_owned(),
    ] {
        let (status, answer) = json(console.get(&path, &[("authorization", &session)]).await?).await?;
        assert_eq!(status, 404, "{path} {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn the_page_runs_only_its_own_files() -> anyhow::Result<()> {
    let harness = Harness::new("page").await?;
    let console = harness.console().await?;
    let index = console.get("/", &[]).await?;
    let policy = index.headers()["content-security-policy"].to_str()?.to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(index.headers()["x-content-type-options"], "nosniff");
    assert!(!index.headers().contains_key("set-cookie"));
    let tag = index.headers()["etag"].to_str()?.to_owned();
    let text = String::from_utf8(index.into_body().collect().await?.to_bytes().to_vec())?;
    for file in text.split('"').filter(|part| part.starts_with("/assets/")) {
        assert_eq!(console.get(file, &[]).await?.status(), 200, "{file}");
    }
    assert_eq!(console.get("/", &[("if-none-match", &tag)]).await?.status(), 304);
    Ok(())
}
