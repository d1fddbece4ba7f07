//! The cluster, broker and operator that tests run on, and the programs to control them.

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
/// The Lease of its leader election.
pub const LEASE: &str = "a3f45fce.functionmesh.io";
/// The name of its Helm release.
pub const RELEASE: &str = "function-mesh";
/// The root of the repository.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The cluster, the broker and the operator that `hack/up` started.
#[derive(Clone)]
pub struct Harness {
    /// A client with administrator permissions.
    pub client: Client,
    /// The configuration of the client.
    pub config: Config,
    /// The state folder of `hack/up`.
    pub state: PathBuf,
    pub(crate) web: String,
}

impl Harness {
    /// Connects to what `hack/up` started.
    pub async fn find() -> Result<Self> {
        // Tests of one program share the process; the first one installs the provider.
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

    /// Kills a program of the cluster, such as `kubelet` or `kube-apiserver`, starts it again after this pause, and
    /// returns when it is ready.
    pub async fn restart(&self, component: &str, pause: Duration) -> Result<()> {
        let pause = pause.as_secs().to_string();
        self.cluster("restart", &["--pause", &pause, component]).await.map(|_| ())
    }

    /// Runs a command in the network namespace of the cluster and returns its output.
    pub async fn inside(&self, command: &[&str]) -> Result<String> {
        self.cluster("exec", &[&["--"], command].concat()).await
    }

    /// Runs a command of the cluster program on this cluster.
    pub(crate) async fn cluster(&self, command: &str, arguments: &[&str]) -> Result<String> {
        let dir = self.state.join("cluster");
        let dir = dir.to_str().context("the state's path is no text")?;
        self.run("cluster", &[&[command, "--dir", dir], arguments].concat(), "").await
    }

    /// Runs a command of `hack` and returns its first line of output; progress messages follow it.
    pub async fn hack(&self, command: &str, arguments: &[&str]) -> Result<String> {
        let output = self.run(&format!("{ROOT}/hack/{command}"), arguments, "").await?;
        Ok(output.lines().next().unwrap_or_default().to_owned())
    }

    /// Output of kubectl, as a user sees it.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.run("kubectl", arguments, "").await
    }

    /// Runs a program of the cluster's `bin` folder, or one with an absolute path, as administrator with this standard
    /// input. Returns standard output and standard error.
    pub async fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<String> {
        let cluster = env::var("FUNCTION_MESH_CLUSTER")
            .context("set FUNCTION_MESH_CLUSTER to what hack/cluster/build prints")?;
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
        let output = String::from_utf8([run.stdout, run.stderr].concat())?;
        if !run.status.success() {
            bail!("{} {arguments:?}: {output}", program.display());
        }
        Ok(output)
    }

    /// Upgrades the release with these values on top of those of `hack/up` and waits until it is ready.
    pub async fn install(&self, helm: &str, values: &[&str]) -> Result<()> {
        let file = self.state.join("values.yaml");
        let file = file.to_str().context("the state's path is no text")?;
        let chart = "charts/function-mesh-operator";
        let mut arguments = vec!["upgrade", "--install", RELEASE, chart, "--namespace", OPERATOR];
        arguments.extend(["--values", file, "--wait", "--timeout", "2m"]);
        arguments.extend(values.iter().flat_map(|value| ["--set", value]));
        self.run(helm, &arguments, "").await.map(|_| ())
    }

    /// The runner images of the release, for `--set-json` of another chart.
    pub fn runner_images(&self) -> Result<String> {
        let images = &self.values()?["controllerManager"]["runnerImages"];
        Ok(format!("config={}", json!({ "runnerImages": images })))
    }

    /// The runner image, which contains Java, Python and Pulsar.
    pub fn runner_image(&self) -> Result<String> {
        let image = &self.values()?["controllerManager"]["runnerImages"]["python"];
        Ok(image.as_str().context("values.yaml names no runner image")?.to_owned())
    }

    /// The values of the release that `hack/up` installed.
    fn values(&self) -> Result<Value> {
        Ok(serde_saphyr::from_str(&std::fs::read_to_string(self.state.join("values.yaml"))?)?)
    }

    /// Deletes the operator's pods without a grace period and waits until a new leader is elected.
    pub async fn crash_operator(&self) -> Result<()> {
        let before = self.leader().await?;
        let instance = "app.kubernetes.io/instance=function-mesh";
        let kill = ["delete", "pods", "-n", OPERATOR, "-l", instance, "--grace-period=0", "--force"];
        self.kubectl(&kill).await?;
        self.await_operator().await?;
        let until = Instant::now() + Duration::from_mins(1);
        while self.leader().await? == before {
            if Instant::now() > until {
                bail!("no new leader after {before:?}");
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

    /// Waits until no object was written for this long and no namespace terminates.
    pub async fn wait_idle(&self, quiet: Duration) -> Result<BTreeMap<String, u64>> {
        let until = Instant::now() + Duration::from_mins(3);
        let (mut writes, mut since) = (self.writes().await?, Instant::now());
        while since.elapsed() < quiet {
            sleep(Duration::from_millis(500)).await;
            let now = self.writes().await?;
            if now != writes || self.has_terminating_namespace().await? {
                (writes, since) = (now, Instant::now());
            }
            if Instant::now() > until {
                bail!("the cluster does not become idle");
            }
        }
        Ok(writes)
    }

    async fn has_terminating_namespace(&self) -> Result<bool> {
        let namespaces = Api::<Namespace>::all(self.client.clone()).list(&ListParams::default()).await?;
        Ok(namespaces.into_iter().any(|namespace| namespace.metadata.deletion_timestamp.is_some()))
    }

    /// Number of write requests for resources that the operator writes.
    pub async fn writes(&self) -> Result<BTreeMap<String, u64>> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let metrics = self.client.request_text(request).await?;
        let mut writes = BTreeMap::new();
        for line in metrics.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let label = |name: &str| {
                let (_, rest) = line.split_once(&format!("{name}=\""))?;
                rest.split_once('"').map(|(value, _)| value)
            };
            let (Some(verb), Some(resource), Some(subresource)) =
                (label("verb"), label("resource"), label("subresource"))
            else {
                continue;
            };
            // Kubernetes' own controller writes the status of a StatefulSet.
            let ours = matches!(resource, "functionmeshes" | "functions" | "sources" | "sinks")
                || matches!(
                    (resource, subresource),
                    ("statefulsets" | "horizontalpodautoscalers" | "services", "")
                );
            if ours && matches!(verb, "POST" | "PUT" | "PATCH" | "APPLY" | "DELETE" | "DELETECOLLECTION") {
                let count: f64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
                let count = count as u64;
                *writes.entry(format!("{verb} {resource}/{subresource}")).or_default() += count;
            }
        }
        Ok(writes)
    }
}
