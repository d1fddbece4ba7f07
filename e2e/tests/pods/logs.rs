//! Logs of functions: in the pod's log, on a log topic and in files; levels and formats of the operator's configuration,
//! and a custom configuration.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_e2e::{Component, Scenario};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_mins(3);
const LANGUAGES: [&str; 2] = ["java", "python"];
/// One message for each level, in ascending order.
const LEVELS: [&str; 4] = ["debug: small", "info: known", "warn: careful", "error: broken"];

#[tokio::test]
async fn what_a_function_logs_arrives_on_its_log_topic() -> Result<()> {
    Scenario::run("log-topic", async |scenario| {
        let to_topic = |language: &str| {
            let topic = scenario.pulsar.topic(&format!("log-{language}"));
            logging(scenario, language).with(json!({ "logTopic": topic, "logTopicAgent": "runtime" }))
        };
        runs(scenario, &LANGUAGES.map(to_topic)).await?;
        for language in LANGUAGES {
            scenario.pulsar.send(&format!("of-{language}"), &LEVELS).await?;
            let lines = scenario.pulsar.receive_whole(&format!("log-{language}"), 3, TIMEOUT).await?;
            for (line, message) in lines.iter().zip(&LEVELS[1..]) {
                let (text, level) = (line.text(), message.split(':').next().unwrap_or_default());
                if language == "java" {
                    let noted = line.properties.get("loglevel").map(|level| level.to_lowercase());
                    ensure!(text == *message && noted.as_deref() == Some(level), "{line:?}");
                    let function = format!("public/{}/java", scenario.namespace);
                    ensure!(line.properties.get("fqn") == Some(&function), "{line:?}");
                } else {
                    let level = level.to_uppercase().replace("WARN", "WARNING");
                    ensure!(text.ends_with(&format!(" [{level}]: {message}")), "{line:?}");
                }
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn log_level_and_format_are_configurable_and_changeable() -> Result<()> {
    Scenario::run("levels", async |scenario| {
        for (turn, log, expected) in [
            (1, json!({ "level": "debug", "format": "json" }), &LEVELS[..]),
            (2, json!({ "level": "warn", "format": "text" }), &LEVELS[2..]),
        ] {
            runs(
                scenario,
                &LANGUAGES
                    .map(|language| logging(scenario, language).with(json!({ language: { "log": log } }))),
            )
            .await?;
            for language in LANGUAGES {
                answered(scenario, language, turn).await?;
                let lines = logged(scenario, language, LEVELS[3]).await?;
                let said: Vec<_> =
                    lines.iter().filter_map(|line| said(line, log["format"] == "json")).collect();
                ensure!(said == expected, "{language}: {said:?} of {lines:#?}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn log_files_are_closed_at_their_size_and_nothing_is_lost() -> Result<()> {
    Scenario::run("rotation", async |scenario| {
        let rotate = json!({ "rotatePolicy": "SizedPolicyWith10MB" });
        runs(
            scenario,
            &LANGUAGES
                .map(|language| logging(scenario, language).with(json!({ language: { "log": rotate } }))),
        )
        .await?;
        for language in LANGUAGES {
            // Slightly more than eleven megabytes.
            scenario.pulsar.send(&format!("of-{language}"), &["fill:11000"]).await?;
            scenario.pulsar.receive(&format!("by-{language}"), 1, TIMEOUT).await?;
            // Size of each file, and its number of these lines.
            let look = "cd /pulsar/logs/functions && for file in *; do \
                        case $file in *.gz) read='zcat';; *) read='cat';; esac; \
                        echo $file $($read $file | wc -c) $($read $file | grep -c 'x\\{1024\\}'); done";
            let files = async || -> Result<Vec<(String, u64, u64)>> {
                let listed = scenario.exec(&pod(language), "pulsar-function", &["sh", "-c", look]).await?;
                listed.lines().map(|line| file(line).with_context(|| listed.clone())).collect()
            };
            scenario
                .eventually("a file is closed and all lines are there", TIMEOUT, async || {
                    let files = files().await?;
                    Ok(files.len() == 2 && files.iter().map(|(_, _, lines)| lines).sum::<u64>() == 11_000)
                })
                .await?;
            let files = files().await?;
            let limit = 10 * 1024 * 1024;
            ensure!(files.iter().all(|(_, size, _)| *size > 0 && *size < limit + 2_000), "{files:?}");
            ensure!(files.iter().any(|(_, size, _)| *size > limit - 2_000), "closed too early: {files:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_custom_log_configuration_is_used() -> Result<()> {
    Scenario::run("own-log", async |scenario| {
        scenario.config("mine", &json!({ "java": LOG4J, "python": LOGGING })).await?;
        let own = |language: &str| {
            let config = json!({ "logConfig": { "name": "mine", "key": language } });
            logging(scenario, language).with(json!({ language: { "log": config } }))
        };
        runs(scenario, &LANGUAGES.map(own)).await?;
        for (language, warning) in LANGUAGES.into_iter().zip(["WARN", "WARNING"]) {
            answered(scenario, language, 1).await?;
            let lines = logged(scenario, language, LEVELS[3]).await?;
            let mine: Vec<_> = lines.iter().filter(|line| line.ends_with(LEVELS[2])).collect();
            ensure!(mine == [&format!("MINE|{warning}|{}", LEVELS[2])], "{language}: {lines:#?}");
        }
        Ok(())
    })
    .await
}

const LOG4J: &str = r#"<Configuration>
  <Appenders><Console name="Out" target="SYSTEM_OUT"><PatternLayout pattern="MINE|%p|%m%n"/></Console></Appenders>
  <Loggers><Root level="info"><AppenderRef ref="Out"/></Root></Loggers>
</Configuration>
"#;

const LOGGING: &str = "[loggers]
keys=root
[handlers]
keys=out
[formatters]
keys=mine
[logger_root]
level=INFO
handlers=out
[handler_out]
class=StreamHandler
formatter=mine
args=(sys.stdout,)
[formatter_mine]
format=MINE|%(levelname)s|%(message)s
";

/// A function that logs its input, named after its language.
fn logging(scenario: &Scenario, language: &str) -> Component {
    let (from, to) = (format!("of-{language}"), format!("by-{language}"));
    if language == "java" {
        scenario.java(language, "e2e.Logging", &from, &to)
    } else {
        scenario.python(language, "logging_function.Logging", &from, &to)
    }
}

fn pod(language: &str) -> String {
    format!("logs-{language}-function-0")
}

/// Applies a mesh of these functions and waits until it is ready and consumes.
async fn runs(scenario: &Scenario, functions: &[Component]) -> Result<()> {
    scenario.apply::<FunctionMesh>(scenario.mesh("logs", functions)).await?;
    scenario.await_ready("logs", TIMEOUT).await?;
    for language in LANGUAGES {
        scenario.pulsar.await_consumer(&format!("of-{language}"), TIMEOUT).await?;
    }
    Ok(())
}

/// Sends a message for each level and waits for the answers.
async fn answered(scenario: &Scenario, language: &str, turn: u32) -> Result<()> {
    scenario.pulsar.send(&format!("of-{language}"), &LEVELS).await?;
    let answers = scenario.pulsar.receive(&format!("by-{language}"), LEVELS.len(), TIMEOUT).await?;
    ensure!(answers == LEVELS, "turn {turn} of {language}: {answers:?}");
    Ok(())
}

/// The log of a function's pod, once it contains this.
async fn logged(scenario: &Scenario, language: &str, last: &str) -> Result<Vec<String>> {
    let log = async || scenario.log(&pod(language), "pulsar-function").await;
    scenario.eventually("the last line is there", TIMEOUT, async || Ok(log().await?.contains(last))).await?;
    Ok(log().await?.lines().map(str::to_owned).collect())
}

/// The test message in a log line of this format; None for lines of runners and clients.
fn said(line: &str, json: bool) -> Option<&'static str> {
    let parsed = serde_json::from_str::<Value>(line).ok();
    LEVELS.into_iter().find(|message| match &parsed {
        Some(parsed) => json && parsed["message"] == *message,
        None => !json && line.ends_with(message),
    })
}

/// Name, size and number of lines of a file.
fn file(line: &str) -> Option<(String, u64, u64)> {
    let mut words = line.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}
