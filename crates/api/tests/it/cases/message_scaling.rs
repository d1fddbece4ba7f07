//! `spec.scaling`: scaling on messages.

#![allow(clippy::too_many_lines, reason = "it is a table")]

use serde_json::{Value, json};

use super::{ALL, FK, Table};

/// A spec with this scaling. A source has a backlog if it is a batch source.
fn spec(kind: &str, scaling: &Value) -> Value {
    let mut spec = json!({ "scaling": scaling });
    if kind == "Source" {
        spec["batchSourceConfig"] = json!({ "discoveryTriggererClassName": "T" });
    }
    spec
}

fn with(mut spec: Value, more: &Value) -> Value {
    super::merge(&mut spec, more);
    spec
}

pub(super) fn scaling(t: &mut Table) {
    let pair = |t: &mut Table, rule, field: &'static str, bad: Value, good: Value| {
        for kind in ALL {
            t.add(rule, &[kind], &[field], spec(kind, &bad), spec(kind, &good));
        }
    };
    let beside = |t: &mut Table, rule, field: &'static str, scaling: Value, bad: Value, good: Value| {
        for kind in ALL {
            let base = spec(kind, &scaling);
            t.add(rule, &[kind], &[field], with(base.clone(), &bad), with(base, &good));
        }
    };
    beside(
        t,
        "scaling beside an HPA",
        "spec.scaling",
        json!({}),
        json!({ "maxReplicas": 3 }),
        json!({ "pod": { "vpa": {} } }),
    );
    beside(
        t,
        "scaling with precise parallelism",
        "spec.showPreciseParallelism",
        json!({ "mode": "Recommend" }),
        json!({ "showPreciseParallelism": true }),
        json!({ "showPreciseParallelism": false }),
    );
    for kind in ALL {
        let once = |mode: Value| {
            let base = spec(kind, &json!({ "mode": mode }));
            with(base, &json!({ "processingGuarantee": "effectively_once" }))
        };
        t.add(
            "scaling of effectively_once",
            &[kind],
            &["spec.scaling.mode"],
            once(json!("Auto")),
            once(json!("Recommend")),
        );
        t.add(
            "scaling of effectively_once",
            &[kind],
            &["spec.scaling.mode"],
            once(Value::Null),
            once(json!("Recommend")),
        );
        let zero = |scaling: Value| with(spec(kind, &scaling), &json!({ "replicas": 0 }));
        t.add(
            "zero replicas with scaling",
            &[kind],
            &["spec.replicas"],
            zero(json!({})),
            zero(json!({ "minReplicas": 0 })),
        );
        t.add(
            "zero replicas with scaling",
            &[kind],
            &["spec.replicas"],
            zero(json!({ "minReplicas": 1 })),
            zero(json!({ "mode": "Recommend" })),
        );
    }
    t.add(
        "scaling of a source",
        &["Source"],
        &["spec.scaling"],
        json!({ "scaling": {} }),
        json!({ "scaling": {}, "batchSourceConfig": { "discoveryTriggererClassName": "T" } }),
    );
    pair(
        t,
        "bounds of scaling",
        "spec.scaling.minReplicas",
        json!({ "minReplicas": 4, "maxReplicas": 3 }),
        json!({ "minReplicas": 3, "maxReplicas": 3 }),
    );
    for (field, at) in [
        ("lag", "spec.scaling.lag"),
        ("catchUp", "spec.scaling.catchUp"),
        ("idleAfter", "spec.scaling.idleAfter"),
        ("scaleDownWindow", "spec.scaling.scaleDownWindow"),
    ] {
        for (bad, good) in [("4s", "5s"), ("25h", "24h"), ("1d", "90m"), ("", "1m30s")] {
            pair(
                t,
                "durations of scaling",
                at,
                json!({ "minReplicas": 0, field: bad }),
                json!({ "minReplicas": 0, field: good }),
            );
        }
    }
    for (field, at, bad, good) in [
        ("minReplicas", "spec.scaling.minReplicas", -1, 0),
        ("maxReplicas", "spec.scaling.maxReplicas", 0, 1),
        ("utilization", "spec.scaling.utilization", 9, 10),
        ("utilization", "spec.scaling.utilization", 101, 100),
    ] {
        let bounds = |value: i32| json!({ "minReplicas": 0, field: value });
        pair(t, "limits of scaling", at, bounds(bad), bounds(good));
    }
    t.add(
        "limits of scaling",
        FK,
        &["spec.scaling.keys"],
        json!({ "scaling": { "keys": 0 }, "retainKeyOrdering": true }),
        json!({ "scaling": { "keys": 1 }, "retainKeyOrdering": true }),
    );
    schedules(t);
}

fn schedules(t: &mut Table) {
    let work = json!({ "start": "0 8 * * MON-FRI", "duration": "10h" });
    let scaling = |change: &Value| {
        let schedules = [work.clone(), with(work.clone(), change)];
        json!({ "scaling": { "minReplicas": 2, "maxReplicas": 8, "schedules": schedules } })
    };
    for (at, bad, good) in [
        ("start", json!({ "start": "0 8 * *" }), json!({ "start": "*/5 8-10 1,15 * *" })),
        (
            "start",
            json!({ "start": format!("0 8 * * {}1", "1,".repeat(60)) }),
            json!({ "start": "0 8 * * 1,1,1" }),
        ),
        ("start", json!({ "start": "0 0 30 2 *" }), json!({ "start": "0 0 29 2 *" })),
        ("duration", json!({ "duration": "0s" }), json!({ "duration": "1s" })),
        ("duration", json!({ "duration": "169h" }), json!({ "duration": "168h" })),
        ("timeZone", json!({ "timeZone": "Europe/Atlantis" }), json!({ "timeZone": "Europe/Berlin" })),
        ("timeZone", json!({ "timeZone": "" }), json!({ "timeZone": "UTC" })),
        ("minReplicas", json!({ "minReplicas": 9 }), json!({ "minReplicas": 0 })),
        (
            "minReplicas",
            json!({ "minReplicas": 5, "maxReplicas": 4 }),
            json!({ "minReplicas": 9, "maxReplicas": 9 }),
        ),
        ("maxReplicas", json!({ "maxReplicas": 1 }), json!({ "maxReplicas": 20 })),
    ] {
        let field: &'static str = match at {
            "start" => "spec.scaling.schedules[1].start",
            "duration" => "spec.scaling.schedules[1].duration",
            "timeZone" => "spec.scaling.schedules[1].timeZone",
            "minReplicas" => "spec.scaling.schedules[1].minReplicas",
            _ => "spec.scaling.schedules[1].maxReplicas",
        };
        t.add("schedules", FK, &[field], scaling(&bad), scaling(&good));
    }
}
