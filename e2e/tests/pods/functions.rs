//! What the runner passes to functions: windows, secrets, user config, names and instance numbers; and the report when
//! a function cannot be set up.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh};
use function_mesh_e2e::{Broker, BrokerPlan, Component, Harness, Scenario, condition, not_ready};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_mins(3);

#[tokio::test]
async fn windows_of_messages_follow_each_other_or_overlap_as_configured() -> Result<()> {
    Scenario::run("windows", async |scenario| {
        let follow = windows(scenario, "follow", "followed", &json!({ "windowLengthCount": 5 }));
        let sliding = json!({ "windowLengthCount": 4, "slidingIntervalCount": 2 });
        let overlap = windows(scenario, "overlap", "overlapped", &sliding);
        scenario.apply::<FunctionMesh>(scenario.mesh("windows", &[follow, overlap])).await?;
        scenario.pulsar.await_consumers("letters", 2, TIMEOUT).await?;

        scenario.pulsar.send("letters", &letters('a'..='h')).await?;
        ensure!(scenario.pulsar.receive("followed", 1, TIMEOUT).await? == ["a,b,c,d,e"]);
        let overlapped = scenario.pulsar.receive("overlapped", 4, TIMEOUT).await?;
        ensure!(overlapped == ["a,b", "a,b,c,d", "c,d,e,f", "e,f,g,h"], "{overlapped:?}");

        // The three remaining messages waited for two more.
        scenario.pulsar.send("letters", &letters('i'..='j')).await?;
        ensure!(scenario.pulsar.receive("followed", 1, TIMEOUT).await? == ["f,g,h,i,j"]);
        ensure!(scenario.pulsar.receive("overlapped", 1, TIMEOUT).await? == ["g,h,i,j"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_window_of_time_holds_what_came_in_its_time() -> Result<()> {
    Scenario::run("time", async |scenario| {
        let function = windows(scenario, "second", "seconds", &json!({ "windowLengthDurationMs": 1000 }));
        scenario.start(&function, "letters", TIMEOUT).await?;
        for burst in [letters('a'..='j'), letters('k'..='t')] {
            scenario.pulsar.send("letters", &burst).await?;
            // Two windows may share a burst, but two bursts never share a window.
            let (mut seen, mut count) = (Vec::new(), 0);
            while seen.len() < burst.len() {
                let window = scenario.pulsar.receive("seconds", 1, TIMEOUT).await?.concat();
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
    let harness = Harness::find().await?;
    // The state store needs two separate ports.
    let options = ["--state", "--state-port", "7064"].map(str::to_owned).into();
    let broker = Broker::start(&harness, BrokerPlan { port: 7060, options, token: None }).await?;
    let result = Scenario::run_with(&harness, &broker, "state", async |scenario| {
        let store = json!({ "statefulConfig": { "pulsar": { "serviceUrl": "bk://10.254.0.1:7064" } } });
        let function = scenario.java("counter", "e2e.Counter", "words", "counts").with(store);
        scenario.start(&function, "words", TIMEOUT).await?;
        scenario.pulsar.send("words", &["a", "b", "a"]).await?;
        ensure!(scenario.pulsar.receive("counts", 3, TIMEOUT).await? == ["a=1", "b=1", "a=2"]);

        // Otherwise some would be redelivered.
        scenario.await_read("words", TIMEOUT).await?;
        scenario.api::<Pod>().delete("counter-function-0", &DeleteParams::default()).await?;
        let is_unread =
            async || Ok(scenario.pulsar.consumers("words").await?.values().all(|count| *count == 0));
        scenario.eventually("the function has no consumer", TIMEOUT, is_unread).await?;
        scenario.pulsar.send("words", &["a", "b", "c"]).await?;
        let counts = scenario.pulsar.receive("counts", 3, TIMEOUT).await?;
        ensure!(counts == ["a=3", "b=2", "c=1"], "{counts:?}");
        Ok(())
    })
    .await;
    broker.stop().await?;
    result
}

#[tokio::test]
async fn a_function_reads_its_secrets_whatever_they_hold() -> Result<()> {
    Scenario::run("secrets", async |scenario| {
        let password = "p$ss \"w'ord\" $HOME $(id) $(POD_NAME) `id` \\n\n{\"a\": 1} \u{1f511}";
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "database" },
            "stringData": { "the.password": password },
        });
        scenario.apply::<Secret>(secret).await?;
        let secrets = json!({ "secretsMap": { "password": { "path": "database", "key": "the.password" } } });
        for language in [JAVA, PYTHON] {
            let function = settings(scenario, language).with(secrets.clone());
            let from = format!("of-{language}");
            scenario.start(&function, &from, TIMEOUT).await?;
            scenario.pulsar.send(&from, &["secret:password", "secret:other"]).await?;
            let answers = scenario.pulsar.receive(&format!("by-{language}"), 2, TIMEOUT).await?;
            let none = if language == JAVA { "null" } else { "None" };
            ensure!(answers == [password, none], "{language}: {answers:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_configuration_with_every_kind_of_character_reaches_a_function_unchanged() -> Result<()> {
    Scenario::run("config", async |scenario| {
        let config = hostile();
        let fields = config.as_object().context("it is a map")?;
        let keys: Vec<_> = fields.keys().cloned().collect();
        for language in [JAVA, PYTHON] {
            let function = settings(scenario, language).with(json!({ "funcConfig": config }));
            // The API server reads bodies of server-side apply as YAML, with YAML's line breaks; `kubectl apply` drops null.
            let mesh = scenario.mesh(language, &[function]).to_string();
            let arguments = ["-n", scenario.namespace.as_str(), "create", "-f", "-"];
            scenario.harness.run("kubectl", &arguments, &mesh).await?;
            let from = format!("of-{language}");
            scenario.pulsar.await_consumer(&from, TIMEOUT).await?;
            scenario.pulsar.send(&from, &keys).await?;
            let answers = scenario.pulsar.receive(&format!("by-{language}"), keys.len(), TIMEOUT).await?;
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
    Scenario::run("names", async |scenario| {
        for language in [JAVA, PYTHON] {
            let function = settings(scenario, language)
                .with(json!({ "name": "Names.of_mine", "replicas": 2, "showPreciseParallelism": true }));
            let mut object = function.alone();
            object["metadata"]["name"] = json!(language);
            scenario.apply::<Function>(object).await?;
            let (from, to) = (format!("of-{language}"), format!("by-{language}"));
            scenario.pulsar.await_consumers(&from, 2, TIMEOUT).await?;
            let known_as = format!("public/{}/Names.of_mine", scenario.namespace);
            scenario.pulsar.send(&from, &["names"]).await?;
            ensure!(scenario.pulsar.receive(&to, 1, TIMEOUT).await? == [known_as.as_str()]);
            let consumers = scenario.pulsar.consumers(&from).await?;
            ensure!(consumers == [(known_as, 2)].into(), "{consumers:?}");

            // With this number of messages, both replicas get some.
            scenario.pulsar.send(&from, &["instance"; 60]).await?;
            let answers: BTreeSet<_> = scenario.pulsar.receive(&to, 60, TIMEOUT).await?.into_iter().collect();
            let numbers = if language == JAVA { ["0 of 2", "1 of 2"] } else { ["0", "1"] };
            ensure!(answers == numbers.map(str::to_owned).into(), "{language}: {answers:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_function_stops_on_sigterm_before_its_grace_period_ends() -> Result<()> {
    Scenario::run("end", async |scenario| {
        // Longer than any timeout here: the test fails if the shell does not forward the signal.
        let late = json!({ "pod": { "terminationGracePeriodSeconds": 3_600 } });
        let components = [JAVA, PYTHON].map(|language| settings(scenario, language).with(late.clone()));
        scenario.apply::<FunctionMesh>(scenario.mesh("mesh", &components)).await?;
        scenario.await_ready("mesh", TIMEOUT).await?;
        let pods = scenario.api::<Pod>();
        for language in [JAVA, PYTHON] {
            scenario.pulsar.await_consumer(&format!("of-{language}"), TIMEOUT).await?;
            let name = format!("mesh-{language}-function-0");
            let before = pods.get(&name).await?.uid();
            pods.delete(&name, &DeleteParams::default()).await?;
            let gone = async || Ok(pods.get_opt(&name).await?.is_none_or(|pod| pod.uid() != before));
            scenario.eventually(&format!("{name} is gone"), TIMEOUT, gone).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_runner_that_gives_up_without_an_error_code_is_no_success_and_heals() -> Result<()> {
    Scenario::run("giving-up", async |scenario| {
        let addresses = scenario.api::<ConfigMap>().get("pulsar").await?.data.unwrap_or_default();
        let mut closed = addresses.clone();
        closed.insert("brokerServiceURL".to_owned(), "pulsar://10.254.0.1:9".to_owned());
        scenario.config("pulsar", &json!(closed)).await?;
        scenario.apply::<FunctionMesh>(scenario.mesh("mesh", &[settings(scenario, JAVA)])).await?;
        let degraded = scenario
            .await_mesh("mesh", TIMEOUT, |mesh| {
                condition(mesh, "Degraded")
                    .is_some_and(|degraded| degraded.message.contains("exited with code 0"))
            })
            .await?;
        let message = &not_ready(&degraded).context("it is ready")?.message;
        let why = "pod mesh-java-function-0: container pulsar-function exited with code 0";
        ensure!(message.contains(why), "{message}");
        let component = scenario.api::<Function>().get("mesh-java").await?.status.unwrap_or_default();
        ensure!(component.phase == Phase::Degraded && component.ready_replicas == 0, "{component:?}");

        scenario.config("pulsar", &json!(addresses)).await?;
        scenario.pulsar.await_consumer("of-java", TIMEOUT).await?;
        scenario.await_ready("mesh", TIMEOUT).await?;
        Ok(())
    })
    .await
}

const JAVA: &str = "java";
const PYTHON: &str = "python";

/// A function that answers with what the runner passed, named after its language.
fn settings(scenario: &Scenario, language: &str) -> Component {
    let (from, to) = (format!("of-{language}"), format!("by-{language}"));
    if language == JAVA {
        scenario.java(language, "e2e.Settings", &from, &to)
    } else {
        scenario.python(language, "settings.Settings", &from, &to)
    }
}

/// A function that answers with the content of each window of the topic `letters`.
fn windows(scenario: &Scenario, name: &str, to: &str, window: &Value) -> Component {
    scenario.java(name, "e2e.Numbers", "letters", to).with(json!({ "windowConfig": window }))
}

fn letters(range: RangeInclusive<char>) -> Vec<String> {
    range.map(String::from).collect()
}

/// Keys and values with special characters of shells, Kubernetes, JSON and wire protocols. None begins with `$`: the
/// Java runner treats these as names of environment variables.
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
