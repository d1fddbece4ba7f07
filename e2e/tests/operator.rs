//! Crashes of the operator. The tests compare counters of the whole API server, so they run alone and one after the
//! other.

use std::time::Duration;

use anyhow::{Result, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_e2e::Scenario;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;
use kube::api::ListParams;
use tokio::time::sleep;

const TIMEOUT: Duration = Duration::from_mins(2);
/// Longer than every delay of the operator.
const QUIET: Duration = Duration::from_secs(12);

#[tokio::test]
async fn an_operator_that_was_killed_writes_nothing_when_it_comes_back() -> Result<()> {
    Scenario::run("killed", async |scenario| {
        scenario.apply::<FunctionMesh>(scenario.exclamation()?).await?;
        scenario.await_ready("exclamation", TIMEOUT).await?;
        // Wait until objects of earlier tests cause no more writes.
        let writes = scenario.harness.wait_idle(QUIET).await?;
        let (objects, sets) = (scenario.everything().await?, generations(scenario).await?);

        scenario.harness.crash_operator().await?;
        sleep(QUIET).await;

        ensure!(scenario.everything().await? == objects, "objects were replaced");
        ensure!(generations(scenario).await? == sets, "StatefulSets were changed");
        let after = scenario.harness.writes().await?;
        ensure!(after == writes, "written: before {writes:?}, after {after:?}");

        let sent = vec!["still".to_owned(), "here".to_owned()];
        scenario.pulsar.await_consumer("words", TIMEOUT).await?;
        scenario.pulsar.await_consumer("shouts", TIMEOUT).await?;
        scenario.pulsar.send("words", &sent).await?;
        let mut received = scenario.pulsar.receive("louder", 2, TIMEOUT).await?;
        received.sort();
        ensure!(received == ["here!!", "still!!"], "{received:?}");
        Ok(())
    })
    .await
}

async fn generations(scenario: &Scenario) -> Result<Vec<(String, Option<i64>)>> {
    let sets = scenario.api::<StatefulSet>().list(&ListParams::default()).await?;
    Ok(sets.into_iter().map(|set| (set.name_any(), set.metadata.generation)).collect())
}
