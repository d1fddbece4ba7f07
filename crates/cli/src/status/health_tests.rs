//! Health by phases, generations and conditions.

use serde_json::{Value, json};

use super::tests::*;
use super::*;

/// Phase, health and reasons of a Function with this object.
fn judged(change: impl FnOnce(&mut Value)) -> (String, Health, String) {
    let mut object = component("Function", "orders-clean", ready(&flowing()));
    change(&mut object);
    let view = component_status(&object).unwrap().components.remove(0);
    (view.phase, view.health, view.reasons.join(" | "))
}

#[test]
fn health_follows_phase_generation_and_conditions() {
    for (phase, health) in [
        ("Ready", Health::Healthy),
        ("Paused", Health::Healthy),
        ("Suspended", Health::Healthy),
        ("Asleep", Health::Healthy),
        ("Pending", Health::NotReady),
        ("Progressing", Health::NotReady),
        ("Deleting", Health::NotReady),
        ("Degraded", Health::Degraded),
        ("RolledBack", Health::Degraded),
        ("Invalid", Health::Degraded),
    ] {
        let found = judged(|object| object["status"]["phase"] = phase.into());
        assert_eq!(found, (phase.to_owned(), health, String::new()));
    }
    let (phase, health, reasons) = judged(|object| object["metadata"]["generation"] = 4.into());
    assert_eq!((phase.as_str(), health), ("Progressing", Health::NotReady));
    assert_eq!(reasons, "generation 4 is not applied yet; the last applied one is 1");
    let (phase, health, _) = judged(|object| object["metadata"]["deletionTimestamp"] = ago(1).into());
    assert_eq!((phase.as_str(), health), ("Deleting", Health::NotReady));
    let (_, health, reasons) = judged(|object| {
        object["metadata"]["annotations"] = json!({ "compute.functionmesh.io/managed": "false" });
    });
    assert_eq!(health, Health::Healthy);
    assert!(reasons.contains("the operator ignores it"), "{reasons}");
    // A phase of a later version.
    let (phase, health, reasons) = judged(|object| object["status"]["phase"] = "Dreaming".into());
    assert_eq!((phase.as_str(), health), ("Unknown", Health::NotReady));
    assert!(reasons.starts_with("the status cannot be decoded: status.phase: "), "{reasons}");
    // A spec that cannot be decoded does not hide the status.
    assert_eq!(judged(|object| object["spec"] = json!({ "replicas": "x" })).1, Health::Healthy);

    for (status, phase, health) in [
        ("False", "Ready", Health::Healthy),
        ("Unknown", "Ready", Health::Healthy),
        ("True", "Ready", Health::Stalled),
        ("True", "Progressing", Health::Stalled),
        ("True", "Degraded", Health::Degraded),
    ] {
        let found = judged(|object| {
            object["status"]["phase"] = phase.into();
            object["status"]["standardConditions"] = json!([condition("Stalled", status, "Failing", "m")]);
        });
        assert_eq!(found.1, health, "{status} {phase}");
        assert_eq!(found.2.is_empty(), status == "False", "{}", found.2);
    }
}

#[test]
fn degraded_by_a_stall_alone_is_stalled() {
    // The operator reports a stall as the phase Degraded with the message of the condition, and a problem of a pod first.
    let degraded = |message: &str| {
        judged(|object| {
            object["status"]["phase"] = "Degraded".into();
            object["status"]["message"] = message.into();
            object["status"]["standardConditions"] =
                json!([condition("Stalled", "True", "NoConsumers", "no consumer")]);
        })
    };
    let stalled = ("Degraded".to_owned(), Health::Stalled, "stalled, NoConsumers: no consumer".to_owned());
    assert_eq!(degraded("no consumer"), stalled);
    let (_, health, reasons) = degraded("pod a: exit code 1");
    assert_eq!(health, Health::Degraded);
    assert_eq!(reasons, "pod a: exit code 1 | stalled, NoConsumers: no consumer");

    let of = |degraded: &str| {
        let conditions = [
            condition("Ready", "False", "ComponentsDegraded", degraded),
            condition("Stalled", "True", "NoConsumers", "function a: no consumer"),
        ];
        let view = mesh_status(&mesh(&json!({}), &conditions), &[]).mesh.unwrap();
        (view.state, view.health, view.reasons)
    };
    let cause = "stalled, NoConsumers: function a: no consumer".to_owned();
    assert_eq!(of("function a: no consumer"), ("Stalled".to_owned(), Health::Stalled, vec![cause.clone()]));
    let both = "function a: no consumer; function b: exit code 1".to_owned();
    assert_eq!(of(&both), ("Degraded".to_owned(), Health::Degraded, vec![both, cause]));
}

#[test]
fn mesh_state_follows_its_conditions() {
    let ready = |status: &str, reason: &str| condition("Ready", status, reason, "m");
    let stalled = condition("Stalled", "True", "Failing", "m");
    for (conditions, state, health) in [
        (vec![], "Pending", Health::NotReady),
        (vec![ready("True", "ComponentsReady")], "Ready", Health::Healthy),
        (vec![ready("False", "ComponentsNotReady")], "Progressing", Health::NotReady),
        (vec![ready("False", "ComponentsDegraded")], "Degraded", Health::Degraded),
        (vec![ready("False", "ApplyFailed")], "Degraded", Health::Degraded),
        (vec![ready("False", "InvalidObject")], "Invalid", Health::Degraded),
        (vec![ready("True", "ComponentsReady"), stalled.clone()], "Stalled", Health::Stalled),
        (vec![ready("False", "ComponentsDegraded"), stalled.clone()], "Stalled", Health::Stalled),
        (vec![ready("False", "ApplyFailed"), stalled], "Degraded", Health::Degraded),
    ] {
        let view = mesh_status(&mesh(&json!({}), &conditions), &[]);
        let mesh = view.mesh.unwrap();
        assert_eq!(
            (mesh.state.as_str(), mesh.health, view.health),
            (state, health, health),
            "{conditions:?}"
        );
    }
    let since = |conditions: &[Value]| mesh_status(&mesh(&json!({}), conditions), &[]).mesh.unwrap().since;
    let since = |conditions: &[Value]| since(conditions).map(|it| it.0.as_second());
    let at = |mut condition: Value, seconds: i64| {
        condition["lastTransitionTime"] = ago(seconds).into();
        condition
    };
    let degraded = at(condition("Degraded", "True", "ComponentsDegraded", "m"), 30);
    assert_eq!(since(&[ready("False", "ComponentsDegraded"), degraded]), Some(NOW - 30));
    let stalled = at(condition("Stalled", "True", "Failing", "m"), 20);
    assert_eq!(since(&[ready("True", "ComponentsReady"), stalled]), Some(NOW - 20));
    assert_eq!(since(&[ready("False", "ComponentsNotReady")]), Some(NOW - 720));

    let mut object = mesh(&json!({}), &[ready("True", "ComponentsReady")]);
    object["metadata"]["generation"] = 2.into();
    let of = |object: &Value| mesh_status(object, &[]).mesh.unwrap();
    assert_eq!((of(&object).state.as_str(), of(&object).since), ("Progressing", None));
    object["metadata"]["deletionTimestamp"] = ago(1).into();
    assert_eq!(of(&object).state, "Deleting");
    let view = of(&mesh(&json!({ "functions": 5 }), &[ready("True", "ComponentsReady")]));
    assert_eq!(view.health, Health::Degraded);
    assert!(view.reasons[0].starts_with("the mesh cannot be decoded: spec.functions"), "{:?}", view.reasons);
}
