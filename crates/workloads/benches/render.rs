//! Time and allocations of rendering a component.
//!
//! `cargo bench -p function-mesh-workloads` prints the figures and asserts nothing.

#![allow(clippy::print_stdout, reason = "the benchmark prints figures")]
#![allow(clippy::expect_used, reason = "an error aborts the benchmark")]
#![allow(clippy::cast_precision_loss, reason = "the figures have three digits")]

use std::alloc::System;
use std::time::{Duration, Instant};

use function_mesh_api::validate::{Valid, valid_component};
use function_mesh_api::{Component, Function, Sink, Source, parse};
use function_mesh_workloads::{Backends, Settings, Workload, cleanup, render};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Number of components of each sample.
const COUNT: usize = 2_000;

/// Totals of rendering all components of a sample.
struct Figures {
    sample: &'static str,
    time: Duration,
    allocations: usize,
    bytes: usize,
    output: usize,
}

fn component<C: Component>(kind: &str, number: usize, mut spec: Value) -> Valid<C> {
    let name = format!("component-{number}");
    spec["pulsar"] = json!({ "pulsarConfig": "pulsar", "authSecret": "token" });
    spec["resources"] =
        json!({ "requests": { "cpu": "100m", "memory": "512Mi" }, "limits": { "memory": "1Gi" } });
    let object = json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": kind,
        "metadata": { "name": name, "namespace": "default", "uid": format!("{number:032}") }, "spec": spec,
    });
    valid_component(parse(object).expect("an object")).expect("a valid object")
}

fn measure<C: Component>(name: &'static str, kind: &str, spec: &Value) -> Figures {
    let settings = Settings::default();
    let components: Vec<Valid<C>> = (0..COUNT).map(|number| component(kind, number, spec.clone())).collect();
    let all = |component| {
        let Workload { stateful_set, service, autoscaler, .. } =
            render(component, Backends::default(), &settings);
        let job = cleanup(component, Backends::default(), &settings);
        (stateful_set, service, autoscaler, job)
    };
    let sample = all(&components[0]);
    let output = serde_json::to_string(&sample).expect("JSON").len();
    let region = Region::new(ALLOCATOR);
    let start = Instant::now();
    for component in &components {
        std::hint::black_box(all(component));
    }
    let time = start.elapsed();
    let change = region.change();
    Figures {
        sample: name,
        time,
        allocations: change.allocations + change.reallocations,
        bytes: change.bytes_allocated,
        output,
    }
}

fn main() {
    let java = json!({ "jar": "/pulsar/f.jar", "jarLocation": "function://public/default/f@v1" });
    let topics = json!({ "topics": ["in-1", "in-2"], "sourceSpecs": { "in-3": { "schemaType": "json" } } });
    let policy = json!({
        "labels": { "team": "a" }, "liveness": { "periodSeconds": 10 }, "builtinAutoscaler": ["AverageUtilizationCPUPercent80"],
        "env": [{ "name": "A", "value": "b" }], "volumes": [{ "name": "v", "emptyDir": {} }],
    });
    let figures = [
        measure::<Function>(
            "function in Java",
            "Function",
            &json!({
                "className": "C", "java": java, "input": topics, "output": { "topic": "out" }, "maxReplicas": 5,
                "pod": policy, "funcConfig": { "a": { "b": ["c", 1, true] } }, "cleanupSubscription": true,
                "secretsMap": { "s": { "path": "p", "key": "k" } },
            }),
        ),
        measure::<Function>(
            "function in Python",
            "Function",
            &json!({
                "className": "f.F", "python": { "py": "f.py", "log": { "level": "debug", "rotatePolicy": "SizedPolicyWith10MB" } },
                "input": topics, "output": { "topic": "out" }, "logTopic": "logs",
            }),
        ),
        measure::<Function>(
            "function in Go",
            "Function",
            &json!({
                "golang": { "go": "/pulsar/f" }, "input": { "topics": ["in"] }, "output": { "topic": "out" },
            }),
        ),
        measure::<Source>(
            "source",
            "Source",
            &json!({
                "className": "S", "java": java, "output": { "topic": "out" }, "sourceConfig": { "a": "b" },
                "batchSourceConfig": { "discoveryTriggererClassName": "T" },
            }),
        ),
        measure::<Sink>(
            "sink",
            "Sink",
            &json!({
                "className": "S", "java": java, "input": topics, "sinkConfig": { "a": "b" }, "logTopic": "logs",
            }),
        ),
    ];
    println!(
        "{:<20} {:>12} {:>14} {:>14} {:>14}",
        "each of", "µs", "allocations", "KiB allocated", "KiB of JSON"
    );
    let line =
        |sample: &str, count: usize, time: Duration, allocations: usize, bytes: usize, output: usize| {
            let each = |total: usize| total as f64 / count as f64;
            println!(
                "{sample:<20} {:>12.1} {:>14.0} {:>14.1} {:>14.1}",
                time.as_secs_f64() * 1e6 / count as f64,
                each(allocations),
                each(bytes) / 1024.0,
                output as f64 / 1024.0,
            );
        };
    for Figures { sample, time, allocations, bytes, output } in &figures {
        line(sample, COUNT, *time, *allocations, *bytes, *output);
    }
    let count = COUNT * figures.len();
    let total = |field: fn(&Figures) -> usize| figures.iter().map(field).sum::<usize>();
    let time = figures.iter().map(|it| it.time).sum();
    let output = total(|it| it.output) / figures.len();
    line(&format!("{count} in all"), count, time, total(|it| it.allocations), total(|it| it.bytes), output);
}
