//! Starts an API server with the chart's objects, and runs the programs as the chart does.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_testkit::{ControlPlane, PATIENCE, eventually};
use http::Request;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::args::Args;
use crate::attacks::Attack;
use crate::cgroup::{CleanupGuard, Group};
use crate::generate;
use crate::manifest::{Container, Manifest};
use crate::measure::{self, Measure};
use crate::program::{Program, Running};
use crate::report::Row;
use crate::target::TargetConfig;

const CONTROLLER: &str = "function-mesh-controller-manager";
const WEBHOOK: &str = "function-mesh-webhook";
const BYSTANDER: &str = "bystander";
/// How long an attack may exceed its duration, for its open requests.
const OVERTIME: Duration = Duration::from_secs(15);

/// Listen addresses of the programs.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    webhook: SocketAddr,
    /// Of the controller and of the webhook.
    health: [SocketAddr; 2],
    metrics: [SocketAddr; 2],
}

/// The API server, the programs and the attackers' accounts.
pub(crate) struct Harness {
    plane: ControlPlane,
    admin: Client,
    addresses: Addresses,
    controller: Program,
    webhook: Program,
    mallory: Config,
    carl: Config,
    /// Declared before `_folder`: dropped first.
    _cleanup: Option<CleanupGuard>,
    /// Logs and configuration.
    _folder: TempDir,
}

impl Harness {
    pub(crate) async fn start(args: &Args) -> anyhow::Result<Self> {
        let manifest = Manifest::read(&args.manifests.join("function-mesh-self-signed.yaml"))?;
        let plane = ControlPlane::start().await?;
        let addresses = Addresses::free()?;
        let crds = args.manifests.join("crds");
        let apply = ["apply", "--server-side", "--force-conflicts", "-f"];
        plane.kubectl(&[&apply[..], &[&*crds.to_string_lossy()]].concat(), "").await?;
        let objects = manifest.objects(&format!("https://{}", addresses.webhook));
        plane.kubectl(&[&apply[..], &["-"]].concat(), &objects.to_string()).await?;
        plane.kubectl(&[&apply[..], &["-"]].concat(), &accounts().to_string()).await?;
        let folder = tempfile::tempdir()?;
        let groups = groups(&manifest);
        let cleanup = groups.as_ref().map(|groups| CleanupGuard::start(groups.iter())).transpose()?;
        let [controller_group, webhook_group] = groups.map_or([None, None], |groups| groups.map(Some));

        let config = folder.path().join("config.yaml");
        std::fs::write(&config, &manifest.config)?;
        let mut programs = Vec::new();
        let parts =
            [(CONTROLLER, manifest.controller, controller_group), (WEBHOOK, manifest.webhook, webhook_group)];
        for (number, (name, container, group)) in parts.into_iter().enumerate() {
            // With the permissions that the chart grants to its ServiceAccount.
            let user = format!("system:serviceaccount:function-mesh:{name}");
            let kubeconfig = plane.kubeconfig_by_roles(&user).await?;
            let flags = [
                ("--webhook-addr", addresses.webhook.to_string()),
                ("--health-probe-addr", addresses.health[number].to_string()),
                ("--metrics-addr", addresses.metrics[number].to_string()),
                ("--certificate-dns-name", "127.0.0.1".to_owned()),
                ("--config-file", config.display().to_string()),
            ];
            let container: Container =
                container.with_flags(&flags.into(), &[format!("--kubeconfig={}", kubeconfig.display())]);
            let log = folder.path().join(format!("{name}.log"));
            programs.push(Program { path: args.programs.join(name), container, group, log });
        }
        let webhook = programs.pop().context("two programs")?;
        let controller = programs.pop().context("two programs")?;
        Ok(Self {
            admin: plane.client().await?,
            mallory: config_of(&plane, "mallory").await?,
            carl: config_of(&plane, "carl").await?,
            plane,
            addresses,
            controller,
            webhook,
            _cleanup: cleanup,
            _folder: folder,
        })
    }

    /// The memory limits of the controller and of the webhook.
    pub(crate) fn limits(&self) -> [u64; 2] {
        [self.controller.container.memory, self.webhook.container.memory]
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.controller.group.is_some()
    }

    /// Runs an attack with newly started programs, on the threads of `attackers`.
    pub(crate) async fn run(
        &self,
        attack: &Attack,
        duration: Duration,
        attackers: &Handle,
    ) -> anyhow::Result<Row> {
        let namespace = attack.name.to_owned();
        self.plane.kubectl(&["apply", "-f", "-"], &tenant(&namespace).to_string()).await?;
        let webhook = self.webhook.clone().start()?;
        let controller = self.controller.clone().start()?;
        if let Err(error) = self.ready(attack.name).await {
            self.stop(controller, webhook).await;
            self.clear(&namespace).await;
            return Err(error);
        }
        let measure = Measure::new(attack.name);
        let done = Arc::new(Mutex::new(BTreeMap::new()));
        let config = TargetConfig {
            mallory: self.mallory.clone(),
            carl: self.carl.clone(),
            namespace: namespace.clone(),
            webhook: self.addresses.webhook,
            metrics: self.addresses.metrics,
            duration,
            controller: controller.restarter(),
            measure: measure.clone(),
            done: Arc::clone(&done),
        };
        let run = attack.run;
        let run_attack = async {
            let attack = attackers.spawn(async move {
                match config.connect() {
                    Ok(target) => run(target).await,
                    Err(error) => measure::warn(&error),
                }
            });
            let abort = attack.abort_handle();
            if timeout(duration + OVERTIME, attack).await.is_err() {
                abort.abort();
            }
        };
        let [controller_health, webhook_health] = self.addresses.health;
        let probes = [("controller".to_owned(), controller_health), ("webhook".to_owned(), webhook_health)];
        let delays = measure.during(&self.admin, BYSTANDER, &probes, run_attack).await;
        let usage = self.stop(controller, webhook).await;
        let events = Api::<Event>::namespaced(self.admin.clone(), &namespace);
        // Retry: an overloaded API server may have closed the connection.
        let events = eventually(PATIENCE, async || Ok(events.list_metadata(&ListParams::default()).await?))
            .await
            .map(|list| list.items.len());
        let done = std::mem::take(&mut *done.lock().unwrap_or_else(PoisonError::into_inner));
        self.clear(&namespace).await;
        Ok(Row::new(attack, delays, usage, events?, done))
    }

    async fn stop(&self, controller: Running, webhook: Running) -> [crate::program::Usage; 2] {
        let usage = [controller.stop().await, webhook.stop().await];
        for (program, usage) in [&self.controller, &self.webhook].into_iter().zip(&usage) {
            if usage.restarts > 0 {
                let log = std::fs::read_to_string(&program.log).unwrap_or_default();
                let mut lines: Vec<_> = log.lines().rev().take(3).collect();
                lines.reverse();
                let lines: Vec<_> =
                    lines.iter().map(|line| line.chars().take(200).collect::<String>()).collect();
                measure::warn(&format!(
                    "{} {:?}; its log ends:\n{}",
                    program.path.display(),
                    usage.exits,
                    lines.join("\n")
                ));
            }
        }
        usage
    }

    /// Waits until both programs are ready, the API server calls the webhook, and the controller leads. It creates a
    /// Function with a unique name: the garbage collector may not yet have deleted the children of an earlier one.
    async fn ready(&self, attack: &str) -> anyhow::Result<()> {
        let log = |program: &Program| {
            let log = std::fs::read_to_string(&program.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            lines[lines.len().saturating_sub(10)..].join("\n")
        };
        for (program, address) in [&self.controller, &self.webhook].into_iter().zip(self.addresses.health) {
            eventually(PATIENCE, async || {
                ensure!(measure::is_ready(address).await, "{} is not ready", program.path.display());
                Ok(())
            })
            .await
            .with_context(|| log(program))?;
        }
        eventually(PATIENCE, async || {
            let path = format!("/apis/compute.functionmesh.io/v1alpha1/namespaces/{BYSTANDER}/functions");
            let first = generate::function(&format!("before-{attack}"), "", "");
            let request = Request::post(path).header("content-type", "application/json");
            let created = self.admin.request_text(request.body(first.into_bytes())?).await;
            let exists = matches!(&created, Err(kube::Error::Api(status)) if status.code == 409);
            ensure!(created.is_ok() || exists, "{created:?}");
            let sets =
                Api::<k8s_openapi::api::apps::v1::StatefulSet>::namespaced(self.admin.clone(), BYSTANDER);
            sets.get_metadata(&format!("before-{attack}-function")).await?;
            Ok(())
        })
        .await
        .with_context(|| log(&self.controller))?;
        measure::clear(&self.admin, BYSTANDER).await;
        Ok(())
    }

    /// Deletes the attack's objects, since both programs are stopped.
    async fn clear(&self, namespace: &str) {
        measure::clear(&self.admin, BYSTANDER).await;
        let ours = "/apis/compute.functionmesh.io/v1alpha1";
        let paths = [
            format!("{ours}/namespaces/{namespace}/functionmeshes"),
            format!("{ours}/namespaces/{namespace}/functions"),
            format!("{ours}/namespaces/{namespace}/sinks"),
            format!("/apis/apps/v1/namespaces/{namespace}/statefulsets"),
            format!("/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"),
            format!("/apis/batch/v1/namespaces/{namespace}/jobs"),
            format!("/api/v1/namespaces/{namespace}/pods"),
        ];
        for path in paths {
            let Ok(request) = Request::delete(path).body(Vec::new()) else { continue };
            if let Err(error) = self.admin.request_text(request).await {
                measure::warn(&error);
            }
        }
        _ = self.plane.kubectl(&["delete", "namespace", namespace, "--wait=false"], "").await;
        // Give the built-in controllers time for the deletion.
        sleep(Duration::from_millis(500)).await;
    }
}

impl Addresses {
    fn free() -> anyhow::Result<Self> {
        // Bind all of them before any is closed, so that the ports differ.
        let listeners = [(); 5].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let mut addresses = Vec::new();
        for listener in listeners {
            addresses.push(listener?.local_addr()?);
        }
        let [webhook, health, metrics, webhook_health, webhook_metrics] = addresses[..] else {
            anyhow::bail!("five addresses expected");
        };
        Ok(Self { webhook, health: [health, webhook_health], metrics: [metrics, webhook_metrics] })
    }
}

/// The groups of both programs; prints a warning and returns `None` where cgroups are not writable.
fn groups(manifest: &Manifest) -> Option<[Group; 2]> {
    let both = Group::create("controller", manifest.controller.memory)
        .and_then(|first| Ok([first, Group::create("webhook", manifest.webhook.memory)?]));
    both.map_err(|error| measure::warn(&format!("memory limits are NOT enforced: {error:#}"))).ok()
}

async fn config_of(plane: &ControlPlane, user: &str) -> anyhow::Result<Config> {
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig_by_roles(user).await?)?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// The attackers' ClusterRoles, and the bystander's namespace.
fn accounts() -> Value {
    let verbs = json!(["create", "get", "list", "patch", "update", "delete"]);
    let role = |name: &str, rules: Value| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": name }, "rules": rules
        })
    };
    let ours = json!([{ "apiGroups": ["compute.functionmesh.io"], "resources": ["functions", "functionmeshes"], "verbs": verbs }]);
    let others = json!([
        { "apiGroups": [""], "resources": ["services", "pods"], "verbs": verbs },
        { "apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": verbs },
        { "apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": verbs },
        { "apiGroups": ["batch"], "resources": ["jobs"], "verbs": verbs },
    ]);
    let bystander = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": BYSTANDER } });
    json!({ "apiVersion": "v1", "kind": "List", "items": [role("mallory", ours), role("carl", others), bystander] })
}

/// A namespace with RoleBindings for the attackers.
fn tenant(namespace: &str) -> Value {
    let binding = |user: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": user, "namespace": namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }]
        })
    };
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
    json!({ "apiVersion": "v1", "kind": "List", "items": [namespace, binding("mallory"), binding("carl")] })
}
