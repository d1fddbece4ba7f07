//! `rollout.strategy: Recreate` on a real broker: an effectively-once function changes while messages flow, and its producers
//! of two versions never meet.

#![allow(clippy::print_stdout, reason = "the times are what the test shows")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use function_mesh_api::types::{Phase, RecreateStatus, RecreateStep};
use function_mesh_api::{Function, labels};
use function_mesh_e2e::{Component, DeliveryReport, Message, Scenario, Traffic};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

const TIMEOUT: Duration = Duration::from_mins(4);
/// Time between two messages.
const EVERY: Duration = Duration::from_millis(40);
/// Time between two looks at pods and producers.
const SAMPLE: Duration = Duration::from_millis(100);
/// Time without a message after which a topic counts as read.
const QUIET: Duration = Duration::from_secs(5);

/// What ran at the same time.
#[derive(Debug, Default)]
struct Seen {
    samples: usize,
    /// Most revisions of pods.
    revisions: usize,
    /// Most producers of the output.
    producers: usize,
    /// Samples without a pod.
    without_pods: usize,
}

impl Seen {
    async fn sample(&mut self, scenario: &Scenario) -> Result<()> {
        let pods = scenario.api::<Pod>().list(&ListParams::default().labels(labels::NAME)).await?.items;
        let revision = |pod: &Pod| pod.labels().get("controller-revision-hash").cloned();
        let revisions: BTreeSet<_> = pods.iter().filter_map(revision).collect();
        let stats = scenario.pulsar.stats("doubled").await?.unwrap_or_default();
        let producers = stats["publishers"].as_array().map_or(0, Vec::len);
        self.samples += 1;
        self.revisions = self.revisions.max(revisions.len());
        self.producers = self.producers.max(producers);
        self.without_pods += usize::from(pods.is_empty());
        Ok(())
    }
}

async fn recreate(scenario: &Scenario) -> Result<RecreateStatus> {
    let rollout = scenario.status("double").await?.rollout.context("no status.rollout")?;
    rollout.recreate.context("it was never recreated")
}

async fn apply(scenario: &Scenario, function: &Component, version: &str) -> Result<()> {
    let env = json!({ "pod": { "env": [{ "name": "VERSION", "value": version }] } });
    scenario.apply::<Function>(function.clone().with(env).alone()).await?;
    Ok(())
}

#[tokio::test]
async fn an_effectively_once_function_is_recreated_without_two_producers() -> Result<()> {
    Scenario::run("recreate", async |scenario| {
        scenario.pulsar.policy("deduplication", &json!(true)).await?;
        let function = scenario.java("double", "e2e.Double", "words", "doubled").with(json!({
            "processingGuarantee": "effectively_once", "replicas": 2, "rollout": { "strategy": "Recreate" },
        }));
        scenario.start(&function, "words", TIMEOUT).await?;
        let traffic = Traffic::start(&scenario.pulsar, "words", EVERY);
        scenario
            .eventually("messages flow", TIMEOUT, async || Ok(scenario.published("doubled").await? > 20))
            .await?;
        let (stop, stopped) = watch::channel(false);
        let witness = async {
            let mut seen = Seen::default();
            while !*stopped.borrow() {
                seen.sample(scenario).await?;
                sleep(SAMPLE).await;
            }
            anyhow::Ok(seen)
        };
        let changes = async {
            for version in ["2", "3"] {
                let began = Instant::now();
                apply(scenario, &function, version).await?;
                let is_done = async || {
                    let status = scenario.status("double").await?;
                    let pods =
                        scenario.api::<Pod>().list(&ListParams::default().labels(labels::NAME)).await?;
                    let is_new = pods.items.iter().all(|pod| has_version(pod, version));
                    Ok(status.phase == Phase::Ready && is_new && pods.items.len() == 2)
                };
                scenario.eventually("it is ready again", TIMEOUT, is_done).await?;
                let found = recreate(scenario).await?;
                ensure!(found.step == RecreateStep::Complete, "{found:?}");
                println!(
                    "version {version}: {:.1} s without a pod, ready after {:.1} s",
                    found.gap_seconds.context("no gap")?,
                    began.elapsed().as_secs_f64()
                );
                let before = scenario.published("doubled").await?;
                let continues = async || Ok(scenario.published("doubled").await? > before + 20);
                scenario.eventually("messages flow again", TIMEOUT, continues).await?;
                println!("version {version}: results again after {:.1} s", began.elapsed().as_secs_f64());
            }
            stop.send_replace(true);
            anyhow::Ok(())
        };
        let (seen, outcome) = tokio::join!(witness, changes);
        outcome?;
        let seen = seen?;
        println!("{seen:?}");
        ensure!(seen.revisions == 1 && seen.producers == 1 && seen.without_pods > 0, "{seen:?}");
        let pods = scenario.api::<Pod>().list(&ListParams::default().labels(labels::NAME)).await?.items;
        for pod in &pods {
            let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
            let restarts: i32 = statuses.into_iter().flatten().map(|status| status.restart_count).sum();
            ensure!(restarts == 0, "{} restarted: its producer was rejected?", pod.name_any());
        }

        let sent = traffic.stop().await?;
        let done = scenario.pulsar.receive_whole("doubled", sent.len(), TIMEOUT).await?;
        let more = scenario.pulsar.receive_all("doubled", QUIET).await?;
        ensure!(more.len() == sent.len(), "{} instead of {}", more.len(), sent.len());
        let done: Vec<_> = done.iter().map(Message::text).collect();
        let report = DeliveryReport::compare(&sent, &done, |text| text.repeat(2));
        report.record(&scenario.harness, "an effectively-once function is recreated")?;
        let expected = DeliveryReport { sent: sent.len(), received: sent.len(), ..DeliveryReport::default() };
        ensure!(report == expected, "{report:?}");

        let events = scenario.api::<Event>().list(&ListParams::default()).await?.items;
        for reason in ["RecreateStopping", "RecreateStarting", "Recreated"] {
            let notes: Vec<_> = events
                .iter()
                .filter(|event| event.reason.as_deref() == Some(reason))
                .filter_map(|event| event.message.as_deref())
                .collect();
            println!("{reason}: {notes:?}");
            ensure!(!notes.is_empty(), "no Event {reason}");
        }
        Ok(())
    })
    .await
}

fn has_version(pod: &Pod, version: &str) -> bool {
    let env = pod
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.env.iter().flatten());
    let value =
        env.filter(|variable| variable.name == "VERSION").find_map(|variable| variable.value.as_deref());
    value == Some(version) && json!(pod.metadata.deletion_timestamp) == Value::Null
}
