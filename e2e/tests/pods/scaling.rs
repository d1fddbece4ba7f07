//! Replicas of components: autoscalers with the load of real pods, manual scaling, suspension, disks.

mod sidecars;
mod vertical;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::{Function, FunctionMesh};
use function_mesh_e2e::{DeliveryReport, Message, Scenario, Traffic};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_mins(3);

#[tokio::test]
async fn replicas_follow_the_load_and_an_edit_of_the_mesh_does_not_reset_them() -> Result<()> {
    Scenario::run("load", async |scenario| {
        scenario.harness.hack("metrics", &[]).await?;
        let scaled = json!({
                    "funcConfig": { "busyMs": 30 }, "minReplicas": 1, "maxReplicas": 3,
                    "pod": { "autoScalingBehavior": { "scaleDown": { "stabilizationWindowSeconds": 0 } } },
        // A small request, so that a low load exceeds one replica's target and three replicas still handle it.
                    "resources": { "requests": { "cpu": "25m" }, "limits": { "cpu": "300m" } },
                });
        let busy = scenario.python("busy", "busy.Busy", "work", "done").with(scaled);
        let calm = scenario.python("calm", "double.Double", "calm", "doubled");
        let mut mesh = scenario.mesh("load", &[busy, calm]);
        scenario.apply::<FunctionMesh>(mesh.clone()).await?;
        scenario.await_ready("load", TIMEOUT).await?;
        scenario.pulsar.await_consumer("work", TIMEOUT).await?;
        ensure!(replicas(scenario, "load-busy").await? == (1, 1, 1), "it begins with the least");

        let traffic = Traffic::start(&scenario.pulsar, "work", Duration::from_millis(100));
        await_replicas(scenario, "load-busy", 3).await?;
        scenario.await_ready("load", TIMEOUT).await?;
        scenario.pulsar.await_consumers("work", 3, TIMEOUT).await?;

        let before = (generation(scenario, "load-busy").await?, pods(scenario, "load-busy").await?);
        mesh["metadata"]["annotations"] = json!({ "team": "load" });
        mesh["spec"]["functions"][1]["funcConfig"] = json!({ "delayMs": 1 });
        scenario.apply::<FunctionMesh>(mesh.clone()).await?;
        scenario.await_ready("load", TIMEOUT).await?;
        let calm: Value =
            serde_json::from_str(&scenario.kubectl(&["get", "fn/load-calm", "-o", "json"]).await?)?;
        ensure!(calm["spec"]["funcConfig"]["delayMs"] == 1, "the edit is taken in: {calm}");
        let after = (generation(scenario, "load-busy").await?, pods(scenario, "load-busy").await?);
        ensure!(after == before, "the autoscaled StatefulSet changed: {before:?}, then {after:?}");

        let sent = traffic.stop().await?;
        scenario.await_read("work", TIMEOUT).await?;
        await_replicas(scenario, "load-busy", 1).await?;
        scenario.await_ready("load", TIMEOUT).await?;
        let done = scenario.pulsar.receive_all("done", Duration::from_secs(5)).await?;
        let done: Vec<_> = done.iter().map(Message::text).collect();
        let report = DeliveryReport::compare(&sent, &done, |message| format!("{message}!"));
        ensure!(report.lost.is_empty() && report.unexpected.is_empty(), "{report:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_autoscaler_is_deleted_with_its_bounds_and_no_other_one() -> Result<()> {
    Scenario::run("bounds", async |scenario| {
        let component = scenario.python("double", "double.Double", "numbers", "doubled");
        let bounded = component.clone().with(json!({ "minReplicas": 1, "maxReplicas": 2 }));
        scenario.apply::<FunctionMesh>(scenario.mesh("bounds", &[bounded])).await?;
        scenario.await_ready("bounds", TIMEOUT).await?;
        let scaler = scenario.api::<HorizontalPodAutoscaler>().get("bounds-double-function").await?;
        let spec = scaler.spec.context("an autoscaler without a spec")?;
        ensure!((spec.min_replicas, spec.max_replicas) == (Some(1), 2), "{spec:?}");
        let before =
            (stateful_set(scenario, "bounds-double").await?.uid(), pods(scenario, "bounds-double").await?);

        // A foreign autoscaler with the name of the component.
        let foreign = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": "bounds-double" },
            "spec": {
                "maxReplicas": 2,
                "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "nothing" },
            },
        });
        scenario.apply::<HorizontalPodAutoscaler>(foreign).await?;

        scenario.apply::<FunctionMesh>(scenario.mesh("bounds", &[component])).await?;
        scenario
            .eventually("only the component's autoscaler is deleted", TIMEOUT, async || {
                let left = scenario.api::<HorizontalPodAutoscaler>().list(&ListParams::default()).await?;
                let left: Vec<_> = left.iter().map(ResourceExt::name_any).collect();
                Ok(left == ["bounds-double"])
            })
            .await?;
        scenario.await_ready("bounds", TIMEOUT).await?;
        let after =
            (stateful_set(scenario, "bounds-double").await?.uid(), pods(scenario, "bounds-double").await?);
        ensure!(after == before, "the function was restarted: {before:?}, then {after:?}");
        let function = scenario.api::<Function>().get("bounds-double").await?;
        let conditions = function.status.map(|status| status.conditions).unwrap_or_default();
        ensure!(!conditions.contains_key("HorizontalPodAutoscaler"), "{conditions:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn who_scales_a_function_of_a_mesh_by_hand_is_not_overruled_until_the_mesh_says_something_new()
-> Result<()> {
    Scenario::run("by-hand", async |scenario| {
        let component =
            scenario.python("double", "double.Double", "numbers", "doubled").with(json!({ "replicas": 1 }));
        scenario.apply::<FunctionMesh>(scenario.mesh("hand", std::slice::from_ref(&component))).await?;
        scenario.await_ready("hand", TIMEOUT).await?;

        scenario.kubectl(&["scale", "functions/hand-double", "--replicas=2"]).await?;
        await_replicas(scenario, "hand-double", 2).await?;
        scenario.pulsar.await_consumers("numbers", 2, TIMEOUT).await?;

        let before = pods(scenario, "hand-double").await?;
        let edited = component.with(json!({ "funcConfig": { "delayMs": 1 } }));
        scenario.apply::<FunctionMesh>(scenario.mesh("hand", std::slice::from_ref(&edited))).await?;
        scenario
            .eventually("both pods are replaced", TIMEOUT, async || {
                Ok(pods(scenario, "hand-double").await?.is_disjoint(&before))
            })
            .await?;
        scenario.await_ready("hand", TIMEOUT).await?;
        ensure!(replicas(scenario, "hand-double").await? == (2, 2, 2), "two stay two");

        scenario
            .apply::<FunctionMesh>(scenario.mesh("hand", &[edited.with(json!({ "replicas": 3 }))]))
            .await?;
        await_replicas(scenario, "hand-double", 3).await
    })
    .await
}

#[tokio::test]
async fn a_function_at_zero_keeps_its_messages_until_it_is_scaled_up_again() -> Result<()> {
    Scenario::run("zero", async |scenario| {
        let component = scenario.python("double", "double.Double", "numbers", "doubled");
        scenario.apply::<FunctionMesh>(scenario.mesh("zero", &[component])).await?;
        scenario.await_ready("zero", TIMEOUT).await?;
        scenario.pulsar.await_consumer("numbers", TIMEOUT).await?;
        let texts: Vec<_> = (0..60).map(|number| format!("message-{number}")).collect();
        scenario.pulsar.send("numbers", &texts[..10]).await?;
        scenario.await_read("numbers", TIMEOUT).await?;

        scenario.kubectl(&["scale", "functions/zero-double", "--replicas=0"]).await?;
        await_replicas(scenario, "zero-double", 0).await?;
        let suspended = "--for=jsonpath={.status.phase}=Suspended";
        scenario.kubectl(&["wait", "functions/zero-double", suspended, "--timeout=1m"]).await?;
        scenario.await_ready("zero", TIMEOUT).await?;
        scenario.pulsar.send("numbers", &texts[10..]).await?;
        let double = format!("public/{}/double", scenario.namespace);
        let waiting = async || Ok(scenario.pulsar.backlog("numbers", &double).await? == 50);
        scenario.eventually("they wait", TIMEOUT, waiting).await?;

        scenario.kubectl(&["scale", "functions/zero-double", "--replicas=1"]).await?;
        let mut results = scenario.pulsar.receive("doubled", 60, TIMEOUT).await?;
        results.sort();
        let mut expected: Vec<_> = texts.iter().map(|text| format!("{text}{text}")).collect();
        expected.sort();
        ensure!(results == expected, "{results:?}");
        scenario.await_read("numbers", TIMEOUT).await?;
        ensure!(replicas(scenario, "zero-double").await? == (1, 1, 1));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_a_function_writes_to_its_disk_outlives_its_pods_and_disks_go_as_asked() -> Result<()> {
    Scenario::run("disks", async |scenario| {
        let image = scenario.harness.runner_image()?;
        let component = |name: &str, scaled: &str, deleted: &str| {
            scenario.python(name, "journal.Journal", &format!("{name}-in"), &format!("{name}-out")).with(
                json!({
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
// Volumes of this cluster belong to root, regardless of fsGroup.
                    "pod": { "initContainers": [{
                        "name": "open", "image": image, "command": ["chmod", "777", "/data"],
                        "securityContext": { "runAsUser": 0 },
                        "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
                    }] },
                }),
            )
        };
        let components = [component("thrifty", "Delete", "Retain"), component("careful", "Retain", "Delete")];
        scenario.apply::<FunctionMesh>(scenario.mesh("disks", &components)).await?;
        scenario.await_ready("disks", TIMEOUT).await?;
        let all = ["careful-0", "careful-1", "thrifty-0", "thrifty-1"];
        ensure!(claims(scenario).await? == all, "{:?}", claims(scenario).await?);

        for name in ["functions/disks-thrifty", "functions/disks-careful"] {
            scenario.kubectl(&["scale", name, "--replicas=1"]).await?;
        }
        await_claims(scenario, &["careful-0", "careful-1", "thrifty-0"]).await?;
        await_replicas(scenario, "disks-careful", 1).await?;

        scenario.pulsar.send("careful-in", &["a", "b"]).await?;
        scenario.await_read("careful-in", TIMEOUT).await?;
        let before = pods(scenario, "disks-careful").await?;
        scenario.kubectl(&["delete", "pod", "disks-careful-function-0"]).await?;
        scenario
            .eventually("another pod runs", TIMEOUT, async || {
                Ok(pods(scenario, "disks-careful").await?.is_disjoint(&before)
                    && replicas(scenario, "disks-careful").await? == (1, 1, 1))
            })
            .await?;
        scenario.pulsar.send("careful-in", &["c"]).await?;
        scenario.await_read("careful-in", TIMEOUT).await?;
        let journal = scenario.pulsar.receive_all("careful-out", Duration::from_secs(5)).await?;
        let journal: Vec<_> = journal.iter().map(Message::text).collect();
        ensure!(journal == ["1: a", "2: b", "3: c"], "{journal:?}");

        scenario.kubectl(&["delete", "functionmesh", "disks"]).await?;
        await_claims(scenario, &["thrifty-0"]).await
    })
    .await
}

/// Replicas in the spec of a function, in that of its StatefulSet, and ready ones.
async fn replicas(scenario: &Scenario, function: &str) -> Result<(i32, i32, i32)> {
    let wanted = scenario.api::<Function>().get(function).await?.spec.replicas.unwrap_or(-1);
    let set = stateful_set(scenario, function).await?;
    let ready = set.status.and_then(|status| status.ready_replicas).unwrap_or(0);
    Ok((wanted, set.spec.and_then(|spec| spec.replicas).unwrap_or(-1), ready))
}

/// Waits until a function and its StatefulSet have this number of replicas, all ready.
async fn await_replicas(scenario: &Scenario, function: &str, count: i32) -> Result<()> {
    let what = format!("{count} replicas of {function}");
    scenario
        .eventually(&what, TIMEOUT, async || {
            let running = i32::try_from(pods(scenario, function).await?.len())?;
            Ok(replicas(scenario, function).await? == (count, count, count) && running == count)
        })
        .await
}

async fn stateful_set(scenario: &Scenario, function: &str) -> Result<StatefulSet> {
    Ok(scenario.api().get(&format!("{function}-function")).await?)
}

/// Generation of a function.
async fn generation(scenario: &Scenario, function: &str) -> Result<Option<i64>> {
    Ok(scenario.api::<Function>().get(function).await?.metadata.generation)
}

/// UIDs of a function's pods.
async fn pods(scenario: &Scenario, function: &str) -> Result<BTreeSet<String>> {
    let of = ListParams::default().labels(&format!("compute.functionmesh.io/name={function}"));
    Ok(scenario.api::<Pod>().list(&of).await?.iter().filter_map(ResourceExt::uid).collect())
}

/// Short names of the PersistentVolumeClaims.
async fn claims(scenario: &Scenario) -> Result<Vec<String>> {
    let all = scenario.api::<PersistentVolumeClaim>().list(&ListParams::default()).await?;
    let short = |name: String| name.replace("data-disks-", "").replace("-function", "");
    Ok(all.iter().map(|claim| short(claim.name_any())).collect())
}

async fn await_claims(scenario: &Scenario, expected: &[&str]) -> Result<()> {
    scenario
        .eventually(&format!("disks {expected:?}"), TIMEOUT, async || Ok(claims(scenario).await? == expected))
        .await
}
