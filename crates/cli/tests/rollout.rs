//! `rollout` with a real control plane, without the operator: revisions are read, and annotations written.

#![cfg(feature = "cluster")]

use std::time::Duration;

use anyhow::{Context, ensure};
use assert_cmd::Command;
use function_mesh_api::{Function, labels};
use function_mesh_testkit::{ControlPlane, apply, eventually, fixtures};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_mins(1);

struct Harness {
    plane: &'static ControlPlane,
    client: Client,
    namespace: String,
}

impl Harness {
    /// Exit code, standard output and standard error of a command.
    fn run(&self, arguments: &[&str]) -> anyhow::Result<(i32, String, String)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-mesh"));
        command.arg("rollout").args(arguments).args(["-n", &self.namespace]);
        command.arg("--kubeconfig").arg(self.plane.kubeconfig()).env_remove("KUBECONFIG");
        let output = command.output()?;
        let status = output.status.code().context("killed by a signal")?;
        Ok((status, String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
    }

    async fn annotation(&self, key: &str) -> anyhow::Result<Option<String>> {
        let function = Api::<Function>::namespaced(self.client.clone(), &self.namespace).get("f").await?;
        Ok(labels::annotation(&function.metadata, key).map(str::to_owned))
    }
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
    let plane = ControlPlane::shared().await?;
    let client = plane.client().await?;
    let namespace = plane.namespace(&client, "rollout").await?;
    let harness = Harness { plane, client, namespace };
    apply(&harness.client, &harness.namespace, &fixtures::function(fixtures::java_function("f"))?).await?;
    let api = Api::<ControllerRevision>::namespaced(harness.client.clone(), &harness.namespace);
    for (count, image) in ["a:1", "b:2"].into_iter().enumerate() {
        apply(&harness.client, &harness.namespace, &stateful_set(image)?).await?;
        eventually(MINUTE, async || {
            let found = api.list(&ListParams::default()).await?.items.len();
            ensure!(found == count + 1, "{found} revisions");
            Ok(())
        })
        .await?;
    }
    let mut revisions = api.list(&ListParams::default()).await?.items;
    revisions.sort_by_key(|it| it.revision);
    let names: Vec<_> = revisions.iter().map(ResourceExt::name_any).collect();

    let (status, out, err) = harness.run(&["history", "function/f"])?;
    assert_eq!((status, err.as_str()), (0, ""));
    for expected in ["function/f", &names[0], &names[1], r#"image: "a:1" becomes "b:2""#] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    assert!(!out.contains("secret"), "{out}");
    let (_, out, _) = harness.run(&["history", "function/f", "-o", "json"])?;
    let found: Value = serde_json::from_str(&out)?;
    assert_eq!(found["components"][0]["revisions"][1]["isNewest"], json!(true), "{out}");

    let undo = format!("{}/{}", names[1], names[0]);
    for arguments in [&["undo", "function/f"][..], &["undo", "function/f", "--to-revision", "1"]] {
        let (status, out, err) = harness.run(arguments)?;
        assert_eq!((status, err.as_str()), (0, ""));
        assert_eq!(out, format!("function/f annotated: {}={undo}\n", labels::UNDO_ROLLOUT));
        assert_eq!(harness.annotation(labels::UNDO_ROLLOUT).await?, Some(undo.clone()));
    }
    let (status, _, err) = harness.run(&["undo", "function/f", "--to-revision", "9"])?;
    assert!(status == 2 && err.contains("no such revision; there are 1, 2"), "{err}");

    for (command, expected) in [("pause", Some("true".to_owned())), ("resume", None)] {
        let (status, _, err) = harness.run(&[command, "function/f"])?;
        assert_eq!((status, err.as_str()), (0, ""));
        assert_eq!(harness.annotation(labels::PAUSE_ROLLOUT).await?, expected);
    }
    let (status, out, _) = harness.run(&["status", "function/f"])?;
    assert_eq!((status, out.starts_with("function/f: Progressing")), (1, true), "{out}");
    let (status, _, err) = harness.run(&["status", "function/other"])?;
    assert!(status == 2 && err.contains("not found"), "{err}");
    Ok(())
}
