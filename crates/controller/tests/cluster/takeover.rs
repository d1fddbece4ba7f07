//! The original operator ends, and this one goes on with what it left: the same objects, with one controlled change
//! of pods at most, or none as long as rollouts are paused.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh, Sink, Source, labels};
use function_mesh_kube::leader_election::Candidate;
use function_mesh_testkit::{Kind, SECONDS_30, eventually, pretend_to_end, pretend_to_run};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Resource, ResourceExt};
use serde_json::{Value, from_value, json};

use crate::original::{self, LEASE, Original, SCALED, SETS, mesh};
use crate::world::{Nothing, World, json as to_json, texts};

/// A namespace as the original operator leaves it, with pods that run.
async fn left_behind(name: &str) -> anyhow::Result<World> {
    let mut world = World::without_controller(name).await?;
    // Whoever takes over keeps the images that run, as docs/migration.md says.
    world.settings.runner_images = original::runner_images();
    Original { client: &world.client, namespace: &world.namespace }.install().await?;
    all_run(&world).await?;
    Ok(world)
}

async fn all_run(world: &World) -> Nothing {
    eventually(SECONDS_30, async || {
        pretend_to_run(&world.client, &world.namespace).await?;
        for set in world.api::<StatefulSet>().list(&ListParams::default()).await? {
            let (wanted, status) = (set.spec.and_then(|spec| spec.replicas), set.status.unwrap_or_default());
            ensure!(status.observed_generation == set.metadata.generation, "{:?}", set.metadata.name);
            ensure!(status.ready_replicas == wanted && status.updated_replicas == wanted, "{status:?}");
        }
        Ok(())
    })
    .await
}

async fn uids<K: Kind>(world: &World) -> anyhow::Result<BTreeMap<String, Option<String>>> {
    let found = world.api::<K>().list(&ListParams::default()).await?;
    Ok(found.into_iter().map(|object| (object.name_any(), object.uid())).collect())
}

/// Who is who: all that must outlive a change of operators.
async fn identities(world: &World) -> anyhow::Result<BTreeMap<String, Option<String>>> {
    let mut all = uids::<StatefulSet>(world).await?;
    all.extend(uids::<Service>(world).await?);
    let scalers = uids::<HorizontalPodAutoscaler>(world).await?;
    all.extend(scalers.into_iter().map(|(name, uid)| (format!("{name} (autoscaler)"), uid)));
    all.extend(uids::<Function>(world).await?);
    all.extend(uids::<Source>(world).await?);
    all.extend(uids::<Sink>(world).await?);
    ensure!(all.len() == 13, "{all:?}");
    Ok(all)
}

/// Pod templates, and how often StatefulSets were changed.
async fn templates(world: &World) -> anyhow::Result<BTreeMap<String, (Value, Option<i64>)>> {
    let sets = world.api::<StatefulSet>().list(&ListParams::default()).await?;
    let one = |set: StatefulSet| {
        let name = set.name_any();
        anyhow::Ok((name, (to_json(&set)?["spec"]["template"].clone(), set.metadata.generation)))
    };
    sets.into_iter().map(one).collect()
}

/// Nothing is written any more, not by a new process either.
async fn is_quiet(world: &mut World) -> Nothing {
    // News of progress wait for up to three seconds.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    world.settle().await?;
    world.stop().await?;
    world.recorder.take();
    world.start().await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let writes = texts(&world.recorder.take());
    ensure!(writes.is_empty(), "{writes:?}");
    Ok(())
}

async fn mesh_is_ready(world: &World) -> Nothing {
    eventually(SECONDS_30, async || {
        pretend_to_run(&world.client, &world.namespace).await?;
        for set in world.api::<StatefulSet>().list(&ListParams::default()).await? {
            let name = set.name_any();
            let (generation, wanted) = (set.metadata.generation, set.spec.and_then(|spec| spec.replicas));
            let status = set.status.context("no status")?;
            let rolled_out = status.observed_generation == generation
                && status.current_revision == status.update_revision
                && status.ready_replicas == wanted
                && status.updated_replicas == wanted;
            ensure!(rolled_out, "{name} is being rolled out: {status:?}");
        }
        let status = world.get::<FunctionMesh>("m").await?.status.context("no status")?;
        ensure!(status.components.as_deref() == Some("4/4"), "{:?}", status.conditions);
        Ok(())
    })
    .await
}

fn env<'a>(set: &'a Value, name: &str) -> &'a Value {
    let env = set["spec"]["template"]["spec"]["containers"][0]["env"].as_array();
    env.into_iter().flatten().find(|it| it["name"] == name).map_or(&Value::Null, |it| &it["value"])
}

async fn shout(world: &World) -> anyhow::Result<Value> {
    to_json(&world.get::<StatefulSet>("m-shout-function").await?)
}

#[tokio::test]
async fn everything_is_taken_over_with_one_change_of_pods_at_most() -> Nothing {
    let mut world = left_behind("takeover").await?;
    let (before, shaped) = (identities(&world).await?, templates(&world).await?);
    let of_function = world.get::<Function>("m-shout").await?.metadata.generation;
    world.candidate = Some(Candidate {
        namespace: world.namespace.clone(),
        lease: LEASE.to_owned(),
        identity: "ours".to_owned(),
    });
    world.start().await?;
    // The Lease has to run out first, by the clock of who waits.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(texts(&world.recorder.take()), [""; 0]);
    eventually(SECONDS_30, async || {
        let lease = world.get::<Lease>(LEASE).await?.spec.context("a spec")?;
        ensure!(lease.holder_identity.as_deref() == Some("ours") && lease.lease_transitions == Some(5));
        Ok(())
    })
    .await?;
    eventually(SECONDS_30, async || {
        for set in SETS {
            let live = world.get::<StatefulSet>(set).await?;
            ensure!(
                labels::annotation(&live.metadata, labels::APPLIED_HASH).is_some(),
                "{set} is not taken over"
            );
        }
        Ok(())
    })
    .await?;
    mesh_is_ready(&world).await?;
    // From now on alone, so that the Lease is not in the way of a look at what is written.
    world.stop().await?;
    world.candidate = None;
    world.start().await?;
    is_quiet(&mut world).await?;

    assert_eq!(identities(&world).await?, before);
    for (name, (_, generation)) in templates(&world).await? {
        let changes = generation.unwrap_or_default() - shaped[&name].1.unwrap_or_default();
        assert!(changes <= 1, "{name} was changed {changes} times");
    }
    assert_eq!(world.get::<Function>("m-shout").await?.metadata.generation, of_function);
    // What the autoscaler said stays.
    let set = shout(&world).await?;
    assert_eq!(set["spec"]["replicas"], SCALED);
    // What it left in pods and in statuses is gone, and nothing else is.
    assert_eq!((env(&set, "MOOD"), env(&set, "STALE")), (&json!("loud"), &Value::Null));
    let status = world.phase::<Function>("m-shout", Phase::Ready).await?;
    assert_eq!((status.pending_change, status.ready_replicas), (None, SCALED));
    let status = world.phase::<Function>("m-scream", Phase::Ready).await?;
    assert_eq!(status.conditions.keys().collect::<Vec<_>>(), ["Service", "StatefulSet"]);
    let status = to_json(&world.get::<FunctionMesh>("m").await?)?["status"].clone();
    assert_eq!(status["functionConditions"]["gone"], Value::Null, "{status}");
    // Nobody sleeps for the day of a clean-up any more.
    assert_eq!(uids::<Job>(&world).await?, BTreeMap::new());
    assert_eq!(world.get::<Sink>("m-drain").await?.finalizers(), [labels::CLEANUP_FINALIZER]);
    changes_reach_what_was_taken_over(&world).await?;
    it_can_be_deleted(&world).await
}

/// What leaves the manifest leaves the pods, though the original wrote it.
async fn changes_reach_what_was_taken_over(world: &World) -> Nothing {
    let mut changed = mesh();
    let function = changed["spec"]["functions"][0].as_object_mut().context("a function")?;
    function.remove("pod");
    function.insert("logTopic".to_owned(), json!("logs"));
    let author = world.api::<FunctionMesh>().get("m").await?;
    changed["metadata"]["resourceVersion"] = json!(author.resource_version());
    let changed: FunctionMesh = from_value(changed)?;
    world.api::<FunctionMesh>().replace("m", &kube::api::PostParams::default(), &changed).await?;
    eventually(SECONDS_30, async || {
        let set = shout(world).await?;
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

async fn it_can_be_deleted(world: &World) -> Nothing {
    world.delete::<FunctionMesh>("m").await?;
    eventually(SECONDS_30 * 2, async || {
        for job in ["m-drain-sink-cleanup", "m-feed-source-cleanup"] {
            pretend_to_end(&world.client, &world.namespace, job, 0).await?;
        }
        ensure!(world.find::<Sink>("m-drain").await?.is_none(), "the sink is there");
        ensure!(world.find::<Source>("m-feed").await?.is_none(), "the source is there");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn while_rollouts_are_paused_no_pod_of_the_original_changes_until_it_is_released() -> Nothing {
    let mut world = left_behind("takeover-paused").await?;
    let (before, shaped) = (identities(&world).await?, templates(&world).await?);
    world.pause_rollout = true;
    world.start().await?;
    let status = world.phase::<Function>("m-shout", Phase::Paused).await?;
    let pending = status.pending_change.context("nothing is pending")?;
    ensure!(pending.contains("containers[pulsar-function].command[2]: changes"), "{pending}");
    for name in ["m-drain", "m-feed"] {
        eventually(SECONDS_30, async || {
            let phase = match name {
                "m-drain" => world.get::<Sink>(name).await?.status.map(|status| status.phase),
                _ => world.get::<Source>(name).await?.status.map(|status| status.phase),
            };
            ensure!(phase == Some(Phase::Paused), "{name}: {phase:?}");
            Ok(())
        })
        .await?;
    }
    is_quiet(&mut world).await?;
    assert_eq!(identities(&world).await?, before);
    assert_eq!(templates(&world).await?, shaped);

    // One component is let go by a restart, as the documents say.
    let restart = json!({ "metadata": { "annotations": { labels::RESTARTED_AT: "2026-01-01T00:00:00Z" } } });
    world.patch::<Function>("m-scream", restart).await?;
    eventually(SECONDS_30, async || {
        let now = templates(&world).await?;
        ensure!(now["m-scream-function"].1 == Some(2), "it is held back");
        Ok(())
    })
    .await?;
    let mut now = templates(&world).await?;
    let mut others = shaped.clone();
    now.remove("m-scream-function");
    others.remove("m-scream-function");
    assert_eq!(now, others);
    world.stop().await?;

    // And then all.
    world.pause_rollout = false;
    world.start().await?;
    eventually(SECONDS_30, async || {
        let held = templates(&world).await?.into_iter().find(|(_, (_, generation))| *generation != Some(2));
        ensure!(held.is_none(), "{:?} is held back", held.map(|(name, _)| name));
        Ok(())
    })
    .await?;
    mesh_is_ready(&world).await?;
    is_quiet(&mut world).await?;
    for (name, (_, generation)) in templates(&world).await? {
        ensure!(generation == Some(2), "{name} was changed {generation:?} times");
    }
    assert_eq!(identities(&world).await?, before);
    let set = world.get::<StatefulSet>("m-shout-function").await?;
    let writers = set.metadata.managed_fields.iter().flatten().filter_map(|it| it.manager.as_deref());
    ensure!(!writers.clone().any(|it| it == "manager"), "{:?}", writers.collect::<Vec<_>>());
    ensure!(set.meta().owner_references.as_ref().is_some_and(|owners| owners.len() == 1));
    Ok(())
}
