//! The console in the cluster: what a user sees is what RBAC allows, and no more.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::harness::{Console, Harness, Stream, component};
use crate::outage::forward_kubeconfig;
use crate::users::{everything, ours, rule};

/// A namespace with a mesh whose function has a pod.
pub(crate) async fn with_pod(name: &str) -> anyhow::Result<Harness> {
    let harness = Harness::new(name).await?;
    harness.report("function/m-shout", &component(&json!({ "backlog": 5 }))).await?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "shout-0", "labels": { "app": "shout" } },
        "spec": { "containers": [{ "name": "runner", "image": "example.invalid/none:1" }], "automountServiceAccountToken": false },
    });
    harness.create_manifest(&pod).await?;
    Ok(harness)
}

fn texts(answer: &Value, pointer: &str) -> String {
    answer
        .pointer(pointer)
        .map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned))
        .unwrap_or_default()
}

/// What a user sees, in a line: status codes, or what there is.
async fn seen(console: &Console, token: &str, namespace: &str) -> anyhow::Result<[String; 6]> {
    let (code, all) = console.ask("/api/v1/meshes", token).await?;
    let own = format!("{namespace}/m");
    let meshes = if all["items"].get(&own).is_some() { "mesh".to_owned() } else { format!("{code}: none") };
    let (code, mesh) = console.ask(&format!("/api/v1/meshes/{own}"), token).await?;
    let shout = mesh.pointer("/items/function~1m-shout/backlog").is_some_and(|it| *it == json!(5));
    let mesh = if shout { "graph with numbers".to_owned() } else { code.to_string() };
    let path = format!("/api/v1/components/{namespace}/function/m-shout");
    let (code, detail) = console.ask(&path, token).await?;
    let yaml = if detail["yaml"].is_string() { "YAML".to_owned() } else { code.to_string() };
    let part = |list: &str, problem: &str| {
        let found = detail[list].as_array().is_some_and(|it| !it.is_empty());
        let is_denied = texts(&detail, problem).starts_with("you may not list");
        match (found, is_denied, code) {
            (true, false, _) => list.to_owned(),
            (false, false, 200) => "none".to_owned(),
            _ => "denied".to_owned(),
        }
    };
    let (pods, events) = (part("pods", "/podsProblem"), part("events", "/eventsProblem"));
    // The pod has no node, and so no lines.
    // Who may list a component has seen the numbers of its charts.
    let history = console.ask(&format!("{path}/history"), token).await?;
    ensure!((history.0 == 200) == (mesh == "graph with numbers"), "{history:?} {mesh}");
    let (code, logs) = console.ask(&format!("{path}/logs"), token).await?;
    let logs = if code == 200 && logs["lines"].is_array() { "logs".to_owned() } else { code.to_string() };
    Ok([meshes, mesh, yaml, pods, events, logs])
}

#[tokio::test]
#[allow(clippy::print_stderr, reason = "the table for people")]
async fn rbac_decides_what_a_user_sees() -> anyhow::Result<()> {
    let harness = with_pod("users").await?;
    let namespace = harness.namespace.as_str();
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": "shout.1", "namespace": namespace },
        "involvedObject": { "kind": "Function", "name": "m-shout", "namespace": namespace },
        "reason": "Test", "message": "text", "type": "Warning",
    });
    harness.create_manifest(&event).await?;
    let console = Console::in_cluster(&harness.console_account(&[]).await?, &[]).await?;
    let list = ["list"];
    let table = [
        ("without-roles", json!([]), ["200: none", "403", "403", "denied", "denied", "403"]),
        (
            "sinks-only",
            json!([ours(&["sinks"], &list)]),
            ["200: none", "404", "403", "denied", "denied", "403"],
        ),
        (
            "lists-meshes-and-functions",
            json!([ours(&["functionmeshes", "functions"], &list)]),
            ["mesh", "graph with numbers", "403", "denied", "denied", "403"],
        ),
        (
            "gets-functions",
            json!([ours(&["functionmeshes", "functions"], &["get", "list"])]),
            ["mesh", "graph with numbers", "YAML", "denied", "denied", "403"],
        ),
        (
            "everything-but-logs",
            json!([ours(&["*"], &["get", "list"]), rule("", &["pods", "events"], &list)]),
            ["mesh", "graph with numbers", "YAML", "pods", "events", "403"],
        ),
        (
            "logs-only",
            json!([rule("", &["pods/log"], &["get"]), rule("", &["pods"], &list)]),
            ["200: none", "403", "403", "denied", "denied", "403"],
        ),
        ("everything", everything(), ["mesh", "graph with numbers", "YAML", "pods", "events", "logs"]),
    ];
    eprintln!("| user | meshes | graph | object | pods | Events | logs |\n|---|---|---|---|---|---|---|");
    for (user, rules, expected) in table {
        let token = harness.user(user, &rules).await?;
        let seen = seen(&console, &token, namespace).await?;
        eprintln!("| {user} | {} |", seen.join(" | "));
        assert_eq!(seen, expected, "{user}");
        // Permissions in one namespace are none in another, whether it exists or not.
        for other in ["default", "none"] {
            for path in [format!("meshes/{other}/m"), format!("components/{other}/function/m-shout")] {
                let (code, answer) = console.ask(&format!("/api/v1/{path}"), &token).await?;
                assert_eq!(code, 403, "{user} {path} {answer}");
            }
        }
    }
    // Half of the permissions: the reason is on the page.
    let token = harness.token("lists-meshes-and-functions", &[]).await?;
    let (_, mesh) = console.ask(&format!("/api/v1/meshes/{namespace}/m"), &token).await?;
    assert_eq!(mesh["head"]["problem"], "you may not list sources, sinks here");
    let (_, who) = console.ask("/api/v1/session", &token).await?;
    assert_eq!(who["user"], format!("system:serviceaccount:{namespace}:lists-meshes-and-functions"));
    Ok(())
}

#[tokio::test]
async fn events_end_with_the_permission() -> anyhow::Result<()> {
    let harness = with_pod("revoked").await?;
    let console = Console::in_cluster(&harness.console_account(&[]).await?, &[]).await?;
    let token = format!("Bearer {}", harness.user("viewer", &everything()).await?);
    let path = format!("/api/v1/meshes/{}/m/events", harness.namespace);
    let mut viewer = Stream::new(console.get(&path, &[("authorization", &token)]).await?);
    viewer.until(|it| it.backlog() == Some(5)).await?;
    // The stream ends, and resumes where it ended while the permission lasts.
    let last = viewer.rest().await?;
    let headers = [("authorization", token.as_str()), ("last-event-id", &last)];
    harness.report("function/m-shout", &component(&json!({ "backlog": 6 }))).await?;
    let mut again = Stream::new(console.get(&path, &headers).await?);
    again.rest().await?;
    ensure!(again.backlog() == Some(6) && again.names == ["delta"], "{:?}", again.names);

    harness.plane.kubectl(&["delete", "rolebinding/viewer", "-n", &harness.namespace], "").await?;
    function_mesh_testkit::eventually(function_mesh_testkit::PATIENCE, async || {
        let response = console.get(&path, &headers).await?;
        let code = response.status().as_u16();
        if code == 200 {
            Stream::new(response).rest().await?;
        }
        ensure!(code == 403, "{code}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn roles_in_the_watched_namespaces_suffice() -> anyhow::Result<()> {
    let (one, other) = (with_pod("watched").await?, Harness::new("unwatched").await?);
    let second = Harness::new("second").await?;
    let watched = format!("{},{}", one.namespace, second.namespace);
    let values = format!("watchedNamespaces={{{watched}}}");
    let account = one.console_account(&["--set", &values]).await?;
    let console = Console::in_cluster(&account, &["--watched-namespace", &watched]).await?;
    let token = one.user("viewer", &everything()).await?;
    let subject = format!("--serviceaccount={}:viewer", one.namespace);
    for namespace in [&other.namespace, &second.namespace] {
        let args =
            ["create", "rolebinding", "viewer", "--clusterrole=cluster-admin", &subject, "-n", namespace];
        one.plane.kubectl(&args, "").await?;
    }
    let (code, all) = console.ask("/api/v1/meshes", &token).await?;
    assert_eq!((code, &all["head"]["problem"], &all["head"]["synced"]), (200, &Value::Null, &json!(true)));
    let mut found: Vec<_> = all["items"].as_object().unwrap().keys().cloned().collect();
    let mut wanted = vec![format!("{}/m", one.namespace), format!("{}/m", second.namespace)];
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted, "not that of {}", other.namespace);
    let [meshes, graph, yaml, pods, _, logs] = seen(&console, &token, &one.namespace).await?;
    assert_eq!([meshes, graph, yaml, pods, logs], ["mesh", "graph with numbers", "YAML", "pods", "logs"]);
    Ok(())
}

#[tokio::test]
async fn without_an_answer_nothing_is_shown() -> anyhow::Result<()> {
    let harness = with_pod("away").await?;
    let (kubeconfig, switch) = forward_kubeconfig(&harness.console_account(&[]).await?).await?;
    let console = Console::in_cluster(kubeconfig.path(), &[]).await?;
    let token = harness.user("viewer", &everything()).await?;
    let path = format!("/api/v1/meshes/{}/m", harness.namespace);
    assert_eq!(console.ask(&path, &token).await?.0, 200);

    switch.send_replace(false);
    function_mesh_testkit::eventually(function_mesh_testkit::PATIENCE, async || {
        let (code, answer) = console.ask(&path, &token).await?;
        ensure!(
            code == 503 && answer["message"].as_str().is_some_and(|it| it.contains("permissions cannot be")),
            "{code} {answer}"
        );
        Ok(())
    })
    .await?;
    let (code, answer) = console.ask("/api/v1/meshes", &token).await?;
    assert_eq!((code, answer.get("items")), (503, None), "{answer}");

    switch.send_replace(true);
    function_mesh_testkit::eventually(function_mesh_testkit::PATIENCE, async || {
        let (code, answer) = console.ask(&path, &token).await?;
        ensure!(code == 200 && answer["head"]["problem"].is_null(), "{code} {answer}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_console_without_reviews_shows_nothing() -> anyhow::Result<()> {
    let harness = Harness::new("no-reviews").await?;
    let console =
        Console::in_cluster(&harness.plane.kubeconfig_by_roles("console-without-roles").await?, &[]).await?;
    let token = harness.user("viewer", &everything()).await?;
    for path in ["/api/v1/meshes", "/api/v1/events", "/api/v1/session"] {
        let (code, answer) = console.ask(path, &token).await?;
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(code == 503 && message.contains("may not create TokenReviews"), "{code} {answer}");
    }
    Ok(())
}
