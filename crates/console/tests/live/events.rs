//! Events: a snapshot, deltas, breaks, and viewers that read late.

use anyhow::ensure;
use serde_json::json;

use crate::harness::{Harness, Stream};

fn path(harness: &Harness) -> String {
    format!("/api/v1/meshes/{}/m/events", harness.namespace)
}

#[tokio::test]
async fn a_change_in_the_cluster_is_a_delta() -> anyhow::Result<()> {
    let harness = Harness::new("delta").await?;
    harness.report_backlog(1).await?;
    let console = harness.console().await?;
    let session = console.session().await?;
    let response = console.get(&path(&harness), &[("authorization", &session)]).await?;
    for (name, value) in
        [("content-type", "text/event-stream"), ("x-accel-buffering", "no"), ("cache-control", "no-store")]
    {
        assert_eq!(response.headers()[name], value);
    }
    let mut viewer = Stream::new(response);
    viewer.until(|it| it.backlog() == Some(1)).await?;
    assert_eq!(viewer.names[0], "snapshot");
    // What was not reported is null, and the mesh is a graph all the same.
    let scream = &viewer.state.items["function/m-scream"];
    assert_eq!((&scream["backlog"], &scream["pods"]), (&json!(null), &json!(null)));
    assert!(viewer.state.items.keys().any(|id| id.starts_with("edge/messages/topic/")));

    harness.report_backlog(2).await?;
    viewer.until(|it| it.backlog() == Some(2)).await?;
    assert!(viewer.names[1..].iter().all(|name| name == "delta"), "{:?}", viewer.names);
    // Without changes there are signs of life.
    let before = viewer.heartbeats;
    viewer.until(|it| it.heartbeats > before + 1).await?;

    // A break, and a change during it: the viewer gets what it missed.
    let (last, state) = (viewer.last_id.clone(), viewer.state.clone());
    drop(viewer);
    let mut other = Stream::new(console.get(&path(&harness), &[("authorization", &session)]).await?);
    harness.report_backlog(3).await?;
    other.until(|it| it.backlog() == Some(3)).await?;
    let headers = [("authorization", session.as_str()), ("last-event-id", &last)];
    let mut again = Stream::new(console.get(&path(&harness), &headers).await?);
    again.state = state;
    again.until(|it| it.backlog() == Some(3)).await?;
    assert!(again.names.iter().all(|name| name == "delta"), "{:?}", again.names);
    assert_eq!(again.state, other.state);

    // An ID of another process is no reason to guess.
    let headers = [("authorization", session.as_str()), ("last-event-id", "1-1-1")];
    let mut unknown = Stream::new(console.get(&path(&harness), &headers).await?);
    unknown.until(|it| !it.names.is_empty()).await?;
    assert_eq!(unknown.names, ["snapshot"]);
    Ok(())
}

#[tokio::test]
async fn meshes_come_and_go() -> anyhow::Result<()> {
    let harness = Harness::new("gone").await?;
    let console = harness.console().await?;
    let session = console.session().await?;
    let mut all = Stream::new(console.get("/api/v1/events", &[("authorization", &session)]).await?);
    let id = format!("{}/m", harness.namespace);
    all.until(|it| it.state.items.contains_key(&id)).await?;
    let mut one = Stream::new(console.get(&path(&harness), &[("authorization", &session)]).await?);
    one.until(|it| it.state.head["exists"] == true).await?;
    let namespace = ["-n", &harness.namespace];
    harness
        .plane
        .kubectl(&[&["delete", "functionmesh/m", "--wait=false"][..], &namespace].concat(), "")
        .await?;
    all.until(|it| !it.state.items.contains_key(&id)).await?;
    one.until(|it| it.state.head["exists"] == false).await?;
    let missing = console.get(&format!("/api/v1/meshes/{id}"), &[("authorization", &session)]).await?;
    assert_eq!(missing.status(), 404);
    Ok(())
}

#[tokio::test]
async fn a_hundred_viewers_share_a_watch() -> anyhow::Result<()> {
    let harness = Harness::new("many").await?;
    let console = harness.console().await?;
    let session = console.session().await?;
    let mut viewers = Vec::new();
    for _ in 0..100 {
        let response = console.get(&path(&harness), &[("authorization", &session)]).await?;
        viewers.push(Stream::new(response));
    }
    harness.report_backlog(7).await?;
    for viewer in &mut viewers {
        viewer.until(|it| it.backlog() == Some(7)).await?;
    }
    let states: Vec<_> = viewers.iter().map(|viewer| &viewer.state).collect();
    ensure!(states.windows(2).all(|pair| pair[0] == pair[1]), "viewers differ");
    Ok(())
}
