//! One scenario with its own namespace in Kubernetes and at the broker.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Debug;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::{Duration, Instant as Clock};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use function_mesh_api::{Function, FunctionMesh, Sink, Source};
use futures::FutureExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, Service};
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{Broker, Harness, Pulsar, report};

/// The namespaces of one scenario, and the cluster they are in.
pub struct Scenario {
    /// The cluster.
    pub harness: Harness,
    /// Its namespace in Kubernetes.
    pub namespace: String,
    /// Its namespace in Pulsar.
    pub pulsar: Pulsar,
    /// The broker of that namespace.
    pub broker: Broker,
}

impl Scenario {
    /// Runs a scenario. A failure prints status, events, logs and topic statistics. The Kubernetes namespace is
    /// deleted in either case; topics stay until the broker stops.
    pub async fn run<F>(name: &str, scenario: impl AsyncFnOnce(&Self) -> Result<F>) -> Result<F> {
        let harness = Harness::find().await?;
        let broker = harness.broker();
        // The future of a long scenario is large.
        Box::pin(Self::run_with(&harness, &broker, name, scenario)).await
    }

    /// Runs a scenario with this broker.
    pub async fn run_with<F>(
        harness: &Harness,
        broker: &Broker,
        name: &str,
        scenario: impl AsyncFnOnce(&Self) -> Result<F>,
    ) -> Result<F> {
        let began = Clock::now();
        let result = Self::within(harness, broker, name, scenario).await;
        // An error of the report does not fail the scenario.
        if let Err(error) = report::scenario(harness, began.elapsed(), result.is_ok()) {
            print_error(&error);
        }
        result
    }

    /// Runs a part of this scenario in further namespaces of the same cluster and broker, as another team has them.
    pub async fn beside<F>(&self, name: &str, part: impl AsyncFnOnce(&Self) -> Result<F>) -> Result<F> {
        Self::within(&self.harness, &self.broker, name, part).await
    }

    async fn within<F>(
        harness: &Harness,
        broker: &Broker,
        name: &str,
        scenario: impl AsyncFnOnce(&Self) -> Result<F>,
    ) -> Result<F> {
        let own = Self::create(harness, broker, name).await?;
        let result = AssertUnwindSafe(scenario(&own)).catch_unwind().await;
        let result = result.unwrap_or_else(|_| Err(anyhow!("the scenario panicked; see above")));
        if result.is_err() {
            own.dump().await;
        }
        // An error of the cleanup does not fail the scenario.
        if let Err(error) = own.remove().await {
            print_error(&error);
        }
        result
    }

    async fn remove(&self) -> Result<()> {
        let (all, whole) = (ListParams::default(), DeleteParams::default());
        self.api::<FunctionMesh>().delete_collection(&whole, &all).await?;
        let namespaces = Api::<Namespace>::all(self.harness.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::background()).await?;
        Ok(())
    }

    /// Creates both namespaces, the ConfigMap with the broker's addresses, and one with the functions that
    /// `hack/functions` built.
    async fn create(harness: &Harness, broker: &Broker, name: &str) -> Result<Self> {
        let api = Api::<Namespace>::all(harness.client.clone());
        let wanted = json!({ "metadata": { "generateName": format!("{name}-") } });
        let made = api.create(&PostParams::default(), &serde_json::from_value(wanted)?).await?;
        let namespace = made.name_any();
        let pulsar = broker.namespace(&namespace).await?;
        let scenario = Self { harness: harness.clone(), namespace, pulsar, broker: broker.clone() };
        scenario
            .config(
                "pulsar",
                &json!({
                    "webServiceURL": broker.web_service_url, "brokerServiceURL": broker.broker_service_url,
                }),
            )
            .await?;
        if let Ok(folder) = env::var("FUNCTION_MESH_FUNCTIONS") {
            scenario.functions(Path::new(&folder)).await?;
        }
        Ok(scenario)
    }

    /// Applies a ConfigMap.
    pub async fn config(&self, name: &str, data: &Value) -> Result<()> {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data,
        });
        self.apply::<ConfigMap>(object).await?;
        Ok(())
    }

    /// Applies the ConfigMap `functions`, which [`crate::Component`] mounts.
    async fn functions(&self, folder: &Path) -> Result<()> {
        let mut files = serde_json::Map::new();
        // Python modules are in a subfolder.
        for folder in [folder, &folder.join("python")].into_iter().filter(|folder| folder.is_dir()) {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "py" || extension == "jar") {
                    let name = path
                        .file_name()
                        .and_then(|name| name.to_str())
                        .context("a file's name is no text")?;
                    files.insert(name.to_owned(), json!(BASE64.encode(std::fs::read(&path)?)));
                }
            }
        }
        ensure!(!files.is_empty(), "no functions in {}", folder.display());
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "functions" }, "binaryData": files,
        });
        self.apply::<ConfigMap>(object).await?;
        Ok(())
    }

    /// Output of kubectl in this namespace, as a user sees it.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let arguments: Vec<_> = [&["-n", self.namespace.as_str()], arguments].concat();
        self.harness.kubectl(&arguments).await
    }

    /// Runs a command in a pod's container and returns its output.
    pub async fn exec(&self, pod: &str, container: &str, command: &[&str]) -> Result<String> {
        self.kubectl(&[&["exec", pod, "-c", container, "--"], command].concat()).await
    }

    /// The whole log of a pod's container.
    pub async fn log(&self, pod: &str, container: &str) -> Result<String> {
        let options = LogParams { container: Some(container.to_owned()), ..LogParams::default() };
        Ok(self.api::<Pod>().logs(pod, &options).await?)
    }

    /// The API of a kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.harness.client.clone(), &self.namespace)
    }

    /// Applies a manifest with server-side apply, as a user.
    pub async fn apply<K>(&self, manifest: Value) -> Result<K, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + serde::de::DeserializeOwned,
    {
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.api::<K>().patch(&name, &PatchParams::apply("a-user").force(), &Patch::Apply(manifest)).await
    }

    /// The mesh of `examples/exclamation.yaml`, with topics of this scenario.
    pub fn exclamation(&self) -> Result<Value> {
        let text = include_str!("../../examples/exclamation.yaml");
        let mut mesh: Value = serde_saphyr::from_str(text)?;
        mesh["metadata"]["namespace"] = json!(self.namespace);
        for function in mesh["spec"]["functions"].as_array_mut().into_iter().flatten() {
            let topic = |name: &Value| json!(self.pulsar.topic(name.as_str().unwrap_or_default()));
            function["input"]["topics"][0] = topic(&function["input"]["topics"][0]);
            function["output"]["topic"] = topic(&function["output"]["topic"]);
            function["namespace"] = json!(self.namespace);
        }
        Ok(mesh)
    }

    /// Waits until a mesh is ready.
    pub async fn await_ready(&self, mesh: &str, timeout: Duration) -> Result<FunctionMesh> {
        self.await_mesh(mesh, timeout, |mesh| {
            let status = mesh.status.as_ref();
            let current = status.and_then(|status| status.observed_generation) == mesh.metadata.generation;
            current && ready(mesh).is_some_and(|(status, _)| status == "True")
        })
        .await
    }

    /// Waits until a mesh satisfies a predicate.
    pub async fn await_mesh(
        &self,
        mesh: &str,
        timeout: Duration,
        matches: impl Fn(&FunctionMesh) -> bool,
    ) -> Result<FunctionMesh> {
        let until = Instant::now() + timeout;
        loop {
            let found = self.api::<FunctionMesh>().get(mesh).await?;
            if matches(&found) {
                return Ok(found);
            }
            if Instant::now() > until {
                bail!("timed out after {timeout:?}; status of the mesh: {:?}", found.status);
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until a condition holds.
    pub async fn eventually<F: Future<Output = Result<bool>>>(
        &self,
        what: &str,
        timeout: Duration,
        holds: impl Fn() -> F,
    ) -> Result<()> {
        let until = Instant::now() + timeout;
        while !holds().await? {
            if Instant::now() > until {
                bail!("timed out after {timeout:?}: {what}");
            }
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Names and UIDs of components, their children and pods.
    pub async fn everything(&self) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        self.add::<Function>(&mut found).await?;
        self.add::<Source>(&mut found).await?;
        self.add::<Sink>(&mut found).await?;
        self.add::<StatefulSet>(&mut found).await?;
        self.add::<Service>(&mut found).await?;
        self.add::<Pod>(&mut found).await?;
        Ok(found)
    }

    async fn add<K>(&self, found: &mut BTreeMap<String, String>) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + serde::de::DeserializeOwned,
    {
        for object in self.api::<K>().list(&ListParams::default()).await? {
            found.insert(format!("{}/{}", K::kind(&()), object.name_any()), object.uid().unwrap_or_default());
        }
        Ok(())
    }

    #[allow(clippy::print_stderr, reason = "it is for the person who reads a failed test")]
    async fn dump(&self) {
        eprintln!("--- what is in {}:", self.namespace);
        match self.everything().await {
            Ok(all) => eprintln!("{all:#?}"),
            Err(error) => eprintln!("{error:#}"),
        }
        for mesh in self.api::<FunctionMesh>().list(&ListParams::default()).await.into_iter().flatten() {
            eprintln!("--- {}: {:#?}", mesh.name_any(), mesh.status);
        }
        for event in self.api::<Event>().list(&ListParams::default()).await.into_iter().flatten() {
            let about = event.involved_object.name.as_deref().unwrap_or_default();
            eprintln!("event {about}: {:?} {:?}", event.reason, event.message);
        }
        for topic in self.pulsar.topics().await.unwrap_or_default() {
            let stats = self.pulsar.stats(&topic).await.ok().flatten().unwrap_or_default();
            eprintln!("--- topic {topic}: {}", brief(&stats));
        }
        for kind in ["functions", "sources", "sinks"] {
            let found = self.kubectl(&["get", kind, "-o", "wide"]).await;
            eprintln!("{}", found.unwrap_or_else(|error| error.to_string()));
        }
        for pod in self.api::<Pod>().list(&ListParams::default()).await.into_iter().flatten() {
            self.dump_logs(&pod).await;
        }
    }

    /// Prints the last lines of each container's log, and of its previous instance.
    #[allow(clippy::print_stderr, reason = "it is for the person who reads a failed test")]
    async fn dump_logs(&self, pod: &Pod) {
        let status = pod.status.clone().unwrap_or_default();
        let containers = [status.init_container_statuses, status.container_statuses].into_iter().flatten();
        for container in containers.flatten() {
            for previous in
                [true, false].into_iter().filter(|previous| !previous || container.restart_count > 0)
            {
                let name = Some(container.name.clone());
                let last =
                    LogParams { container: name, tail_lines: Some(40), previous, ..LogParams::default() };
                let log = self.api::<Pod>().logs(&pod.name_any(), &last).await;
                let which = if previous { ", before its restart" } else { "" };
                eprintln!("--- log of {}, {}{which}:", pod.name_any(), container.name);
                for line in log.unwrap_or_else(|error| error.to_string()).lines() {
                    eprintln!("{}", line.chars().take(300).collect::<String>());
                }
            }
        }
    }
}

#[allow(clippy::print_stderr, reason = "it is for the person who reads a failed test")]
fn print_error(error: &Error) {
    eprintln!("{error:#}");
}

/// Status and message of a mesh's condition Ready.
fn ready(mesh: &FunctionMesh) -> Option<(&str, &str)> {
    let conditions = mesh.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some((&ready.status, &ready.message))
}

/// The statistics of a topic that help with a failed test.
fn brief(stats: &Value) -> Value {
    let subscriptions = stats["subscriptions"].as_object().cloned().unwrap_or_default();
    let subscriptions: BTreeMap<_, _> = subscriptions
        .iter()
        .map(|(name, of)| {
            let consumers = of["consumers"].as_array().map_or(0, Vec::len);
            (name, json!({ "type": of["type"], "backlog": of["msgBacklog"], "consumers": consumers, "out": of["msgOutCounter"] }))
        })
        .collect();
    json!({ "in": stats["msgInCounter"], "producers": stats["publishers"].as_array().map_or(0, Vec::len), "subscriptions": subscriptions })
}
