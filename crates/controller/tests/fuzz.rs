//! Fuzzing: any object is accepted or rejected quickly, in bounded memory, and no error quotes its content. `hack/fuzz`
//! runs this under a memory limit, with hundreds of thousands of inputs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so when it fails")]

use std::time::{Duration, Instant};

use anyhow::ensure;
use function_mesh_api::{BackendConfig, Function, FunctionMesh, Sink, Source};
use function_mesh_kube::compact::Compact;
use function_mesh_testkit::Fuzz;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A password in the samples, which no error may contain.
const CANARY: &str = "canary-5f3a81";
/// Timeout, far above the time for any object on a busy machine.
const LONGEST: Duration = Duration::from_secs(3);

fn samples() -> Vec<Value> {
    let metadata = json!({
        "name": "f", "namespace": "n", "uid": "705ab4f5", "resourceVersion": "7", "generation": 2,
        "labels": { "compute.functionmesh.io/component": "function", "compute.functionmesh.io/name": "f" },
        "annotations": { "note": CANARY },
        "finalizers": ["compute.functionmesh.io/cleanup"],
        "ownerReferences": [{ "apiVersion": "v1", "kind": "FunctionMesh", "name": "m", "uid": "u", "controller": true }],
        "managedFields": [{ "manager": "x", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": {} } }],
    });
    let spec = json!({
        "className": "C", "replicas": 1, "java": { "jar": "/x.jar" }, "funcConfig": { "password": CANARY },
        "input": { "topics": ["a"] }, "output": { "topic": "b" }, "pulsar": { "pulsarConfig": "c" },
        "pod": { "env": [{ "name": "PASSWORD", "value": CANARY }] },
    });
    let status =
        json!({ "replicas": 1, "phase": "Ready", "conditions": [{ "type": "Ready", "status": "True" }] });
    let of = |kind: &str, spec: &Value| json!({ "kind": kind, "metadata": metadata, "spec": spec, "status": status });
    vec![
        of("Function", &spec),
        of("FunctionMesh", &json!({ "functions": [spec], "sinks": [], "sources": [] })),
        of("Pod", &json!({ "containers": [{ "name": "c", "image": "i", "args": [CANARY] }] })),
        of("Service", &json!({ "clusterIP": "None", "ports": [{ "port": 1 }] })),
    ]
}

/// Everything that the controller does with a cached object before its reconcile.
fn take_up<K: DeserializeOwned>(json: &str) -> anyhow::Result<()> {
    let error = match Compact::<K>::from_json(json) {
        Ok(object) => {
            _ = (
                object.cost(),
                object.annotation("note"),
                object.status().map(|it| it.len()),
                object.is_large(),
            );
            let kept = object.json().unwrap_or_default();
            ensure!(kept.len() <= json.len(), "{} bytes are held of {}", kept.len(), json.len());
            object.decode().err()
        }
        Err(error) => Some(error),
    };
    let error = error.map(|error| format!("{error} {error:?}")).unwrap_or_default();
    ensure!(!error.contains(CANARY), "an error quotes a password: {error}");
    Ok(())
}

#[test]
fn fuzz_any_object_is_accepted_or_rejected() {
    let mut number = 0_usize;
    let report = Fuzz::new(samples()).unwrap().run(|input| {
        // The API server sends JSON only.
        let Ok(json) = std::str::from_utf8(input) else { return Ok(()) };
        let begun = Instant::now();
        // One of our kinds and one of Kubernetes' per input, for a higher throughput.
        number += 1;
        match number % 5 {
            0 => take_up::<Function>(json)?,
            1 => take_up::<Source>(json)?,
            2 => take_up::<Sink>(json)?,
            3 => take_up::<FunctionMesh>(json)?,
            _ => take_up::<BackendConfig>(json)?,
        }
        match number % 4 {
            0 => take_up::<Service>(json)?,
            1 => take_up::<StatefulSet>(json)?,
            2 => take_up::<Pod>(json)?,
            _ => take_up::<Job>(json)?,
        }
        ensure!(begun.elapsed() < LONGEST, "it took {:?}", begun.elapsed());
        Ok(())
    });
    println!("{:?}", report.unwrap());
}

/// Checks the check: it detects a decoder that quotes content.
#[test]
fn fuzz_detects_a_decoder_that_quotes_content() {
    let json = samples()[0].to_string().replace("\"replicas\":1", &format!("\"replicas\":\"{CANARY}\""));
    take_up::<Function>(&json).unwrap();
    let quoting = serde_json::from_str::<Function>(&json).unwrap_err();
    assert!(quoting.to_string().contains(CANARY), "{quoting}");
}
