//! Specs that are legal: those that cannot work, with a counterpart that does, and those that only upstream's leniency
//! lets run.

use serde_json::{Value, json};

/// A spec that a warning concerns, and one that it does not concern.
pub(crate) struct Warned {
    pub(crate) kind: &'static str,
    pub(crate) field: &'static str,
    /// Part of the message.
    pub(crate) message: &'static str,
    pub(crate) bad: Value,
    pub(crate) good: Value,
}

type Row = (&'static [&'static str], &'static str, &'static str, Value, Value);

const ALL: &[&str] = &["Function", "Source", "Sink"];
const F: &[&str] = &["Function"];
const S: &[&str] = &["Source"];
const K: &[&str] = &["Sink"];
const FK: &[&str] = &["Function", "Sink"];
const SK: &[&str] = &["Source", "Sink"];

fn python(change: &Value) -> Value {
    runtime("python", &json!({ "py": "f.py" }), change)
}

fn go(change: &Value) -> Value {
    runtime("golang", &json!({ "go": "f" }), change)
}

fn runtime(name: &str, value: &Value, change: &Value) -> Value {
    let mut spec = change.clone();
    spec["java"] = Value::Null;
    spec[name] = value.clone();
    spec
}

/// An autoscaler with pod settings, without a CPU request.
fn scaled(change: &Value) -> Value {
    let mut spec = json!({ "maxReplicas": 3, "resources": { "requests": { "memory": "1Gi" } } });
    super::cases::merge(&mut spec, change);
    spec
}

fn metric(kind: &str, name: &str, container: Option<&str>) -> Value {
    let target = json!({ "type": "Utilization", "averageUtilization": 50 });
    let (field, mut source) = match kind {
        "Resource" => ("resource", json!({ "name": name, "target": target })),
        _ => ("containerResource", json!({ "name": name, "target": target })),
    };
    if let Some(container) = container {
        source["container"] = container.into();
    }
    json!({ "pod": { "autoScalingMetrics": [{ "type": kind, field: source }] } })
}

fn partitions(count: usize) -> Value {
    (0..count).map(|number| format!("a/b/in-partition-{number}")).collect()
}

fn failover(topics: &Value, replicas: i32) -> Value {
    json!({ "retainOrdering": true, "input": { "topics": topics }, "replicas": replicas })
}

/// A case of each warning.
pub(crate) fn all() -> Vec<Warned> {
    let rows = scaling().into_iter().chain(message_scaling()).chain(delivery()).chain(runtimes());
    rows.flat_map(|(kinds, field, message, bad, good)| {
        kinds.iter().map(move |kind| Warned { kind, field, message, bad: bad.clone(), good: good.clone() })
    })
    .collect()
}

#[allow(clippy::too_many_lines, reason = "it is a table")]
fn scaling() -> Vec<Row> {
    let cpu = "resources.requests.cpu";
    let builtin = |rule: &str| scaled(&json!({ "pod": { "builtinAutoscaler": [rule] } }));
    let sidecar = |resources: Value| {
        let mut spec = metric("Resource", "memory", None);
        spec["maxReplicas"] = 3.into();
        spec["pod"]["sidecars"] = json!([{ "name": "side", "image": "i", "resources": resources }]);
        spec
    };
    let mut beside = builtin("AverageUtilizationMemoryPercent80");
    super::cases::merge(&mut beside, &metric("Resource", "memory", None));
    beside["pod"]["autoScalingBehavior"] = json!({ "scaleUp": { "stabilizationWindowSeconds": 1 } });
    let ours = scaled(&metric("ContainerResource", "cpu", Some("pulsar-function")));
    let theirs = scaled(&metric("ContainerResource", "cpu", Some("side")));
    let vpa = |mode: &str, min: Value, replicas: i32| {
        json!({ "replicas": replicas,
            "pod": { "vpa": { "updatePolicy": { "updateMode": mode, "minReplicas": min } } } })
    };
    let mut rows: Vec<Row> = vec![
        (ALL, cpu, "never scales", scaled(&json!({})), json!({ "maxReplicas": 3 })),
        (
            ALL,
            cpu,
            "never scales",
            scaled(&json!({})),
            scaled(&json!({ "resources": { "limits": { "cpu": 1 } } })),
        ),
        (ALL, cpu, "never scales", scaled(&json!({ "resources": { "requests": { "cpu": 0 } } })), json!({})),
        (ALL, cpu, "never scales", scaled(&json!({})), scaled(&json!({ "replicas": 3, "minReplicas": 3 }))),
        (
            ALL,
            cpu,
            "never scales",
            builtin("AverageUtilizationCPUPercent20"),
            builtin("AverageUtilizationMemoryPercent20"),
        ),
        (
            ALL,
            cpu,
            "never scales",
            scaled(&metric("Resource", "cpu", None)),
            scaled(&metric("Resource", "memory", None)),
        ),
        (ALL, cpu, "never scales", ours, theirs),
        (
            ALL,
            "pod.autoScalingMetrics",
            "sidecar",
            sidecar(json!({})),
            sidecar(json!({ "limits": { "memory": 1 } })),
        ),
        (
            ALL,
            "pod.autoScalingMetrics",
            "ignored",
            beside.clone(),
            builtin("AverageUtilizationMemoryPercent80"),
        ),
        (ALL, "pod.autoScalingBehavior", "ignored", beside, builtin("AverageUtilizationMemoryPercent80")),
        (
            ALL,
            "pod.builtinAutoscaler",
            "maxReplicas",
            json!({ "pod": { "builtinAutoscaler": ["AverageUtilizationMemoryPercent80"] } }),
            builtin("AverageUtilizationMemoryPercent80"),
        ),
        (
            ALL,
            "pod.autoScalingMetrics",
            "maxReplicas",
            metric("Resource", "memory", None),
            scaled(&metric("Resource", "memory", None)),
        ),
        (
            ALL,
            "showPreciseParallelism",
            "restarts all pods",
            json!({ "maxReplicas": 2, "showPreciseParallelism": true }),
            json!({ "showPreciseParallelism": true }),
        ),
        (
            F,
            "maxReplicas",
            "effectively_once",
            json!({ "maxReplicas": 2, "processingGuarantee": "effectively_once" }),
            json!({ "maxReplicas": 2, "processingGuarantee": "effectively_once", "output": null }),
        ),
    ];
    for mode in ["Auto", "Recreate", "InPlaceOrRecreate"] {
        let none = Value::Null;
        for good in [vpa(mode, 1.into(), 1), vpa(mode, none.clone(), 2), vpa("Off", none.clone(), 1)] {
            let bad = vpa(mode, none.clone(), 1);
            rows.push((ALL, "pod.vpa.updatePolicy.minReplicas", "fewer than 2", bad, good));
        }
    }
    for good in [failover(&partitions(3), 3), failover(&json!(["in"]), 5), json!({ "replicas": 5 })] {
        rows.push((FK, "replicas", "partitions", failover(&partitions(3), 4), good));
    }
    let scaled_over = |max: i32| {
        json!({ "processingGuarantee": "effectively_once", "input": { "topics": partitions(2) }, "output": null,
            "maxReplicas": max })
    };
    rows.push((FK, "maxReplicas", "partitions", scaled_over(3), scaled_over(2)));
    let mut pattern = failover(&partitions(2), 4);
    pattern["input"]["topicPattern"] = "a/b/.*".into();
    rows.push((FK, "replicas", "partitions", failover(&partitions(2), 4), pattern));
    rows
}

fn delivery() -> Vec<Row> {
    let dead = |change: Value| {
        let mut spec = json!({ "maxMessageRetry": 3, "deadLetterTopic": "dead" });
        super::cases::merge(&mut spec, &change);
        spec
    };
    let once = |key: bool| json!({ "processingGuarantee": "effectively_once", "retainKeyOrdering": key });
    let timeout = |guarantee: &str| json!({ "timeout": 5000, "processingGuarantee": guarantee });
    let once_more = json!({ "processingGuarantee": "effectively_once" });
    let once_of = |replicas: i32| json!({ "processingGuarantee": "effectively_once", "replicas": replicas });
    let full = "persistent://public/default/in";
    let both = json!({ "retainOrdering": true, "retainKeyOrdering": true });
    let skip = json!({ "skipToLatest": true });
    vec![
        (K, "retainKeyOrdering", "delivered twice", once(true), once(false)),
        (FK, "deadLetterTopic", "Failover", dead(json!({ "retainOrdering": true })), dead(json!({}))),
        (
            FK,
            "deadLetterTopic",
            "Failover",
            dead(json!({ "retainOrdering": true })),
            dead(json!({ "retainKeyOrdering": true })),
        ),
        (FK, "timeout", "acknowledged before", timeout("atmost_once"), timeout("atleast_once")),
        (F, "processingGuarantee", "acknowledges nothing", go(&once_more), python(&once_more)),
        (F, "processingGuarantee", "acknowledges nothing", go(&once_more), once_more.clone()),
        (F, "replicas", "only one pod", python(&once_of(2)), python(&once_of(1))),
        (F, "replicas", "only one pod", python(&once_of(2)), once_of(2)),
        (FK, "deadLetterTopic", "also an input", dead(json!({ "deadLetterTopic": full })), dead(json!({}))),
        (FK, "logTopic", "its own log", json!({ "logTopic": full }), json!({ "logTopic": "log" })),
        (K, "retainKeyOrdering", "no effect", both.clone(), json!({ "retainKeyOrdering": true })),
        (F, "skipToLatest", "only the Java runner", python(&skip), skip.clone()),
        (F, "skipToLatest", "only the Java runner", go(&skip), go(&json!({ "skipToLatest": false }))),
        (F, "timeout", "the Go runner", go(&json!({ "timeout": 5 })), python(&json!({ "timeout": 5 }))),
        (F, "maxMessageRetry", "only the Java runner", python(&dead(json!({}))), dead(json!({}))),
        (
            F,
            "maxMessageRetry",
            "only the Java runner",
            go(&dead(json!({}))),
            go(&json!({ "maxMessageRetry": 0 })),
        ),
        (
            F,
            "retainKeyOrdering",
            "Key_Shared",
            go(&json!({ "retainKeyOrdering": true })),
            python(&json!({ "retainKeyOrdering": true })),
        ),
    ]
}

/// `spec.scaling`.
fn message_scaling() -> Vec<Row> {
    let on = |change: Value| {
        let mut spec = json!({ "scaling": { "mode": "Auto" } });
        super::cases::merge(&mut spec, &change);
        spec
    };
    let cpu = json!({ "pod": { "builtinAutoscaler": ["AverageUtilizationCPUPercent80"] } });
    let own = metric("Resource", "memory", None);
    let most = |most: i32| {
        on(
            json!({ "retainOrdering": true, "input": { "topics": partitions(2) }, "scaling": { "maxReplicas": most } }),
        )
    };
    vec![
        (FK, "pod.builtinAutoscaler", "scales on messages", on(cpu), on(json!({}))),
        (FK, "pod.autoScalingMetrics", "scales on messages", on(own), on(json!({}))),
        (
            FK,
            "minReplicas",
            "scaling.minReplicas",
            on(json!({ "minReplicas": 2 })),
            on(json!({ "minReplicas": 1 })),
        ),
        (
            FK,
            "scaling.idleAfter",
            "unless",
            on(json!({ "scaling": { "idleAfter": "5m" } })),
            on(json!({ "scaling": { "idleAfter": "5m", "minReplicas": 0 } })),
        ),
        (
            FK,
            "scaling.keys",
            "retainKeyOrdering",
            on(json!({ "scaling": { "keys": 5 } })),
            on(json!({ "scaling": { "keys": 5 }, "retainKeyOrdering": true })),
        ),
        (FK, "scaling.maxReplicas", "partitions", most(3), most(2)),
    ]
}

fn runtimes() -> Vec<Row> {
    let executor = "org.apache.pulsar.functions.source.batch.BatchSourceExecutor";
    let batch = json!({ "discoveryTriggererClassName": "T" });
    let source = |class: &str| json!({ "className": class, "batchSourceConfig": batch });
    let of_function =
        |class: &str| json!({ "sourceConfig": { "className": class, "batchSourceConfig": batch } });
    let window = json!({ "windowConfig": { "windowLengthCount": 2 } });
    let policy = |text: &str| json!({ "imagePullPolicy": text });
    let generic = json!({ "functionFile": "f", "language": "wasm" });
    vec![
        (ALL, "imagePullPolicy", "left out", policy("sometimes"), policy("Always")),
        (ALL, "imagePullPolicy", "without regard to case", policy("always"), policy("")),
        (
            F,
            "genericRuntime",
            "another runtime",
            json!({ "genericRuntime": generic }),
            runtime("genericRuntime", &generic, &json!({})),
        ),
        (SK, "python", "connectors run in Java", json!({ "python": { "py": "" } }), json!({})),
        (
            SK,
            "golang",
            "connectors run in Java",
            json!({ "golang": { "go": "", "goLocation": "x" } }),
            json!({}),
        ),
        (F, "windowConfig", "only the Java runner", python(&window), window.clone()),
        (F, "windowConfig", "only the Java runner", go(&window), go(&json!({}))),
        (SK, "genericRuntime", "connectors run in Java", json!({ "genericRuntime": generic }), json!({})),
        (S, "className", "run itself", source(executor), source("org.example.Rows")),
        (F, "sourceConfig.className", "run itself", of_function(executor), of_function("org.example.Rows")),
        (
            S,
            "batchSourceConfig",
            "nothing says what it runs",
            json!({ "className": executor }),
            json!({ "className": executor, "sourceConfig": { "__BATCHSOURCECLASSNAME__": "R" } }),
        ),
    ]
}

/// Specs that upstream runs, each with the field of its warning, or none.
pub(crate) fn accepted() -> Vec<(&'static str, Value, &'static str)> {
    let each =
        |change: Value, field: &'static str| ALL.iter().map(move |kind| (*kind, change.clone(), field));
    let mode = |mode: &str| json!({ "pod": { "vpa": { "updatePolicy": { "updateMode": mode } } } });
    let policy = json!({ "containerName": "*", "mode": "Later", "controlledValues": "Later" });
    let claim = |name: &str| {
        json!({ "metadata": { "name": name },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } })
    };
    let secrets = json!({ "secretsMap": { "a": { "path": "s" } } });
    let mut all: Vec<_> =
        each(json!({ "java": { "jarLocation": "public/default/x" } }), "spec.java.jarLocation")
            .chain(each(json!({ "java": { "jarLocation": "public/default/x@v1" } }), "spec.java.jarLocation"))
            .chain(["Auto", "InPlaceOrRecreate", "Later"].into_iter().flat_map(|it| each(mode(it), "")))
            .chain(each(
                json!({ "pod": { "vpa": { "resourcePolicy": { "containerPolicies": [policy] } } } }),
                "",
            ))
            .chain(each(json!({ "metadata.name": "2fa" }), "metadata.name"))
            .chain(each(
                json!({ "pod": { "terminationGracePeriodSeconds": -1 } }),
                "spec.pod.terminationGracePeriodSeconds",
            ))
            .chain(each(secrets, "spec.secretsMap[\"a\"]"))
            .collect();
    let window = json!({ "windowConfig": { "windowLengthCount": 2, "lateDataTopic": "a/b" } });
    all.push(("Function", window, "spec.windowConfig.lateDataTopic"));
    let same = json!({ "output": { "topic": "persistent://public/default/in" } });
    all.push(("Function", same, "spec.output.topic"));
    let claims = json!({ "volumeClaimTemplates": [claim("a"), claim("a")] });
    all.push(("Function", claims, "spec.volumeClaimTemplates[1].metadata.name"));
    all
}
