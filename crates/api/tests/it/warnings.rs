//! Warnings: of fields without effect, and of what is legal and cannot work; and what upstream accepts is accepted.

use std::collections::BTreeSet;

use function_mesh_api::validate;
use serde_json::{Value, json};

use crate::cases::{self, check, component, mesh};
use crate::warned;

fn warnings(object: &Value) -> Vec<String> {
    let findings = check(object);
    assert_eq!(findings.violations, [], "{object}");
    findings.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn ignored_fields_are_warnings() {
    for (kind, change, field) in [
        (
            "Function",
            json!({ "genericRuntime": { "functionFile": "f", "language": "wasm" } }),
            "spec.genericRuntime",
        ),
        (
            "Sink",
            json!({ "volumeMounts": [{ "name": "gone", "mountPath": "/x" }] }),
            "spec.volumeMounts[0].name",
        ),
        (
            "Function",
            json!({
                "pod": { "volumes": [{ "name": "a", "emptyDir": {} }] },
                "volumeMounts": [{ "name": "a", "mountPath": "/x" }, { "name": "a", "mountPath": "/x" }],
            }),
            "spec.volumeMounts[1].mountPath",
        ),
        (
            "Sink",
            json!({ "retainKeyOrdering": true, "processingGuarantee": "effectively_once" }),
            "spec.retainKeyOrdering",
        ),
        (
            "Source",
            json!({ "maxReplicas": 2, "pod": { "builtinAutoscaler": ["Own"] } }),
            "spec.pod.builtinAutoscaler[0]",
        ),
        (
            "Source",
            json!({
                "maxReplicas": 2,
                "pod": { "builtinAutoscaler": ["AverageUtilizationCPUPercent80", "AverageUtilizationCPUPercent50"] },
            }),
            "spec.pod.builtinAutoscaler[1]",
        ),
        (
            "Source",
            json!({ "pod": { "tolerations": [{ "key": "k", "operator": "Gt" }] } }),
            "spec.pod.tolerations[0].operator",
        ),
    ] {
        let found = warnings(&cases::object(kind, &change));
        assert!(found.len() == 1 && found[0].starts_with(&format!("{field}: ")), "{change}: {found:?}");
    }
    let provided = json!({
        "volumeClaimTemplates": [{ "metadata": { "name": "data" } }],
        "pulsar": { "tlsConfig": { "certSecretName": "my.cert", "certSecretKey": "ca.crt" } },
        "volumeMounts": [
            { "name": "data", "mountPath": "/data" }, { "name": "my-cert-ca-crt", "mountPath": "/c" },
            { "name": "filebeat-logs", "mountPath": "/l" },
        ],
    });
    assert_eq!(warnings(&cases::object("Function", &provided)), [""; 0]);
}

/// Each warning of the table has a spec that it concerns, and one that it does not.
#[test]
fn specs_that_cannot_work_are_warned_of() {
    let mut seen = std::collections::BTreeSet::new();
    for case in warned::all() {
        let kind = case.kind;
        let found = |change: &Value| -> Vec<String> {
            let fields = warnings(&cases::object(kind, change));
            let at = format!("spec.{}: ", case.field);
            fields.into_iter().filter_map(|text| text.strip_prefix(&at).map(str::to_owned)).collect()
        };
        let texts = found(&case.bad);
        assert!(texts.len() == 1 && texts[0].contains(case.message), "{kind} {}: {texts:?}", case.bad);
        assert_eq!(found(&case.good), [""; 0], "{kind} {}: {}", case.field, case.good);
        seen.extend(texts.into_iter().map(|text| (case.field, text)));
        // A component of a mesh is warned of as well.
        let list = format!("{}s", kind.to_lowercase());
        let of_mesh = warnings(&mesh(&json!({ &list: [component(kind, "a", &case.bad)] })));
        let at = format!("spec.{list}[0].{}: ", case.field);
        assert!(of_mesh.iter().any(|text| text.starts_with(&at)), "{kind} {}: {of_mesh:?}", case.bad);
    }
    for warning in validate::warnings::ALL {
        let is_seen = seen.contains(&(warning.field, warning.message.to_owned()));
        assert!(is_seen, "no case of the warning on {}: {}", warning.field, warning.message);
    }
}

/// What upstream accepts and the API server takes is accepted, at most with a warning on its field.
#[test]
fn manifests_that_work_upstream_are_accepted() {
    for (kind, change, field) in warned::accepted() {
        let object = cases::object(kind, &change);
        let found = warnings(&object);
        let is_warned = found.iter().any(|text| text.starts_with(&format!("{field}: ")));
        assert!(field.is_empty() || is_warned, "{kind} {change}: no warning on {field} in {found:?}");
    }
}

#[test]
fn backend_configs_warn_of_fields_of_components() {
    let mut pod = json!({
        "volumes": [], "initContainers": [], "sidecars": [], "env": [], "builtinAutoscaler": [],
        "autoScalingMetrics": [], "autoScalingBehavior": {}, "vpa": {}, "disableDefaultAffinity": true,
    });
    let fields: BTreeSet<_> =
        pod.as_object().unwrap().keys().map(|field| format!("spec.pod.{field}")).collect();
    // Those of both have an effect.
    pod["labels"] = json!({ "team": "a" });
    let spec = serde_json::from_value(json!({ "env": { "A": "1" }, "pod": pod })).unwrap();
    let warned = validate::check_backend_config(&spec).warnings;
    assert_eq!(warned.len(), fields.len(), "{warned:?}");
    assert_eq!(warned.iter().map(|it| it.field.as_str().to_owned()).collect::<BTreeSet<_>>(), fields);
}
