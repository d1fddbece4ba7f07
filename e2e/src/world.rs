//! The cluster that a story runs on, and the namespace that it has to itself.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Debug;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use function_mesh_api::{Function, FunctionMesh, Sink, Source};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, Service};
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource, ResourceExt};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::Pulsar;

/// Where pods find the broker that `hack/up` started.
const IN_CLUSTER: (&str, &str) = ("http://10.254.0.1:8080", "pulsar://10.254.0.1:6650");

/// The namespace that the operator is installed in.
pub const OPERATOR: &str = "function-mesh";
/// The name of its release.
pub const RELEASE: &str = "function-mesh";
/// The project's folder.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The cluster, the broker and the operator that `hack/up` started.
#[derive(Clone)]
pub struct World {
    /// A connection as administrator.
    pub client: Client,
    /// How to connect.
    pub config: Config,
    /// What runs is described here.
    pub state: PathBuf,
    web: String,
}

impl World {
    /// Finds what `hack/up` started.
    pub async fn find() -> Result<Self> {
        // Each story is a process or a thread of its own; the first one installs it for all.
        _ = function_mesh_serving::tls::install_crypto_provider();
        let state = env::var("FUNCTION_MESH_STATE").unwrap_or_else(|_| "/var/tmp/function-mesh".to_owned());
        let state = PathBuf::from(state);
        let file = state.join("cluster/admin.kubeconfig");
        let kubeconfig =
            Kubeconfig::read_from(&file).context("nothing runs: start it with hack/up --no-mesh")?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let address =
            std::fs::read_to_string(state.join("cluster/forward.8080")).context("no broker runs")?;
        let web = format!("http://{}", address.trim());
        Ok(Self { client: Client::try_from(config.clone())?, config, state, web })
    }

    /// Begins a story: a namespace in Kubernetes and one in Pulsar, and the ConfigMap that joins them.
    pub async fn story(&self, name: &str) -> Result<Story> {
        let api = Api::<Namespace>::all(self.client.clone());
        let wanted = json!({ "metadata": { "generateName": format!("{name}-") } });
        let made = api.create(&PostParams::default(), &serde_json::from_value(wanted)?).await?;
        let namespace = made.name_any();
        let pulsar = Pulsar::namespace(&self.web, &namespace).await?;
        let story = Story { world: self.clone(), namespace, pulsar };
        let (web, broker) = IN_CLUSTER;
        let addresses = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "pulsar" },
            "data": { "webServiceURL": web, "brokerServiceURL": broker },
        });
        story.apply::<ConfigMap>(addresses).await?;
        Ok(story)
    }

    /// What kubectl writes, as a user sees it.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.run("kubectl", arguments, "").await
    }

    /// Runs one of the programs beside the cluster's own, or one with its whole path, as administrator, with this on its standard input, and
    /// returns what it writes, to either of its outputs.
    pub async fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<String> {
        let cluster = env::var("FUNCTION_MESH_CLUSTER").context("FUNCTION_MESH_CLUSTER names no program")?;
        let program = Path::new(&cluster).with_file_name("bin").join(program);
        let mut child = Command::new(&program)
            .args(arguments)
            .env("KUBECONFIG", self.state.join("cluster/admin.kubeconfig"))
            .current_dir(ROOT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut stdin = child.stdin.take().context("no input")?;
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        let run = child.wait_with_output().await?;
        let written = String::from_utf8([run.stdout, run.stderr].concat())?;
        if !run.status.success() {
            bail!("{} {arguments:?}: {written}", program.display());
        }
        Ok(written)
    }

    /// Brings the release to these values on top of those of `hack/up`, and waits until it is ready.
    pub async fn install(&self, helm: &str, values: &[&str]) -> Result<()> {
        let file = self.state.join("values.yaml");
        let file = file.to_str().context("the state's path is no text")?;
        let chart = "charts/function-mesh-operator";
        let mut arguments = vec!["upgrade", "--install", RELEASE, chart, "--namespace", OPERATOR];
        arguments.extend(["--values", file, "--wait", "--timeout", "2m"]);
        arguments.extend(values.iter().flat_map(|value| ["--set", value]));
        self.run(helm, &arguments, "").await.map(|_| ())
    }

    /// The value of the release that says which images run functions, for another chart's `--set-json`.
    pub fn runner_images(&self) -> Result<String> {
        let values: Value =
            serde_saphyr::from_str(&std::fs::read_to_string(self.state.join("values.yaml"))?)?;
        Ok(format!("config={}", json!({ "runnerImages": values["controllerManager"]["runnerImages"] })))
    }

    /// Kills the operator's pods as a crash of their node would, and waits until others do their work.
    pub async fn crash_operator(&self) -> Result<()> {
        let before = self.leader().await?;
        let instance = "app.kubernetes.io/instance=function-mesh";
        let kill = ["delete", "pods", "-n", OPERATOR, "-l", instance, "--grace-period=0", "--force"];
        self.kubectl(&kill).await?;
        self.await_operator().await?;
        let until = Instant::now() + Duration::from_mins(1);
        while self.leader().await? == before {
            if Instant::now() > until {
                bail!("nobody took over from {before:?}");
            }
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Waits until all pods of the operator are ready.
    pub async fn await_operator(&self) -> Result<()> {
        for deployment in ["deployment/function-mesh-controller-manager", "deployment/function-mesh-webhook"]
        {
            self.kubectl(&["rollout", "status", "-n", OPERATOR, "--timeout=2m", deployment]).await?;
        }
        Ok(())
    }

    async fn leader(&self) -> Result<Option<String>> {
        let leases = Api::<Lease>::namespaced(self.client.clone(), OPERATOR);
        let lease = leases.get_opt("a3f45fce.functionmesh.io").await?;
        Ok(lease.and_then(|lease| lease.spec?.holder_identity))
    }

    /// Waits until nobody has written for so long: what other stories left behind has gone.
    pub async fn at_rest(&self, quiet: Duration) -> Result<BTreeMap<String, u64>> {
        let until = Instant::now() + Duration::from_mins(3);
        let (mut writes, mut since) = (self.writes().await?, Instant::now());
        while since.elapsed() < quiet {
            sleep(Duration::from_millis(500)).await;
            let now = self.writes().await?;
            if now != writes || self.namespaces_are_going().await? {
                (writes, since) = (now, Instant::now());
            }
            if Instant::now() > until {
                bail!("the cluster does not come to rest");
            }
        }
        Ok(writes)
    }

    async fn namespaces_are_going(&self) -> Result<bool> {
        let namespaces = Api::<Namespace>::all(self.client.clone()).list(&ListParams::default()).await?;
        Ok(namespaces.into_iter().any(|namespace| namespace.metadata.deletion_timestamp.is_some()))
    }

    /// How often the API server was asked to write objects that an operator could write, by resource.
    pub async fn writes(&self) -> Result<BTreeMap<String, u64>> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let metrics = self.client.request_text(request).await?;
        let mut writes = BTreeMap::new();
        for line in metrics.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let label = |name: &str| {
                let (_, rest) = line.split_once(&format!("{name}=\""))?;
                rest.split_once('"').map(|(value, _)| value)
            };
            let (Some(verb), Some(resource), Some(part)) =
                (label("verb"), label("resource"), label("subresource"))
            else {
                continue;
            };
            // The status of a StatefulSet is its own controller's.
            let ours = matches!(resource, "functionmeshes" | "functions" | "sources" | "sinks")
                || matches!((resource, part), ("statefulsets" | "horizontalpodautoscalers" | "services", ""));
            if ours && matches!(verb, "POST" | "PUT" | "PATCH" | "APPLY" | "DELETE" | "DELETECOLLECTION") {
                let count: f64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
                let count = count as u64;
                *writes.entry(format!("{verb} {resource}/{part}")).or_default() += count;
            }
        }
        Ok(writes)
    }
}

/// One story's own part of the world.
pub struct Story {
    /// The cluster.
    pub world: World,
    /// Its namespace in Kubernetes.
    pub namespace: String,
    /// Its namespace in Pulsar.
    pub pulsar: Pulsar,
}

impl Story {
    /// Tells a story. When it fails, what an operator would look at is printed; its namespaces go in any case.
    pub async fn tell<F>(name: &str, story: impl AsyncFnOnce(&Self) -> Result<F>) -> Result<F> {
        let world = World::find().await?;
        let own = world.story(name).await?;
        let result = story(&own).await;
        if result.is_err() {
            own.dump().await;
        }
        own.api::<FunctionMesh>().delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        Api::<Namespace>::all(world.client.clone())
            .delete(&own.namespace, &DeleteParams::background())
            .await?;
        result
    }

    /// Objects of a kind in this story's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.world.client.clone(), &self.namespace)
    }

    /// Applies a manifest as a user would, by server-side apply.
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

    /// The mesh of `examples/exclamation.yaml`, on this story's topics.
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
    pub async fn await_ready(&self, mesh: &str, patience: Duration) -> Result<FunctionMesh> {
        self.await_mesh(mesh, patience, |mesh| {
            let status = mesh.status.as_ref();
            let current = status.and_then(|status| status.observed_generation) == mesh.metadata.generation;
            current && ready(mesh).is_some_and(|(status, _)| status == "True")
        })
        .await
    }

    /// Waits until a mesh is as it should be.
    pub async fn await_mesh(
        &self,
        mesh: &str,
        patience: Duration,
        is_right: impl Fn(&FunctionMesh) -> bool,
    ) -> Result<FunctionMesh> {
        let until = Instant::now() + patience;
        loop {
            let found = self.api::<FunctionMesh>().get(mesh).await?;
            if is_right(&found) {
                return Ok(found);
            }
            if Instant::now() > until {
                bail!("after {patience:?} the mesh says {:?}", found.status);
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until something holds.
    pub async fn eventually<F: Future<Output = Result<bool>>>(
        &self,
        what: &str,
        patience: Duration,
        holds: impl Fn() -> F,
    ) -> Result<()> {
        let until = Instant::now() + patience;
        while !holds().await? {
            if Instant::now() > until {
                bail!("not so after {patience:?}: {what}");
            }
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Names and UIDs of all objects that a mesh is made of, pods included.
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
        let last = LogParams { tail_lines: Some(40), ..LogParams::default() };
        for pod in self.api::<Pod>().list(&ListParams::default()).await.into_iter().flatten() {
            let log = self.api::<Pod>().logs(&pod.name_any(), &last).await;
            eprintln!("--- log of {}:", pod.name_any());
            for line in log.unwrap_or_else(|error| error.to_string()).lines() {
                eprintln!("{}", line.chars().take(300).collect::<String>());
            }
        }
    }
}

/// Status and message of a mesh's condition Ready.
fn ready(mesh: &FunctionMesh) -> Option<(&str, &str)> {
    let conditions = mesh.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some((&ready.status, &ready.message))
}
