//! Others who set the replicas too, and an operator that ends in between.

use anyhow::ensure;
use function_mesh_api::{Function, labels};
use function_mesh_testkit::{PATIENCE, eventually};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{from_value, json};

use super::broker::Topic;
use super::{World, function, is_reason, subscription};
use crate::harness::TestResult;

#[tokio::test]
async fn gitops_and_people_who_set_the_replicas_are_left_alone() -> TestResult {
    let world = World::new("writers").await?;
    let (broker, harness) = (&world.broker, &world.harness);
    for name in ["gitops", "hand"] {
        broker.set(name, &subscription(name), Topic { growth: 0.0, acked: 60.0, ..Topic::burst() });
        let scaling = json!({ "maxReplicas": 4, "lag": "5s" });
        harness.apply(&function(name, name, &json!({ "scaling": scaling }))?).await?;
    }
    let functions = harness.api::<Function>();
    // GitOps applies the number again and again.
    let patch = json!({ "apiVersion": labels::API_VERSION, "kind": "Function", "spec": { "replicas": 2 } });
    functions.patch("gitops", &PatchParams::apply("argocd").force(), &Patch::Apply(patch)).await?;
    // The number to begin with is no hold: only one that is set after a change of the operator.
    for name in ["gitops", "hand"] {
        broker.set(name, &subscription(name), Topic::burst());
    }
    let held = world.says("gitops", |scaling| is_reason(scaling, "OtherWriter")).await?;
    ensure!(held.message.as_deref() == Some("argocd sets the replicas"), "{held:?}");
    world.scaled("hand", |replicas| replicas == 4).await?;
    world.says("hand", |scaling| scaling.last_scale_time.is_some()).await?;
    let scale = json!({ "spec": { "replicas": 1 } });
    let kubectl = PatchParams { field_manager: Some("kubectl".to_owned()), ..PatchParams::default() };
    functions.patch_scale("hand", &kubectl, &Patch::Merge(scale)).await?;
    let held = world.says("hand", |scaling| is_reason(scaling, "OtherWriter")).await?;
    // Its entry is gone after the next apply of the status.
    let writer = held.message.as_deref().and_then(|message| message.strip_suffix(" sets the replicas"));
    ensure!(matches!(writer, Some("kubectl" | "another client")), "{held:?}");
    broker.asked(6).await?;
    ensure!(world.replicas("gitops").await? == 2 && world.replicas("hand").await? == 1);
    for name in ["gitops", "hand"] {
        let events = harness.events("Function", name).await?;
        let holds = events.iter().filter(|event| event.contains("ScalingHeld")).count();
        ensure!(holds == 1, "{name}: {events:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_change_that_was_decided_and_not_written_is_made_once() -> TestResult {
    let mut world = World::new("between").await?;
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(world.harness.client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.harness.client.clone());
    let name = format!("no-scale-{}", world.harness.namespace);
    // The API server rejects what the operator decides.
    let rule = json!({ "apiGroups": [labels::GROUP], "apiVersions": ["*"], "operations": ["UPDATE"],
        "resources": ["functions/scale"] });
    let selector = json!({ "matchLabels": { "kubernetes.io/metadata.name": world.harness.namespace } });
    let spec = json!({ "failurePolicy": "Fail",
        "matchConstraints": { "resourceRules": [rule], "namespaceSelector": selector },
        "validations": [{ "expression": "false", "message": "no scaling today" }] });
    let policy = from_value(json!({ "metadata": { "name": name }, "spec": spec }))?;
    policies.create(&PostParams::default(), &policy).await?;
    let spec = json!({ "policyName": name, "validationActions": ["Deny"] });
    let binding = from_value(json!({ "metadata": { "name": name }, "spec": spec }))?;
    bindings.create(&PostParams::default(), &binding).await?;
    let result = fails_then_scales(&mut world, async || {
        bindings.delete(&name, &DeleteParams::default()).await?;
        policies.delete(&name, &DeleteParams::default()).await?;
        Ok(())
    })
    .await;
    // They are of the whole cluster.
    _ = bindings.delete(&name, &DeleteParams::default()).await;
    _ = policies.delete(&name, &DeleteParams::default()).await;
    result
}

async fn fails_then_scales(world: &mut World, allow: impl AsyncFn() -> TestResult) -> TestResult {
    world.broker.set("in", &subscription("f"), Topic { growth: 0.0, acked: 60.0, ..Topic::burst() });
    let scaling = json!({ "maxReplicas": 2, "lag": "5s" });
    world.harness.apply(&function("f", "in", &json!({ "scaling": scaling }))?).await?;
    world.scaled("f", |replicas| replicas == 1).await?;
    let has_event = async |world: &World, text: &str| {
        eventually(PATIENCE * 2, async || {
            let events = world.harness.events("Function", "f").await?;
            ensure!(events.iter().any(|event| event.contains(text)), "{events:?}");
            Ok(())
        })
        .await
    };
    world.broker.set("in", &subscription("f"), Topic::burst());
    has_event(world, "ScaleFailed").await?;
    ensure!(world.replicas("f").await? == 1);
    world.harness.stop().await?;
    allow().await?;
    // Another process decides the same, and writes it once.
    world.harness.start().await?;
    world.scaled("f", |replicas| replicas == 2).await?;
    has_event(world, "Scaled: 1 -> 2 replicas").await?;
    world.broker.asked(6).await?;
    let events = world.harness.events("Function", "f").await?;
    ensure!(events.iter().filter(|event| event.contains("Scaled: ")).count() == 1, "{events:?}");
    let function: Function = world.harness.get("f").await?;
    ensure!(function.name_any() == "f" && world.replicas("f").await? == 2);
    Ok(())
}
