//! Deliberate differences from Function Mesh for Go, as in `docs/upstream-differences.md`, and a check that each has a test.

#![allow(clippy::needless_pass_by_value, reason = "JSON reads best where it is used")]

use std::fs;
use std::path::Path;

use function_mesh_api::validate::{Findings, check_component};
use function_mesh_api::{Component, Function, Sink, Source, parse};
use function_mesh_workloads::{Backends, Settings};
use serde_json::{Value, json};

use crate::common;

/// A spec with the required fields of every component, and additional ones.
fn spec(own: Value) -> Value {
    let mut spec = json!({ "className": "C", "pulsar": { "pulsarConfig": "p" } });
    for (field, value) in own.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    spec
}

fn function(own: Value) -> Value {
    spec(own)
}

fn findings<C: Component>(kind: &str, spec: &Value) -> Findings {
    check_component(&parse::<C>(common::object(kind, spec)).expect("an object"))
}

fn rendered(spec: &Value, settings: &Settings) -> Vec<Value> {
    let function = common::valid::<Function>(common::object("Function", spec));
    common::rendered(&function, Backends::default(), settings)
}

fn default(spec: &Value) -> Vec<Value> {
    rendered(spec, &Settings::default())
}

#[test]
fn missing_fields_are_violations() {
    for input in [
        json!({ "topicPattern": "t/n/.*" }),
        json!({ "sourceSpecs": { "in": {} } }),
        json!({ "customSerdeSources": { "in": "S" } }),
    ] {
        let objects = default(&function(json!({ "golang": { "go": "f" }, "input": input })));
        assert!(common::command(&objects[0], "pulsar-function")[2].contains("-instance-conf"));
    }
    let fields = |findings: Findings| {
        findings.violations.iter().map(|it| it.field.as_str().to_owned()).collect::<Vec<_>>()
    };
    let sink = fields(findings::<Sink>("Sink", &json!({})));
    for field in ["spec.java", "spec.pulsar.pulsarConfig", "spec.sinkConfig", "spec.input.topics"] {
        assert!(sink.iter().any(|found| found == field), "{field}: {sink:?}");
    }
    let source = fields(findings::<Source>("Source", &json!({ "java": {} })));
    for field in ["spec.java.jar", "spec.pulsar.pulsarConfig", "spec.sourceConfig", "spec.className"] {
        assert!(source.iter().any(|found| found == field), "{field}: {source:?}");
    }
}

#[test]
fn memory_request_and_limit_default_to_each_other() {
    for (given, request, limit) in [
        (json!({}), "1Gi", "1Gi"),
        (json!({ "requests": { "memory": "2Gi" } }), "2Gi", "2Gi"),
        (json!({ "limits": { "memory": "3Gi" } }), "3Gi", "3Gi"),
        (json!({ "requests": { "memory": "1Gi" }, "limits": { "memory": "3Gi" } }), "1Gi", "3Gi"),
    ] {
        let input = json!({ "topics": ["in"] });
        let objects =
            default(&function(json!({ "java": { "jar": "f" }, "input": input, "resources": given })));
        let resources = &common::container(&objects[0], "pulsar-function")["resources"];
        assert_eq!(resources["requests"]["memory"], request, "{given}");
        assert_eq!(resources["limits"]["memory"], limit, "{given}");
    }
}

#[test]
fn window_requires_only_its_length() {
    let own = json!({
        "java": { "jar": "f" }, "input": { "topics": ["in"] }, "windowConfig": { "windowLengthCount": 5 },
    });
    let objects = default(&function(own));
    let script = &common::command(&objects[0], "pulsar-function")[2];
    assert!(script.contains(r#"\"windowLengthCount\":5,\"slidingIntervalCount\":5,\"maxLagMs\":0,\"watermarkEmitIntervalMs\":1000"#), "{script}");
}

#[test]
fn added_containers_have_restricted_security_contexts() {
    let own = json!({
        "java": { "jar": "f.jar", "jarLocation": "function://t/n/f@1" }, "input": { "topics": ["in"] },
        "logTopic": "logs", "logTopicAgent": "sidecar", "cleanupSubscription": true,
    });
    let settings = Settings { enable_init_containers: true, run_as_non_root: true, ..Settings::default() };
    let objects = rendered(&function(own), &settings);
    let (set, job) = (&objects[0], objects.last().expect("a Job"));
    let added = [(set, "downloader"), (set, "pulsar-function"), (set, "filebeat"), (job, "cleanup")];
    for (object, name) in added {
        let security = &common::container(object, name)["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{name}");
        let pod = &object["spec"]["template"]["spec"]["securityContext"];
        assert_eq!(pod["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["runAsNonRoot"], true);
    }
    let downloader = common::container(set, "downloader");
    assert_eq!(downloader["resources"], common::container(set, "pulsar-function")["resources"]);
}

#[test]
fn cleanup_job_is_minimal_and_immediate() {
    let own = json!({
        "java": { "jar": "f.jar" }, "input": { "topics": ["in"] }, "cleanupSubscription": true,
        "resources": { "requests": { "cpu": "8", "memory": "64Gi" }, "limits": { "memory": "64Gi" } },
        "pod": {
            "sidecars": [{ "name": "side", "image": "i" }], "initContainers": [{ "name": "init", "image": "i" }],
            "liveness": { "periodSeconds": 10 },
        },
    });
    let objects = default(&function(own));
    let job = objects.last().expect("a Job");
    assert_eq!(job["kind"], "Job");
    let spec = &job["spec"];
    assert!(spec["activeDeadlineSeconds"].is_i64() && spec["ttlSecondsAfterFinished"].is_i64(), "{spec}");
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["containers"].as_array().map(Vec::len), Some(1), "{pod}");
    for absent in ["initContainers", "affinity"] {
        assert_eq!(pod[absent], Value::Null, "{absent}");
    }
    let container = common::container(job, "cleanup");
    assert_eq!(container["livenessProbe"], Value::Null);
    assert_ne!(container["resources"]["requests"]["memory"], "64Gi");
    assert!(!common::command(job, "cleanup")[2].contains("sleep infinity"));
}

#[test]
fn environment_variables_have_a_stable_order() {
    let secret = json!({ "path": "p", "key": "k" });
    let own = json!({
        "java": { "jar": "f" }, "input": { "topics": ["in"] },
        "secretsMap": { "c": secret, "a": secret, "b": secret }, "pod": { "env": [{ "name": "z", "value": "1" }] },
    });
    let objects = default(&function(own));
    let env = common::container(&objects[0], "pulsar-function")["env"].as_array().expect("variables").clone();
    let names: Vec<_> = env.iter().map(|variable| variable["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["POD_NAME", "a", "b", "c", "z"]);
}

#[test]
fn autoscaler_omits_empty_metrics() {
    let own = json!({ "java": { "jar": "f" }, "input": { "topics": ["in"] }, "maxReplicas": 1 });
    let objects = default(&function(own));
    let autoscaler =
        objects.iter().find(|it| it["kind"] == "HorizontalPodAutoscaler").expect("an autoscaler");
    assert_eq!(autoscaler["metadata"]["name"], "f-function");
    assert_eq!(autoscaler["spec"].get("metrics"), None);
}

#[test]
fn equal_topics_in_two_forms_are_warned_of() {
    let own = json!({
        "java": { "jar": "f" }, "input": { "topics": ["in"] }, "output": { "topic": "persistent://public/default/in" },
    });
    let found = findings::<Function>("Function", &function(own));
    assert_eq!(found.violations, []);
    assert_eq!(found.warnings[0].field.as_str(), "spec.output.topic");
}

#[test]
fn zero_replicas_are_valid() {
    let own =
        json!({ "java": { "jar": "f" }, "input": { "topics": ["in"] }, "replicas": 0, "minReplicas": 1 });
    assert!(findings::<Function>("Function", &function(own.clone())).violations.is_empty());
    assert_eq!(default(&function(own))[0]["spec"]["replicas"], 0);
}

#[test]
fn generic_runtime_requires_file_and_language() {
    let own =
        json!({ "genericRuntime": { "functionFile": "", "language": "" }, "input": { "topics": ["in"] } });
    let found = findings::<Function>("Function", &function(own));
    let fields: Vec<_> = found.violations.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(fields, ["spec.genericRuntime.functionFile", "spec.genericRuntime.language"]);
}

/// All Rust files below a directory, concatenated.
fn sources(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all += &fs::read_to_string(&path).expect("text");
        }
    }
    all
}

#[test]
fn every_difference_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let list = fs::read_to_string(root.join("docs/upstream-differences.md")).expect("the list");
    let deviations = fs::read_to_string(root.join("docs/deviations.json")).expect("the deviations");
    let all = sources(&root.join("crates")) + &sources(&root.join("e2e"));
    let exists = |test: &str| all.contains(&format!("fn {test}("));
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    let compared: Vec<_> = readme.lines().filter(|line| line.starts_with("| **")).collect();
    assert!(compared.len() >= 10, "{compared:?}");
    let mut rows = 0;
    let listed = list.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Upstream"));
    for row in listed.chain(compared) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 4, "{row}");
        let tests: Vec<_> = cells[3].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{row}");
        for test in tests {
            assert!(exists(test), "missing test {test}");
        }
        rows += 1;
    }
    assert!(rows > 30, "{rows}");
    let named = deviations.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    for (_, test) in named.filter_map(|word| word.split_once("::")) {
        assert!(exists(test), "missing test {test}");
    }
}
