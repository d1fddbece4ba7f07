//! A new version beside the real one: nothing of the real one is lost, the message that differs is found, and the change is
//! promoted.

#![allow(clippy::print_stdout, reason = "the report is what the test shows")]

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::Function;
use function_mesh_api::types::Phase;
use function_mesh_e2e::Scenario;
use serde_json::json;

const TIMEOUT: Duration = Duration::from_mins(4);
const SENT: usize = 50;

/// Runs `kubectl mesh shadow`; the text is what it prints, also if it finds differences.
async fn shadow(scenario: &Scenario, arguments: &[&str]) -> Result<String> {
    let plugin = std::env::var("FUNCTION_MESH_CLI").context("set FUNCTION_MESH_CLI to kubectl-mesh")?;
    let arguments = [&["shadow"], arguments, &["-n", &scenario.namespace]].concat();
    Ok(scenario.harness.run(&plugin, &arguments, "").await.unwrap_or_else(|error| error.to_string()))
}

#[tokio::test]
async fn a_shadow_shows_the_message_that_differs_and_is_promoted() -> Result<()> {
    Scenario::run("shadow", async |scenario| {
        let function = scenario.python("keeps", "mark.Mark", "in", "out");
        scenario.start(&function, "in", TIMEOUT).await?;
        let strict = scenario.python("keeps", "strict.Strict", "in", "out");
        let change = json!({ "className": "strict.Strict", "python": strict.spec()["python"] }).to_string();
        println!("{}", shadow(scenario, &["start", "keeps", "--patch", &change]).await?);
        scenario
            .eventually("the shadow is ready", TIMEOUT, async || {
                Ok(scenario.status("keeps-shadow").await.is_ok_and(|status| status.phase == Phase::Ready))
            })
            .await?;
        scenario
            .eventually("it has a subscription of its own", TIMEOUT, async || {
                Ok(scenario.pulsar.subscriptions("in").await?.len() == 2)
            })
            .await?;

        let texts: Vec<_> = (0..SENT).map(|number| format!("text-{number}")).collect();
        scenario.pulsar.send("in", &texts).await?;
        let received: BTreeSet<_> =
            scenario.pulsar.receive("out", SENT, TIMEOUT).await?.into_iter().collect();
        let expected: BTreeSet<_> = texts.iter().map(|text| format!("{text}!")).collect();
        ensure!(received == expected, "the real function: {received:?}");

        let url = scenario.pulsar.web().to_owned();
        let diff = ["diff", "keeps", "--pulsar", &url];
        scenario
            .eventually("both have answered", TIMEOUT, async || {
                Ok(shadow(scenario, &diff).await?.contains(&format!("{} of {SENT} inputs", SENT - 1)))
            })
            .await?;
        let report = shadow(scenario, &diff).await?;
        println!("{report}");
        ensure!(report.contains("1 have different results."), "{report}");
        ensure!(
            report.contains(r#"function  "text-7!""#) && report.contains(r#"shadow    "text-7?""#),
            "{report}"
        );

        println!("{}", shadow(scenario, &["promote", "keeps"]).await?);
        scenario
            .eventually("the real function answers as the shadow did", TIMEOUT, async || {
                scenario.pulsar.send("in", &["text-7"]).await?;
                let answers = scenario.pulsar.receive("out", 1, TIMEOUT).await?;
                Ok(answers == ["text-7?"])
            })
            .await?;
        scenario
            .eventually("the shadow and its subscription are gone", TIMEOUT, async || {
                let is_gone = scenario.api::<Function>().get_opt("keeps-shadow").await?.is_none();
                Ok(is_gone && scenario.pulsar.subscriptions("in").await?.len() == 1)
            })
            .await
    })
    .await
}
