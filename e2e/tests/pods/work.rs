//! Scaling on messages, on a real broker with real pods: a burst, sleep and wake, a path that wakes as one, the limit of a
//! subscription, and other writers of the replicas.

#![allow(clippy::print_stdout, reason = "the times are what the tests show")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use function_mesh_api::types::{Phase, ScalingStatus};
use function_mesh_api::{Function, FunctionMesh};
use function_mesh_e2e::{Component, Scenario, code};
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use serde_json::json;

const TIMEOUT: Duration = Duration::from_mins(4);

/// A component that may sleep soon.
fn sleepy(component: Component) -> Component {
    component
        .with(json!({ "scaling": { "minReplicas": 0, "maxReplicas": 4, "lag": "10s", "idleAfter": "10s" } }))
}

async fn replicas(scenario: &Scenario, name: &str) -> Result<i32> {
    Ok(scenario.api::<Function>().get(name).await?.spec.replicas.unwrap_or(1))
}

/// `status.scaling`; empty until the operator has decided.
async fn scaling(scenario: &Scenario, name: &str) -> ScalingStatus {
    scenario.status(name).await.ok().and_then(|status| status.scaling).unwrap_or_default()
}

/// A component has no status at first.
async fn is_in_phase(scenario: &Scenario, name: &str, phase: Phase) -> bool {
    scenario.status(name).await.is_ok_and(|status| status.phase == phase)
}

async fn await_asleep(scenario: &Scenario, names: &[&str]) -> Result<()> {
    for name in names {
        scenario
            .eventually(&format!("{name} sleeps"), TIMEOUT, async || {
                Ok(is_in_phase(scenario, name, Phase::Asleep).await)
            })
            .await?;
    }
    Ok(())
}

/// Sends a message and returns the time until its result.
async fn time_of(scenario: &Scenario, from: &str, to: &str, text: &str) -> Result<Duration> {
    let began = Instant::now();
    scenario.pulsar.send(from, &[text]).await?;
    let received = scenario.pulsar.receive(to, 1, TIMEOUT).await?;
    ensure!(received.iter().all(|it| it.starts_with(text)), "{received:?}");
    Ok(began.elapsed())
}

/// From one replica to several and to zero, without the loss of a message.
#[tokio::test]
async fn a_burst_scales_up_and_an_idle_function_sleeps() -> Result<()> {
    Scenario::run("burst", async |scenario| {
        let function = sleepy(scenario.python("waits", "wait.Wait", "in", "out"));
        scenario.start(&function, "in", TIMEOUT).await?;
        let texts: Vec<_> = (0..2000).map(|number| format!("text-{number}")).collect();
        let began = Instant::now();
        scenario.pulsar.send("in", &texts).await?;
        println!("sent 2000 messages in {:.1} s", began.elapsed().as_secs_f64());
        scenario
            .eventually("it is scaled up", TIMEOUT, async || Ok(replicas(scenario, "waits").await? > 1))
            .await?;
        println!("scaled up after {:.1} s", began.elapsed().as_secs_f64());
        scenario
            .eventually("the status says so", TIMEOUT, async || {
                Ok(scaling(scenario, "waits").await.desired_replicas.is_some_and(|it| it > 1))
            })
            .await?;
        println!("{}", scaling(scenario, "waits").await.explanation.join("\n"));
        let received = scenario.pulsar.receive("out", texts.len(), TIMEOUT).await?;
        println!("worked off after {:.1} s", began.elapsed().as_secs_f64());
        let ids: BTreeSet<_> = received.iter().map(|it| it.trim_end_matches('!')).collect();
        let sent: BTreeSet<_> = texts.iter().map(String::as_str).collect();
        ensure!(ids == sent, "lost: {:?}", sent.difference(&ids).collect::<Vec<_>>());
        await_asleep(scenario, &["waits"]).await?;
        println!(
            "asleep after {:.1} s: {:?}",
            began.elapsed().as_secs_f64(),
            scaling(scenario, "waits").await
        );
        let events = scenario.api::<Event>().list(&ListParams::default()).await?;
        let notes = events.items.iter().filter(|it| it.reason.as_deref() == Some("Scaled"));
        let notes: Vec<_> = notes.filter_map(|it| it.message.as_deref()).collect();
        println!("{}", notes.join("\n"));
        ensure!(notes.len() >= 2, "{notes:?}");
        let woken = time_of(scenario, "in", "out", "wakes").await?;
        println!("asleep, to the first result: {:.1} s", woken.as_secs_f64());
        Ok(())
    })
    .await
}

/// A chain of three that sleeps pays about one cold start, not three.
#[tokio::test]
async fn a_sleeping_chain_wakes_as_one() -> Result<()> {
    Scenario::run("chain", async |scenario| {
        let chain = [
            sleepy(scenario.python("first", "mark.Mark", "a", "b")),
            sleepy(scenario.python("second", "mark.Mark", "b", "c")),
            sleepy(scenario.python("third", "mark.Mark", "c", "d")),
        ];
        let package = scenario.pulsar.upload("function", "answer", code("go-function")?).await?;
        let go = scenario.python("go", "answer", "go-in", "go-out").with(json!({
            "python": null, "className": null,
            "golang": { "go": "/pulsar/answer", "goLocation": package },
        }));
        let alone = [
            sleepy(scenario.python("python", "mark.Mark", "python-in", "python-out")),
            sleepy(scenario.java("java", "e2e.Settings", "java-in", "java-out")),
            sleepy(go),
        ];
        scenario.apply::<FunctionMesh>(scenario.mesh("m", &chain)).await?;
        scenario.apply::<FunctionMesh>(scenario.mesh("alone", &alone)).await?;
        for topic in ["a", "b", "c", "python-in", "java-in", "go-in"] {
            scenario.pulsar.await_consumer(topic, TIMEOUT).await?;
        }
        let (mut chains, mut singles) = (Vec::new(), Vec::new());
        for run in 0..3 {
            let all = ["m-first", "m-second", "m-third", "alone-python", "alone-java", "alone-go"];
            await_asleep(scenario, &all).await?;
            chains.push(time_of(scenario, "a", "d", &format!("chain-{run}")).await?);
            singles.push(time_of(scenario, "python-in", "python-out", &format!("python-{run}")).await?);
            let go = time_of(scenario, "go-in", "go-out", &format!("go-{run}")).await?;
            scenario.pulsar.send("java-in", &["java"]).await?;
            let began = Instant::now();
            scenario.pulsar.receive("java-out", 1, TIMEOUT).await?;
            println!(
                "run {run}: chain of three {:.1} s; three times one in Python {:.1} s; one in Python {:.1} s, in Go {:.1} s, in \
                 Java {:.1} s",
                chains[run].as_secs_f64(),
                3.0 * singles[run].as_secs_f64(),
                singles[run].as_secs_f64(),
                go.as_secs_f64(),
                began.elapsed().as_secs_f64()
            );
        }
        let sum = |times: &[Duration]| times.iter().sum::<Duration>();
        ensure!(sum(&chains) < 2 * sum(&singles), "{chains:?} {singles:?}");
        Ok(())
    })
    .await
}

/// A broker looks at the time of delayed messages only for a consumer, so that a function which slept meanwhile would never
/// wake for them.
#[tokio::test]
async fn delayed_messages_keep_a_function_awake_until_their_time() -> Result<()> {
    Scenario::run("drowsy", async |scenario| {
        let function = sleepy(scenario.python("marks", "mark.Mark", "in", "out"));
        scenario.start(&function, "in", TIMEOUT).await?;
        let began = Instant::now();
        let mut producer = scenario.pulsar.producer("in").await?;
        for number in 0..30 {
            producer.send_delayed(&format!("text-{number}").into(), Duration::from_mins(2)).await?;
        }
        let received = scenario.pulsar.receive("out", 30, TIMEOUT).await?;
        println!("sent 30, received {} after {:.1} s", received.len(), began.elapsed().as_secs_f64());
        await_asleep(scenario, &["marks"]).await?;
        println!("asleep after {:.1} s", began.elapsed().as_secs_f64());
        Ok(())
    })
    .await
}

/// More replicas than partitions get no messages under Failover.
#[tokio::test]
async fn an_ordered_function_stops_at_its_partitions() -> Result<()> {
    Scenario::run("ordered", async |scenario| {
        scenario.pulsar.partitioned("in", 3).await?;
        let function = scenario.python("ordered", "wait.Wait", "in", "out").with(json!({
            "retainOrdering": true, "scaling": { "maxReplicas": 5, "lag": "5s" },
        }));
        scenario.apply::<Function>(function.alone()).await?;
        scenario
            .eventually("it is ready", TIMEOUT, async || {
                Ok(is_in_phase(scenario, "ordered", Phase::Ready).await)
            })
            .await?;
        let texts: Vec<_> = (0..3000).map(|number| format!("text-{number}")).collect();
        scenario.pulsar.send("in", &texts).await?;
        scenario
            .eventually("three replicas", TIMEOUT, async || Ok(replicas(scenario, "ordered").await? == 3))
            .await?;
        let found = scaling(scenario, "ordered").await;
        println!("{}", found.explanation.join("\n"));
        scenario.pulsar.receive("out", texts.len(), TIMEOUT).await?;
        ensure!(replicas(scenario, "ordered").await? <= 3);
        Ok(())
    })
    .await
}

/// A person's `kubectl scale` holds the operator, which says so; nothing is scaled in mode Recommend.
#[tokio::test]
async fn other_writers_and_recommendations_are_respected() -> Result<()> {
    Scenario::run("writers", async |scenario| {
        let held = sleepy(scenario.python("held", "mark.Mark", "held", "out"));
        let advised = scenario.python("advised", "wait.Wait", "advised", "out").with(json!({
            "scaling": { "mode": "Recommend", "maxReplicas": 4, "lag": "5s" },
        }));
        scenario.apply::<FunctionMesh>(scenario.mesh("m", &[held, advised])).await?;
        for topic in ["held", "advised"] {
            scenario.pulsar.await_consumer(topic, TIMEOUT).await?;
        }
        await_asleep(scenario, &["m-held"]).await?;
        scenario.kubectl(&["scale", "function", "m-held", "--replicas=2"]).await?;
        scenario
            .eventually("the operator stands aside", TIMEOUT, async || {
                Ok(scaling(scenario, "m-held").await.reason.as_deref() == Some("OtherWriter"))
            })
            .await?;
        println!("{:?}", scaling(scenario, "m-held").await.message);
        ensure!(replicas(scenario, "m-held").await? == 2);

        let texts: Vec<_> = (0..1500).map(|number| format!("text-{number}")).collect();
        scenario.pulsar.send("advised", &texts).await?;
        scenario
            .eventually("more replicas are recommended", TIMEOUT, async || {
                Ok(scaling(scenario, "m-advised").await.desired_replicas.is_some_and(|it| it > 1))
            })
            .await?;
        ensure!(replicas(scenario, "m-advised").await? == 1);
        let plugin = std::env::var("FUNCTION_MESH_CLI").context("set FUNCTION_MESH_CLI to kubectl-mesh")?;
        let arguments = ["explain", "scaling", "m-advised", "-n", &scenario.namespace];
        println!("{}", scenario.harness.run(&plugin, &arguments, "").await?);
        Ok(())
    })
    .await
}

/// Messages that fail again and again are no reason for more replicas.
#[tokio::test]
async fn poisoned_messages_do_not_look_like_load() -> Result<()> {
    Scenario::run("poisoned", async |scenario| {
        let policy = json!({ "scaling": { "maxReplicas": 4, "lag": "5s" } });
        let function = scenario.python("raises", "stall.Stall", "in", "out").with(policy);
        scenario.start(&function, "in", TIMEOUT).await?;
        scenario.pulsar.send("in", &["raise"; 200]).await?;
        let began = Instant::now();
        scenario
            .eventually("it is reported", TIMEOUT, async || {
                Ok(scaling(scenario, "raises").await.reason.as_deref() == Some("Poisoned"))
            })
            .await?;
        let (time, said) = (began.elapsed().as_secs_f64(), scaling(scenario, "raises").await.message);
        println!("reported after {time:.1} s: {said:?}");
        let events = scenario.api::<Event>().list(&ListParams::default()).await?;
        let scaled: Vec<_> =
            events.items.iter().filter(|it| it.reason.as_deref() == Some("Scaled")).collect();
        ensure!(scaled.is_empty() && replicas(scenario, "raises").await? == 1, "{scaled:?}");
        Ok(())
    })
    .await
}
