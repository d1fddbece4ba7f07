//! Components of every kind, in meshes of every shape: real connectors around functions in Java and Python, a mesh
//! that feeds itself, one that reads topics by a pattern, a batch source, and what stands in for a function in Go.

use std::time::Duration;

use anyhow::{Result, ensure};
use function_mesh_api::{Function, FunctionMesh, Source};
use function_mesh_e2e::{Part, Story, code};
use kube::api::DeleteParams;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(3);

/// How many people are made up at least.
const PEOPLE: usize = 1000;

#[tokio::test]
async fn each_of_a_thousand_people_passes_from_a_source_through_java_and_python_to_a_web_server() -> Result<()>
{
    Story::tell("people", async |story| {
        let web = story.web().await?;
        let mut parts = vec![measure(story), double(story), web.sink("deliver", "doubled").await?];
        // Readers first, so that nothing has to be caught up with.
        story.apply::<FunctionMesh>(story.mesh("people", &parts)).await?;
        story.pulsar.await_consumer("people", PATIENCE).await?;
        story.pulsar.await_consumer("measured", PATIENCE).await?;
        story.pulsar.await_consumer("doubled", PATIENCE).await?;

        let generate = generate(story).await?;
        parts.push(generate);
        story.apply::<FunctionMesh>(story.mesh("people", &parts)).await?;
        let mesh = story.await_ready("people", PATIENCE).await?;
        ensure!(mesh.status.and_then(|status| status.components).as_deref() == Some("4/4"));
        story
            .eventually("a thousand results arrive", PATIENCE, async || {
                Ok(web.received().await?.len() >= PEOPLE)
            })
            .await?;

        // The source leaves the mesh, so that the number of people is a number.
        parts.pop();
        story.apply::<FunctionMesh>(story.mesh("people", &parts)).await?;
        story
            .eventually("the source is gone", PATIENCE, async || {
                Ok(story.everything().await?.keys().all(|name| !name.contains("people-generate")))
            })
            .await?;
        let people = story.pulsar.receive_all("people", Duration::from_secs(3)).await?;
        let mut expected: Vec<_> = people
            .iter()
            .map(|person| {
                let measured = format!("{}:{}", person.body.len(), person.text());
                Value::String(format!("{measured}{measured}"))
            })
            .collect();
        expected.sort_by_key(ToString::to_string);
        story
            .eventually("all results arrive", PATIENCE, async || {
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
async fn a_mesh_that_feeds_itself_goes_around_until_its_gate_lets_go() -> Result<()> {
    Story::tell("cycle", async |story| {
        let around = json!([story.pulsar.topic("ways"), story.pulsar.topic("around")]);
        let step = story
            .python("step", "countdown.Step", "ways", "steps")
            .with(json!({ "input": { "topics": around } }));
        let gate = story
            .python("gate", "countdown.Gate", "steps", "around")
            .with(json!({ "funcConfig": { "exit": story.pulsar.topic("exit") } }));
        story.apply::<FunctionMesh>(story.mesh("cycle", &[step, gate])).await?;
        story.await_ready("cycle", PATIENCE).await?;
        for topic in ["ways", "around", "steps"] {
            story.pulsar.await_consumer(topic, PATIENCE).await?;
        }

        story.pulsar.send("ways", &["a/1", "b/3", "c/5", "d/20"]).await?;
        let mut left = story.pulsar.receive("exit", 4, PATIENCE).await?;
        left.sort();
        let mut expected: Vec<_> =
            [("a", 1), ("b", 3), ("c", 5), ("d", 20)].iter().map(|(name, from)| way(name, *from)).collect();
        expected.sort();
        ensure!(left == expected, "left {left:?}");
        // As often as there are steps, and no more: the loop is at rest.
        let steps = story.pulsar.receive_all("steps", Duration::from_secs(3)).await?;
        ensure!(steps.len() == 1 + 3 + 5 + 20, "{} steps", steps.len());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_function_reads_all_topics_that_match_its_pattern_those_made_later_too() -> Result<()> {
    Story::tell("pattern", async |story| {
        for topic in ["events-north", "events-south", "other-events"] {
            story.pulsar.partitioned(topic, 1).await?;
        }
        let archive = story
            .java("archive", "stories.Double", "unread", "archive")
            .with(json!({ "input": { "topics": null, "topicPattern": story.pulsar.topic("events-.*") } }));
        story.apply::<FunctionMesh>(story.mesh("pattern", &[archive])).await?;
        story.await_ready("pattern", PATIENCE).await?;
        for topic in ["events-north-partition-0", "events-south-partition-0"] {
            story.pulsar.await_consumer(topic, PATIENCE).await?;
        }
        story.pulsar.send("events-north", &["n"]).await?;
        story.pulsar.send("events-south", &["s"]).await?;
        story.pulsar.send("other-events", &["o"]).await?;
        ensure!(sorted(story.pulsar.receive("archive", 2, PATIENCE).await?) == ["nn", "ss"]);

        story.pulsar.partitioned("events-east", 1).await?;
        story.pulsar.await_consumer("events-east-partition-0", PATIENCE).await?;
        story.pulsar.send("events-east", &["e"]).await?;
        ensure!(story.pulsar.receive("archive", 1, PATIENCE).await? == ["ee"]);
        let all = story.pulsar.receive_all("archive", Duration::from_secs(3)).await?;
        let all: Vec<_> = all.iter().map(function_mesh_e2e::Message::text).collect();
        ensure!(sorted(all) == ["ee", "nn", "ss"]);
        let strange = story.pulsar.consumers("other-events-partition-0").await?;
        ensure!(strange.is_empty(), "{strange:?} read what does not match");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_batch_source_does_each_task_once_and_leaves_no_topic_of_its_own_behind() -> Result<()> {
    Story::tell("batch", async |story| {
        let ticks = story.source("ticks", "stories.Ticks", "/functions/functions.jar", "done").with(json!({
            "output": { "typeClassName": "[B" },
            "sourceConfig": { "tasks": 50 },
            "batchSourceConfig": {
                "discoveryTriggererClassName": "stories.Once",
            },
        }));
        story.apply::<Source>(ticks.alone()).await?;
        let done = sorted(story.pulsar.receive("done", 50, PATIENCE).await?);
        let expected = sorted((0..50).map(|number| format!("task-{number}")).collect());
        ensure!(done == expected, "done: {done:?}");
        let more = story.pulsar.receive_all("done", Duration::from_secs(3)).await?;
        ensure!(more.len() == 50, "{} results", more.len());
        ensure!(story.pulsar.topics().await?.iter().any(|topic| topic == "ticks-intermediate"));

        story.api::<Source>().delete("ticks", &DeleteParams::default()).await?;
        story
            .eventually("the source is gone", PATIENCE, async || {
                Ok(story.api::<Source>().get_opt("ticks").await?.is_none())
            })
            .await?;
        let topics = story.pulsar.topics().await?;
        ensure!(sorted(topics.clone()) == ["done"], "left: {topics:?}");
        Ok(())
    })
    .await
}

/// The program is the stand-in for a function in Go of `e2e/functions/go`: the library for real ones cannot be had
/// here. What the operator does for it is what it does for a real one.
#[tokio::test]
async fn the_stand_in_for_a_go_function_comes_as_a_package_and_its_configuration_arrives_unharmed()
-> Result<()> {
    Story::tell("golang", async |story| {
        let package = story.pulsar.upload("function", "greeter", code("go-function")?).await?;
        let suffix = r#" said "it's $HOME", \"twice\" & `more` {"a": [1, 2]} %s"#;
        let greeter = story.python("greeter", "greeter", "words", "said").with(json!({
            "python": null, "className": null,
            "golang": { "go": "/pulsar/greeter", "goLocation": package },
            "funcConfig": { "suffix": suffix },
        }));
        story.apply::<Function>(greeter.alone()).await?;
        story.pulsar.await_consumer("words", PATIENCE).await?;
        story.pulsar.send("words", &["one", "two"]).await?;
        let said = sorted(story.pulsar.receive("said", 2, PATIENCE).await?);
        ensure!(said == [format!("one{suffix}"), format!("two{suffix}")], "{said:?}");
        let log = story.log("greeter-function-0", "pulsar-function").await?;
        ensure!(log.contains("instance 0 of greeter answers with"), "{log}");
        Ok(())
    })
    .await
}

/// Pulsar's own connector that makes people up, as a package.
async fn generate(story: &Story) -> Result<Part> {
    let package = story.connector("source", "pulsar-io-data-generator").await?;
    let class = "org.apache.pulsar.io.datagenerator.DataGeneratorSource";
    Ok(story.source("generate", class, "/pulsar/connectors/data-generator.nar", "people").with(json!({
        "java": { "jarLocation": package },
        "output": { "typeClassName": "org.apache.pulsar.io.datagenerator.Person", "sinkSchemaType": "json" },
        "sourceConfig": { "sleepBetweenMessages": 10 },
    })))
}

fn measure(story: &Story) -> Part {
    // The bytes of a person, whatever their schema.
    story
        .java("measure", "stories.Measured", "people", "measured")
        .with(json!({ "input": { "typeClassName": "[B" } }))
}

fn double(story: &Story) -> Part {
    // With a schema, which the sink asks for.
    story
        .python("double", "double.Double", "measured", "doubled")
        .with(json!({ "output": { "sinkSchemaType": "string" } }))
}

/// `b/3/2/1/0`
fn way(name: &str, from: u32) -> String {
    let numbers = (0..=from).rev().map(|number| format!("/{number}"));
    name.to_owned() + &numbers.collect::<String>()
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}
