//! The controller as a process, and what the kernel says of it.

use std::fs::{File, read_to_string};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use function_mesh_testkit::{SECONDS_30, eventually};
use tempfile::NamedTempFile;

/// Units of processor time a second, as the kernel shows it to programs; the same on all machines.
const TICKS: u64 = 100;

/// The running controller. It is killed with this value.
pub(crate) struct Program {
    child: Child,
    health: SocketAddr,
    log: NamedTempFile,
}

/// What a process has used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Processor time, in the kernel and out of it.
    pub(crate) cpu: Duration,
    /// The most memory that it ever held, in KiB.
    pub(crate) peak: u64,
    /// Memory that it holds now, in KiB.
    pub(crate) resident: u64,
}

impl Program {
    /// Starts the controller for all namespaces, and waits until it says that it is ready.
    pub(crate) async fn start(kubeconfig: &Path, args: &[String]) -> anyhow::Result<Self> {
        let (health, metrics) = (free_address()?, free_address()?);
        let log = NamedTempFile::new()?;
        let child = Command::new(env!("CARGO_BIN_EXE_function-mesh-controller-manager"))
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
        let program = Self { child, health, log };
        program.ready().await?;
        Ok(program)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let health = self.health;
        let ready = eventually(SECONDS_30, async || {
            let mut stream = TcpStream::connect(health)?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            Ok(())
        });
        let Err(error) = ready.await else { return Ok(()) };
        let mut log = String::new();
        File::open(self.log.path())?.read_to_string(&mut log)?;
        Err(error.context(format!("the controller is not ready; it says:\n{log}")))
    }

    /// Kills it.
    pub(crate) fn stop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }

    /// What it has used until now.
    pub(crate) fn usage(&mut self) -> anyhow::Result<Usage> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the controller has ended: {status}\n{}", read_to_string(self.log.path())?);
        }
        let folder = Path::new("/proc").join(self.child.id().to_string());
        let stat = read_to_string(folder.join("stat"))?;
        // The name of the program stands in brackets and may hold blanks; numbers follow.
        let numbers: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |field: usize| numbers.get(field).and_then(|text| text.parse::<u64>().ok());
        // The fields 14 and 15 of proc_pid_stat(5), where the state is the third.
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

/// An address that nobody listens on at this moment.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
