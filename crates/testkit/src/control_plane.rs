//! A real control plane for the tests of one process: the API server, etcd and the built-in controllers, without
//! kubelets.

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};
use function_mesh_api::labels::API_VERSION;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use crate::audit::AuditLog;
use crate::prepared;
use crate::wait::{PATIENCE, eventually};

/// Field manager of manifests that tests apply.
const AUTHOR: &str = "author";

/// Starts the control plane, prints the path of its kubeconfig, waits until its standard input is closed, and stops the
/// control plane. So it stops with the process that started it, even after a crash.
const KEEPER: &str = r#"
program=$1 folder=$2
shift 2
"$program" up --dir "$folder/cluster" "$@" && cat >/dev/null
"$program" down --dir "$folder/cluster" >&2
rm -rf "$folder"
"#;

/// Controllers of the shared control plane: without a node no pod is reached by a Service, and its endpoints would be
/// two writes whenever a pod changes.
const CONTROLLERS: &str =
    "--controllers=*,-endpoints-controller,-endpointslice-controller,-endpointslice-mirroring-controller";

/// The scheduler of the shared control plane has no pods: without a node it would say so of each, again and again, with an
/// Event and a new status.
const SCHEDULER: &str = r"
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection: {kubeconfig: KUBECONFIG}
leaderElection: {leaderElect: false}
profiles: [{schedulerName: another}]
";

/// A real control plane. It stops when this is dropped, or with the process.
#[derive(Debug)]
pub struct ControlPlane {
    program: PathBuf,
    /// Its directory, deleted on drop.
    folder: PathBuf,
    kubeconfig: PathBuf,
    /// Its standard input keeps the control plane running.
    keeper: Child,
}

impl ControlPlane {
    /// The shared control plane of this process, with all our CRDs. It has no endpoints of Services, and schedules no pods.
    pub async fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start_shared).await
    }

    async fn start_shared() -> anyhow::Result<Self> {
        let folder = new_folder()?;
        let config = folder.join("scheduler.yaml");
        let kubeconfig = folder.join("cluster/kubeconfig/kube-scheduler.kubeconfig");
        std::fs::write(&config, SCHEDULER.replace("KUBECONFIG", &kubeconfig.to_string_lossy()))?;
        let scheduler = format!("--config={}", config.display());
        let flags = ["--kcm-arg", CONTROLLERS, "--scheduler-arg", &scheduler].map(str::to_owned);
        Self::start_with_definitions(folder, flags.to_vec()).await
    }

    /// Starts a separate one without our CRDs.
    pub async fn start() -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(|| Self::start_blocking(program()?, new_folder()?, &[])).await?
    }

    /// Starts a separate one with our CRDs and these feature gates, such as `Name=true`, in the API server and in the
    /// built-in controllers.
    pub async fn start_with_gates(gates: &str) -> anyhow::Result<Self> {
        let gates = format!("--feature-gates={gates}");
        let flags = ["--apiserver-arg", &gates, "--kcm-arg", &gates].map(str::to_owned);
        Self::start_with_definitions(new_folder()?, flags.to_vec()).await
    }

    /// Starts a separate one with our CRDs, whose API server logs every request of this user, except watches.
    pub async fn start_auditing(user: &str) -> anyhow::Result<(Self, AuditLog)> {
        let folder = new_folder()?;
        let (log, args) = AuditLog::prepare(&folder, user)?;
        let flags = args.into_iter().flat_map(|arg| ["--apiserver-arg".to_owned(), arg]).collect();
        Ok((Self::start_with_definitions(folder, flags).await?, log))
    }

    async fn start_with_definitions(folder: PathBuf, flags: Vec<String>) -> anyhow::Result<Self> {
        let start = move || {
            let program = program()?;
            prepared::copy_to(&folder.join("cluster"), &program)?;
            Self::start_blocking(program, folder, &flags)
        };
        let plane = tokio::task::spawn_blocking(start).await??;
        plane.serves(&prepared::resources()?).await?;
        Ok(plane)
    }

    /// `flags` are additional ones of `cluster up`.
    fn start_blocking(program: PathBuf, folder: PathBuf, flags: &[String]) -> anyhow::Result<Self> {
        let log = folder.join("keeper.log");
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .args([&program, &folder])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log)?)
            // Ctrl-C in a terminal reaches the whole process group; the parent still has to clean up.
            .process_group(0)
            .spawn()
            .context("cannot start a shell")?;
        let mut kubeconfig = String::new();
        let stdout = keeper.stdout.take().context("the keeper has no output")?;
        BufReader::new(stdout).read_line(&mut kubeconfig)?;
        if kubeconfig.trim().is_empty() {
            let mut why = String::new();
            _ = std::fs::File::open(&log).and_then(|mut log| log.read_to_string(&mut why));
            drop(keeper.stdin.take());
            _ = keeper.wait();
            anyhow::bail!("the control plane did not start:\n{why}");
        }
        Ok(Self { program, folder, kubeconfig: kubeconfig.trim().into(), keeper })
    }

    /// A command of the cluster program.
    pub(crate) fn command(&self, applet: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.arg(applet);
        command
    }

    /// A path in its folder, which is deleted with it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The kubeconfig of its administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The key that signs tokens of ServiceAccounts, in PEM, to forge some.
    pub fn token_key(&self) -> anyhow::Result<String> {
        let file = self.folder.join("cluster/pki/sa.key");
        std::fs::read_to_string(&file).with_context(|| file.display().to_string())
    }

    /// A kubeconfig of an administrator with another name.
    pub async fn kubeconfig_of(&self, user: &str) -> anyhow::Result<PathBuf> {
        self.certify(user, &["--org", "system:masters"]).await
    }

    /// A kubeconfig of a user without permissions, apart from what roles grant.
    pub async fn kubeconfig_by_roles(&self, user: &str) -> anyhow::Result<PathBuf> {
        self.certify(user, &[]).await
    }

    async fn certify(&self, user: &str, args: &[&str]) -> anyhow::Result<PathBuf> {
        let stem = self.folder.join(user);
        let output = self
            .command("certs")
            .args(["--cn", user, "--dir"])
            .arg(self.folder.join("cluster"))
            .args(args)
            .arg("--out")
            .arg(&stem)
            .output()
            .await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "no certificate for {user}: {stderr}");
        Ok(stem.with_extension("kubeconfig"))
    }

    /// The client configuration.
    pub async fn config(&self) -> anyhow::Result<Config> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
    }

    /// A new client: a client belongs to the runtime that created it, and each test has its own.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::try_from(self.config().await?)?)
    }

    /// Creates a unique namespace.
    pub async fn namespace(&self, client: &Client, prefix: &str) -> anyhow::Result<String> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("{prefix}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.clone());
        Api::all(client.clone()).create(&kube::api::PostParams::default(), &namespace).await?;
        Ok(name)
    }

    /// Runs kubectl with this text on its standard input, and returns its output.
    pub async fn kubectl(&self, args: &[&str], input: &str) -> anyhow::Result<String> {
        use tokio::io::AsyncWriteExt;
        let mut child = self
            .command("kubectl")
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("no standard input")?.write_all(input.as_bytes()).await?;
        let output = child.wait_with_output().await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {stderr}", args.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        _ = self.keeper.wait();
    }
}

fn new_folder() -> anyhow::Result<PathBuf> {
    Ok(tempfile::Builder::new().prefix("function-mesh-").tempdir()?.keep())
}

/// Path of the cluster program.
fn program() -> anyhow::Result<PathBuf> {
    if let Some(program) = std::env::var_os("FUNCTION_MESH_CLUSTER").filter(|program| !program.is_empty()) {
        return Ok(program.into());
    }
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hack/cluster/build");
    let output = Command::new(&build)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| build.display().to_string())?;
    ensure!(output.status.success(), "{} failed", build.display());
    Ok(String::from_utf8(output.stdout)?.trim().into())
}

impl ControlPlane {
    /// Applies all our CRDs, and waits until the API server serves them.
    pub async fn install_definitions(&self) -> anyhow::Result<()> {
        self.install(&function_mesh_api::crd::all()?).await
    }

    /// Applies CRDs, and waits until the API server serves them.
    pub async fn install(&self, definitions: &[CustomResourceDefinition]) -> anyhow::Result<()> {
        let client = self.client().await?;
        let api = Api::<CustomResourceDefinition>::all(client);
        let params = PatchParams::apply("function-mesh-testkit").force();
        for definition in definitions {
            let name = definition.name_any();
            api.patch(&name, &params, &Patch::Apply(definition)).await.context(name)?;
        }
        let resources: Vec<_> = definitions.iter().map(|it| it.spec.names.plural.clone()).collect();
        self.serves(&resources).await
    }

    /// Waits until the API server serves these resources of ours: the condition `Established` may be true before every
    /// handler is installed.
    async fn serves(&self, resources: &[String]) -> anyhow::Result<()> {
        let client = self.client().await?;
        for resource in resources {
            let list = Request::new(format!("/apis/{API_VERSION}/{resource}"))
                .list(&ListParams::default().limit(1))?;
            eventually(PATIENCE, async || Ok(client.request_text(list.clone()).await?)).await?;
        }
        Ok(())
    }
}

/// Any namespaced kind.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
{
}

/// Applies an object with server-side apply, as a user with a manifest does: fields that were applied before and are
/// missing now are removed.
pub async fn apply<K: Kind>(client: &Client, namespace: &str, object: &K) -> anyhow::Result<K> {
    let mut body = serde_json::to_value(object)?;
    if let Some(body) = body.as_object_mut() {
        body.remove("status");
    }
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let params = PatchParams::apply(AUTHOR).force();
    Ok(api.patch(&object.name_any(), &params, &Patch::Apply(body)).await?)
}
