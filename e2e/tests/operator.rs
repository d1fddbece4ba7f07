//! What happens to users when the operator has an accident. Counters of the whole API server are compared, so
//! these stories are told one after the other and apart from the rest.

use std::time::Duration;

use anyhow::{Result, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_e2e::Story;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;
use kube::api::ListParams;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_mins(2);
/// Longer than anything that the operator puts off.
const QUIET: Duration = Duration::from_secs(12);

#[tokio::test]
async fn an_operator_that_was_killed_writes_nothing_when_it_comes_back() -> Result<()> {
    Story::tell("killed", async |story| {
        story.apply::<FunctionMesh>(story.exclamation()?).await?;
        story.await_ready("exclamation", PATIENCE).await?;
        // What came before this story must have come to rest as well.
        let writes = story.world.at_rest(QUIET).await?;
        let (objects, sets) = (story.everything().await?, generations(story).await?);

        story.world.crash_operator().await?;
        sleep(QUIET).await;

        ensure!(story.everything().await? == objects, "objects were replaced");
        ensure!(generations(story).await? == sets, "StatefulSets were changed");
        let after = story.world.writes().await?;
        ensure!(after == writes, "written: before {writes:?}, after {after:?}");

        let sent = vec!["still".to_owned(), "here".to_owned()];
        story.pulsar.await_consumer("words", PATIENCE).await?;
        story.pulsar.await_consumer("shouts", PATIENCE).await?;
        story.pulsar.send("words", &sent).await?;
        let mut received = story.pulsar.receive("louder", 2, PATIENCE).await?;
        received.sort();
        ensure!(received == ["here!!", "still!!"], "{received:?}");
        Ok(())
    })
    .await
}

async fn generations(story: &Story) -> Result<Vec<(String, Option<i64>)>> {
    let sets = story.api::<StatefulSet>().list(&ListParams::default()).await?;
    Ok(sets.into_iter().map(|set| (set.name_any(), set.metadata.generation)).collect())
}
