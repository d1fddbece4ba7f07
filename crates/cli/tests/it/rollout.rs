//! `rollout` with a real control plane, without the operator: revisions are read, and annotations written.

use anyhow::ensure;
use function_mesh_api::{Function, labels};
use function_mesh_testkit::{PATIENCE, eventually, fixtures};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::harness::Harness;

/// An annotation of the function.
async fn annotation(harness: &Harness, key: &str) -> anyhow::Result<Option<String>> {
    let function = harness.get::<Function>("f").await?;
    Ok(labels::annotation(&function.metadata, key).map(str::to_owned))
}

/// What a subcommand of `rollout` says.
fn run(harness: &Harness, arguments: &[&str]) -> anyhow::Result<(i32, String, String)> {
    harness.run(&[&["rollout"], arguments].concat())
}

/// A StatefulSet as the operator creates one.
fn stateful_set(image: &str) -> anyhow::Result<StatefulSet> {
    let of = json!({ labels::NAME: "f" });
    let container = json!({ "name": "pulsar-function", "image": image, "command": ["secret"] });
    let template = json!({ "metadata": { "labels": of }, "spec": { "containers": [container] } });
    Ok(serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "f-function" },
        "spec": { "replicas": 0, "serviceName": "f", "selector": { "matchLabels": of }, "template": template },
    }))?)
}

#[tokio::test]
async fn history_undo_pause_and_resume() -> anyhow::Result<()> {
    let harness = Harness::new("rollout").await?;
    harness.apply(&fixtures::function(fixtures::java_function("f"))?).await?;
    let api = harness.api::<ControllerRevision>();
    for (count, image) in ["a:1", "b:2"].into_iter().enumerate() {
        harness.apply(&stateful_set(image)?).await?;
        eventually(PATIENCE, async || {
            let found = api.list(&ListParams::default()).await?.items.len();
            ensure!(found == count + 1, "{found} revisions");
            Ok(())
        })
        .await?;
    }
    let mut revisions = api.list(&ListParams::default()).await?.items;
    revisions.sort_by_key(|it| it.revision);
    let names: Vec<_> = revisions.iter().map(ResourceExt::name_any).collect();

    let (status, out, err) = run(&harness, &["history", "function/f"])?;
    assert_eq!((status, err.as_str()), (0, ""));
    for expected in ["function/f", &names[0], &names[1], r#"image: "a:1" becomes "b:2""#] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    assert!(!out.contains("secret"), "{out}");
    let (_, out, _) = run(&harness, &["history", "function/f", "-o", "json"])?;
    let found: Value = serde_json::from_str(&out)?;
    assert_eq!(found["components"][0]["revisions"][1]["isNewest"], json!(true), "{out}");

    let undo = format!("{}/{}", names[1], names[0]);
    for arguments in [&["undo", "function/f"][..], &["undo", "function/f", "--to-revision", "1"]] {
        let (status, out, err) = run(&harness, arguments)?;
        assert_eq!((status, err.as_str()), (0, ""));
        assert_eq!(out, format!("function/f annotated: {}={undo}\n", labels::UNDO_ROLLOUT));
        assert_eq!(annotation(&harness, labels::UNDO_ROLLOUT).await?, Some(undo.clone()));
    }
    let (status, _, err) = run(&harness, &["undo", "function/f", "--to-revision", "9"])?;
    assert!(status == 2 && err.contains("no such revision; there are 1, 2"), "{err}");

    for (command, expected) in [("pause", Some("true".to_owned())), ("resume", None)] {
        let (status, _, err) = run(&harness, &[command, "function/f"])?;
        assert_eq!((status, err.as_str()), (0, ""));
        assert_eq!(annotation(&harness, labels::PAUSE_ROLLOUT).await?, expected);
    }
    let (status, out, _) = run(&harness, &["status", "function/f"])?;
    assert_eq!((status, out.starts_with("function/f: Progressing")), (1, true), "{out}");
    let (status, _, err) = run(&harness, &["status", "function/other"])?;
    assert!(status == 2 && err.contains("not found"), "{err}");
    Ok(())
}
