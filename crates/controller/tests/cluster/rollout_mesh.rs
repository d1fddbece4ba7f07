//! Meshes with `rollout.atomic`: what changed together is rolled back together, and tried again together.

use anyhow::{Context, ensure};
use function_mesh_api::Function;
use function_mesh_api::types::{MeshRollout, RolloutStatus};
use function_mesh_testkit::{eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;

use crate::harness::{Harness, TestResult, texts};
use crate::rollout::{MINUTE, image_of, play, rolls_back};

async fn apply(harness: &Harness, images: [&str; 3]) -> TestResult {
    let mut functions = Vec::new();
    for (name, image) in ["a", "b", "c"].into_iter().zip(images) {
        let mut function = fixtures::java_function(name);
        function.image = Some(image.to_owned());
        function.rollout = Some(serde_json::from_value(rolls_back())?);
        functions.push(function.into());
    }
    let mut mesh = fixtures::mesh("m", functions)?;
    mesh.spec.rollout = Some(MeshRollout { atomic: Some(true) });
    harness.apply(&mesh).await.map(|_| ())
}

/// Waits until the StatefulSets have these images and their rollouts these reasons, and returns the rollouts.
async fn rollouts(
    harness: &Harness,
    images: [&str; 3],
    reasons: [&str; 3],
) -> anyhow::Result<Vec<RolloutStatus>> {
    eventually(2 * MINUTE, async || {
        play(harness).await?;
        let mut found = Vec::new();
        for ((name, image), reason) in ["a", "b", "c"].into_iter().zip(images).zip(reasons) {
            let set = harness.get::<StatefulSet>(&format!("m-{name}-function")).await?;
            let live = image_of(set.spec.and_then(|spec| spec.template.spec).as_ref().context("no pods")?);
            let status = harness.get::<Function>(&format!("m-{name}")).await?.status.context("no status")?;
            let rollout = status.rollout.context("no rollout")?;
            ensure!(
                live == image && rollout.reason.as_deref() == Some(reason),
                "{name}: {live}, {rollout:?}"
            );
            found.push(rollout);
        }
        Ok(found)
    })
    .await
}

#[tokio::test]
async fn what_changed_together_is_rolled_back_together() -> TestResult {
    let harness = &Harness::new("atomic").await?;
    apply(harness, ["good-1"; 3]).await?;
    let stable = ["Stable"; 3];
    rollouts(harness, ["good-1"; 3], stable).await?;
    harness.settle().await?;

    // The first is good, the second never starts, and the third is as before.
    apply(harness, ["good-2", "missing-2", "good-1"]).await?;
    let expected = ["RolledBackWithMesh", "RolledBack", "Stable"];
    let found = rollouts(harness, ["good-1"; 3], expected).await?;
    assert_eq!(found[0].mesh_generation, found[1].mesh_generation);
    harness.settle().await?;
    assert_eq!(texts(&harness.settle().await?), Vec::<String>::new());
    assert_eq!(harness.get::<Function>("m-a").await?.spec.image.as_deref(), Some("good-2"));

    // The second is repaired, and the first is tried again with it.
    apply(harness, ["good-2", "good-3", "good-1"]).await?;
    rollouts(harness, ["good-2", "good-3", "good-1"], stable).await?;
    Ok(())
}
