//! GitOps tools see no difference between a manifest and the settled object.

use anyhow::ensure;
use function_mesh_api::Function;
use function_mesh_testkit::{PATIENCE, Webhook, eventually};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::harness::{Harness, TestResult, json as to_json, public_case_text};

const FILE: &str = "25-gitops-no-difference.yaml";

/// The fields of a manifest that a live object has otherwise.
fn differences(path: &str, manifest: &Value, live: &Value, found: &mut Vec<String>) {
    match (manifest, live) {
        (Value::Object(manifest), Value::Object(live)) => {
            for (name, value) in manifest {
                // A null in free-form configuration may be absent.
                differences(&format!("{path}.{name}"), value, live.get(name).unwrap_or(&Value::Null), found);
            }
        }
        (Value::Array(manifest), Value::Array(live)) if manifest.len() == live.len() => {
            for (index, (manifest, live)) in manifest.iter().zip(live).enumerate() {
                differences(&format!("{path}[{index}]"), manifest, live, found);
            }
        }
        // The API server stores 1.0 as 1.
        _ if manifest.is_f64() && manifest.as_f64() == live.as_f64() => {}
        _ if manifest == live => {}
        _ => found.push(format!("{path}: {manifest} is {live}")),
    }
}

async fn live(harness: &Harness) -> anyhow::Result<Value> {
    let kind = kube::api::ApiResource::erase::<Function>(&());
    let api = Api::<DynamicObject>::namespaced_with(harness.client.clone(), &harness.namespace, &kind);
    to_json(&api.get("same").await?)
}

/// The case without two values of free-form configuration that server-side and client-side apply store in two ways, in
/// any custom resource: an integer beyond the precision of floating point numbers, and null.
fn for_both_ways() -> anyhow::Result<String> {
    let text = public_case_text(FILE)?.replace("9007199254740993", "9007199254740991");
    ensure!(text.contains("nothing: null, "), "the case has changed");
    Ok(text.replace("nothing: null, ", ""))
}

/// Applies in one way, and expects the same object after another apply, and no difference. Another manager agrees on
/// every value, unless there are none.
async fn stays_the_same(name: &str, flags: &[&str], text: &str, has_others: bool) -> TestResult {
    let harness = Harness::new(name).await?;
    let _webhook = Webhook::start(&harness.client, &harness.namespace).await?;
    let manifest: Value = serde_saphyr::from_str(text)?;
    let namespace = ["-n", &harness.namespace, "-f", "-"];
    let kubectl = async |command: &[&str]| harness.plane.kubectl(&[command, &namespace].concat(), text).await;
    let apply = [&["apply"], flags].concat();
    kubectl(&apply).await?;
    harness.appears::<StatefulSet>("same-function").await?;
    harness.settle().await?;
    let before = live(&harness).await?;
    let mut found = Vec::new();
    differences("spec", &manifest["spec"], &before["spec"], &mut found);
    assert_eq!(found, [""; 0]);
    // It fails if there is a difference.
    kubectl(&[&["diff"], flags].concat()).await?;
    kubectl(&apply).await?;
    assert_eq!(live(&harness).await?["metadata"]["generation"], before["metadata"]["generation"]);
    if !has_others {
        return Ok(());
    }
    kubectl(&["diff", "--server-side", "--field-manager=another"]).await?;
    kubectl(&["apply", "--server-side", "--field-manager=another"]).await?;
    assert_eq!(live(&harness).await?["metadata"]["generation"], before["metadata"]["generation"]);
    Ok(())
}

#[tokio::test]
async fn case_25_gitops_no_difference() -> TestResult {
    stays_the_same("client-side", &[], &public_case_text(FILE)?, false).await?;
    stays_the_same("client-side-shared", &[], &for_both_ways()?, true).await?;
    stays_the_same("server-side", &["--server-side"], &for_both_ways()?, true).await
}

/// The autoscaler's number is no conflict for a manager whose manifest does not have the field.
#[tokio::test]
async fn scaled_replicas_are_no_conflict() -> TestResult {
    let harness = Harness::new("scaled-same").await?;
    let _webhook = Webhook::start(&harness.client, &harness.namespace).await?;
    // The spec is the last field.
    let without = format!("{}\n  maxReplicas: 5\n", for_both_ways()?.trim_end());
    let with = format!("{without}  replicas: 2\n");
    let namespace = ["-n", &harness.namespace, "-f", "-"];
    harness.plane.kubectl(&[&["apply"], &namespace[..]].concat(), &with).await?;
    harness.appears::<StatefulSet>("same-function").await?;
    let scale = Patch::Merge(json!({ "spec": { "replicas": 3 } }));
    harness.api::<Function>().patch_scale("same", &PatchParams::default(), &scale).await?;
    harness.settle().await?;
    let apply = ["apply", "--server-side", "--field-manager=another"];
    harness.plane.kubectl(&[&apply[..], &namespace[..]].concat(), &without).await?;
    eventually(PATIENCE, async || {
        let function = harness.get::<Function>("same").await?;
        ensure!(function.spec.replicas == Some(3), "{:?} in {}", function.spec.replicas, function.name_any());
        Ok(())
    })
    .await
}
