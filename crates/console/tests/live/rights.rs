//! A viewer sees what the kubeconfig allows, and no more.

use serde_json::{Value, json};

use crate::harness::{Console, Harness, Stream, json as read};
use crate::reviews::with_pod;

/// Lets a user do these things in the namespace of a test.
pub(crate) async fn grant(harness: &Harness, user: &str, rules: &Value) -> anyhow::Result<()> {
    let metadata = json!({ "name": user, "namespace": harness.namespace });
    let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user },
        "subjects": [{ "kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io" }],
    });
    for object in [role, binding] {
        harness.create_manifest(&object).await?;
    }
    Ok(())
}

/// Status codes of the detail of a component, and of its logs.
async fn codes(console: &Console, session: &str, namespace: &str) -> anyhow::Result<[(u16, Value); 2]> {
    let path = format!("/api/v1/components/{namespace}/function/m-shout");
    let detail = read(console.get(&path, &[("authorization", session)]).await?).await?;
    let logs = read(console.get(&format!("{path}/logs"), &[("authorization", session)]).await?).await?;
    Ok([detail, logs])
}

#[tokio::test]
async fn rights_decide_what_is_shown() -> anyhow::Result<()> {
    let harness = with_pod("rights").await?;
    // Nothing is allowed: no mesh, no detail, no log, and the reason.
    let console =
        Console::start(&harness.plane.kubeconfig_by_roles("without-roles").await?, &harness.namespace)
            .await?;
    let session = console.session().await?;
    let mut all = Stream::new(console.get("/api/v1/events", &[("authorization", &session)]).await?);
    all.until(|it| it.state.head["problem"].as_str().is_some_and(|it| it.contains("may not list"))).await?;
    assert!(all.state.items.is_empty(), "{:?}", all.state);
    for (code, answer) in codes(&console, &session, &harness.namespace).await? {
        assert_eq!(code, 403, "{answer}");
    }

    // Functions only: half of the data, without pods.
    let user = "functions-only";
    let ours = "compute.functionmesh.io";
    let verbs = ["get", "list", "watch"];
    grant(
        &harness,
        user,
        &json!([{ "apiGroups": [ours], "resources": ["functions", "functionmeshes"], "verbs": verbs }]),
    )
    .await?;
    let console = Console::start(&harness.plane.kubeconfig_by_roles(user).await?, &harness.namespace).await?;
    let session = console.session().await?;
    let path = format!("/api/v1/meshes/{}/m/events", harness.namespace);
    let mut mesh = Stream::new(console.get(&path, &[("authorization", &session)]).await?);
    mesh.until(|it| it.backlog() == Some(5)).await?;
    let problem = mesh.state.head["problem"].as_str().unwrap();
    assert!(problem.contains("you may not list and watch sinks"), "{problem}");
    let [detail, logs] = codes(&console, &session, &harness.namespace).await?;
    assert_eq!((detail.0, logs.0), (200, 403), "{logs:?}");
    assert!(detail.1["podsProblem"].as_str().unwrap().contains("forbidden"), "{detail:?}");

    // Pods, and not their logs.
    let user = "no-logs";
    let rules = json!([
        { "apiGroups": [ours], "resources": ["*"], "verbs": verbs },
        { "apiGroups": [""], "resources": ["pods", "events"], "verbs": verbs },
    ]);
    grant(&harness, user, &rules).await?;
    let console = Console::start(&harness.plane.kubeconfig_by_roles(user).await?, &harness.namespace).await?;
    let session = console.session().await?;
    let [detail, logs] = codes(&console, &session, &harness.namespace).await?;
    assert_eq!(detail.1["pods"].as_array().map(Vec::len), Some(1), "{detail:?}");
    let problem = logs.1["problems"][0]["message"].as_str().unwrap_or_default();
    assert!(problem.contains("forbidden") && logs.1["lines"] == json!([]), "{logs:?}");
    Ok(())
}
