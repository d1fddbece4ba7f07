//! The measured operator as a process, and its resource usage.

use std::fs::{File, read_to_string};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use function_mesh_testkit::{PATIENCE, eventually};
use tempfile::NamedTempFile;

/// Clock ticks per second as the kernel reports them; the same on all machines.
const TICKS: u64 = 100;

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) enum Operator {
    /// A controller of this project, with more flags.
    Controller(PathBuf, Vec<String>),
    /// Any operator of these CRDs, by a command of the shell.
    Command(String),
}

/// The running operator. Dropping this kills it.
pub(crate) struct Program {
    child: Child,
    /// Addresses of a controller of this project.
    addresses: Option<Addresses>,
    log: NamedTempFile,
}

#[derive(Clone, Copy)]
struct Addresses {
    health: SocketAddr,
    metrics: SocketAddr,
}

/// Resource usage of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Processor time, user and system.
    pub(crate) cpu: Duration,
    /// Peak resident memory, in KiB.
    pub(crate) peak: u64,
    /// Resident memory, in KiB.
    pub(crate) resident: u64,
}

impl Program {
    /// The program of this workspace, in the benchmark's build.
    pub(crate) const OWN: &str = env!("CARGO_BIN_EXE_function-mesh-controller-manager");

    /// Starts an operator for all namespaces. A controller of this project is waited for until it is ready.
    pub(crate) async fn start(operator: &Operator, kubeconfig: &Path) -> anyhow::Result<Self> {
        let log = NamedTempFile::new()?;
        let (mut command, addresses) = match operator {
            Operator::Controller(file, flags) => {
                let addresses = Addresses { health: free_address()?, metrics: free_address()? };
                let mut command = Command::new(file);
                command
                    .arg("--kubeconfig")
                    .arg(kubeconfig)
                    .args(["--watched-namespace", ""])
                    .args(["--health-probe-addr", &addresses.health.to_string()])
                    .args(["--metrics-addr", &addresses.metrics.to_string()])
                    .args(flags);
                (command, Some(addresses))
            }
            Operator::Command(text) => {
                let mut command = Command::new("sh");
                // The process that is measured is the operator, not the shell.
                command.args(["-c", &format!("exec {text}")]).env("KUBECONFIG", kubeconfig);
                (command, None)
            }
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(log.reopen()?)
            .stderr(log.reopen()?)
            .spawn()
            .context("cannot start the operator")?;
        let program = Self { child, addresses, log };
        program.ready().await?;
        Ok(program)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let Some(Addresses { health, .. }) = self.addresses else { return Ok(()) };
        let ready = eventually(PATIENCE, async || get(health, "/readyz").map(|_| ()));
        let Err(error) = ready.await else { return Ok(()) };
        let mut log = String::new();
        File::open(self.log.path())?.read_to_string(&mut log)?;
        Err(error.context(format!("the controller is not ready; its log:\n{log}")))
    }

    /// How long an answer with its metrics takes; None for another operator.
    pub(crate) fn scrape(&self) -> anyhow::Result<Option<Duration>> {
        let Some(Addresses { metrics, .. }) = self.addresses else { return Ok(None) };
        let begun = Instant::now();
        get(metrics, "/metrics")?;
        Ok(Some(begun.elapsed()))
    }

    /// The sum of a counter of its metrics, over the label sets that contain this text.
    pub(crate) fn counter(&self, name: &str, labels: &str) -> anyhow::Result<u64> {
        let addresses = self.addresses.context("another operator has other metrics")?;
        let text = get(addresses.metrics, "/metrics")?;
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(labels));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(values.sum())
    }

    /// Kills it.
    pub(crate) fn stop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }

    /// Its resource usage until now.
    pub(crate) fn usage(&mut self) -> anyhow::Result<Usage> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the operator has exited: {status}\n{}", read_to_string(self.log.path())?);
        }
        let folder = Path::new("/proc").join(self.child.id().to_string());
        let stat = read_to_string(folder.join("stat"))?;
        // The name of the program is in brackets and may contain spaces; numbers follow.
        let numbers: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |field: usize| numbers.get(field).and_then(|text| text.parse::<u64>().ok());
        // Fields 14 and 15 of proc_pid_stat(5); the state is field 3.
        let ticks = ticks(11).zip(ticks(12)).context("no processor time in stat")?;
        let status = read_to_string(folder.join("status"))?;
        let kib = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok());
            number.with_context(|| format!("no {name} in status"))
        };
        Ok(Usage {
            cpu: Duration::from_millis((ticks.0 + ticks.1) * 1000 / TICKS),
            peak: kib("VmHWM")?,
            resident: kib("VmRSS")?,
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stop();
    }
}

fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(answer)
}

/// An unused address.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
