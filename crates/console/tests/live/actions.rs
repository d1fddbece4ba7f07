//! Actions: by the permissions of the user, from the page alone, and only on what the user saw.

use function_mesh_api::{Function, labels};
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};

use crate::harness::{Console, Harness, component, json as read};
use crate::rights::grant;
use crate::users::{everything, ours, rule};

/// A console, and a session of it.
struct Actor<'a> {
    console: &'a Console,
    session: String,
    path: String,
}

impl<'a> Actor<'a> {
    async fn new(console: &'a Console, namespace: &str, object: &str) -> anyhow::Result<Self> {
        let session = console.session().await?;
        Ok(Self { console, session, path: format!("/api/v1/actions/{namespace}/{object}") })
    }

    /// What can be done, by label: the reason why not, or an empty text. And the version.
    async fn offers(&self) -> anyhow::Result<(Vec<(String, String)>, String)> {
        let (code, answer) =
            read(self.console.get(&self.path, &[("authorization", &self.session)]).await?).await?;
        anyhow::ensure!(code == 200, "{code} {answer}");
        let text = |it: &Value, field: &str| it[field].as_str().unwrap_or_default().to_owned();
        let offers = answer["offers"].as_array().cloned().unwrap_or_default();
        let offers = offers.iter().map(|it| (text(it, "label"), text(it, "reason"))).collect();
        Ok((offers, text(&answer, "version")))
    }

    /// The answer to a request as the page sends it.
    async fn act(&self, version: &str, act: Value) -> anyhow::Result<(u16, Value)> {
        self.send(&[], json!({ "version": version, "act": act }).to_string()).await
    }

    /// The same with other headers; an empty one is left out.
    async fn send(&self, headers: &[(&str, &str)], body: String) -> anyhow::Result<(u16, Value)> {
        let origin = format!("http://{}", self.console.host);
        let own = [
            ("host", self.console.host.as_str()),
            ("authorization", &self.session),
            ("content-type", "application/json"),
            ("origin", &origin),
            ("x-function-mesh-action", "1"),
        ];
        let mut request = Request::post(&self.path);
        for (name, value) in own.iter().filter(|(name, _)| !headers.iter().any(|(other, _)| other == name)) {
            request = request.header(*name, *value);
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        read(self.console.send(request.body(Full::from(body))?).await?).await
    }
}

/// An annotation of the function `m-shout`, and its replicas.
async fn shout(harness: &Harness, key: &str) -> anyhow::Result<(Option<String>, Option<i32>)> {
    let found = harness.get::<Function>("m-shout").await?;
    Ok((labels::annotation(&found.metadata, key).map(str::to_owned), found.spec.replicas))
}

#[tokio::test]
async fn actions_write_what_their_commands_write() -> anyhow::Result<()> {
    let harness = Harness::new("act").await?;
    let console = harness.console().await?;
    let actor = Actor::new(&console, &harness.namespace, "function/m-shout").await?;
    for (act, key, expected) in [
        (json!({ "action": "suspend" }), labels::SUSPEND, Some("true")),
        (json!({ "action": "resume" }), labels::SUSPEND, None),
        (json!({ "action": "pause-rollout" }), labels::PAUSE_ROLLOUT, Some("true")),
        (json!({ "action": "resume-rollout" }), labels::PAUSE_ROLLOUT, None),
        (
            json!({ "action": "restart", "at": "2026-01-02T03:04:05Z" }),
            labels::RESTARTED_AT,
            Some("2026-01-02T03:04:05Z"),
        ),
    ] {
        let (_, version) = actor.offers().await?;
        let (code, answer) = actor.act(&version, act.clone()).await?;
        assert_eq!(code, 200, "{act} {answer}");
        assert!(answer["written"][0].as_str().unwrap().contains("function/m-shout annotated"), "{answer}");
        assert_eq!(shout(&harness, key).await?.0.as_deref(), expected, "{act}");
    }
    let (_, version) = actor.offers().await?;
    let (code, answer) = actor.act(&version, json!({ "action": "scale", "replicas": 3 })).await?;
    assert_eq!((code, shout(&harness, "").await?.1), (200, Some(3)), "{answer}");

    // What the API server rejects is shown with its words; what does not apply, with ours.
    let (_, version) = actor.offers().await?;
    let (code, answer) = actor.act(&version, json!({ "action": "scale", "replicas": -1 })).await?;
    assert!(code == 422 && answer["message"].as_str().unwrap().contains("spec.replicas"), "{code} {answer}");
    let (code, answer) = actor.act(&version, json!({ "action": "undo-rollout" })).await?;
    assert!(code == 422 && answer["message"].as_str().unwrap().contains("no revisions"), "{code} {answer}");

    // The components of a mesh have the annotation of the mesh.
    let mesh = Actor { path: format!("/api/v1/actions/{}/functionmesh/m", harness.namespace), ..actor };
    let (offers, version) = mesh.offers().await?;
    assert!(offers.iter().all(|(label, reason)| label != "Scale" && reason.is_empty()), "{offers:?}");
    let (code, answer) = mesh.act(&version, json!({ "action": "suspend" })).await?;
    assert_eq!(code, 200, "{answer}");
    let (code, answer) =
        mesh.act(&mesh.offers().await?.1, json!({ "action": "scale", "replicas": 2 })).await?;
    assert!(code == 422 && answer["message"].as_str().unwrap().contains("no replicas"), "{answer}");
    let part = Actor { path: format!("/api/v1/actions/{}/function/m-shout", harness.namespace), ..mesh };
    function_mesh_testkit::eventually(function_mesh_testkit::PATIENCE, async || {
        let (offers, _) = part.offers().await?;
        let suspend = offers.iter().find(|(label, _)| label == "Suspend");
        anyhow::ensure!(suspend.is_some_and(|(_, reason)| reason.contains("act on the mesh")), "{offers:?}");
        Ok(())
    })
    .await
}

/// A canary is promoted from the page while there is one: the status of the operator says which revision it tries.
#[tokio::test]
async fn a_canary_is_promoted_while_there_is_one() -> anyhow::Result<()> {
    let harness = Harness::new("promoted").await?;
    let console = harness.console().await?;
    let actor = Actor::new(&console, &harness.namespace, "function/m-shout").await?;
    let generation = harness.get::<Function>("m-shout").await?.metadata.generation;
    let promote = json!({ "action": "promote-canary" });
    for (state, is_offered) in [("Analyzing", true), ("Promoted", false)] {
        let canary = json!({ "state": state, "step": 1, "of": 3, "revision": "m-shout-function-2" });
        let rollout = json!({ "state": "Progressing", "canary": canary });
        let status = json!({ "observedGeneration": generation, "rollout": rollout });
        harness.report("function/m-shout", &status).await?;
        let (offers, version) = actor.offers().await?;
        assert_eq!(offers.iter().any(|(label, _)| label == "Promote canary"), is_offered, "{offers:?}");
        let (code, answer) = actor.act(&version, promote.clone()).await?;
        if is_offered {
            assert_eq!(code, 200, "{answer}");
            let (written, _) = shout(&harness, labels::PROMOTE_CANARY).await?;
            assert_eq!(written.as_deref(), Some("m-shout-function-2"));
        } else {
            let message = answer["message"].as_str().unwrap_or_default();
            assert!(code == 422 && message.contains("has no canary that can be promoted"), "{answer}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn only_the_page_can_act() -> anyhow::Result<()> {
    let harness = Harness::new("forged").await?;
    let console = harness.console().await?;
    let actor = Actor::new(&console, &harness.namespace, "function/m-shout").await?;
    let (_, version) = actor.offers().await?;
    let order = json!({ "version": version, "act": { "action": "suspend" } }).to_string();
    let one_time = format!("Bearer {}", console.one_time);
    let own = format!("http://{}", console.host);
    let other_port = "http://127.0.0.1:1".to_owned();
    for (what, header, expected) in [
        ("no session", ("authorization", ""), 401),
        ("a used token", ("authorization", one_time.as_str()), 401),
        ("no origin", ("origin", ""), 403),
        ("another origin", ("origin", "http://evil.example"), 403),
        ("the origin of a file", ("origin", "null"), 403),
        ("the origin of another server of this machine", ("origin", &other_port), 403),
        ("another scheme", ("origin", &own.replace("http:", "https:")), 403),
        ("another site", ("sec-fetch-site", "cross-site"), 403),
        ("the same site", ("sec-fetch-site", "same-site"), 403),
        ("no header of the page", ("x-function-mesh-action", ""), 403),
        ("another host", ("host", "evil.example"), 421),
        ("a form", ("content-type", "application/x-www-form-urlencoded"), 415),
        ("a text", ("content-type", "text/plain"), 415),
    ] {
        let (code, answer) = actor.send(&[header], order.clone()).await?;
        assert_eq!(code, expected, "{what}: {answer}");
    }
    for (what, body, expected) in [
        ("no JSON", "suspend".to_owned(), 400),
        ("no action", json!({ "version": version }).to_string(), 422),
        ("no version", json!({ "act": { "action": "suspend" } }).to_string(), 422),
        (
            "another field",
            json!({ "version": version, "act": { "action": "suspend" }, "x": 1 }).to_string(),
            422,
        ),
        ("another action", json!({ "version": version, "act": { "action": "delete" } }).to_string(), 422),
        ("a long body", format!("{order}{}", " ".repeat(5000)), 413),
        ("another version", json!({ "version": "x", "act": { "action": "suspend" } }).to_string(), 409),
    ] {
        let (code, answer) = actor.send(&[], body).await?;
        assert_eq!(code, expected, "{what}: {answer}");
    }
    for path in ["secret/x", "function/..%2f..%2fsecrets%2fx", "function/m-shout%3fx=1", "function/"] {
        let path = format!("/api/v1/actions/{}/{path}", harness.namespace);
        let other = Actor { path, session: actor.session.clone(), console: &console };
        assert_eq!(other.act(&version, json!({ "action": "suspend" })).await?.0, 404, "{}", other.path);
    }
    // A link or an image is a GET, and other methods are none.
    for method in ["PUT", "PATCH", "DELETE"] {
        let request = Request::builder().method(method).uri(&actor.path).header("host", &console.host);
        let request = request.header("authorization", &actor.session).body(Full::default())?;
        assert_eq!(console.send(request).await?.status(), 405, "{method}");
    }
    assert_eq!(shout(&harness, labels::SUSPEND).await?.0, None, "a forged request was carried out");
    assert_eq!(actor.send(&[("sec-fetch-site", "same-origin")], order).await?.0, 200);
    assert_eq!(shout(&harness, labels::SUSPEND).await?.0.as_deref(), Some("true"));
    Ok(())
}

#[tokio::test]
async fn what_has_changed_is_not_overwritten() -> anyhow::Result<()> {
    let harness = Harness::new("stale").await?;
    let console = harness.console().await?;
    let actor = Actor::new(&console, &harness.namespace, "function/m-shout").await?;
    let (_, version) = actor.offers().await?;
    let scale = |replicas: u8| json!({ "action": "scale", "replicas": replicas });
    // A number of the status is no change of the object.
    harness.report("function/m-shout", &component(&json!({ "backlog": 7 }))).await?;
    assert_eq!(actor.act(&version, scale(4)).await?.0, 200);

    // The spec has changed, then an annotation, then the object is another one.
    let (code, answer) = actor.act(&version, scale(5)).await?;
    assert!(code == 409 && answer["message"].as_str().unwrap().contains("has changed"), "{code} {answer}");
    let (_, version) = actor.offers().await?;
    let namespace = ["-n", &harness.namespace];
    let annotate = ["annotate", "function/m-shout", "compute.functionmesh.io/suspend=true"];
    harness.plane.kubectl(&[&annotate[..], &namespace].concat(), "").await?;
    assert_eq!(actor.act(&version, scale(5)).await?.0, 409);
    assert_eq!(shout(&harness, "").await?.1, Some(4));
    let (_, version) = actor.offers().await?;
    harness.plane.kubectl(&[&["delete", "function/m-shout"][..], &namespace].concat(), "").await?;
    assert_eq!(actor.act(&version, scale(5)).await?.0, 404);
    Ok(())
}

#[tokio::test]
async fn permissions_decide_what_can_be_done() -> anyhow::Result<()> {
    let harness = Harness::new("may").await?;
    let reads = || ours(&["*"], &["get", "list", "watch"]);
    let patch = ours(&["functions"], &["patch"]);
    let revisions =
        [rule("apps", &["statefulsets"], &["get"]), rule("apps", &["controllerrevisions"], &["list"])];
    for (user, rules, denied) in [
        ("looks", json!([reads()]), vec!["Suspend", "Restart", "Scale", "Pause rollout", "Undo rollout"]),
        ("annotates", json!([reads(), patch]), vec!["Scale", "Undo rollout"]),
        (
            "scales",
            json!([reads(), ours(&["functions/scale"], &["patch"])]),
            vec!["Suspend", "Restart", "Pause rollout", "Undo rollout"],
        ),
        ("undoes", json!([reads(), patch, revisions[0], revisions[1]]), vec!["Scale"]),
    ] {
        grant(&harness, user, &rules).await?;
        let console =
            Console::start(&harness.plane.kubeconfig_by_roles(user).await?, &harness.namespace).await?;
        let actor = Actor::new(&console, &harness.namespace, "function/m-shout").await?;
        let (offers, version) = actor.offers().await?;
        let refused: Vec<_> = offers.iter().filter(|(_, reason)| !reason.is_empty()).collect();
        assert_eq!(refused.iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>(), denied, "{user}");
        assert!(refused.iter().all(|(_, reason)| reason.starts_with("you may not ")), "{refused:?}");
        // Who does not ask first gets the answer of the API server.
        let (code, answer) = actor.act(&version, json!({ "action": "scale", "replicas": 2 })).await?;
        let message = answer["message"].as_str().unwrap_or_default();
        if denied.contains(&"Scale") {
            assert!(code == 403 && message.contains("cannot patch resource \"functions/scale\""), "{answer}");
        } else {
            assert_eq!(code, 200, "{answer}");
        }
    }
    // Who may not even look gets no version, and can do nothing without one.
    let user = "without-permissions";
    let console = Console::start(&harness.plane.kubeconfig_by_roles(user).await?, &harness.namespace).await?;
    let actor = Actor::new(&console, &harness.namespace, "function/m-shout").await?;
    assert!(actor.offers().await.is_err());
    assert_eq!(actor.act("x", json!({ "action": "suspend" })).await?.0, 403);
    Ok(())
}

#[tokio::test]
async fn the_console_in_the_cluster_cannot_act() -> anyhow::Result<()> {
    let harness = Harness::new("no-acts").await?;
    let console = Console::in_cluster(&harness.console_account(&[]).await?, &[]).await?;
    let mut rules = everything();
    rules.as_array_mut().unwrap().push(ours(&["*"], &["patch", "update"]));
    let token = harness.user("admin", &rules).await?;
    for object in ["function/m-shout", "functionmesh/m"] {
        let path = format!("/api/v1/actions/{}/{object}", harness.namespace);
        assert_eq!(console.ask(&path, &token).await?, (404, json!({ "message": "no such page" })));
        let actor = Actor { console: &console, session: format!("Bearer {token}"), path };
        let (code, answer) = actor.act("x", json!({ "action": "suspend" })).await?;
        assert_eq!((code, &answer["message"]), (404, &json!("no such page")));
    }
    assert_eq!(console.ask("/api/v1/session", &token).await?.1["actions"], json!(false));
    assert_eq!(shout(&harness, labels::SUSPEND).await?.0, None);
    Ok(())
}
