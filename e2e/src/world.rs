//! The cluster that a story runs on, and the namespace that it has to itself.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::Broker;

/// The namespace that the operator is installed in.
pub const OPERATOR: &str = "function-mesh";
/// The name of the Lease there that says who does its work.
pub const LEASE: &str = "a3f45fce.functionmesh.io";
/// The name of its release.
pub const RELEASE: &str = "function-mesh";
/// The project's folder.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The cluster, the broker and the operator that `hack/up` started.
#[derive(Clone)]
pub struct World {
    /// A connection as administrator.
    pub client: Client,
    /// How to connect.
    pub config: Config,
    /// What runs is described here.
    pub state: PathBuf,
    pub(crate) web: String,
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

    /// The broker that `hack/up` started.
    pub fn broker(&self) -> Broker {
        Broker::shared(self)
    }

    /// Ends a program of the cluster, as a crash would, and returns when it is back and ready: `kubelet`,
    /// `kube-apiserver` and others. It stays away for so long before it is started again.
    pub async fn restart(&self, component: &str, away: Duration) -> Result<()> {
        let away = away.as_secs().to_string();
        self.cluster("restart", &["--pause", &away, component]).await.map(|_| ())
    }

    /// Runs a command of this machine in the network of the cluster, and returns what it writes.
    pub async fn inside(&self, command: &[&str]) -> Result<String> {
        self.cluster("exec", &[&["--"], command].concat()).await
    }

    /// Runs one of the commands of `cluster` on this cluster.
    pub(crate) async fn cluster(&self, command: &str, arguments: &[&str]) -> Result<String> {
        let dir = self.state.join("cluster");
        let dir = dir.to_str().context("the state's path is no text")?;
        self.run("cluster", &[&[command, "--dir", dir], arguments].concat(), "").await
    }

    /// Runs one of the commands of `hack`, and returns the first line that it writes: what it tells of its progress
    /// comes after that.
    pub async fn hack(&self, command: &str, arguments: &[&str]) -> Result<String> {
        let said = self.run(&format!("{ROOT}/hack/{command}"), arguments, "").await?;
        Ok(said.lines().next().unwrap_or_default().to_owned())
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
        let images = &self.values()?["controllerManager"]["runnerImages"];
        Ok(format!("config={}", json!({ "runnerImages": images })))
    }

    /// The image that runs functions, which has Java, Python and Pulsar.
    pub fn runner_image(&self) -> Result<String> {
        let image = &self.values()?["controllerManager"]["runnerImages"]["python"];
        Ok(image.as_str().context("no image runs functions")?.to_owned())
    }

    /// The values of the release that `hack/up` installed.
    fn values(&self) -> Result<Value> {
        Ok(serde_saphyr::from_str(&std::fs::read_to_string(self.state.join("values.yaml"))?)?)
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
        let lease = leases.get_opt(LEASE).await?;
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
