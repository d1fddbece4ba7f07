//! What goes wrong while messages flow: pods, containers, the broker, the network, the node's agent, the API server
//! and the operator itself end without warning. Messages pass two functions, which promise to work on each at least
//! once. However it goes wrong, in the end each message has its result, and some have it twice; the table of faults
//! that `hack/test --all` prints has the numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use function_mesh_api::{Function, FunctionMesh};
use function_mesh_e2e::{Broker, BrokerPlan, LEASE, OPERATOR, Part, Story, Tally, Traffic, World, not_ready};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_mins(3);
/// A message this often.
const PACE: Duration = Duration::from_millis(15);
/// So long something is away.
const AWAY: Duration = Duration::from_secs(10);
/// The pods of the two functions.
const PODS: [&str; 2] = ["flow-first-function-0", "flow-second-function-0"];

#[tokio::test]
async fn no_message_is_lost_when_pods_are_killed_again_and_again() -> Result<()> {
    Story::tell("pods-killed", async |story| {
        withstands(story, "pods killed, each twice", first(story), async || {
            for pod in PODS.into_iter().cycle().take(4) {
                let before = pods(story).await?;
                story.kubectl(&["delete", "pod", pod, "--grace-period=0", "--force"]).await?;
                let is_replaced = async || {
                    let now = pods(story).await?;
                    Ok(now.get(pod).is_some_and(|now| now.ready && now.uid != before[pod].uid))
                };
                story.eventually("another pod is there", PATIENCE, is_replaced).await?;
                flows(story, 100).await?;
            }
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_killed_container_is_told_and_started_again_and_loses_no_message() -> Result<()> {
    Story::tell("container-killed", async |story| {
        withstands(story, "container killed twice", first(story), async || {
            let before = pods(story).await?;
            story.kill(PODS[0], "python_instance").await?;
            let is_back = async |times| {
                let now = &pods(story).await?[PODS[0]];
                Ok(now.ready && now.restarts == times)
            };
            story.eventually("the container is back", PATIENCE, async || is_back(1).await).await?;
            flows(story, 100).await?;

            // It now stays away for a while, so that it can be seen what the mesh says.
            story.kill(PODS[0], "python_instance").await?;
            let is_told =
                |mesh: &FunctionMesh| not_ready(mesh).is_some_and(|why| why.reason == "ComponentsDegraded");
            let told = story.await_mesh("flow", PATIENCE, is_told).await?;
            let message = &not_ready(&told).context("it is ready")?.message;
            let why =
                "function first: pod flow-first-function-0: container pulsar-function exited with code 137";
            ensure!(message.contains(why), "{message}");
            story.eventually("the container is back again", PATIENCE, async || is_back(2).await).await?;

            ensure!(pods(story).await?[PODS[0]].uid == before[PODS[0]].uid, "the pod was replaced");
            story.await_ready("flow", PATIENCE).await?;
            let described = story.kubectl(&["describe", "functions", "flow-first"]).await?;
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
    Story::tell("kubelet", async |story| {
        withstands(story, "node agent away for 10 s", first(story), async || {
            goes_on_during(story, story.world.restart("kubelet", AWAY)).await
        })
        .await
    })
    .await
}

#[tokio::test]
async fn messages_go_on_while_the_api_server_is_away_and_the_operator_works_after_it() -> Result<()> {
    Story::tell("api-server", async |story| {
        withstands(story, "API server away for 10 s", first(story), async || {
            let before = pods(story).await?;
            flows_during(story, story.world.restart("kube-apiserver", AWAY)).await?;
            let back = led_at(&story.world).await?;
            change(story, first(story), 2).await?;
            only_grew(&before, &pods(story).await?)?;
            let leads = async || Ok(led_at(&story.world).await? > back);
            story.eventually("somebody leads", PATIENCE, leads).await?;
            story.world.await_operator().await
        })
        .await
    })
    .await
}

#[tokio::test]
async fn messages_go_on_without_the_operator_and_the_next_one_carries_changes_out() -> Result<()> {
    Story::tell("operator-killed", async |story| {
        withstands(story, "operator and webhook killed", first(story), async || {
            goes_on_during(story, story.world.crash_operator()).await
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_pod_that_was_cut_off_goes_on_where_it_stood() -> Result<()> {
    Story::tell("network", async |story| {
        withstands(story, "network of a pod cut for 30 s", first(story), async || {
            let before = pods(story).await?;
            story.cut_off(PODS[0], Duration::from_secs(30)).await?;
            // What has left it already goes through the other one.
            waits(story, 100).await?;
            let through = story.came_out("louder").await?;
            waits(story, 300).await?;
            ensure!(story.came_out("louder").await? == through, "messages came through");
            ensure!(story.world.is_cut().await?, "it was over before");
            story.eventually("it is over", PATIENCE, async || Ok(!story.world.is_cut().await?)).await?;
            flows(story, 100).await?;
            ensure!(pods(story).await? == before, "pods are not as before");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn functions_in_java_and_python_go_on_when_a_killed_broker_is_back() -> Result<()> {
    with_broker(7300, async |world, broker| {
        Story::tell_at(world, broker, "broker-killed", async |story| {
            let class = "org.apache.pulsar.functions.api.examples.ExclamationFunction";
            let java = story.java("first", class, "words", "shouts");
            let java = java.with(json!({ "java": { "jar": "/pulsar/examples/api-examples.jar" } }));
            withstands(story, "broker killed, and back with what it held", java, async || {
                let before = pods(story).await?;
                broker.kill().await?;
                broker.start_again().await?;
                flows(story, 100).await?;
                ensure!(pods(story).await? == before, "pods are not as before");
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
    with_broker(7301, async |world, broker| {
        Story::tell_at(world, broker, "all-at-once", async |story| {
            withstands(story, "broker, pods and operator killed at once", first(story), async || {
                let kill = [&["delete", "pod", "--grace-period=0", "--force"], PODS.as_slice()].concat();
                tokio::try_join!(story.kubectl(&kill), broker.kill(), world.crash_operator())?;
                broker.start_again().await?;
                flows(story, 100).await?;
                change(story, first(story), 2).await
            })
            .await
        })
        .await
    })
    .await
}

/// A broker that a story may kill.
async fn with_broker(port: u16, story: impl AsyncFnOnce(&World, &Broker) -> Result<()>) -> Result<()> {
    let world = World::find().await?;
    let broker = Broker::start(&world, BrokerPlan { port, ..BrokerPlan::default() }).await?;
    let told = story(&world, &broker).await;
    broker.end().await?;
    told
}

/// Neither messages nor pods notice a fault, and a change after it is carried out.
async fn goes_on_during(story: &Story, fault: impl Future<Output = Result<()>>) -> Result<()> {
    let before = pods(story).await?;
    flows_during(story, fault).await?;
    ensure!(pods(story).await? == before, "pods are not as before");
    change(story, first(story), 2).await?;
    only_grew(&before, &pods(story).await?)
}

/// Messages flow through a mesh while something happens. When it is over and all is well again, each has its result.
async fn withstands(
    story: &Story,
    fault: &str,
    first: Part,
    happens: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    apply(story, first, 1).await?;
    story.await_ready("flow", PATIENCE).await?;
    story.pulsar.await_consumer("words", PATIENCE).await?;
    story.pulsar.await_consumer("shouts", PATIENCE).await?;
    let traffic = Traffic::begin(&story.pulsar, "words", PACE);
    flows(story, 100).await?;
    happens().await?;
    story.await_ready("flow", PATIENCE).await?;
    flows(story, 300).await?;

    let sent = traffic.end().await?;
    let received = all_results(story, &sent).await?;
    let tally = Tally::of(&sent, &received, result);
    tally.record(&story.world, fault)?;
    ensure!(tally.lost.is_empty() && tally.strange.is_empty(), "{tally:?}");
    ensure!(tally.sent >= 300, "only {} messages were sent", tally.sent);
    Ok(())
}

/// The first of the two functions, unless a story has another one.
fn first(story: &Story) -> Part {
    story.python("first", "mark.Mark", "words", "shouts")
}

/// What both functions make of a message.
fn result(message: &str) -> String {
    format!("{message}!!")
}

/// The mesh of both functions, with so many replicas of the second.
async fn apply(story: &Story, first: Part, replicas: usize) -> Result<(), kube::Error> {
    let promise = json!({ "processingGuarantee": "atleast_once" });
    let second =
        story.python("second", "mark.Mark", "shouts", "louder").with(json!({ "replicas": replicas }));
    let mesh = story.mesh("flow", &[first.with(promise.clone()), second.with(promise)]);
    story.apply::<FunctionMesh>(mesh).await.map(|_| ())
}

/// Changes the number of replicas of the second function, as somebody does who tries until it is taken, and waits
/// until they work.
async fn change(story: &Story, first: Part, replicas: usize) -> Result<()> {
    let is_taken = async || Ok(apply(story, first.clone(), replicas).await.is_ok());
    story.eventually("the change is taken", PATIENCE, is_taken).await?;
    story.await_ready("flow", PATIENCE).await?;
    let second = story.api::<Function>().get("flow-second").await?;
    ensure!(second.spec.replicas == i32::try_from(replicas).ok(), "{:?}", second.spec.replicas);
    story.pulsar.await_consumers("shouts", replicas, PATIENCE).await
}

/// Waits until so many more results are there.
async fn flows(story: &Story, count: u64) -> Result<()> {
    let begin = story.came_out("louder").await?;
    let flowed = async || Ok(story.came_out("louder").await? >= begin + count);
    story.eventually("messages flow", PATIENCE, flowed).await
}

/// Waits until this is over. Twenty results must come before that.
async fn flows_during(story: &Story, fault: impl Future<Output = Result<()>>) -> Result<()> {
    let mut fault = pin!(fault);
    tokio::select! {
        over = &mut fault => {
            over?;
            bail!("messages did not flow until it was over");
        }
        flowed = flows(story, 20) => flowed?,
    }
    fault.await
}

/// Waits until so many messages wait for the first function.
async fn waits(story: &Story, count: u64) -> Result<()> {
    let subscriptions = story.pulsar.subscriptions("words").await?;
    let subscription = subscriptions.first().context("nobody reads the words")?;
    let waiting = async || Ok(story.pulsar.backlog("words", subscription).await? >= count);
    story.eventually("messages wait", PATIENCE, waiting).await
}

/// All results. What is missing is waited for; once nothing is, what still comes is there twice.
async fn all_results(story: &Story, sent: &[String]) -> Result<Vec<String>> {
    let mut missing: BTreeSet<_> = sent.iter().map(|message| result(message)).collect();
    let mut consumer = story.pulsar.consumer("louder", "story").await?;
    let mut received = Vec::new();
    loop {
        let patience = Duration::from_secs(if missing.is_empty() { 3 } else { 60 });
        let Ok(message) = timeout(patience, consumer.receive()).await else {
            return Ok(received);
        };
        let text = message?.text();
        missing.remove(&text);
        received.push(text);
    }
}

/// What a story wants to know of a pod.
#[derive(Debug, Eq, PartialEq)]
struct Seen {
    uid: String,
    ready: bool,
    restarts: i32,
}

async fn pods(story: &Story) -> Result<BTreeMap<String, Seen>> {
    let mut found = BTreeMap::new();
    for pod in story.api::<Pod>().list(&ListParams::default()).await? {
        let uid = pod.uid().unwrap_or_default();
        let name = pod.name_any();
        let containers = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let ready = !containers.is_empty() && containers.iter().all(|container| container.ready);
        let restarts = containers.iter().map(|container| container.restart_count).sum();
        found.insert(name, Seen { uid, ready, restarts });
    }
    Ok(found)
}

/// There are more pods, and those that were there go on as they were.
fn only_grew(before: &BTreeMap<String, Seen>, after: &BTreeMap<String, Seen>) -> Result<()> {
    ensure!(after.len() == before.len() + 1, "{after:?}");
    ensure!(
        before.iter().all(|(name, seen)| after.get(name) == Some(seen)),
        "before {before:?}, after {after:?}"
    );
    Ok(())
}

/// When somebody last said that he leads the operator's work.
async fn led_at(world: &World) -> Result<Option<MicroTime>> {
    let leases = Api::<Lease>::namespaced(world.client.clone(), OPERATOR);
    let lease = leases.get(LEASE).await?;
    Ok(lease.spec.and_then(|lease| lease.renew_time))
}
