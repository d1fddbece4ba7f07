//! The programs as processes that exit with the test, even if it is killed.

use std::ffi::OsStr;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use clap::Parser;
use function_mesh_testkit::{ControlPlane, PATIENCE, eventually};
use function_mesh_webhook::manifests::{ClientTarget, webhook_configurations};
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;
use tempfile::TempDir;

/// Starts a program that is stopped when its standard input is closed.
const KEEPER: &str = r#""$@" </dev/null & cat >/dev/null; kill "$!" 2>/dev/null; wait "$!""#;

/// A running program and its log.
pub(crate) struct Program {
    name: String,
    keeper: Child,
    folder: TempDir,
}

impl Program {
    pub(crate) fn start(path: &OsStr, args: &[String], env: &[(&str, String)]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let log = File::create(folder.path().join("log"))?;
        let name = path.to_string_lossy().into_owned();
        let found = Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null"]).arg(path).status()?;
        ensure!(found.success(), "{name} is not there");
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(path)
            .args(args)
            .envs(env.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C reaches the whole process group; the parent still has to clean up.
            .process_group(0)
            .spawn()?;
        Ok(Self { name, keeper, folder })
    }

    pub(crate) fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        format!("the last log of {}:\n{}", self.name, lines[lines.len().saturating_sub(40)..].join("\n"))
    }

    /// The address of one of its listeners, from its log.
    async fn address(&self, listener: &str) -> anyhow::Result<SocketAddr> {
        eventually(PATIENCE, async || {
            let log = std::fs::read_to_string(self.folder.path().join("log"))?;
            let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let address_of = |line: Value| {
                let fields = if line["fields"].is_object() { &line["fields"] } else { &line };
                let is_it = fields["message"] == "listening" && fields["listener"] == listener;
                fields["addr"].as_str().filter(|_| is_it).map(str::to_owned)
            };
            let address = lines.find_map(address_of).with_context(|| self.log())?;
            Ok(address.parse()?)
        })
        .await
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let address = self.address("health").await?;
        eventually(PATIENCE, async || {
            let answer = reqwest::get(format!("http://{address}/readyz")).await?.text().await?;
            ensure!(answer.trim() == "ok", "{answer}{}", self.log());
            Ok(())
        })
        .await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        _ = self.keeper.wait();
    }
}

const WEBHOOK_ARGUMENTS: &str = "MONITORING_WEBHOOK_ARGUMENTS";

/// Not a test: the webhook program. Cargo builds its binary for its own package, and a binary from another build may
/// be stale, so this test binary runs as the webhook.
#[tokio::test]
#[ignore = "is started by another test"]
async fn the_webhook() -> anyhow::Result<()> {
    let Ok(arguments) = std::env::var(WEBHOOK_ARGUMENTS) else { return Ok(()) };
    function_mesh_webhook::cli::Cli::parse_from(arguments.lines()).run().await
}

/// The controller and the webhook in front of a control plane.
pub(crate) struct Operator {
    metrics: [(&'static str, SocketAddr); 2],
    _programs: [Program; 2],
    _certificates: TempDir,
}

impl Operator {
    pub(crate) const PROGRAMS: [&'static str; 2] =
        ["function-mesh-controller-manager", "function-mesh-webhook"];

    /// Starts both, the controller first; at the end the API server calls the webhook.
    pub(crate) async fn start(plane: &ControlPlane, namespace: &str) -> anyhow::Result<Self> {
        let certificates = tempfile::tempdir()?;
        let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        std::fs::write(certificates.path().join("tls.crt"), certificate.cert.pem())?;
        std::fs::write(certificates.path().join("tls.key"), certificate.signing_key.serialize_pem())?;
        let shared = [
            "--metrics-addr=127.0.0.1:0".to_owned(),
            "--metrics-secure=false".to_owned(),
            "--health-probe-addr=127.0.0.1:0".to_owned(),
            "--log-format=json".to_owned(),
        ];

        let own = [
            format!("--kubeconfig={}", plane.kubeconfig().display()),
            format!("--watched-namespace={namespace}"),
            "--enable-leader-election".to_owned(),
            "--observe".to_owned(),
            "--observe-metrics".to_owned(),
            format!("--cert-dir={}", certificates.path().display()),
        ];
        let controller = env!("CARGO_BIN_EXE_function-mesh-controller-manager");
        let controller = Program::start(controller.as_ref(), &[&shared[..], &own].concat(), &[])?;
        controller.ready().await?;

        // The webhook creates its certificate and injects the caBundle.
        let own = [
            "webhook".to_owned(),
            "--webhook-addr=127.0.0.1:0".to_owned(),
            "--certificate-secret=monitoring".to_owned(),
            format!("--certificate-namespace={namespace}"),
            "--certificate-dns-name=127.0.0.1".to_owned(),
            "--mutating-webhook-configuration=monitoring-mutating-webhook-configuration".to_owned(),
            "--validating-webhook-configuration=monitoring-validating-webhook-configuration".to_owned(),
            format!("--kubeconfig={}", plane.kubeconfig().display()),
        ];
        let arguments = [&own, &shared[..]].concat();
        let again = ["--ignored", "--exact", "--nocapture", "programs::the_webhook"].map(str::to_owned);
        let env = [(WEBHOOK_ARGUMENTS, arguments.join("\n"))];
        let webhook = Program::start(std::env::current_exe()?.as_os_str(), &again, &env)?;
        webhook.ready().await?;
        let target = ClientTarget::Url(format!("https://{}", webhook.address("admission").await?));
        let (mutating, validating) = webhook_configurations("monitoring", &target, None);
        let client = plane.client().await?;
        Api::all(client.clone()).create(&PostParams::default(), &mutating).await?;
        Api::all(client).create(&PostParams::default(), &validating).await?;
        let metrics =
            [("function-mesh-controller-manager", &controller), ("function-mesh-webhook", &webhook)];
        let [first, second] = metrics;
        let metrics =
            [(first.0, first.1.address("metrics").await?), (second.0, second.1.address("metrics").await?)];
        Ok(Self { metrics, _programs: [controller, webhook], _certificates: certificates })
    }

    /// The metrics address of each program.
    pub(crate) fn metrics(&self) -> [(&'static str, SocketAddr); 2] {
        self.metrics
    }
}
