//! Components of every kind: real connectors with functions in Java and Python, a cyclic mesh, topic patterns, a batch
//! source, and a substitute for a Go function.

use std::time::Duration;

use anyhow::{Result, ensure};
use function_mesh_api::{Function, FunctionMesh, Source};
use function_mesh_e2e::{Component, Scenario, code};
use kube::api::DeleteParams;
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_mins(3);

/// Minimum number of generated people.
const PEOPLE: usize = 1000;

#[tokio::test]
async fn each_of_a_thousand_people_passes_from_a_source_through_java_and_python_to_a_web_server() -> Result<()>
{
    Scenario::run("people", async |scenario| {
        let web = scenario.web().await?;
        let mut components = vec![measure(scenario), double(scenario), web.sink("deliver", "doubled").await?];
        // Consumers first, so that there is no backlog.
        scenario.apply::<FunctionMesh>(scenario.mesh("people", &components)).await?;
        scenario.pulsar.await_consumer("people", TIMEOUT).await?;
        scenario.pulsar.await_consumer("measured", TIMEOUT).await?;
        scenario.pulsar.await_consumer("doubled", TIMEOUT).await?;

        let generate = generate(scenario).await?;
        components.push(generate);
        scenario.apply::<FunctionMesh>(scenario.mesh("people", &components)).await?;
        let mesh = scenario.await_ready("people", TIMEOUT).await?;
        ensure!(mesh.status.and_then(|status| status.components).as_deref() == Some("4/4"));
        scenario
            .eventually("a thousand results arrive", TIMEOUT, async || {
                Ok(web.received().await?.len() >= PEOPLE)
            })
            .await?;

        // Without the source, the number of people is final.
        components.pop();
        scenario.apply::<FunctionMesh>(scenario.mesh("people", &components)).await?;
        scenario
            .eventually("the source is gone", TIMEOUT, async || {
                Ok(scenario.everything().await?.keys().all(|name| !name.contains("people-generate")))
            })
            .await?;
        let people = scenario.pulsar.receive_all("people", Duration::from_secs(3)).await?;
        let mut expected: Vec<_> = people
            .iter()
            .map(|person| {
                let measured = format!("{}:{}", person.body.len(), person.text());
                Value::String(format!("{measured}{measured}"))
            })
            .collect();
        expected.sort_by_key(ToString::to_string);
        scenario
            .eventually("all results arrive", TIMEOUT, async || {
                Ok(web.received().await?.len() >= expected.len())
            })
            .await?;
        let mut received = web.received().await?;
        received.sort_by_key(ToString::to_string);
        ensure!(received.len() == expected.len(), "{} of {}", received.len(), expected.len());
        let wrong = received.iter().zip(&expected).find(|(received, expected)| received != expected);
        ensure!(wrong.is_none(), "received and expected: {wrong:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn messages_circulate_in_a_cyclic_mesh_until_its_gate_opens() -> Result<()> {
    Scenario::run("cycle", async |scenario| {
        let around = json!([scenario.pulsar.topic("ways"), scenario.pulsar.topic("around")]);
        let step = scenario
            .python("step", "countdown.Step", "ways", "steps")
            .with(json!({ "input": { "topics": around } }));
        let gate = scenario
            .python("gate", "countdown.Gate", "steps", "around")
            .with(json!({ "funcConfig": { "exit": scenario.pulsar.topic("exit") } }));
        scenario.apply::<FunctionMesh>(scenario.mesh("cycle", &[step, gate])).await?;
        scenario.await_ready("cycle", TIMEOUT).await?;
        for topic in ["ways", "around", "steps"] {
            scenario.pulsar.await_consumer(topic, TIMEOUT).await?;
        }

        scenario.pulsar.send("ways", &["a/1", "b/3", "c/5", "d/20"]).await?;
        let mut left = scenario.pulsar.receive("exit", 4, TIMEOUT).await?;
        left.sort();
        let mut expected: Vec<_> =
            [("a", 1), ("b", 3), ("c", 5), ("d", 20)].iter().map(|(name, from)| way(name, *from)).collect();
        expected.sort();
        ensure!(left == expected, "left {left:?}");
        // One message per step and no more: the cycle is idle.
        let steps = scenario.pulsar.receive_all("steps", Duration::from_secs(3)).await?;
        ensure!(steps.len() == 1 + 3 + 5 + 20, "{} steps", steps.len());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_function_reads_all_topics_that_match_its_pattern_those_made_later_too() -> Result<()> {
    Scenario::run("pattern", async |scenario| {
        for topic in ["events-north", "events-south", "other-events"] {
            scenario.pulsar.partitioned(topic, 1).await?;
        }
        let archive = scenario
            .java("archive", "e2e.Double", "unread", "archive")
            .with(json!({ "input": { "topics": null, "topicPattern": scenario.pulsar.topic("events-.*") } }));
        scenario.apply::<FunctionMesh>(scenario.mesh("pattern", &[archive])).await?;
        scenario.await_ready("pattern", TIMEOUT).await?;
        for topic in ["events-north-partition-0", "events-south-partition-0"] {
            scenario.pulsar.await_consumer(topic, TIMEOUT).await?;
        }
        scenario.pulsar.send("events-north", &["n"]).await?;
        scenario.pulsar.send("events-south", &["s"]).await?;
        scenario.pulsar.send("other-events", &["o"]).await?;
        ensure!(sorted(scenario.pulsar.receive("archive", 2, TIMEOUT).await?) == ["nn", "ss"]);

        scenario.pulsar.partitioned("events-east", 1).await?;
        scenario.pulsar.await_consumer("events-east-partition-0", TIMEOUT).await?;
        scenario.pulsar.send("events-east", &["e"]).await?;
        ensure!(scenario.pulsar.receive("archive", 1, TIMEOUT).await? == ["ee"]);
        let all = scenario.pulsar.receive_all("archive", Duration::from_secs(3)).await?;
        let all: Vec<_> = all.iter().map(function_mesh_e2e::Message::text).collect();
        ensure!(sorted(all) == ["ee", "nn", "ss"]);
        let unexpected = scenario.pulsar.consumers("other-events-partition-0").await?;
        ensure!(unexpected.is_empty(), "{unexpected:?} read what does not match");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_batch_source_does_each_task_once_and_leaves_no_topic_of_its_own_behind() -> Result<()> {
    Scenario::run("batch", async |scenario| {
        let ticks = scenario.source("ticks", "e2e.Ticks", "/functions/functions.jar", "done").with(json!({
            "output": { "typeClassName": "[B" },
            "sourceConfig": { "tasks": 50 },
            "batchSourceConfig": {
                "discoveryTriggererClassName": "e2e.Once",
            },
        }));
        scenario.apply::<Source>(ticks.alone()).await?;
        let done = sorted(scenario.pulsar.receive("done", 50, TIMEOUT).await?);
        let expected = sorted((0..50).map(|number| format!("task-{number}")).collect());
        ensure!(done == expected, "done: {done:?}");
        let more = scenario.pulsar.receive_all("done", Duration::from_secs(3)).await?;
        ensure!(more.len() == 50, "{} results", more.len());
        ensure!(scenario.pulsar.topics().await?.iter().any(|topic| topic == "ticks-intermediate"));

        scenario.api::<Source>().delete("ticks", &DeleteParams::default()).await?;
        scenario
            .eventually("the source is gone", TIMEOUT, async || {
                Ok(scenario.api::<Source>().get_opt("ticks").await?.is_none())
            })
            .await?;
        let topics = scenario.pulsar.topics().await?;
        ensure!(sorted(topics.clone()) == ["done"], "left: {topics:?}");
        Ok(())
    })
    .await
}

/// Runs the substitute in `e2e/functions/go`, since Pulsar's Go SDK is not available here. The operator treats it as any
/// Go function.
#[tokio::test]
async fn a_go_function_comes_from_a_package_with_its_exact_configuration() -> Result<()> {
    Scenario::run("golang", async |scenario| {
        let package = scenario.pulsar.upload("function", "greeter", code("go-function")?).await?;
        let suffix = r#" said "it's $HOME", \"twice\" & `more` {"a": [1, 2]} %s"#;
        let greeter = scenario.python("greeter", "greeter", "words", "said").with(json!({
            "python": null, "className": null,
            "golang": { "go": "/pulsar/greeter", "goLocation": package },
            "funcConfig": { "suffix": suffix },
        }));
        scenario.apply::<Function>(greeter.alone()).await?;
        scenario.pulsar.await_consumer("words", TIMEOUT).await?;
        scenario.pulsar.send("words", &["one", "two"]).await?;
        let said = sorted(scenario.pulsar.receive("said", 2, TIMEOUT).await?);
        ensure!(said == [format!("one{suffix}"), format!("two{suffix}")], "{said:?}");
        let log = scenario.log("greeter-function-0", "pulsar-function").await?;
        ensure!(log.contains("instance 0 of greeter answers with"), "{log}");
        Ok(())
    })
    .await
}

/// Pulsar's data generator, as a package.
async fn generate(scenario: &Scenario) -> Result<Component> {
    let package = scenario.connector("source", "pulsar-io-data-generator").await?;
    let class = "org.apache.pulsar.io.datagenerator.DataGeneratorSource";
    Ok(scenario.source("generate", class, "/pulsar/connectors/data-generator.nar", "people").with(json!({
        "java": { "jarLocation": package },
        "output": { "typeClassName": "org.apache.pulsar.io.datagenerator.Person", "sinkSchemaType": "json" },
        "sourceConfig": { "sleepBetweenMessages": 10 },
    })))
}

fn measure(scenario: &Scenario) -> Component {
    // The bytes of a person, in any schema.
    scenario
        .java("measure", "e2e.Measured", "people", "measured")
        .with(json!({ "input": { "typeClassName": "[B" } }))
}

fn double(scenario: &Scenario) -> Component {
    // The sink needs a schema.
    scenario
        .python("double", "double.Double", "measured", "doubled")
        .with(json!({ "output": { "sinkSchemaType": "string" } }))
}

/// For example `b/3/2/1/0`.
fn way(name: &str, from: u32) -> String {
    let numbers = (0..=from).rev().map(|number| format!("/{number}"));
    name.to_owned() + &numbers.collect::<String>()
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}
