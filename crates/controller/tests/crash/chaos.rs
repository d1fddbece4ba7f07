//! Edits, faults, crashes and restarts by chance, all at a time; and then, with the faults gone, the same as
//! if nothing had happened.

use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::{Function, FunctionMesh};
use function_mesh_testkit::faults::Rates;
use function_mesh_testkit::{ControlPlane, fixtures, play_kubelet};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, from_value, json};
use tokio::time::{Instant, sleep};

use crate::model::Model;
use crate::operator::Nothing;
use crate::snapshot::Snapshot;
use crate::stage::Stage;

/// Of a thousand requests.
const RATES: Rates = Rates { requests: 50, watches: 100 };
/// The longest wait after failures is two minutes, and another thing may have to follow.
const LIMIT: Duration = Duration::from_secs(200);
/// How long nothing must be written at the end.
const QUIET: Duration = Duration::from_secs(5);
/// Whatever stands in the way has this in its name; who wants its place stays degraded.
const IN_THE_WAY: &str = "blocked";

pub(crate) async fn run(plane: &ControlPlane, duration: Duration, seed: u64) -> Nothing {
    println!("\nchaos for {duration:?}, seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut model = Model::default();
    let stage = new_stage(plane).await?;
    let foreign = Box::pin(foreign(&stage)).await?;
    stage.faults.by_chance(random.u64(..), RATES);
    stage.start().await?;

    let end = Instant::now() + duration;
    let (mut crashes, mut restarts) = (0, 0);
    while Instant::now() < end {
        model.edit(&mut random, &stage).await?;
        match random.u32(0..12) {
            0 => {
                stage.replace_killed().await?;
                crashes += 1;
            }
            1 => {
                stage.restart().await?;
                restarts += 1;
            }
            _ => {}
        }
        sleep(Duration::from_millis(random.u64(20..900))).await;
    }
    stage.faults.disarm();
    println!("edits: {:?}", model.edits());
    println!("faults: {:?}", stage.faults.tally());
    println!("crashes: {crashes}, restarts in good order: {restarts}");

    let began = Instant::now();
    let found =
        stage.settle(LIMIT, Duration::from_secs(1), &[IN_THE_WAY]).await.context("after the chaos")?;
    println!("all settled {:.1?} after the last fault, {} objects", began.elapsed(), found.objects.len());
    let expected = Box::pin(undisturbed(plane, &model, &found)).await?;
    // What is settled may still have to learn of the last change: it is asked for again and again.
    stage.converge(&expected, LIMIT).await.context("otherwise than without chaos")?;
    println!(
        "as made by an undisturbed operator: every child once and as wanted, no orphan, every status true"
    );
    ensure!(foreign == self::foreign_versions(&stage).await?, "what stands in the way was changed");
    println!("what stood in the way is untouched");
    stays_quiet(&stage).await?;
    println!("nothing is written for {QUIET:?}");
    stage.operator.lock().await.stop().await
}

async fn new_stage(plane: &ControlPlane) -> anyhow::Result<Stage> {
    Stage::new(plane, "chaos", |client, namespace| play_kubelet(client, namespace).boxed()).await
}

/// What an operator makes of the same manifests that nothing disturbs.
async fn undisturbed(plane: &ControlPlane, model: &Model, found: &Snapshot) -> anyhow::Result<Snapshot> {
    let stage = new_stage(plane).await?;
    Box::pin(foreign(&stage)).await?;
    stage.start().await?;
    model.apply(&stage).await?;
    stage.settle(LIMIT, QUIET, &[IN_THE_WAY]).await.context("undisturbed")?;
    // Under an autoscaler the number of replicas is in no manifest: whoever scaled last has said it.
    let mut has_scaled = false;
    for (name, object) in &found.objects {
        let Some(name) = name.strip_prefix("Function ") else { continue };
        let spec = &object["spec"];
        if let (Some(most), Some(replicas)) = (spec["maxReplicas"].as_i64(), spec["replicas"].as_i64()) {
            ensure!((0..=most).contains(&replicas), "{name} has {replicas} replicas, and {most} at most");
            stage.scale::<Function>(name, i32::try_from(replicas)?).await?;
            has_scaled = true;
        }
    }
    let stay = if has_scaled { QUIET } else { Duration::ZERO };
    let end = stage.settle(LIMIT, stay, &[IN_THE_WAY]).await.context("undisturbed, scaled")?;
    stage.operator.lock().await.stop().await?;
    Ok(end)
}

/// Objects of somebody else's that stand where ours would be, and ours that want their places.
async fn foreign(stage: &Stage) -> anyhow::Result<Vec<String>> {
    let service: Service = from_value(json!({
        "metadata": { "name": "blocked-function-headless" },
        "spec": { "clusterIP": "None", "ports": [{ "port": 1 }] },
    }))?;
    stage.create(&service).await?;
    let mut unmanaged = fixtures::function(fixtures::java_function("blocked-taken"))?;
    unmanaged.metadata.annotations =
        Some([("compute.functionmesh.io/managed".to_owned(), "false".to_owned())].into());
    stage.create(&unmanaged).await?;
    stage.apply(&fixtures::function(fixtures::java_function("blocked"))?).await?;
    stage.apply(&fixtures::mesh("blocked", [fixtures::java_function("taken").into()])?).await?;
    foreign_versions(stage).await
}

async fn foreign_versions(stage: &Stage) -> anyhow::Result<Vec<String>> {
    let service = stage.api::<Service>().get("blocked-function-headless").await?;
    let function = stage.api::<Function>().get("blocked-taken").await?;
    let version = |version: Option<String>| version.unwrap_or_default();
    Ok(vec![version(service.resource_version()), version(function.resource_version())])
}

async fn stays_quiet(stage: &Stage) -> Nothing {
    let versions = async || {
        let meshes = stage.api::<FunctionMesh>().list(&ListParams::default()).await?;
        let functions = stage.api::<Function>().list(&ListParams::default()).await?;
        let all = meshes.items.iter().map(ResourceExt::resource_version);
        let all: Vec<_> = all.chain(functions.items.iter().map(ResourceExt::resource_version)).collect();
        anyhow::Ok(json!(all))
    };
    let before: Value = versions().await?;
    sleep(QUIET).await;
    let unchanged = stage.faults.unchanged_for();
    ensure!(unchanged >= QUIET, "the operator wrote something {unchanged:.1?} ago");
    ensure!(before == versions().await?, "somebody wrote to our objects");
    Ok(())
}
