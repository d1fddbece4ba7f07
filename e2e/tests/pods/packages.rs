//! Downloaded code: from the package service of the same broker, from that of another broker, and from a web server.
//! `kinds` tests connectors and a program from packages.
//!
//! These functions do not mount their code, so they run what was downloaded.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_e2e::{Broker, BrokerPlan, Component, Harness, Scenario, code, not_ready};
use serde_json::json;

const TIMEOUT: Duration = Duration::from_mins(3);

#[tokio::test]
async fn functions_in_java_and_in_python_come_from_the_package_service() -> Result<()> {
    Scenario::run("packages", async |scenario| {
        let jar = scenario.pulsar.upload("function", "tests", code("functions.jar")?).await?;
        let py = scenario.pulsar.upload("function", "double", code("python/double.py")?).await?;
        let components = [
            java(scenario, "first", "words", "twice", &jar),
            python(scenario, "second", "twice", "four", &py),
        ];
        scenario.apply::<FunctionMesh>(scenario.mesh("packages", &components)).await?;
        scenario.pulsar.await_consumer("words", TIMEOUT).await?;
        scenario.pulsar.await_consumer("twice", TIMEOUT).await?;
        scenario.await_ready("packages", TIMEOUT).await?;
        passes(scenario, "words", "four", 4).await
    })
    .await
}

#[tokio::test]
async fn functions_in_java_and_in_python_come_from_a_web_server() -> Result<()> {
    Scenario::run("over-http", async |scenario| {
        let web = scenario.web().await?;
        // As in signed URLs: with special characters of shells.
        let of = |file: &str| format!("{}?expires=1&signature=a%2Bb;c'd", web.address(file));
        let get = json!({ "imageHasGet": true });
        let components = [
            java(scenario, "first", "words", "twice", &of("functions.jar")).with(get.clone()),
            python(scenario, "second", "twice", "four", &of("double.py")).with(get),
        ];
        scenario.apply::<FunctionMesh>(scenario.mesh("over-http", &components)).await?;
        scenario.pulsar.await_consumer("words", TIMEOUT).await?;
        scenario.pulsar.await_consumer("twice", TIMEOUT).await?;
        scenario.await_ready("over-http", TIMEOUT).await?;
        passes(scenario, "words", "four", 4).await
    })
    .await
}

#[tokio::test]
async fn packages_come_from_another_broker_than_the_messages() -> Result<()> {
    let harness = Harness::find().await?;
    let other = Broker::start(&harness, BrokerPlan { port: 7310, ..BrokerPlan::default() }).await?;
    let result = Scenario::run("two-brokers", async |scenario| {
        let elsewhere = other.namespace(&scenario.namespace).await?;
        let package = elsewhere.upload("function", "double", code("python/double.py")?).await?;
        scenario
            .config(
                "packages",
                &json!({
                    "webServiceURL": other.web_service_url, "brokerServiceURL": other.broker_service_url,
                }),
            )
            .await?;
        let double = python(scenario, "double", "words", "twice", &package)
            .with(json!({ "pulsarPackageService": { "pulsarConfig": "packages" } }));
        scenario.apply::<FunctionMesh>(scenario.mesh("two-brokers", &[double])).await?;
        scenario.pulsar.await_consumer("words", TIMEOUT).await?;
        passes(scenario, "words", "twice", 2).await?;
        ensure!(elsewhere.topics().await?.is_empty(), "the other broker has packages and no messages");
        Ok(())
    })
    .await;
    other.stop().await?;
    result
}

#[tokio::test]
async fn a_missing_package_is_reported_and_retried() -> Result<()> {
    Scenario::run("missing", async |scenario| {
        let package = format!("function://public/{}/double@v1", scenario.namespace);
        let double = python(scenario, "double", "words", "twice", &package);
        let began = Instant::now();
        scenario.apply::<FunctionMesh>(scenario.mesh("missing", &[double])).await?;
        let degraded = scenario
            .await_mesh("missing", TIMEOUT, |mesh| {
                not_ready(mesh).is_some_and(|why| why.reason == "ComponentsDegraded")
            })
            .await?;
        // For information; the test asserts only that it is reported.
        eprintln!("reported after {:.1} s", began.elapsed().as_secs_f64());
        let message = &not_ready(&degraded).context("it is ready")?.message;
        let start =
            "function double: pod missing-double-function-0: container pulsar-function exited with code 1";
        ensure!(message.starts_with(start), "{message}");
        ensure!(message.contains(&format!("cannot download {package}: ")), "{message}");
        let reason = message.rsplit(&package).next().unwrap_or_default();
        ensure!(["404", "not found", "not exist"].iter().any(|words| reason.contains(words)), "{message}");

        let now = scenario.pulsar.upload("function", "double", code("python/double.py")?).await?;
        ensure!(now == package, "the package has another URL: {now}");
        scenario.await_ready("missing", TIMEOUT).await?;
        scenario.pulsar.await_consumer("words", TIMEOUT).await?;
        passes(scenario, "words", "twice", 2).await
    })
    .await
}

/// Messages come out so many times as long, each once.
async fn passes(scenario: &Scenario, from: &str, to: &str, times: usize) -> Result<()> {
    let sent: Vec<_> = (0..20).map(|number| format!("message-{number} ")).collect();
    scenario.pulsar.send(from, &sent).await?;
    let mut received = scenario.pulsar.receive(to, sent.len(), TIMEOUT).await?;
    received.sort();
    let mut expected: Vec<_> = sent.iter().map(|message| message.repeat(times)).collect();
    expected.sort();
    ensure!(received == expected, "received {received:?}");
    Ok(())
}

/// Doubles in Java.
fn java(scenario: &Scenario, name: &str, from: &str, to: &str, location: &str) -> Component {
    let code = json!({ "java": { "jar": "/pulsar/e2e.jar", "jarLocation": location } });
    scenario.java(name, "e2e.Double", from, to).with_code(code)
}

/// Doubles in Python.
fn python(scenario: &Scenario, name: &str, from: &str, to: &str, location: &str) -> Component {
    let code = json!({ "python": { "py": "/pulsar/double.py", "pyLocation": location } });
    scenario.python(name, "double.Double", from, to).with_code(code)
}
