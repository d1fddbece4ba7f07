//! How many replicas a component has, and who says so: an autoscaler by the load of real pods, or a person.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::{Function, FunctionMesh};
use function_mesh_e2e::{Message, Story, Tally, Traffic, World, not_ready};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(3);

#[tokio::test]
async fn replicas_follow_the_load_and_an_edit_of_the_mesh_does_not_reset_them() -> Result<()> {
    Story::tell("load", async |story| {
        story.world.hack("metrics", &[]).await?;
        let scaled = json!({
            "funcConfig": { "busyMs": 30 }, "minReplicas": 1, "maxReplicas": 3,
            "pod": { "autoScalingBehavior": { "scaleDown": { "stabilizationWindowSeconds": 0 } } },
            // Little is asked for, so that little load is too much for one replica, and three still get it done.
            "resources": { "requests": { "cpu": "25m" }, "limits": { "cpu": "300m" } },
        });
        let busy = story.python("busy", "busy.Busy", "work", "done").with(scaled);
        let calm = story.python("calm", "double.Double", "calm", "doubled");
        let mut mesh = story.mesh("load", &[busy, calm]);
        story.apply::<FunctionMesh>(mesh.clone()).await?;
        story.await_ready("load", PATIENCE).await?;
        story.pulsar.await_consumer("work", PATIENCE).await?;
        ensure!(replicas(story, "load-busy").await? == (1, 1, 1), "it begins with the least");

        let traffic = Traffic::begin(&story.pulsar, "work", Duration::from_millis(100));
        await_replicas(story, "load-busy", 3).await?;
        story.await_ready("load", PATIENCE).await?;
        story.pulsar.await_consumers("work", 3, PATIENCE).await?;

        let before = (generation(story, "load-busy").await?, pods(story, "load-busy").await?);
        mesh["metadata"]["annotations"] = json!({ "team": "load" });
        mesh["spec"]["functions"][1]["funcConfig"] = json!({ "delayMs": 1 });
        story.apply::<FunctionMesh>(mesh.clone()).await?;
        story.await_ready("load", PATIENCE).await?;
        let calm: Value =
            serde_json::from_str(&story.kubectl(&["get", "fn/load-calm", "-o", "json"]).await?)?;
        ensure!(calm["spec"]["funcConfig"]["delayMs"] == 1, "the edit is taken in: {calm}");
        let after = (generation(story, "load-busy").await?, pods(story, "load-busy").await?);
        ensure!(after == before, "nobody touched what is scaled: {before:?}, then {after:?}");

        let sent = traffic.end().await?;
        story.await_read("work", PATIENCE).await?;
        await_replicas(story, "load-busy", 1).await?;
        story.await_ready("load", PATIENCE).await?;
        let done = story.pulsar.receive_all("done", Duration::from_secs(5)).await?;
        let done: Vec<_> = done.iter().map(Message::text).collect();
        let tally = Tally::of(&sent, &done, |message| format!("{message}!"));
        ensure!(tally.lost.is_empty() && tally.strange.is_empty(), "{tally:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_autoscaler_goes_with_its_bounds_and_no_other_one() -> Result<()> {
    Story::tell("bounds", async |story| {
        let part = story.python("double", "double.Double", "numbers", "doubled");
        let bounded = part.clone().with(json!({ "minReplicas": 1, "maxReplicas": 2 }));
        story.apply::<FunctionMesh>(story.mesh("bounds", &[bounded])).await?;
        story.await_ready("bounds", PATIENCE).await?;
        let scaler = story.api::<HorizontalPodAutoscaler>().get("bounds-double-function").await?;
        let spec = scaler.spec.context("an autoscaler without specification")?;
        ensure!((spec.min_replicas, spec.max_replicas) == (Some(1), 2), "{spec:?}");
        let before = (stateful_set(story, "bounds-double").await?.uid(), pods(story, "bounds-double").await?);

        // Somebody's own autoscaler, named like the component.
        let foreign = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": "bounds-double" },
            "spec": {
                "maxReplicas": 2,
                "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "nothing" },
            },
        });
        story.apply::<HorizontalPodAutoscaler>(foreign).await?;

        story.apply::<FunctionMesh>(story.mesh("bounds", &[part])).await?;
        story
            .eventually("the autoscaler is gone, and nobody else's", PATIENCE, async || {
                let left = story.api::<HorizontalPodAutoscaler>().list(&ListParams::default()).await?;
                let left: Vec<_> = left.iter().map(ResourceExt::name_any).collect();
                Ok(left == ["bounds-double"])
            })
            .await?;
        story.await_ready("bounds", PATIENCE).await?;
        let after = (stateful_set(story, "bounds-double").await?.uid(), pods(story, "bounds-double").await?);
        ensure!(after == before, "the function runs on: {before:?}, then {after:?}");
        let function = story.api::<Function>().get("bounds-double").await?;
        let conditions = function.status.map(|status| status.conditions).unwrap_or_default();
        ensure!(!conditions.contains_key("HorizontalPodAutoscaler"), "{conditions:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn who_scales_a_function_of_a_mesh_by_hand_is_not_overruled_until_the_mesh_says_something_new()
-> Result<()> {
    Story::tell("by-hand", async |story| {
        let part =
            story.python("double", "double.Double", "numbers", "doubled").with(json!({ "replicas": 1 }));
        story.apply::<FunctionMesh>(story.mesh("hand", std::slice::from_ref(&part))).await?;
        story.await_ready("hand", PATIENCE).await?;

        story.kubectl(&["scale", "functions/hand-double", "--replicas=2"]).await?;
        await_replicas(story, "hand-double", 2).await?;
        story.pulsar.await_consumers("numbers", 2, PATIENCE).await?;

        let before = pods(story, "hand-double").await?;
        let edited = part.with(json!({ "funcConfig": { "delayMs": 1 } }));
        story.apply::<FunctionMesh>(story.mesh("hand", std::slice::from_ref(&edited))).await?;
        story
            .eventually("both pods are replaced", PATIENCE, async || {
                Ok(pods(story, "hand-double").await?.is_disjoint(&before))
            })
            .await?;
        story.await_ready("hand", PATIENCE).await?;
        ensure!(replicas(story, "hand-double").await? == (2, 2, 2), "two stay two");

        story.apply::<FunctionMesh>(story.mesh("hand", &[edited.with(json!({ "replicas": 3 }))])).await?;
        await_replicas(story, "hand-double", 3).await
    })
    .await
}

#[tokio::test]
async fn a_function_at_zero_keeps_its_messages_until_it_is_scaled_up_again() -> Result<()> {
    Story::tell("zero", async |story| {
        let part = story.python("double", "double.Double", "numbers", "doubled");
        story.apply::<FunctionMesh>(story.mesh("zero", &[part])).await?;
        story.await_ready("zero", PATIENCE).await?;
        story.pulsar.await_consumer("numbers", PATIENCE).await?;
        let texts: Vec<_> = (0..60).map(|number| format!("message-{number}")).collect();
        story.pulsar.send("numbers", &texts[..10]).await?;
        story.await_read("numbers", PATIENCE).await?;

        story.kubectl(&["scale", "functions/zero-double", "--replicas=0"]).await?;
        await_replicas(story, "zero-double", 0).await?;
        let suspended = "--for=jsonpath={.status.phase}=Suspended";
        story.kubectl(&["wait", "functions/zero-double", suspended, "--timeout=1m"]).await?;
        story.await_ready("zero", PATIENCE).await?;
        story.pulsar.send("numbers", &texts[10..]).await?;
        let double = format!("public/{}/double", story.namespace);
        let waiting = async || Ok(story.pulsar.backlog("numbers", &double).await? == 50);
        story.eventually("they wait", PATIENCE, waiting).await?;

        story.kubectl(&["scale", "functions/zero-double", "--replicas=1"]).await?;
        let mut results = story.pulsar.receive("doubled", 60, PATIENCE).await?;
        results.sort();
        let mut expected: Vec<_> = texts.iter().map(|text| format!("{text}{text}")).collect();
        expected.sort();
        ensure!(results == expected, "{results:?}");
        story.await_read("numbers", PATIENCE).await?;
        ensure!(replicas(story, "zero-double").await? == (1, 1, 1));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_a_function_writes_to_its_disk_outlives_its_pods_and_disks_go_as_asked() -> Result<()> {
    Story::tell("disks", async |story| {
        let image = story.world.runner_image()?;
        let part = |name: &str, scaled: &str, deleted: &str| {
            story.python(name, "journal.Journal", &format!("{name}-in"), &format!("{name}-out")).with(json!({
                "replicas": 2,
                "volumeClaimTemplates": [{
                    "metadata": { "name": "data" },
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": { "requests": { "storage": "1Mi" } },
                    },
                }],
                "volumeMounts": [
                    { "name": "functions", "mountPath": "/functions" },
                    { "name": "data", "mountPath": "/data" },
                ],
                "persistentVolumeClaimRetentionPolicy": { "whenScaled": scaled, "whenDeleted": deleted },
                // Disks of this cluster belong to root, whatever group a pod asks for.
                "pod": { "initContainers": [{
                    "name": "open", "image": image, "command": ["chmod", "777", "/data"],
                    "securityContext": { "runAsUser": 0 },
                    "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
                }] },
            }))
        };
        let parts = [part("thrifty", "Delete", "Retain"), part("careful", "Retain", "Delete")];
        story.apply::<FunctionMesh>(story.mesh("disks", &parts)).await?;
        story.await_ready("disks", PATIENCE).await?;
        let all = ["careful-0", "careful-1", "thrifty-0", "thrifty-1"];
        ensure!(claims(story).await? == all, "{:?}", claims(story).await?);

        for name in ["functions/disks-thrifty", "functions/disks-careful"] {
            story.kubectl(&["scale", name, "--replicas=1"]).await?;
        }
        await_claims(story, &["careful-0", "careful-1", "thrifty-0"]).await?;
        await_replicas(story, "disks-careful", 1).await?;

        story.pulsar.send("careful-in", &["a", "b"]).await?;
        story.await_read("careful-in", PATIENCE).await?;
        let before = pods(story, "disks-careful").await?;
        story.kubectl(&["delete", "pod", "disks-careful-function-0"]).await?;
        story
            .eventually("another pod runs", PATIENCE, async || {
                Ok(pods(story, "disks-careful").await?.is_disjoint(&before)
                    && replicas(story, "disks-careful").await? == (1, 1, 1))
            })
            .await?;
        story.pulsar.send("careful-in", &["c"]).await?;
        story.await_read("careful-in", PATIENCE).await?;
        let journal = story.pulsar.receive_all("careful-out", Duration::from_secs(5)).await?;
        let journal: Vec<_> = journal.iter().map(Message::text).collect();
        ensure!(journal == ["1: a", "2: b", "3: c"], "{journal:?}");

        story.kubectl(&["delete", "functionmesh", "disks"]).await?;
        await_claims(story, &["thrifty-0"]).await
    })
    .await
}

#[tokio::test]
async fn a_vertical_autoscaler_comes_with_its_kind_and_follows_the_function() -> Result<()> {
    let world = World::find().await?;
    let definitions = definitions_of_vertical_autoscalers(&world).await?;
    let told = Story::tell("vertical", async |story| {
        let policies = json!({
            "updatePolicy": { "updateMode": "Initial", "minReplicas": 1 },
            "resourcePolicy": { "containerPolicies": [{
                "containerName": "pulsar-function", "mode": "Auto", "controlledResources": ["cpu"],
                "maxAllowed": { "cpu": "1", "memory": "200Mi" }, "controlledValues": "RequestsOnly",
            }] },
        });
        let plain = story.python("double", "double.Double", "numbers", "doubled");
        let mut part = plain.clone().with(json!({ "pod": { "vpa": policies } }));
        story.apply::<FunctionMesh>(story.mesh("v", std::slice::from_ref(&part))).await?;
        let told =
            story.await_mesh("v", PATIENCE, |mesh| says(mesh).contains("VerticalPodAutoscaler")).await?;
        ensure!(says(&told).contains("CRD not installed"), "{:?}", told.status);
        // What runs does not depend on it.
        story.pulsar.await_consumer("numbers", PATIENCE).await?;
        let before = (stateful_set(story, "v-double").await?.uid(), pods(story, "v-double").await?);

        // The kind is noticed without anybody's doing.
        world.kubectl(&["apply", "--server-side", "-f", &definitions]).await?;
        let mut expected = policies;
        expected["targetRef"] =
            json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "v-double-function" });
        await_vertical(story, Some(&expected)).await?;
        story.await_ready("v", PATIENCE).await?;

        let mode = json!({ "updatePolicy": { "updateMode": "Off" } });
        part = part.with(json!({ "pod": { "vpa": mode } }));
        expected["updatePolicy"]["updateMode"] = json!("Off");
        story.apply::<FunctionMesh>(story.mesh("v", &[part])).await?;
        await_vertical(story, Some(&expected)).await?;

        story.apply::<FunctionMesh>(story.mesh("v", &[plain])).await?;
        await_vertical(story, None).await?;
        story.await_ready("v", PATIENCE).await?;
        let after = (stateful_set(story, "v-double").await?.uid(), pods(story, "v-double").await?);
        ensure!(after == before, "the function runs on: {before:?}, then {after:?}");
        Ok(())
    })
    .await;
    let gone = world.kubectl(&["delete", "--ignore-not-found", "-f", &definitions]).await;
    told?;
    gone.map(|_| ())
}

/// Replicas that a function wants, those that its StatefulSet wants, and those that are ready.
async fn replicas(story: &Story, function: &str) -> Result<(i32, i32, i32)> {
    let wanted = story.api::<Function>().get(function).await?.spec.replicas.unwrap_or(-1);
    let set = stateful_set(story, function).await?;
    let ready = set.status.and_then(|status| status.ready_replicas).unwrap_or(0);
    Ok((wanted, set.spec.and_then(|spec| spec.replicas).unwrap_or(-1), ready))
}

/// Waits until a function, its StatefulSet and its pods are so many.
async fn await_replicas(story: &Story, function: &str, count: i32) -> Result<()> {
    let what = format!("{count} replicas of {function}");
    story
        .eventually(&what, PATIENCE, async || {
            let running = i32::try_from(pods(story, function).await?.len())?;
            Ok(replicas(story, function).await? == (count, count, count) && running == count)
        })
        .await
}

async fn stateful_set(story: &Story, function: &str) -> Result<StatefulSet> {
    Ok(story.api().get(&format!("{function}-function")).await?)
}

/// Changes of a function's specification so far.
async fn generation(story: &Story, function: &str) -> Result<Option<i64>> {
    Ok(story.api::<Function>().get(function).await?.metadata.generation)
}

/// UIDs of a function's pods.
async fn pods(story: &Story, function: &str) -> Result<BTreeSet<String>> {
    let of = ListParams::default().labels(&format!("compute.functionmesh.io/name={function}"));
    Ok(story.api::<Pod>().list(&of).await?.iter().filter_map(ResourceExt::uid).collect())
}

/// Claims of disks, in short.
async fn claims(story: &Story) -> Result<Vec<String>> {
    let all = story.api::<PersistentVolumeClaim>().list(&ListParams::default()).await?;
    let short = |name: String| name.replace("data-disks-", "").replace("-function", "");
    Ok(all.iter().map(|claim| short(claim.name_any())).collect())
}

async fn await_claims(story: &Story, expected: &[&str]) -> Result<()> {
    story
        .eventually(&format!("disks {expected:?}"), PATIENCE, async || Ok(claims(story).await? == expected))
        .await
}

/// The file with the definitions of vertical autoscalers, which no other story uses. The cluster does not have them.
async fn definitions_of_vertical_autoscalers(world: &World) -> Result<String> {
    let file = world.hack("vpa", &[]).await?;
    world.kubectl(&["delete", "--ignore-not-found", "-f", &file]).await?;
    Ok(file)
}

/// Waits until the vertical autoscaler has this specification, or until there is none.
async fn await_vertical(story: &Story, expected: Option<&Value>) -> Result<()> {
    // By its path, since kubectl remembers for a while which kinds there are.
    let path = format!("/apis/autoscaling.k8s.io/v1/namespaces/{}/verticalpodautoscalers", story.namespace);
    story
        .eventually(&format!("its specification is {expected:?}"), PATIENCE, async || {
            let request = http::Request::get(&path).body(Vec::new())?;
            let found = match story.world.client.request::<Value>(request).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Value::Null,
                found => found?,
            };
            let found = found["items"].as_array().cloned().unwrap_or_default();
            let names: Vec<_> = found.iter().map(|one| one["metadata"]["name"].clone()).collect();
            Ok(match expected {
                Some(expected) => names == ["v-double-function"] && found[0]["spec"] == *expected,
                None => names.is_empty(),
            })
        })
        .await
}

/// What a mesh says of why it is not ready.
fn says(mesh: &FunctionMesh) -> &str {
    not_ready(mesh).map_or("", |ready| &ready.message)
}
