//! Pods and volumes.

#![allow(clippy::too_many_lines, reason = "it is a table")]

use serde_json::{Value, json};

use super::{ALL, Case, F, Table};

pub(super) fn pods(t: &mut Table) {
    let pod = |policy: Value| json!({ "pod": policy });
    t.add(
        "labels",
        ALL,
        &["spec.pod.labels[\"a b\"]"],
        pod(json!({ "labels": { "a b": "c" } })),
        pod(json!({ "labels": { "x.io/a": "c" } })),
    );
    t.add(
        "labels",
        ALL,
        &["spec.pod.labels[\"a\"]"],
        pod(json!({ "labels": { "a": "b c" } })),
        pod(json!({ "labels": { "a": "" } })),
    );
    t.add(
        "selector",
        ALL,
        &["spec.pod.nodeSelector[\"/\"]"],
        pod(json!({ "nodeSelector": { "/": "c" } })),
        pod(json!({ "nodeSelector": { "disk": "ssd" } })),
    );
    t.add(
        "annotations",
        ALL,
        &["spec.pod.annotations[\"a b\"]"],
        pod(json!({ "annotations": { "a b": "" } })),
        pod(json!({ "annotations": { "A": "any text" } })),
    );
    t.add(
        "env",
        ALL,
        &["spec.pod.env[0].name"],
        pod(json!({ "env": [{ "name": "A=B" }] })),
        pod(json!({ "env": [{ "name": "a.b" }] })),
    );
    for (bad, good, at) in [
        (
            json!({ "key": "a b", "operator": "Exists" }),
            json!({ "key": "a", "operator": "Exists" }),
            "spec.pod.tolerations[0].key",
        ),
        (
            json!({ "operator": "Exists", "value": "v" }),
            json!({ "operator": "Exists" }),
            "spec.pod.tolerations[0].value",
        ),
        (json!({ "value": "v" }), json!({ "key": "k", "value": "v" }), "spec.pod.tolerations[0].operator"),
        (json!({ "key": "k", "value": "v v" }), json!({ "key": "k" }), "spec.pod.tolerations[0].value"),
        (
            json!({ "key": "k", "effect": "Never" }),
            json!({ "key": "k", "effect": "NoSchedule" }),
            "spec.pod.tolerations[0].effect",
        ),
        (
            json!({ "key": "k", "tolerationSeconds": 5 }),
            json!({ "key": "k", "effect": "NoExecute", "tolerationSeconds": 5 }),
            "spec.pod.tolerations[0].effect",
        ),
    ] {
        for kind in ALL {
            let change = |toleration: &Value| pod(json!({ "tolerations": [toleration] }));
            t.0.push(Case {
                rule: "tolerations",
                kind,
                fields: vec![at],
                bad: change(&bad),
                good: change(&good),
            });
        }
    }
    let volume = |first: &str, second: &str| {
        pod(json!({ "volumes": [{ "name": first, "emptyDir": {} }, { "name": second, "emptyDir": {} }] }))
    };
    t.add("volumes", ALL, &["spec.pod.volumes[1].name"], volume("a", "a"), volume("a", "b"));
    let claim = |name: &str, amount: &str| {
        json!({ "metadata": { "name": name },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": amount } } } })
    };
    let claims = |all: &[Value]| json!({ "volumeClaimTemplates": all });
    t.add(
        "claims",
        F,
        &["spec.volumeClaimTemplates[0].metadata.name"],
        claims(&[claim("", "1G")]),
        claims(&[claim("a", "1G")]),
    );
    t.add(
        "claims",
        F,
        &["spec.volumeClaimTemplates[0].spec.resources.requests.storage"],
        claims(&[claim("a", "much")]),
        claims(&[claim("a", "1Gi")]),
    );
    let keep = |deleted: &str, scaled: &str| json!({ "persistentVolumeClaimRetentionPolicy": { "whenDeleted": deleted, "whenScaled": scaled } });
    t.add(
        "retention",
        F,
        &["spec.persistentVolumeClaimRetentionPolicy.whenDeleted"],
        keep("Keep", "Delete"),
        keep("Retain", ""),
    );
    t.add(
        "retention",
        F,
        &["spec.persistentVolumeClaimRetentionPolicy.whenScaled"],
        keep("", "delete"),
        keep("Delete", "Retain"),
    );
}
