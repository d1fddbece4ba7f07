//! Random edits, faults, crashes and restarts, concurrently. After the faults end, the state must equal that of an
//! undisturbed run.

use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::{Function, FunctionMesh};
use function_mesh_testkit::faults::Rates;
use function_mesh_testkit::{ControlPlane, fake_kubelet, fixtures};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, from_value, json};
use tokio::time::{Instant, sleep};

use crate::fixture::Fixture;
use crate::model::Model;
use crate::snapshot::Snapshot;

/// Faults per thousand requests.
const RATES: Rates = Rates { requests: 50, watches: 100 };
/// The maximum backoff is two minutes, and one more step may have to follow.
const LIMIT: Duration = Duration::from_secs(200);
/// How long nothing must be written at the end.
const QUIET: Duration = Duration::from_secs(5);
/// Part of the names of foreign objects; components that need these names stay degraded.
const IN_THE_WAY: &str = "blocked";

pub(crate) async fn run(plane: &'static ControlPlane, duration: Duration, seed: u64) -> anyhow::Result<()> {
    println!("\nchaos for {duration:?}, seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut model = Model::default();
    let fixture = new_stage(plane).await?;
    let foreign = Box::pin(foreign(&fixture)).await?;
    fixture.faults.inject_randomly(random.u64(..), RATES);
    fixture.start().await?;

    let end = Instant::now() + duration;
    let (mut crashes, mut restarts) = (0, 0);
    while Instant::now() < end {
        model.edit(&mut random, &fixture).await?;
        match random.u32(0..12) {
            0 => {
                fixture.replace_killed().await?;
                crashes += 1;
            }
            1 => {
                fixture.restart().await?;
                restarts += 1;
            }
            _ => {}
        }
        sleep(Duration::from_millis(random.u64(20..900))).await;
    }
    fixture.faults.disarm();
    println!("edits: {:?}", model.edits());
    println!("faults: {:?}", fixture.faults.counts());
    println!("crashes: {crashes}, restarts in good order: {restarts}");

    let began = Instant::now();
    let found =
        fixture.settle(LIMIT, Duration::from_secs(1), &[IN_THE_WAY]).await.context("after the chaos")?;
    println!("all settled {:.1?} after the last fault, {} objects", began.elapsed(), found.objects.len());
    let expected = Box::pin(undisturbed(plane, &model, &found)).await?;
    // The last change may not be observed yet: the check is repeated.
    fixture.converge(&expected, LIMIT).await.context("otherwise than without chaos")?;
    println!("as by an undisturbed operator: all children as wanted, no orphans, all statuses correct");
    ensure!(foreign == self::foreign_versions(&fixture).await?, "a foreign object was changed");
    println!("foreign objects are unchanged");
    stays_quiet(&fixture).await?;
    println!("nothing is written for {QUIET:?}");
    fixture.operator.lock().await.stop().await
}

async fn new_stage(plane: &'static ControlPlane) -> anyhow::Result<Fixture> {
    Fixture::new(plane, "chaos", |client, namespace| fake_kubelet(client, namespace).boxed()).await
}

/// The result of the same manifests with an undisturbed operator.
async fn undisturbed(
    plane: &'static ControlPlane,
    model: &Model,
    found: &Snapshot,
) -> anyhow::Result<Snapshot> {
    let fixture = new_stage(plane).await?;
    Box::pin(foreign(&fixture)).await?;
    fixture.start().await?;
    model.apply(&fixture).await?;
    fixture.settle(LIMIT, QUIET, &[IN_THE_WAY]).await.context("undisturbed")?;
    // With an autoscaler, replicas are in no manifest: the last scaling determines them.
    let mut has_scaled = false;
    for (name, object) in &found.objects {
        let Some(name) = name.strip_prefix("Function ") else { continue };
        let spec = &object["spec"];
        if let (Some(most), Some(replicas)) = (spec["maxReplicas"].as_i64(), spec["replicas"].as_i64()) {
            ensure!((0..=most).contains(&replicas), "{name} has {replicas} replicas, and {most} at most");
            fixture.scale::<Function>(name, i32::try_from(replicas)?).await?;
            has_scaled = true;
        }
    }
    let stay = if has_scaled { QUIET } else { Duration::ZERO };
    let end = fixture.settle(LIMIT, stay, &[IN_THE_WAY]).await.context("undisturbed, scaled")?;
    fixture.operator.lock().await.stop().await?;
    Ok(end)
}

/// Foreign objects with names that our children need, and components that need these names.
async fn foreign(fixture: &Fixture) -> anyhow::Result<Vec<String>> {
    let service: Service = from_value(json!({
        "metadata": { "name": "blocked-function-headless" },
        "spec": { "clusterIP": "None", "ports": [{ "port": 1 }] },
    }))?;
    fixture.create(&service).await?;
    let mut unmanaged = fixtures::function(fixtures::java_function("blocked-taken"))?;
    unmanaged.metadata.annotations =
        Some([("compute.functionmesh.io/managed".to_owned(), "false".to_owned())].into());
    fixture.create(&unmanaged).await?;
    fixture.apply(&fixtures::function(fixtures::java_function("blocked"))?).await?;
    fixture.apply(&fixtures::mesh("blocked", [fixtures::java_function("taken").into()])?).await?;
    foreign_versions(fixture).await
}

async fn foreign_versions(fixture: &Fixture) -> anyhow::Result<Vec<String>> {
    let service = fixture.api::<Service>().get("blocked-function-headless").await?;
    let function = fixture.api::<Function>().get("blocked-taken").await?;
    let version = |version: Option<String>| version.unwrap_or_default();
    Ok(vec![version(service.resource_version()), version(function.resource_version())])
}

async fn stays_quiet(fixture: &Fixture) -> anyhow::Result<()> {
    let versions = async || {
        let meshes = fixture.api::<FunctionMesh>().list(&ListParams::default()).await?;
        let functions = fixture.api::<Function>().list(&ListParams::default()).await?;
        let all = meshes.items.iter().map(ResourceExt::resource_version);
        let all: Vec<_> = all.chain(functions.items.iter().map(ResourceExt::resource_version)).collect();
        anyhow::Ok(json!(all))
    };
    let before: Value = versions().await?;
    sleep(QUIET).await;
    let unchanged = fixture.faults.unchanged_for();
    ensure!(unchanged >= QUIET, "the operator wrote something {unchanged:.1?} ago");
    ensure!(before == versions().await?, "another client wrote to our objects");
    Ok(())
}
