//! What counts as backlog, on a real broker: entries of batches, and delayed messages before and after their time.

#![allow(clippy::print_stdout, reason = "the numbers and the times are what the tests show")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use function_mesh_api::types::TrafficStatus;
use function_mesh_e2e::Scenario;
use tokio::time::sleep;

const TIMEOUT: Duration = Duration::from_mins(3);
/// Delayed messages of each test.
const COUNT: u64 = 30;

/// Stops the pods of a function, whose subscription stays.
async fn park(scenario: &Scenario, name: &str, topic: &str) -> Result<()> {
    scenario.kubectl(&["scale", "function", name, "--replicas=0"]).await?;
    let has_left = async || Ok(scenario.pulsar.consumers(topic).await?.values().sum::<usize>() == 0);
    scenario.eventually(&format!("{name} has no consumer"), TIMEOUT, has_left).await
}

/// Backlog and delayed messages of the only subscription of a topic, as the broker counts them.
async fn counted(scenario: &Scenario, topic: &str) -> Result<(u64, u64)> {
    let stats = scenario.pulsar.stats(topic).await?.unwrap_or_default();
    let subscription = stats["subscriptions"].as_object().and_then(|all| all.values().next());
    let number = |field: &str| subscription.and_then(|it| it[field].as_u64()).unwrap_or_default();
    Ok((number("msgBacklog"), number("msgDelayed")))
}

/// Sends delayed messages, each acknowledged by the broker before the next.
async fn delayed(scenario: &Scenario, topic: &str, delay: Duration) -> Result<()> {
    let mut producer = scenario.pulsar.producer(topic).await?;
    for number in 0..COUNT {
        producer.send_delayed(&format!("text {number}").into(), delay).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_batch_is_one_entry_of_the_backlog() -> Result<()> {
    Scenario::run("batches", async |scenario| {
        scenario.start(&scenario.python("marks", "mark.Mark", "in", "out"), "in", TIMEOUT).await?;
        park(scenario, "marks", "in").await?;
        let texts: Vec<_> = (0..200).map(|number| format!("text {number}")).collect();
        let entries = scenario.pulsar.send_batches("in", &texts, 10).await?;
        let published = scenario.published("in").await?;
        println!("sent {} messages in {entries} entries; the broker counts {published}", texts.len());
        ensure!(entries < texts.len() / 2 && published == texts.len() as u64, "no batches");
        let backlog = Some(entries as u64);
        let waits = |traffic: &TrafficStatus| traffic.backlog == backlog;
        let traffic = scenario.await_traffic("marks", "all entries wait", waits).await?;
        println!("no pods: {traffic:?}");

        scenario.kubectl(&["scale", "function", "marks", "--replicas=1"]).await?;
        let is_done = |traffic: &TrafficStatus| traffic.backlog == Some(0);
        let traffic = scenario.await_traffic("marks", "all is processed", is_done).await?;
        println!("one pod: {traffic:?}");
        let received = scenario.pulsar.receive("out", texts.len(), TIMEOUT).await?;
        ensure!(received.len() == texts.len());
        Ok(())
    })
    .await
}

/// One message blocks the function, so that delayed ones are counted when their time has come.
#[tokio::test]
async fn delayed_messages_count_when_their_time_has_come() -> Result<()> {
    let delay = Duration::from_secs(100);
    Scenario::run("delayed", async |scenario| {
        scenario.start(&scenario.python("blocks", "stall.Stall", "in", "out"), "in", TIMEOUT).await?;
        let until = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 190;
        let began = Instant::now();
        scenario.pulsar.send("in", &[format!("block-until:{until}")]).await?;
        delayed(scenario, "in", delay).await?;
        let is_delayed = async || Ok(counted(scenario, "in").await? == (COUNT + 1, COUNT));
        scenario.eventually("the broker delays them", TIMEOUT, is_delayed).await?;
        let print = |what: &str, counted: (u64, u64), traffic: &TrafficStatus| {
            let seconds = began.elapsed().as_secs();
            println!("{what}, after {seconds} s: broker (backlog, delayed) {counted:?}, status {traffic:?}");
        };
        let one = |traffic: &TrafficStatus| traffic.backlog == Some(1);
        let traffic = scenario.await_traffic("blocks", "only the first counts", one).await?;
        print("delayed", counted(scenario, "in").await?, &traffic);

        let all = |traffic: &TrafficStatus| traffic.backlog == Some(COUNT + 1);
        let traffic = scenario.await_traffic("blocks", "they count", all).await?;
        ensure!(began.elapsed() >= delay, "they count before their time: {traffic:?}");
        print("their time has come", counted(scenario, "in").await?, &traffic);

        let is_done = |traffic: &TrafficStatus| traffic.backlog == Some(0);
        let traffic = scenario.await_traffic("blocks", "all is processed", is_done).await?;
        print("not blocked any more", counted(scenario, "in").await?, &traffic);
        Ok(())
    })
    .await
}

/// A broker learns that a message is delayed when it reads it for a consumer, and looks at the time only for a consumer. So
/// without pods it counts those sent since as waiting, and never those that it delayed before.
#[tokio::test]
async fn without_pods_delayed_messages_count_as_the_broker_knows_them() -> Result<()> {
    let delay = Duration::from_mins(1);
    Scenario::run("parked", async |scenario| {
        for name in ["knows", "fresh"] {
            scenario.start(&scenario.python(name, "mark.Mark", name, "out"), name, TIMEOUT).await?;
        }
        let began = Instant::now();
        delayed(scenario, "knows", delay).await?;
        let is_delayed = async || Ok(counted(scenario, "knows").await? == (COUNT, COUNT));
        scenario.eventually("the broker delays them", TIMEOUT, is_delayed).await?;
        for name in ["knows", "fresh"] {
            park(scenario, name, name).await?;
        }
        delayed(scenario, "fresh", delay).await?;
        let counts = |count| move |traffic: &TrafficStatus| traffic.backlog == Some(count);
        scenario.await_traffic("fresh", "all count", counts(COUNT)).await?;
        // All times have come.
        sleep((delay + Duration::from_secs(15)).saturating_sub(began.elapsed())).await;
        let before = counted(scenario, "knows").await?;
        let knows = scenario.await_traffic("knows", "none counts", counts(0)).await?;
        let fresh = scenario.await_traffic("fresh", "all count", counts(COUNT)).await?;
        println!("delayed for a consumer: broker {before:?}, status {knows:?}");
        println!("sent without a consumer: broker {:?}, status {fresh:?}", counted(scenario, "fresh").await?);
        ensure!(before == (COUNT, COUNT), "{before:?}");
        for name in ["knows", "fresh"] {
            scenario.kubectl(&["scale", "function", name, "--replicas=1"]).await?;
        }
        let count = usize::try_from(2 * COUNT)?;
        ensure!(scenario.pulsar.receive("out", count, TIMEOUT).await?.len() == count);
        Ok(())
    })
    .await
}
