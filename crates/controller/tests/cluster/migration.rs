//! Migration from upstream's operator: the objects stay the same, with at most one rollout, or none while rollouts are
//! paused.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh, Sink, Source, labels};
use function_mesh_kube::leader_election::Candidate;
use function_mesh_testkit::{Kind, PATIENCE, eventually, mark_ended, mark_running};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Resource, ResourceExt};
use serde_json::{Value, from_value, json};

use crate::harness::{Harness, TestResult, json as to_json, texts};
use crate::upstream::{self, LEASE, Original, SCALED, SETS, mesh};

/// A namespace as upstream's operator leaves it, with running pods.
async fn left_behind(name: &str) -> anyhow::Result<Harness> {
    let mut harness = Harness::without_controller(name).await?;
    // Keeps the running images, as the migration guide says.
    harness.options.settings.runner_images = upstream::runner_images();
    Original { client: &harness.client, namespace: &harness.namespace }.install().await?;
    all_run(&harness).await?;
    Ok(harness)
}

async fn all_run(harness: &Harness) -> TestResult {
    eventually(PATIENCE, async || {
        mark_running(&harness.client, &harness.namespace).await?;
        for set in harness.api::<StatefulSet>().list(&ListParams::default()).await? {
            let (wanted, status) = (set.spec.and_then(|spec| spec.replicas), set.status.unwrap_or_default());
            ensure!(status.observed_generation == set.metadata.generation, "{:?}", set.metadata.name);
            ensure!(status.ready_replicas == wanted && status.updated_replicas == wanted, "{status:?}");
        }
        Ok(())
    })
    .await
}

async fn uids<K: Kind>(harness: &Harness) -> anyhow::Result<BTreeMap<String, Option<String>>> {
    let found = harness.api::<K>().list(&ListParams::default()).await?;
    Ok(found.into_iter().map(|object| (object.name_any(), object.uid())).collect())
}

/// UIDs of the objects that must survive the migration.
async fn identities(harness: &Harness) -> anyhow::Result<BTreeMap<String, Option<String>>> {
    let mut all = uids::<StatefulSet>(harness).await?;
    all.extend(uids::<Service>(harness).await?);
    let scalers = uids::<HorizontalPodAutoscaler>(harness).await?;
    all.extend(scalers.into_iter().map(|(name, uid)| (format!("{name} (autoscaler)"), uid)));
    all.extend(uids::<Function>(harness).await?);
    all.extend(uids::<Source>(harness).await?);
    all.extend(uids::<Sink>(harness).await?);
    ensure!(all.len() == 13, "{all:?}");
    Ok(all)
}

/// Pod templates, and generations of StatefulSets.
async fn templates(harness: &Harness) -> anyhow::Result<BTreeMap<String, (Value, Option<i64>)>> {
    let sets = harness.api::<StatefulSet>().list(&ListParams::default()).await?;
    let one = |set: StatefulSet| {
        let name = set.name_any();
        anyhow::Ok((name, (to_json(&set)?["spec"]["template"].clone(), set.metadata.generation)))
    };
    sets.into_iter().map(one).collect()
}

/// Checks that nothing is written any more, even after a restart.
async fn is_quiet(harness: &mut Harness) -> TestResult {
    // Progress is reported with a delay of up to three seconds.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    harness.settle().await?;
    harness.stop().await?;
    harness.recorder.take();
    harness.start().await?;
    harness.reconcile_all().await?;
    let writes = texts(&harness.recorder.take());
    ensure!(writes.is_empty(), "{writes:?}");
    Ok(())
}

async fn mesh_is_ready(harness: &Harness) -> TestResult {
    eventually(PATIENCE, async || {
        mark_running(&harness.client, &harness.namespace).await?;
        for set in harness.api::<StatefulSet>().list(&ListParams::default()).await? {
            let name = set.name_any();
            let (generation, wanted) = (set.metadata.generation, set.spec.and_then(|spec| spec.replicas));
            let status = set.status.context("no status")?;
            let rolled_out = status.observed_generation == generation
                && status.current_revision == status.update_revision
                && status.ready_replicas == wanted
                && status.updated_replicas == wanted;
            ensure!(rolled_out, "{name} is being rolled out: {status:?}");
        }
        let status = harness.get::<FunctionMesh>("m").await?.status.context("no status")?;
        ensure!(status.components.as_deref() == Some("4/4"), "{:?}", status.conditions);
        Ok(())
    })
    .await
}

fn env<'a>(set: &'a Value, name: &str) -> &'a Value {
    let env = set["spec"]["template"]["spec"]["containers"][0]["env"].as_array();
    env.into_iter().flatten().find(|it| it["name"] == name).map_or(&Value::Null, |it| &it["value"])
}

async fn shout(harness: &Harness) -> anyhow::Result<Value> {
    to_json(&harness.get::<StatefulSet>("m-shout-function").await?)
}

#[tokio::test]
async fn migration_causes_at_most_one_rollout() -> TestResult {
    let mut harness = Box::pin(left_behind("takeover")).await?;
    let (before, shaped) = (identities(&harness).await?, templates(&harness).await?);
    let of_function = harness.get::<Function>("m-shout").await?.metadata.generation;
    harness.options.candidate = Some(Candidate {
        namespace: harness.namespace.clone(),
        lease: LEASE.to_owned(),
        identity: "ours".to_owned(),
        owner: None,
    });
    harness.start().await?;
    // The Lease has to expire first, by the clock of the follower.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(texts(&harness.recorder.take()), [""; 0]);
    eventually(PATIENCE, async || {
        let lease = harness.get::<Lease>(LEASE).await?.spec.context("a spec")?;
        ensure!(lease.holder_identity.as_deref() == Some("ours") && lease.lease_transitions == Some(5));
        Ok(())
    })
    .await?;
    eventually(PATIENCE, async || {
        for set in SETS {
            let live = harness.get::<StatefulSet>(set).await?;
            ensure!(
                labels::annotation(&live.metadata, labels::APPLIED_HASH).is_some(),
                "{set} is not taken over"
            );
        }
        Ok(())
    })
    .await?;
    mesh_is_ready(&harness).await?;
    // Without leader election from now on, so that Lease writes do not count.
    harness.stop().await?;
    harness.options.candidate = None;
    harness.start().await?;
    is_quiet(&mut harness).await?;

    assert_eq!(identities(&harness).await?, before);
    for (name, (_, generation)) in templates(&harness).await? {
        let changes = generation.unwrap_or_default() - shaped[&name].1.unwrap_or_default();
        assert!(changes <= 1, "{name} was changed {changes} times");
    }
    assert_eq!(harness.get::<Function>("m-shout").await?.metadata.generation, of_function);
    // The replicas that the autoscaler set are kept.
    let set = shout(&harness).await?;
    assert_eq!(set["spec"]["replicas"], SCALED);
    // Upstream's fields in pods and statuses are removed, and nothing else is.
    assert_eq!((env(&set, "MOOD"), env(&set, "STALE")), (&json!("loud"), &Value::Null));
    let status = harness.phase::<Function>("m-shout", Phase::Ready).await?;
    assert_eq!((status.pending_change, status.ready_replicas), (None, SCALED));
    let status = harness.phase::<Function>("m-scream", Phase::Ready).await?;
    assert_eq!(status.conditions.keys().collect::<Vec<_>>(), ["Service", "StatefulSet"]);
    let status = to_json(&harness.get::<FunctionMesh>("m").await?)?["status"].clone();
    assert_eq!(status["functionConditions"]["gone"], Value::Null, "{status}");
    // Upstream's suspended clean-up Job is deleted.
    assert_eq!(uids::<Job>(&harness).await?, BTreeMap::new());
    assert_eq!(harness.get::<Sink>("m-drain").await?.finalizers(), [labels::CLEANUP_FINALIZER]);
    changes_reach_what_was_taken_over(&harness).await?;
    it_can_be_deleted(&harness).await
}

/// A field removed from the manifest is removed from the pods, even if upstream wrote it.
async fn changes_reach_what_was_taken_over(harness: &Harness) -> TestResult {
    let mut changed = mesh();
    let function = changed["spec"]["functions"][0].as_object_mut().context("a function")?;
    function.remove("pod");
    function.insert("logTopic".to_owned(), json!("logs"));
    let author = harness.api::<FunctionMesh>().get("m").await?;
    changed["metadata"]["resourceVersion"] = json!(author.resource_version());
    let changed: FunctionMesh = from_value(changed)?;
    harness.api::<FunctionMesh>().replace("m", &kube::api::PostParams::default(), &changed).await?;
    eventually(PATIENCE, async || {
        let set = shout(harness).await?;
        ensure!(
            set.to_string().contains("logs") && *env(&set, "MOOD") == Value::Null,
            "{}",
            env(&set, "MOOD")
        );
        ensure!(set["spec"]["replicas"] == SCALED, "the replicas are not the autoscaler's");
        Ok(())
    })
    .await
}

async fn it_can_be_deleted(harness: &Harness) -> TestResult {
    harness.delete::<FunctionMesh>("m").await?;
    eventually(PATIENCE, async || {
        for job in ["m-drain-sink-cleanup", "m-feed-source-cleanup"] {
            mark_ended(&harness.client, &harness.namespace, job, 0).await?;
        }
        ensure!(harness.find::<Sink>("m-drain").await?.is_none(), "the sink is there");
        ensure!(harness.find::<Source>("m-feed").await?.is_none(), "the source is there");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn migration_defers_rollouts_while_paused() -> TestResult {
    let mut harness = Box::pin(left_behind("takeover-paused")).await?;
    let (before, shaped) = (identities(&harness).await?, templates(&harness).await?);
    harness.options.pause_rollout = true;
    harness.start().await?;
    let status = harness.phase::<Function>("m-shout", Phase::Paused).await?;
    let pending = status.pending_change.context("nothing is pending")?;
    ensure!(pending.contains("containers[pulsar-function].command[2]: changes"), "{pending}");
    for name in ["m-drain", "m-feed"] {
        eventually(PATIENCE, async || {
            let phase = match name {
                "m-drain" => harness.get::<Sink>(name).await?.status.map(|status| status.phase),
                _ => harness.get::<Source>(name).await?.status.map(|status| status.phase),
            };
            ensure!(phase == Some(Phase::Paused), "{name}: {phase:?}");
            Ok(())
        })
        .await?;
    }
    is_quiet(&mut harness).await?;
    assert_eq!(identities(&harness).await?, before);
    assert_eq!(templates(&harness).await?, shaped);

    // A restart releases one component, as documented.
    let restart = json!({ "metadata": { "annotations": { labels::RESTARTED_AT: "2026-01-01T00:00:00Z" } } });
    harness.patch::<Function>("m-scream", restart).await?;
    eventually(PATIENCE, async || {
        let now = templates(&harness).await?;
        ensure!(now["m-scream-function"].1 == Some(2), "the rollout is deferred");
        Ok(())
    })
    .await?;
    let mut now = templates(&harness).await?;
    let mut others = shaped.clone();
    now.remove("m-scream-function");
    others.remove("m-scream-function");
    assert_eq!(now, others);
    harness.stop().await?;

    // Then all are released.
    harness.options.pause_rollout = false;
    harness.start().await?;
    eventually(PATIENCE, async || {
        let held = templates(&harness).await?.into_iter().find(|(_, (_, generation))| *generation != Some(2));
        ensure!(held.is_none(), "{:?} is deferred", held.map(|(name, _)| name));
        Ok(())
    })
    .await?;
    mesh_is_ready(&harness).await?;
    is_quiet(&mut harness).await?;
    for (name, (_, generation)) in templates(&harness).await? {
        ensure!(generation == Some(2), "{name} was changed {generation:?} times");
    }
    assert_eq!(identities(&harness).await?, before);
    let set = harness.get::<StatefulSet>("m-shout-function").await?;
    let writers = set.metadata.managed_fields.iter().flatten().filter_map(|it| it.manager.as_deref());
    ensure!(!writers.clone().any(|it| it == "manager"), "{:?}", writers.collect::<Vec<_>>());
    ensure!(set.meta().owner_references.as_ref().is_some_and(|owners| owners.len() == 1));
    Ok(())
}
