//! Rollouts.

use serde_json::{Value, json};

use super::{ALL, F, Table};

pub(super) fn rollouts(t: &mut Table) {
    for (field, at, bad, good) in [
        ("progressDeadline", "spec.rollout.progressDeadline", "9s", "10s"),
        ("progressDeadline", "spec.rollout.progressDeadline", "25h", "24h"),
        ("progressDeadline", "spec.rollout.progressDeadline", "1d", "1m30s"),
        ("minReady", "spec.rollout.minReady", "25h", "0s"),
        ("minReady", "spec.rollout.minReady", "soon", "24h"),
    ] {
        let rollout = |value: &str| json!({ "rollout": { "onFailure": "RollBack", field: value } });
        t.add("durations of rollouts", ALL, &[at], rollout(bad), rollout(good));
    }
}

pub(super) fn canaries(t: &mut Table) {
    let step = |replicas: Value, duration: &str| json!({ "replicas": replicas, "duration": duration });
    let canary = |steps: Value, analysis: Value| json!({ "rollout": { "canary": { "steps": steps, "analysis": analysis } } });
    let good = || canary(json!([step(json!(1), "2m"), step(json!("25%"), "5m")]), json!({}));
    let steps = |steps: Value| canary(steps, json!({}));
    let at = "spec.rollout.canary.steps";
    t.add("a canary has steps", ALL, &[at], steps(json!([])), good());
    let many = |count: usize| steps(json!(vec![step(json!(1), "10s"); count]));
    t.add("a canary has few steps", ALL, &[at], many(11), many(10));
    for bad in [json!(0), json!(-1), json!("0%"), json!("101%"), json!("one"), json!("1")] {
        let at = "spec.rollout.canary.steps[0].replicas";
        t.add("pods of a step", ALL, &[at], steps(json!([step(bad, "2m")])), good());
    }
    for bad in ["9s", "25h", "soon", ""] {
        let at = "spec.rollout.canary.steps[0].duration";
        t.add("duration of a step", ALL, &[at], steps(json!([step(json!(1), bad)])), good());
    }
    for (first, second) in [(json!(2), json!(1)), (json!("50%"), json!("49%"))] {
        let bad = steps(json!([step(first.clone(), "2m"), step(second, "2m")]));
        let good = steps(json!([step(first.clone(), "2m"), step(first, "2m")]));
        t.add("steps do not go back", ALL, &["spec.rollout.canary.steps[1].replicas"], bad, good);
    }
    for (field, at, bad, good) in [
        ("maxExceptionRatio", "spec.rollout.canary.analysis.maxExceptionRatio", json!(1.1), json!(1)),
        ("maxExceptionRatio", "spec.rollout.canary.analysis.maxExceptionRatio", json!(-0.1), json!(0)),
        ("maxRestarts", "spec.rollout.canary.analysis.maxRestarts", json!(-1), json!(0)),
        ("minMessages", "spec.rollout.canary.analysis.minMessages", json!(0), json!(1)),
    ] {
        let of = |value: Value| canary(json!([step(json!(1), "2m")]), json!({ field: value }));
        t.add("limits of a canary", ALL, &[at], of(bad), of(good));
    }
    let latency = |value: i32| canary(json!([step(json!(1), "2m")]), json!({ "maxLatencyMs": value }));
    t.add("latency of a canary", F, &["spec.rollout.canary.analysis.maxLatencyMs"], latency(0), latency(1));
    let with = |field: &str, value: Value, on: &str| {
        let mut found = canary(json!([step(json!(1), "2m")]), json!({ "onInconclusive": on }));
        found["rollout"][field] = value;
        found
    };
    let (recreate, rolling) = (json!("Recreate"), json!("RollingUpdate"));
    let bad = with("strategy", recreate, "Wait");
    t.add(
        "no canary with Recreate",
        ALL,
        &["spec.rollout.canary"],
        bad,
        with("strategy", rolling, "Promote"),
    );
    let at = "spec.rollout.canary.analysis.onInconclusive";
    let of = |value: &str| with("onFailure", json!(value), "RollBack");
    t.add("what is not rolled back", ALL, &[at], of("Pause"), of("RollBack"));
}
