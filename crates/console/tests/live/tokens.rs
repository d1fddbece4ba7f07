//! Tokens that are wrong, forged, expired, revoked or for another audience; and the form of the page.

use anyhow::Context;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use function_mesh_testkit::{PATIENCE, eventually};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{Console, Harness};
use crate::users::everything;

/// A token with other claims, and the signature of the cluster's own key or of another one.
fn forge(token: &str, key: &EcdsaKeyPair, change: impl Fn(&mut Value)) -> anyhow::Result<String> {
    let [head, claims, _] = token.split('.').collect::<Vec<_>>()[..] else { anyhow::bail!("{token}") };
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    change(&mut claims);
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).ok().context("no signature")?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn key_of_the_cluster(harness: &Harness) -> anyhow::Result<EcdsaKeyPair> {
    let pem = harness.plane.token_key()?;
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    EcdsaKeyPair::from_private_key_der(algorithm, &STANDARD.decode(base64)?).ok().context("no key")
}

#[tokio::test]
async fn wrong_tokens_see_nothing() -> anyhow::Result<()> {
    let harness = Harness::new("tokens").await?;
    let console = Console::in_cluster(&harness.console_account(&[]).await?, &[]).await?;
    let token = harness.user("viewer", &everything()).await?;
    let own = key_of_the_cluster(&harness)?;
    let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok().context("no key")?;
    let path = format!("/api/v1/meshes/{}/m", harness.namespace);
    // The forger works: the same claims with the signature of the cluster are a token.
    assert_eq!(console.ask(&path, &forge(&token, &own, |_| ())?).await?.0, 200);

    let [head, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        anyhow::bail!("{token}")
    };
    let none = URL_SAFE_NO_PAD.encode(json!({ "alg": "none", "typ": "JWT" }).to_string());
    let expire = |claims: &mut Value| {
        let now = claims["iat"].as_u64().unwrap();
        (claims["iat"], claims["nbf"], claims["exp"]) =
            ((now - 7200).into(), (now - 7200).into(), (now - 3600).into());
    };
    let be_somebody = |claims: &mut Value| claims["sub"] = "system:serviceaccount:kube-system:admin".into();
    let wrong = [
        ("no token", String::new()),
        ("a text", "x".to_owned()),
        ("a long text", "x".repeat(13 << 10)),
        ("two tokens", format!("{token} {token}")),
        ("no signature", format!("{head}.{claims}.")),
        ("algorithm none", format!("{none}.{claims}.")),
        ("another signature", format!("{head}.{claims}.{}", signature.chars().rev().collect::<String>())),
        ("another key", forge(&token, &other, |_| ())?),
        ("another user, with another key", forge(&token, &other, be_somebody)?),
        ("expired", forge(&token, &own, expire)?),
        ("for another audience", harness.token("viewer", &["--audience=elsewhere"]).await?),
    ];
    for (what, wrong) in &wrong {
        for path in [&path, "/api/v1/meshes", "/api/v1/events", "/api/v1/session"] {
            let response = console.get(path, &[("authorization", &format!("Bearer {wrong}"))]).await?;
            assert_eq!(response.status(), 401, "{what} {path}");
            assert!(response.headers()["www-authenticate"].to_str()?.starts_with("Bearer"));
        }
    }
    for scheme in ["Basic", "Token", ""] {
        let header = format!("{scheme} {token}");
        assert_eq!(console.get(&path, &[("authorization", &header)]).await?.status(), 401, "{scheme}");
    }
    assert_eq!(console.get(&path, &[]).await?.status(), 401);
    // A token in the URL or in a cookie is none.
    let with_query = format!("{path}?access_token={token}&token={token}");
    let cookie = format!("token={token}; authorization=Bearer {token}");
    assert_eq!(console.get(&with_query, &[("cookie", &cookie)]).await?.status(), 401);

    // A user who is gone.
    assert_eq!(console.ask(&path, &token).await?.0, 200);
    harness.plane.kubectl(&["delete", "serviceaccount/viewer", "-n", &harness.namespace], "").await?;
    eventually(PATIENCE, async || {
        let (code, _) = console.ask(&path, &token).await?;
        anyhow::ensure!(code == 401, "{code}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn only_tokens_for_the_console_count() -> anyhow::Result<()> {
    let harness = Harness::new("audience").await?;
    let account = harness.console_account(&[]).await?;
    let console = Console::in_cluster(&account, &["--audience", "function-mesh-console"]).await?;
    let token = harness.user("viewer", &everything()).await?;
    let path = format!("/api/v1/meshes/{}/m", harness.namespace);
    assert_eq!(console.ask(&path, &token).await?.0, 401, "a token of the API server");
    let token = harness.token("viewer", &["--audience=function-mesh-console"]).await?;
    assert_eq!(console.ask(&path, &token).await?.0, 200);
    Ok(())
}

#[tokio::test]
async fn the_page_asks_for_a_token() -> anyhow::Result<()> {
    let harness = Harness::new("sign-in").await?;
    harness.report_backlog(5).await?;
    let dashboard = ["--grafana-url", "https://grafana.example/d/m?n={namespace}&k={kind}&c={name}"];
    let console = Console::in_cluster(&harness.console_account(&[]).await?, &dashboard).await?;
    let token = harness.user("viewer", &everything()).await?;
    let origin = format!("http://{}/", console.host);
    let mut browser = Browser::start().await?;
    browser.open(&format!("{origin}#/{}/m", harness.namespace)).await?;
    browser.until("document.activeElement?.id === 'token'").await?;
    browser.picture("sign-in").await?;
    let send = |token: &str| {
        format!(
            "document.getElementById('token').value = {token:?}; document.querySelector('form').requestSubmit()"
        )
    };
    browser.eval(&send("wrong")).await?;
    browser
        .until("document.querySelector('form')?.textContent.includes('does not accept this token')")
        .await?;
    browser.eval(&send(&token)).await?;
    browser.until("document.querySelectorAll('svg .component').length === 2").await?;
    browser.until("document.getElementById('user').textContent.includes(':viewer')").await?;
    // Streams end and resume; the page shows changes all the same.
    harness.report_backlog(61).await?;
    browser.until("document.querySelector('svg').textContent.includes('61')").await?;
    assert_eq!(browser.eval("document.cookie").await?, "");
    assert_eq!(browser.eval(&format!("location.href.includes({token:?})")).await?, false);
    // The dashboard is a link, which the page does not follow itself.
    browser.eval("location.hash += '/function/m-shout'").await?;
    let link = format!("https://grafana.example/d/m?n={}&k=function&c=m-shout", harness.namespace);
    browser.until(&format!("document.querySelector('#panel a')?.href === {link:?}")).await?;
    browser.reload().await?;
    browser.until("document.querySelectorAll('svg .component').length === 2").await?;
    browser.until("document.querySelector('#user button')").await?;
    // What a browser logs of an answer 401 is expected.
    browser.log.retain(|line| !line.contains("401"));
    browser.eval("document.querySelector('#user button').click()").await?;
    browser.until("document.getElementById('token') && !document.querySelector('svg')").await?;
    assert_eq!(browser.eval("sessionStorage.length").await?, 0);
    browser.log.retain(|line| !line.contains("401"));
    browser.check(&origin).await
}
