//! What the panel of a component shows.

use serde_json::{Value, json};

use crate::harness::{Harness, component, json as read};

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": "shout" } },
        "spec": { "containers": [{ "name": "runner", "image": "example.invalid/none:1" }], "automountServiceAccountToken": false },
    })
}

#[tokio::test]
async fn a_component_has_conditions_events_pods_and_yaml() -> anyhow::Result<()> {
    let harness = Harness::new("detail").await?;
    let mut status = component(&json!({ "backlog": 5 }));
    status["standardConditions"] = json!([{
        "type": "Ready", "status": "False", "reason": "PodsNotReady", "message": "<img src=x>\u{202e}",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    harness.report("function/m-shout", &status).await?;
    let namespace = harness.namespace.as_str();
    for name in ["shout-10", "shout-2"] {
        harness.create_manifest(&pod(name)).await?;
    }
    let event = |kind: &str, name: &str, reason: &str| {
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": { "name": format!("{name}.1"), "namespace": namespace },
            "involvedObject": { "kind": kind, "name": name, "namespace": namespace },
            "reason": reason, "message": "text", "type": "Warning", "count": 3, "lastTimestamp": "2026-01-01T00:00:00Z",
        })
    };
    for event in [
        event("Function", "m-shout", "Own"),
        event("Pod", "shout-2", "OfPod"),
        event("Pod", "other", "Foreign"),
    ] {
        harness.create_manifest(&event).await?;
    }
    let console = harness.console().await?;
    let session = console.session().await?;
    let path = format!("/api/v1/components/{namespace}/function/m-shout");
    let (code, detail) = read(console.get(&path, &[("authorization", &session)]).await?).await?;
    assert_eq!(code, 200, "{detail}");
    assert_eq!(detail["conditions"][0]["message"], "<img src=x>\u{fffd}");
    let names = |list: &str, field: &str| {
        detail[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it[field].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("pods", "name"), ["shout-2", "shout-10"]);
    let mut reasons = names("events", "reason");
    reasons.retain(|reason| ["Own", "OfPod", "Foreign"].contains(&reason.as_str()));
    reasons.sort();
    assert_eq!(reasons, ["OfPod", "Own"]);
    let yaml = detail["yaml"].as_str().unwrap();
    assert!(yaml.contains("className:") && !yaml.contains("managedFields"), "{yaml}");

    // The pods have no node, and so no log.
    let (code, logs) =
        read(console.get(&format!("{path}/logs?search=x"), &[("authorization", &session)]).await?).await?;
    assert_eq!((code, logs["lines"].as_array().map(Vec::len)), (200, Some(0)), "{logs}");

    Ok(())
}
