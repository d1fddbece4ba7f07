//! What the code of a function gets to see: windows, secrets, its configuration, its names and numbers. And what is
//! told when a function cannot be set up at all.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh};
use function_mesh_e2e::{Broker, BrokerPlan, Part, Story, World, condition, not_ready};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(3);

#[tokio::test]
async fn windows_of_messages_follow_each_other_or_overlap_as_they_are_told_to() -> Result<()> {
    Story::tell("windows", async |story| {
        let follow = windows(story, "follow", "followed", &json!({ "windowLengthCount": 5 }));
        let sliding = json!({ "windowLengthCount": 4, "slidingIntervalCount": 2 });
        let overlap = windows(story, "overlap", "overlapped", &sliding);
        story.apply::<FunctionMesh>(story.mesh("windows", &[follow, overlap])).await?;
        story.pulsar.await_consumers("letters", 2, PATIENCE).await?;

        story.pulsar.send("letters", &letters('a'..='h')).await?;
        ensure!(story.pulsar.receive("followed", 1, PATIENCE).await? == ["a,b,c,d,e"]);
        let overlapped = story.pulsar.receive("overlapped", 4, PATIENCE).await?;
        ensure!(overlapped == ["a,b", "a,b,c,d", "c,d,e,f", "e,f,g,h"], "{overlapped:?}");

        // The three that were left have waited for two more.
        story.pulsar.send("letters", &letters('i'..='j')).await?;
        ensure!(story.pulsar.receive("followed", 1, PATIENCE).await? == ["f,g,h,i,j"]);
        ensure!(story.pulsar.receive("overlapped", 1, PATIENCE).await? == ["g,h,i,j"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_window_of_time_holds_what_came_in_its_time() -> Result<()> {
    Story::tell("time", async |story| {
        let function = windows(story, "second", "seconds", &json!({ "windowLengthDurationMs": 1000 }));
        story.start(&function, "letters", PATIENCE).await?;
        for burst in [letters('a'..='j'), letters('k'..='t')] {
            story.pulsar.send("letters", &burst).await?;
            // A burst may lie on the border between windows, and never shares one with the next.
            let (mut seen, mut count) = (Vec::new(), 0);
            while seen.len() < burst.len() {
                let window = story.pulsar.receive("seconds", 1, PATIENCE).await?.concat();
                seen.extend(window.split(',').map(str::to_owned));
                count += 1;
            }
            ensure!(seen == burst && count <= 3, "{seen:?} in {count} windows");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_a_function_has_counted_outlives_its_pod() -> Result<()> {
    let world = World::find().await?;
    // The store needs two ports of its own.
    let options = ["--state", "--state-port", "7064"].map(str::to_owned).into();
    let broker = Broker::start(&world, BrokerPlan { port: 7060, options, token: None }).await?;
    let told = Story::tell_at(&world, &broker, "state", async |story| {
        let store = json!({ "statefulConfig": { "pulsar": { "serviceUrl": "bk://10.254.0.1:7064" } } });
        let function = story.java("counter", "stories.Counter", "words", "counts").with(store);
        story.start(&function, "words", PATIENCE).await?;
        story.pulsar.send("words", &["a", "b", "a"]).await?;
        ensure!(story.pulsar.receive("counts", 3, PATIENCE).await? == ["a=1", "b=1", "a=2"]);

        // Else it would see some of them again.
        story.await_read("words", PATIENCE).await?;
        story.api::<Pod>().delete("counter-function-0", &DeleteParams::default()).await?;
        let nobody = async || Ok(story.pulsar.consumers("words").await?.values().all(|count| *count == 0));
        story.eventually("nobody counts", PATIENCE, nobody).await?;
        story.pulsar.send("words", &["a", "b", "c"]).await?;
        let counts = story.pulsar.receive("counts", 3, PATIENCE).await?;
        ensure!(counts == ["a=3", "b=2", "c=1"], "{counts:?}");
        Ok(())
    })
    .await;
    broker.end().await?;
    told
}

#[tokio::test]
async fn a_function_reads_its_secrets_whatever_they_hold() -> Result<()> {
    Story::tell("secrets", async |story| {
        let password = "p$ss \"w'ord\" $HOME $(id) $(POD_NAME) `id` \\n\n{\"a\": 1} \u{1f511}";
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "database" },
            "stringData": { "the.password": password },
        });
        story.apply::<Secret>(secret).await?;
        let secrets = json!({ "secretsMap": { "password": { "path": "database", "key": "the.password" } } });
        for language in [JAVA, PYTHON] {
            let function = settings(story, language).with(secrets.clone());
            let from = format!("of-{language}");
            story.start(&function, &from, PATIENCE).await?;
            story.pulsar.send(&from, &["secret:password", "secret:other"]).await?;
            let answers = story.pulsar.receive(&format!("by-{language}"), 2, PATIENCE).await?;
            let none = if language == JAVA { "null" } else { "None" };
            ensure!(answers == [password, none], "{language}: {answers:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_configuration_with_every_kind_of_character_reaches_a_function_unchanged() -> Result<()> {
    Story::tell("config", async |story| {
        let config = hostile();
        let fields = config.as_object().context("it is a map")?;
        let keys: Vec<_> = fields.keys().cloned().collect();
        for language in [JAVA, PYTHON] {
            let function = settings(story, language).with(json!({ "funcConfig": config }));
            // Bodies of server-side apply are read as YAML, with its own idea of lines; `kubectl apply` takes null for
            // nothing.
            let mesh = story.mesh(language, &[function]).to_string();
            let arguments = ["-n", story.namespace.as_str(), "create", "-f", "-"];
            story.world.run("kubectl", &arguments, &mesh).await?;
            let from = format!("of-{language}");
            story.pulsar.await_consumer(&from, PATIENCE).await?;
            story.pulsar.send(&from, &keys).await?;
            let answers = story.pulsar.receive(&format!("by-{language}"), keys.len(), PATIENCE).await?;
            for (answer, (key, expected)) in answers.iter().zip(fields) {
                let read: Value = serde_json::from_str(answer).with_context(|| answer.clone())?;
                ensure!(read == *expected, "{language}: {key:?} is {read}, not {expected}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_function_knows_its_names_its_number_and_how_many_there_are() -> Result<()> {
    Story::tell("names", async |story| {
        for language in [JAVA, PYTHON] {
            let function = settings(story, language)
                .with(json!({ "name": "Names.of_mine", "replicas": 2, "showPreciseParallelism": true }));
            let mut object = function.alone();
            object["metadata"]["name"] = json!(language);
            story.apply::<Function>(object).await?;
            let (from, to) = (format!("of-{language}"), format!("by-{language}"));
            story.pulsar.await_consumers(&from, 2, PATIENCE).await?;
            let known_as = format!("public/{}/Names.of_mine", story.namespace);
            story.pulsar.send(&from, &["names"]).await?;
            ensure!(story.pulsar.receive(&to, 1, PATIENCE).await? == [known_as.as_str()]);
            let consumers = story.pulsar.consumers(&from).await?;
            ensure!(consumers == [(known_as, 2)].into(), "{consumers:?}");

            // Of so many, both replicas take their share.
            story.pulsar.send(&from, &["instance"; 60]).await?;
            let answers: BTreeSet<_> = story.pulsar.receive(&to, 60, PATIENCE).await?.into_iter().collect();
            let numbers = if language == JAVA { ["0 of 2", "1 of 2"] } else { ["0", "1"] };
            ensure!(answers == numbers.map(str::to_owned).into(), "{language}: {answers:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_function_ends_when_it_is_told_to_and_not_when_its_time_is_up() -> Result<()> {
    Story::tell("end", async |story| {
        // Longer than anybody here waits: a signal that the shell kept to itself would be seen.
        let late = json!({ "pod": { "terminationGracePeriodSeconds": 3_600 } });
        let parts = [JAVA, PYTHON].map(|language| settings(story, language).with(late.clone()));
        story.apply::<FunctionMesh>(story.mesh("mesh", &parts)).await?;
        story.await_ready("mesh", PATIENCE).await?;
        let pods = story.api::<Pod>();
        for language in [JAVA, PYTHON] {
            story.pulsar.await_consumer(&format!("of-{language}"), PATIENCE).await?;
            let name = format!("mesh-{language}-function-0");
            let told = pods.get(&name).await?.uid();
            pods.delete(&name, &DeleteParams::default()).await?;
            let gone = async || Ok(pods.get_opt(&name).await?.is_none_or(|pod| pod.uid() != told));
            story.eventually(&format!("{name} is gone"), PATIENCE, gone).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_runner_that_gives_up_without_an_error_code_is_no_success_and_heals() -> Result<()> {
    Story::tell("giving-up", async |story| {
        let addresses = story.api::<ConfigMap>().get("pulsar").await?.data.unwrap_or_default();
        let mut nobody = addresses.clone();
        nobody.insert("brokerServiceURL".to_owned(), "pulsar://10.254.0.1:9".to_owned());
        story.config("pulsar", &json!(nobody)).await?;
        story.apply::<FunctionMesh>(story.mesh("mesh", &[settings(story, JAVA)])).await?;
        let told = story
            .await_mesh("mesh", PATIENCE, |mesh| {
                condition(mesh, "Degraded").is_some_and(|said| said.message.contains("exited with code 0"))
            })
            .await?;
        let message = &not_ready(&told).context("it is ready")?.message;
        let why = "pod mesh-java-function-0: container pulsar-function exited with code 0";
        ensure!(message.contains(why), "{message}");
        let component = story.api::<Function>().get("mesh-java").await?.status.unwrap_or_default();
        ensure!(component.phase == Phase::Degraded && component.ready_replicas == 0, "{component:?}");

        story.config("pulsar", &json!(addresses)).await?;
        story.pulsar.await_consumer("of-java", PATIENCE).await?;
        story.await_ready("mesh", PATIENCE).await?;
        Ok(())
    })
    .await
}

const JAVA: &str = "java";
const PYTHON: &str = "python";

/// The function that answers what the runner told it, in this language and named like it.
fn settings(story: &Story, language: &str) -> Part {
    let (from, to) = (format!("of-{language}"), format!("by-{language}"));
    if language == JAVA {
        story.java(language, "stories.Settings", &from, &to)
    } else {
        story.python(language, "settings.Settings", &from, &to)
    }
}

/// A function that answers what is in each window of the topic `letters`.
fn windows(story: &Story, name: &str, to: &str, window: &Value) -> Part {
    story.java(name, "stories.Numbers", "letters", to).with(json!({ "windowConfig": window }))
}

fn letters(range: RangeInclusive<char>) -> Vec<String> {
    range.map(String::from).collect()
}

/// All that shells, Kubernetes, JSON and protocols might take for something else, in keys and in values. None begins
/// with `$`: the runner in Java takes such a one for the name of an environment variable.
fn hostile() -> Value {
    json!({
        "quotes": "'single' \"double\" `back` '\"'\"' '\\'' \u{201c}curly\u{201d}",
        "backslashes": "\\ \\\\ \\n \\\" \\u0041 C:\\temp\\",
        "shell": "; $HOME ${HOME} $(id) `id` $((1+1)) ; id && id | id > /tmp/x & !! * ? ~ #",
        "kubernetes": ".$(POD_NAME) $$(POD_NAME) $$ ${POD_NAME}",
        "space": " a  b\tc\nd\r\ne\u{a0}f ",
        "lines of YAML": "a\u{85} b\u{2028} c\u{2029} d\u{7f}\u{9f}\u{feff} e",
        "markup": "<script>alert('a & b')</script> &amp; ]]> %s %d {{ .Values }} {}",
        "letters": "Zürich, 東京, \u{1f680}\u{1f469}\u{200d}\u{1f4bb}, e\u{301}, \u{202e}right",
        "long": "0123456789 '\"\\".repeat(3_000),
        "empty": "",
        "number": 42, "large": 9_007_199_254_740_991_i64, "negative": -7, "fraction": 0.125,
        "yes": true, "no": false,
        "like a number": "0012", "like a truth": "true", "like nothing": "null",
        "nested": { "list": [1, "two", [3.5, { "deep": [null, {}, []] }]], "nothing": null, "": "no name" },
        "key 'with' \"quotes\" $(id) \\": "found",
    })
}
