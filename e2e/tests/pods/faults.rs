//! Faults while messages flow: pods, containers, the broker, the network, the kubelet, the API server and the operator
//! fail without warning. Messages pass two functions with at-least-once processing. After each fault every message has
//! a result, and some have two; `hack/test --all` prints the numbers in its table of faults.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use function_mesh_api::{Function, FunctionMesh};
use function_mesh_e2e::{
    Broker, Component, DeliveryReport, Harness, LEASE, OPERATOR, Scenario, Traffic, not_ready,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_mins(3);
/// Interval between messages.
const PACE: Duration = Duration::from_millis(15);
/// Duration of an outage.
const AWAY: Duration = Duration::from_secs(10);
/// The pods of the two functions.
const PODS: [&str; 2] = ["flow-first-function-0", "flow-second-function-0"];

#[tokio::test]
async fn no_message_is_lost_when_pods_are_killed_again_and_again() -> Result<()> {
    Scenario::run("pods-killed", async |scenario| {
        withstands(scenario, "pods killed, each twice", first(scenario), async || {
            for pod in PODS.into_iter().cycle().take(4) {
                let before = pods(scenario).await?;
                scenario.kubectl(&["delete", "pod", pod, "--grace-period=0", "--force"]).await?;
                let is_replaced = async || {
                    let now = pods(scenario).await?;
                    Ok(now.get(pod).is_some_and(|now| now.ready && now.uid != before[pod].uid))
                };
                scenario.eventually("another pod is there", TIMEOUT, is_replaced).await?;
                flows(scenario, 100).await?;
            }
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_killed_container_is_reported_and_restarted_and_loses_no_message() -> Result<()> {
    Scenario::run("container-killed", async |scenario| {
        withstands(scenario, "container killed twice", first(scenario), async || {
            let before = pods(scenario).await?;
            scenario.kill(PODS[0], "python_instance").await?;
            let is_back = async |times| {
                let now = &pods(scenario).await?[PODS[0]];
                Ok(now.ready && now.restarts == times)
            };
            scenario.eventually("the container is back", TIMEOUT, async || is_back(1).await).await?;
            flows(scenario, 100).await?;

            // The back-off of its restarts leaves time to observe the mesh.
            scenario.kill(PODS[0], "python_instance").await?;
            let is_degraded =
                |mesh: &FunctionMesh| not_ready(mesh).is_some_and(|why| why.reason == "ComponentsDegraded");
            let degraded = scenario.await_mesh("flow", TIMEOUT, is_degraded).await?;
            let message = &not_ready(&degraded).context("it is ready")?.message;
            let why =
                "function first: pod flow-first-function-0: container pulsar-function exited with code 137";
            ensure!(message.contains(why), "{message}");
            scenario.eventually("the container is back again", TIMEOUT, async || is_back(2).await).await?;

            ensure!(pods(scenario).await?[PODS[0]].uid == before[PODS[0]].uid, "the pod was replaced");
            scenario.await_ready("flow", TIMEOUT).await?;
            let described = scenario.kubectl(&["describe", "functions", "flow-first"]).await?;
            let events = described.split("Events:").nth(1).unwrap_or_default();
            ensure!(events.contains("exited with code 137"), "{described}");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn pods_and_messages_go_on_while_the_node_agent_is_away() -> Result<()> {
    Scenario::run("kubelet", async |scenario| {
        withstands(scenario, "node agent away for 10 s", first(scenario), async || {
            goes_on_during(scenario, scenario.harness.restart("kubelet", AWAY)).await
        })
        .await
    })
    .await
}

#[tokio::test]
async fn messages_go_on_while_the_api_server_is_away_and_the_operator_works_after_it() -> Result<()> {
    Scenario::run("api-server", async |scenario| {
        withstands(scenario, "API server away for 10 s", first(scenario), async || {
            let before = pods(scenario).await?;
            flows_during(scenario, scenario.harness.restart("kube-apiserver", AWAY)).await?;
            let back = led_at(&scenario.harness).await?;
            change(scenario, first(scenario), 2).await?;
            only_grew(&before, &pods(scenario).await?)?;
            let leads = async || Ok(led_at(&scenario.harness).await? > back);
            scenario.eventually("there is a leader", TIMEOUT, leads).await?;
            scenario.harness.await_operator().await
        })
        .await
    })
    .await
}

#[tokio::test]
async fn messages_go_on_without_the_operator_and_the_next_one_carries_changes_out() -> Result<()> {
    Scenario::run("operator-killed", async |scenario| {
        withstands(scenario, "operator and webhook killed", first(scenario), async || {
            goes_on_during(scenario, scenario.harness.crash_operator()).await
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_pod_that_was_cut_off_goes_on_where_it_stood() -> Result<()> {
    Scenario::run("network", async |scenario| {
        withstands(scenario, "network of a pod cut for 30 s", first(scenario), async || {
            let before = pods(scenario).await?;
            scenario.partition(PODS[0], Duration::from_secs(30)).await?;
            // The other function processes what this one has produced.
            waits(scenario, 100).await?;
            let through = scenario.published("louder").await?;
            waits(scenario, 300).await?;
            ensure!(scenario.published("louder").await? == through, "messages came through");
            ensure!(scenario.harness.is_partitioned().await?, "it was over before");
            scenario
                .eventually("it is over", TIMEOUT, async || Ok(!scenario.harness.is_partitioned().await?))
                .await?;
            flows(scenario, 100).await?;
            ensure!(pods(scenario).await? == before, "pods are not as before");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn functions_in_java_and_python_go_on_when_a_killed_broker_is_back() -> Result<()> {
    Broker::run(7300, async |harness, broker| {
        Scenario::run_with(harness, broker, "broker-killed", async |scenario| {
            let class = "org.apache.pulsar.functions.api.examples.ExclamationFunction";
            let java = scenario.java("first", class, "words", "shouts");
            let java = java.with(json!({ "java": { "jar": "/pulsar/examples/api-examples.jar" } }));
            withstands(scenario, "broker killed, and back with what it held", java, async || {
                let before = pods(scenario).await?;
                broker.kill().await?;
                broker.restart().await?;
                flows(scenario, 100).await?;
                ensure!(pods(scenario).await? == before, "pods are not as before");
                Ok(())
            })
            .await
        })
        .await
    })
    .await
}

#[tokio::test]
async fn no_message_is_lost_when_broker_pods_and_operator_are_killed_at_once() -> Result<()> {
    Broker::run(7301, async |harness, broker| {
        Scenario::run_with(harness, broker, "all-at-once", async |scenario| {
            withstands(scenario, "broker, pods and operator killed at once", first(scenario), async || {
                let kill = [&["delete", "pod", "--grace-period=0", "--force"], PODS.as_slice()].concat();
                tokio::try_join!(scenario.kubectl(&kill), broker.kill(), harness.crash_operator())?;
                broker.restart().await?;
                flows(scenario, 100).await?;
                change(scenario, first(scenario), 2).await
            })
            .await
        })
        .await
    })
    .await
}

/// A fault that affects neither messages nor pods; a later change is applied.
async fn goes_on_during(scenario: &Scenario, fault: impl Future<Output = Result<()>>) -> Result<()> {
    let before = pods(scenario).await?;
    flows_during(scenario, fault).await?;
    ensure!(pods(scenario).await? == before, "pods are not as before");
    change(scenario, first(scenario), 2).await?;
    only_grew(&before, &pods(scenario).await?)
}

/// Injects a fault while messages flow, and checks after the recovery that each message has a result.
async fn withstands(
    scenario: &Scenario,
    fault: &str,
    first: Component,
    happens: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    apply(scenario, first, 1).await?;
    scenario.await_ready("flow", TIMEOUT).await?;
    scenario.pulsar.await_consumer("words", TIMEOUT).await?;
    scenario.pulsar.await_consumer("shouts", TIMEOUT).await?;
    let traffic = Traffic::start(&scenario.pulsar, "words", PACE);
    flows(scenario, 100).await?;
    happens().await?;
    scenario.await_ready("flow", TIMEOUT).await?;
    flows(scenario, 300).await?;

    let sent = traffic.stop().await?;
    let received = all_results(scenario, &sent).await?;
    let report = DeliveryReport::compare(&sent, &received, result);
    report.record(&scenario.harness, fault)?;
    ensure!(report.lost.is_empty() && report.unexpected.is_empty(), "{report:?}");
    ensure!(report.sent >= 300, "only {} messages were sent", report.sent);
    Ok(())
}

/// The first of the two functions, unless a test replaces it.
fn first(scenario: &Scenario) -> Component {
    scenario.python("first", "mark.Mark", "words", "shouts")
}

/// The result of both functions for a message.
fn result(message: &str) -> String {
    format!("{message}!!")
}

/// The mesh of both functions, with this number of replicas of the second.
async fn apply(scenario: &Scenario, first: Component, replicas: usize) -> Result<(), kube::Error> {
    let promise = json!({ "processingGuarantee": "atleast_once" });
    let second =
        scenario.python("second", "mark.Mark", "shouts", "louder").with(json!({ "replicas": replicas }));
    let mesh = scenario.mesh("flow", &[first.with(promise.clone()), second.with(promise)]);
    scenario.apply::<FunctionMesh>(mesh).await.map(|_| ())
}

/// Scales the second function, retries until the API server accepts it, and waits for the replicas.
async fn change(scenario: &Scenario, first: Component, replicas: usize) -> Result<()> {
    let is_taken = async || Ok(apply(scenario, first.clone(), replicas).await.is_ok());
    scenario.eventually("the change is taken", TIMEOUT, is_taken).await?;
    scenario.await_ready("flow", TIMEOUT).await?;
    let second = scenario.api::<Function>().get("flow-second").await?;
    ensure!(second.spec.replicas == i32::try_from(replicas).ok(), "{:?}", second.spec.replicas);
    scenario.pulsar.await_consumers("shouts", replicas, TIMEOUT).await
}

/// Waits for this number of further results.
async fn flows(scenario: &Scenario, count: u64) -> Result<()> {
    let begin = scenario.published("louder").await?;
    let flowed = async || Ok(scenario.published("louder").await? >= begin + count);
    scenario.eventually("messages flow", TIMEOUT, flowed).await
}

/// Waits until this finishes. Twenty results must arrive before that.
async fn flows_during(scenario: &Scenario, fault: impl Future<Output = Result<()>>) -> Result<()> {
    let mut fault = pin!(fault);
    tokio::select! {
        over = &mut fault => {
            over?;
            bail!("messages did not flow until it was over");
        }
        flowed = flows(scenario, 20) => flowed?,
    }
    fault.await
}

/// Waits until the first function has a backlog of this size.
async fn waits(scenario: &Scenario, count: u64) -> Result<()> {
    let subscriptions = scenario.pulsar.subscriptions("words").await?;
    let subscription = subscriptions.first().context("the topic has no subscription")?;
    let waiting = async || Ok(scenario.pulsar.backlog("words", subscription).await? >= count);
    scenario.eventually("messages wait", TIMEOUT, waiting).await
}

/// All results: waits for missing ones, then collects duplicates.
async fn all_results(scenario: &Scenario, sent: &[String]) -> Result<Vec<String>> {
    let mut missing: BTreeSet<_> = sent.iter().map(|message| result(message)).collect();
    let mut consumer = scenario.pulsar.consumer("louder", "scenario").await?;
    let mut received = Vec::new();
    loop {
        let wait = Duration::from_secs(if missing.is_empty() { 3 } else { 60 });
        let Ok(message) = timeout(wait, consumer.receive()).await else {
            return Ok(received);
        };
        let text = message?.text();
        missing.remove(&text);
        received.push(text);
    }
}

/// Identity and restarts of a pod.
#[derive(Debug, Eq, PartialEq)]
struct Seen {
    uid: String,
    ready: bool,
    restarts: i32,
}

async fn pods(scenario: &Scenario) -> Result<BTreeMap<String, Seen>> {
    let mut found = BTreeMap::new();
    for pod in scenario.api::<Pod>().list(&ListParams::default()).await? {
        let uid = pod.uid().unwrap_or_default();
        let name = pod.name_any();
        let containers = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let ready = !containers.is_empty() && containers.iter().all(|container| container.ready);
        let restarts = containers.iter().map(|container| container.restart_count).sum();
        found.insert(name, Seen { uid, ready, restarts });
    }
    Ok(found)
}

/// There are more pods, and the earlier ones still run unchanged.
fn only_grew(before: &BTreeMap<String, Seen>, after: &BTreeMap<String, Seen>) -> Result<()> {
    ensure!(after.len() == before.len() + 1, "{after:?}");
    ensure!(
        before.iter().all(|(name, seen)| after.get(name) == Some(seen)),
        "before {before:?}, after {after:?}"
    );
    Ok(())
}

/// When the leader last renewed its Lease.
async fn led_at(harness: &Harness) -> Result<Option<MicroTime>> {
    let leases = Api::<Lease>::namespaced(harness.client.clone(), OPERATOR);
    let lease = leases.get(LEASE).await?;
    Ok(lease.spec.and_then(|lease| lease.renew_time))
}
