//! Code that comes into its container from elsewhere: from the package service of the broker whose messages it works
//! on, from that of another one, and from a web server. `kinds` has connectors, and a program, from packages.
//!
//! None of these functions mounts its code, so what runs is what was downloaded.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_e2e::{Broker, BrokerPlan, Part, Story, World, code, not_ready};
use serde_json::json;

const PATIENCE: Duration = Duration::from_mins(3);

#[tokio::test]
async fn functions_in_java_and_in_python_come_from_the_package_service() -> Result<()> {
    Story::tell("packages", async |story| {
        let jar = story.pulsar.upload("function", "stories", code("functions.jar")?).await?;
        let py = story.pulsar.upload("function", "double", code("python/double.py")?).await?;
        let parts =
            [java(story, "first", "words", "twice", &jar), python(story, "second", "twice", "four", &py)];
        story.apply::<FunctionMesh>(story.mesh("packages", &parts)).await?;
        story.pulsar.await_consumer("words", PATIENCE).await?;
        story.pulsar.await_consumer("twice", PATIENCE).await?;
        story.await_ready("packages", PATIENCE).await?;
        passes(story, "words", "four", 4).await
    })
    .await
}

#[tokio::test]
async fn functions_in_java_and_in_python_come_from_a_web_server() -> Result<()> {
    Story::tell("over-http", async |story| {
        let web = story.web().await?;
        // As signed addresses are: with what a shell would take for its own.
        let of = |file: &str| format!("{}?expires=1&signature=a%2Bb;c'd", web.address(file));
        let get = json!({ "imageHasGet": true });
        let parts = [
            java(story, "first", "words", "twice", &of("functions.jar")).with(get.clone()),
            python(story, "second", "twice", "four", &of("double.py")).with(get),
        ];
        story.apply::<FunctionMesh>(story.mesh("over-http", &parts)).await?;
        story.pulsar.await_consumer("words", PATIENCE).await?;
        story.pulsar.await_consumer("twice", PATIENCE).await?;
        story.await_ready("over-http", PATIENCE).await?;
        passes(story, "words", "four", 4).await
    })
    .await
}

#[tokio::test]
async fn packages_come_from_another_broker_than_the_messages() -> Result<()> {
    let world = World::find().await?;
    let other = Broker::start(&world, BrokerPlan { port: 7310, ..BrokerPlan::default() }).await?;
    let told = Story::tell("two-brokers", async |story| {
        let elsewhere = other.namespace(&story.namespace).await?;
        let package = elsewhere.upload("function", "double", code("python/double.py")?).await?;
        story
            .config(
                "packages",
                &json!({
                    "webServiceURL": other.web_service_url, "brokerServiceURL": other.broker_service_url,
                }),
            )
            .await?;
        let double = python(story, "double", "words", "twice", &package)
            .with(json!({ "pulsarPackageService": { "pulsarConfig": "packages" } }));
        story.apply::<FunctionMesh>(story.mesh("two-brokers", &[double])).await?;
        story.pulsar.await_consumer("words", PATIENCE).await?;
        passes(story, "words", "twice", 2).await?;
        ensure!(elsewhere.topics().await?.is_empty(), "the other broker has packages and no messages");
        Ok(())
    })
    .await;
    other.end().await?;
    told
}

#[tokio::test]
async fn a_package_that_is_missing_is_told_with_the_reason_and_waited_for() -> Result<()> {
    Story::tell("missing", async |story| {
        let package = format!("function://public/{}/double@v1", story.namespace);
        let double = python(story, "double", "words", "twice", &package);
        let began = Instant::now();
        story.apply::<FunctionMesh>(story.mesh("missing", &[double])).await?;
        let told = story
            .await_mesh("missing", PATIENCE, |mesh| {
                not_ready(mesh).is_some_and(|why| why.reason == "ComponentsDegraded")
            })
            .await?;
        // A figure to look at; what is asserted is that it is told at all.
        eprintln!("told after {:.1} s", began.elapsed().as_secs_f64());
        let message = &not_ready(&told).context("it is ready")?.message;
        let start =
            "function double: pod missing-double-function-0: container pulsar-function exited with code 1";
        ensure!(message.starts_with(start), "{message}");
        ensure!(message.contains(&format!("cannot download {package}: ")), "{message}");
        let reason = message.rsplit(&package).next().unwrap_or_default();
        ensure!(["404", "not found", "not exist"].iter().any(|words| reason.contains(words)), "{message}");

        let now = story.pulsar.upload("function", "double", code("python/double.py")?).await?;
        ensure!(now == package, "it appears where it was looked for: {now}");
        story.await_ready("missing", PATIENCE).await?;
        story.pulsar.await_consumer("words", PATIENCE).await?;
        passes(story, "words", "twice", 2).await
    })
    .await
}

/// Messages come out so many times as long, each once.
async fn passes(story: &Story, from: &str, to: &str, times: usize) -> Result<()> {
    let sent: Vec<_> = (0..20).map(|number| format!("message-{number} ")).collect();
    story.pulsar.send(from, &sent).await?;
    let mut received = story.pulsar.receive(to, sent.len(), PATIENCE).await?;
    received.sort();
    let mut expected: Vec<_> = sent.iter().map(|message| message.repeat(times)).collect();
    expected.sort();
    ensure!(received == expected, "received {received:?}");
    Ok(())
}

/// Doubles in Java.
fn java(story: &Story, name: &str, from: &str, to: &str, location: &str) -> Part {
    without_mounts(story.java(name, "stories.Double", from, to))
        .with(json!({ "java": { "jar": "/pulsar/stories.jar", "jarLocation": location } }))
}

/// Doubles in Python.
fn python(story: &Story, name: &str, from: &str, to: &str, location: &str) -> Part {
    without_mounts(story.python(name, "double.Double", from, to))
        .with(json!({ "python": { "py": "/pulsar/double.py", "pyLocation": location } }))
}

fn without_mounts(part: Part) -> Part {
    part.with(json!({ "volumeMounts": null, "pod": { "volumes": null } }))
}
