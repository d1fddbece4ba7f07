//! The binary with a real control plane, without nodes and without the operator.

use std::ops::Deref;
use std::path::PathBuf;

use anyhow::ensure;
use function_mesh_api::labels::managers;
use function_mesh_api::validate::valid_component;
use function_mesh_api::{FunctionSpec, Role};
use function_mesh_testkit::fixtures;
use function_mesh_workloads::{
    Backends, Edition, PublishedSettings, RunnerImages, SETTINGS_CONFIG_MAP, Settings, names, render_edition,
};
use serde::Serialize;
use serde_json::Value;

use crate::harness::Harness;

/// A namespace with published settings, and a folder for manifests.
struct Published {
    harness: Harness,
    folder: tempfile::TempDir,
}

impl Deref for Published {
    type Target = Harness;

    fn deref(&self) -> &Harness {
        &self.harness
    }
}

impl Published {
    async fn new(name: &str) -> anyhow::Result<Self> {
        let published = Self { harness: Harness::new(name).await?, folder: tempfile::tempdir()? };
        published.publish(SETTINGS_CONFIG_MAP, Settings::default(), &[]).await?;
        Ok(published)
    }

    /// Publishes settings, as the operator does.
    async fn publish(
        &self,
        name: &str,
        settings: Settings,
        watched_namespaces: &[&str],
    ) -> anyhow::Result<()> {
        let published = PublishedSettings {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            watched_namespaces: watched_namespaces.iter().map(ToString::to_string).collect(),
            settings,
        };
        let config_map = published.to_config_map(&self.namespace, name).map_err(anyhow::Error::msg)?;
        self.apply(&config_map).await.map(drop)
    }

    fn file<T: Serialize>(&self, name: &str, object: &T) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, serde_json::to_string_pretty(object)?)?;
        Ok(path)
    }

    /// Acts as the operator once: applies what `render` prints for the objects in the cluster.
    async fn reconcile(&self) -> anyhow::Result<()> {
        for (item, is_component) in self.rendered()? {
            let manager = if is_component { managers::MESH } else { managers::WORKLOAD };
            self.apply_manifest(&item, manager).await?;
        }
        Ok(())
    }

    fn diff(&self, spec: FunctionSpec) -> anyhow::Result<(i32, String)> {
        let file = self.file("changed.json", &fixtures::function(spec)?)?;
        let (status, out, err) = self.run(&["diff", "-f", file.to_str().unwrap()])?;
        ensure!(status < 2, "{err}");
        Ok((status, out))
    }
}

#[tokio::test]
async fn diff_matches_applied_objects() -> anyhow::Result<()> {
    let harness = Published::new("diff").await?;
    let mut spec = fixtures::java_function("shout");
    spec.resources = serde_json::from_value(serde_json::json!({
        "requests": { "cpu": "0.1", "memory": "1G" }, "limits": { "cpu": 1, "memory": "1000M" },
    }))?;
    spec.pod = serde_json::from_value(serde_json::json!({
        "env": [{ "name": "KEPT", "value": "1" }, { "name": "GONE", "value": "2" }],
        "volumes": [{ "name": "v", "emptyDir": { "sizeLimit": "0.5Gi" } }],
        "sidecars": [{ "name": "s", "image": "s", "ports": [{ "containerPort": 80 }] }],
    }))?;
    let (status, out) = harness.diff(spec.clone())?;
    assert_eq!(status, 1);
    assert!(out.contains("3 new, 0 changed"), "{out}");

    harness.apply(&fixtures::function(spec.clone())?).await?;
    harness.reconcile().await?;
    let (status, out) = harness.diff(spec.clone())?;
    assert_eq!(out, "0 new, 0 changed, 0 removed, 3 unchanged; pods of 0 StatefulSets restart\n");
    assert_eq!(status, 0);

    let mut changed = spec.clone();
    changed.image = Some("other:1".to_owned());
    let (status, out) = harness.diff(changed)?;
    assert_eq!(status, 1);
    assert!(out.contains("shout-function changed: pods restart"), "{out}");
    assert!(out.contains("spec.template.spec.containers[pulsar-function].image"), "{out}");
    assert!(out.contains("+ other:1") && !out.contains("limits"), "{out}");

    let mut changed = spec.clone();
    changed.replicas = Some(3);
    let (status, out) = harness.diff(changed)?;
    assert_eq!(status, 1);
    assert!(
        out.contains("shout-function changed: pods stay\n    spec.replicas\n      - 1\n      + 3\n"),
        "{out}"
    );

    let mut changed = spec.clone();
    changed.volume_claim_templates = serde_json::from_value(serde_json::json!([{
        "metadata": { "name": "data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    }]))?;
    let (_, out) = harness.diff(changed)?;
    assert!(out.contains("shout-function changed: immutable"), "{out}");

    let mut changed = spec.clone();
    changed.pod.get_or_insert_default().env.get_or_insert_default().retain(|var| var.name != "GONE");
    changed.max_replicas = Some(4);
    let (_, out) = harness.diff(changed)?;
    assert!(out.contains("+ HorizontalPodAutoscaler"), "{out}");
    let gone = "    spec.template.spec.containers[pulsar-function].env[GONE]\n      - {\"name\":\"GONE\",\"value\":\"2\"}\n";
    assert!(out.contains(gone), "{out}");
    assert!(!out.contains("env[KEPT]"), "{out}");
    Ok(())
}

/// Renders as the operator does, once it has published its settings; before that the output says that it guesses.
#[tokio::test]
async fn settings_of_the_operator_are_read_from_the_cluster() -> anyhow::Result<()> {
    let harness = Published::new("settings").await?;
    let spec = fixtures::java_function("shout");
    let file = harness.file("function.json", &fixtures::function(spec.clone())?)?;
    let operator = format!("{}/own", harness.namespace);
    let diff = |more: &[&str]| {
        let arguments = ["diff", "-o", "json", "--operator", &operator, "-f", file.to_str().unwrap()];
        harness.run(&[&arguments, more].concat())
    };
    let (_, out, err) = diff(&[])?;
    assert!(err.contains("note: the settings of the operator are unknown"), "{err}");
    assert!(err.contains(&format!("ConfigMap {operator} not found")), "{err}");
    assert_eq!(serde_json::from_str::<Value>(&out)?["settings"]["source"], "assumed");

    let images = RunnerImages { java: "registry.example.com/java:1".to_owned(), ..RunnerImages::default() };
    let settings = Settings { runner_images: images, run_as_non_root: true, ..Settings::default() };
    harness.publish("own", settings.clone(), &[]).await?;
    harness.apply(&fixtures::function(spec)?).await?;
    let render = ["render", "--from-cluster", "--operator", &operator, "-o", "json"];
    let (status, rendered, err) = harness.run(&render)?;
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(
        rendered.contains("registry.example.com/java:1") && rendered.contains("runAsNonRoot"),
        "{rendered}"
    );
    harness.plane.kubectl(&["apply", "--server-side", "-f", "-"], &rendered).await?;
    let (status, out, err) = diff(&[])?;
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    assert_eq!(serde_json::from_str::<Value>(&out)?["settings"]["configMap"], operator.as_str());

    // Flags override it, and only those that are set.
    let (status, out, _) = diff(&["--run-as-non-root=false"])?;
    assert_eq!(status, 1);
    assert!(out.contains("runAsNonRoot") && !out.contains("java:1"), "{out}");

    let explain = ["explain", "function/shout", "--operator", &operator, "--from", "operator"];
    let (status, out, err) = harness.run(&explain)?;
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.contains("registry.example.com/java:1"), "{out}");

    harness.publish("own", settings, &["elsewhere"]).await?;
    let (_, _, err) = diff(&[])?;
    assert!(err.contains(&format!("does not watch namespace {}", harness.namespace)), "{err}");
    Ok(())
}

/// As the operator does: an upgrade restarts no pods, and the next change brings the newest template.
#[tokio::test]
async fn diff_keeps_the_edition_of_a_live_template() -> anyhow::Result<()> {
    let harness = Published::new("diff-edition").await?;
    let spec = fixtures::java_function("old");
    let function = harness.apply(&fixtures::function(spec.clone())?).await?;
    harness.reconcile().await?;
    let valid = valid_component(function).map_err(|violations| anyhow::anyhow!("{violations}"))?;
    let settings = Settings::default();
    let set = render_edition(&valid, Backends::default(), &settings, Edition::First).stateful_set;
    harness.apply_manifest(&serde_json::to_value(&set)?, managers::WORKLOAD).await?;

    let (status, out) = harness.diff(spec.clone())?;
    assert_eq!(out, "0 new, 0 changed, 0 removed, 3 unchanged; pods of 0 StatefulSets restart\n");
    assert_eq!(status, 0);
    let mut changed = spec;
    changed.image = Some("other:1".to_owned());
    let (_, out) = harness.diff(changed)?;
    assert!(out.contains("old-function changed: pods restart"), "{out}");
    assert!(out.contains("readinessProbe") && out.contains("template-edition"), "{out}");
    assert!(!out.contains("template-hash"), "{out}");
    Ok(())
}

#[tokio::test]
async fn diff_removes_components_and_refuses_other_owners() -> anyhow::Result<()> {
    let harness = Published::new("mesh").await?;
    let mut scaled = fixtures::java_function("shout");
    scaled.max_replicas = Some(5);
    let whole = fixtures::mesh("m", [scaled.clone().into(), fixtures::sink("drain").into()])?;
    harness.apply(&whole).await?;
    harness.reconcile().await?;
    harness.reconcile().await?;
    let file = harness.file("mesh.json", &whole)?;
    let (status, out, err) = harness.run(&["diff", "-f", file.to_str().unwrap()])?;
    assert_eq!((status, err.as_str()), (0, ""), "{out}");

    // A manifest does not change the replicas of an autoscaled component.
    let scale = ["scale", "function/m-shout", "--replicas=4", "-n", &harness.namespace];
    harness.plane.kubectl(&scale, "").await?;
    harness.reconcile().await?;
    let (status, out, _) = harness.run(&["diff", "-f", file.to_str().unwrap()])?;
    assert_eq!(status, 0, "{out}");

    let less = harness.file("less.json", &fixtures::mesh("m", [scaled.clone().into()])?)?;
    let (status, out, _) = harness.run(&["diff", "-f", less.to_str().unwrap()])?;
    assert_eq!(status, 1);
    let namespace = &harness.namespace;
    for gone in ["Sink", "StatefulSet", "Service"] {
        assert!(out.contains(&format!("- {gone} {namespace}/m-drain")), "{out}");
    }
    assert!(out.contains("0 new, 1 changed, 3 removed"), "{out}");

    // A StatefulSet of that name without an owner.
    let name = names::stateful_set("m-extra", Role::Function);
    let orphan = serde_json::json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "serviceName": "x", "selector": { "matchLabels": { "a": "b" } }, "template": {
            "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "c" }] } } },
    });
    harness.create_manifest(&orphan).await?;
    let parts = [scaled.into(), fixtures::python_function("extra").into(), fixtures::sink("drain").into()];
    let more = harness.file("more.json", &fixtures::mesh("m", parts)?)?;
    let (status, out, _) = harness.run(&["diff", "-f", more.to_str().unwrap()])?;
    assert_eq!(status, 1);
    let foreign = format!("! StatefulSet {namespace}/{name} foreign: it has no owner");
    assert!(out.contains(&foreign), "{out}");
    Ok(())
}

#[tokio::test]
async fn diff_shows_deferred_backend_configs() -> anyhow::Result<()> {
    let harness = Published::new("backend").await?;
    let function = fixtures::function(fixtures::java_function("shout"))?;
    let live = harness.apply(&function).await?;
    harness.reconcile().await?;
    // As the operator writes it.
    let status =
        serde_json::json!({ "status": { "observedGeneration": live.metadata.generation } }).to_string();
    let patch = [
        "patch",
        "function/shout",
        "-n",
        &harness.namespace,
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ];
    harness.plane.kubectl(&patch, "").await?;
    let backend = |auto_update: bool| {
        serde_json::json!({ "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "BackendConfig",
            "metadata": { "name": "backend-config" }, "spec": { "env": { "A": "1" }, "autoUpdate": auto_update } })
    };
    let function = harness.file("function.json", &function)?;
    for (auto_update, is_deferred) in [(true, false), (false, true)] {
        let backend = harness.file("backend.json", &backend(auto_update))?;
        let (status, out, err) =
            harness.run(&["diff", "-f", function.to_str().unwrap(), "-f", backend.to_str().unwrap()])?;
        assert_eq!((status, err.as_str()), (1, ""));
        assert!(out.contains("env[A]"), "{out}");
        assert_eq!(out.contains("deferred until the component changes"), is_deferred, "{out}");
    }
    Ok(())
}

#[tokio::test]
async fn commands_read_objects_from_the_cluster() -> anyhow::Result<()> {
    let harness = Published::new("read").await?;
    let mesh = fixtures::mesh("m", [fixtures::java_function("shout").into()])?;
    harness.apply(&mesh).await?;
    harness.reconcile().await?;
    let (status, out, err) = harness.run(&["validate", "--from-cluster"])?;
    assert_eq!((status, out.as_str(), err.as_str()), (0, "1 object: 0 errors, 0 warnings\n", ""));

    let (status, out, err) = harness.run(&["explain", "function/m-shout", "--path", "spec.className"])?;
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.contains(" spec.functions[0].className"), "{out}");

    let (status, out, _) = harness.run(&["render", "--from-cluster", "fm/m", "-o", "json"])?;
    assert_eq!(status, 0);
    let list: Value = serde_json::from_str(&out)?;
    let owner = list["items"][1].pointer("/metadata/ownerReferences/0/uid").and_then(Value::as_str);
    assert!(owner.is_some_and(|uid| !uid.starts_with("00000000")), "{owner:?}");

    let (status, _, err) = harness.run(&["render", "--from-cluster", "function/none"])?;
    assert_eq!(status, 2);
    assert!(err.contains("Function none not found in namespace"), "{err}");
    let (status, _, err) = harness.run(&["explain", "none"])?;
    assert_eq!(status, 2);
    assert!(err.contains("function/shout"), "{err}");
    let (status, _, err) = harness.run(&["diff", "-f", "no/such", "--context", "none"])?;
    assert_eq!(status, 2);
    assert!(err.contains("no/such"), "{err}");
    Ok(())
}
