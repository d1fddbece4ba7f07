//! The controller as a process, and its resource usage.

use std::fs::{File, read_to_string};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use function_mesh_testkit::{SECONDS_30, eventually};
use tempfile::NamedTempFile;

/// Clock ticks per second as the kernel reports them; the same on all machines.
const TICKS: u64 = 100;

/// The running controller. Dropping this kills it.
pub(crate) struct Program {
    child: Child,
    health: SocketAddr,
    metrics: SocketAddr,
    log: NamedTempFile,
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

    /// Starts a controller for all namespaces, and waits until it is ready.
    pub(crate) async fn start(program: &Path, kubeconfig: &Path, args: &[String]) -> anyhow::Result<Self> {
        let (health, metrics) = (free_address()?, free_address()?);
        let log = NamedTempFile::new()?;
        let child = Command::new(program)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--watched-namespace", ""])
            .args(["--health-probe-addr", &health.to_string(), "--metrics-addr", &metrics.to_string()])
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.reopen()?)
            .stderr(log.reopen()?)
            .spawn()
            .context("cannot start the controller")?;
        let program = Self { child, health, metrics, log };
        program.ready().await?;
        Ok(program)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let ready = eventually(SECONDS_30, async || get(self.health, "/readyz").map(|_| ()));
        let Err(error) = ready.await else { return Ok(()) };
        let mut log = String::new();
        File::open(self.log.path())?.read_to_string(&mut log)?;
        Err(error.context(format!("the controller is not ready; its log:\n{log}")))
    }

    /// The sum of a counter of its metrics, over the label sets that contain this text.
    pub(crate) fn counter(&self, name: &str, labels: &str) -> anyhow::Result<u64> {
        let text = get(self.metrics, "/metrics")?;
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
            bail!("the controller has exited: {status}\n{}", read_to_string(self.log.path())?);
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
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
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
