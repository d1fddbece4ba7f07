//! Runs a program under a memory limit and restarts it with the kubelet's back-off.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::cgroup::Group;
use crate::manifest::Container;

/// Joins the cgroup, if there is one, and executes the program.
const JOIN_CGROUP: &str = r#"[ -z "$0" ] || echo "$$" >"$0"; exec "$@""#;

/// Back-off of the kubelet before the first restarts.
const BACKOFF: [Duration; 3] = [Duration::ZERO, Duration::from_secs(10), Duration::from_secs(20)];

/// `terminationGracePeriodSeconds` of both Deployments.
const TERMINATION_GRACE_PERIOD: Duration = Duration::from_secs(20);

/// How often to read the peak; the kernel keeps it for the lifetime of the process.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(50);

/// A program to run: binary, container settings, cgroup and log file.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) container: Container,
    pub(crate) group: Option<Group>,
    pub(crate) log: PathBuf,
}

/// Memory, restarts and exits of a program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// Peak of the resident memory in bytes.
    pub(crate) peak: u64,
    /// Number of unplanned exits.
    pub(crate) restarts: u64,
    /// Number of OOM kills.
    pub(crate) oom_kills: u64,
    /// Exit statuses.
    pub(crate) exits: Vec<String>,
}

#[derive(Debug)]
enum Request {
    Restart,
    Stop,
}

/// A supervised program.
#[derive(Debug)]
pub(crate) struct Running {
    requests: mpsc::Sender<Request>,
    usage: Arc<Mutex<Usage>>,
    task: JoinHandle<()>,
}

impl Program {
    pub(crate) fn start(self) -> anyhow::Result<Running> {
        let (requests, received) = mpsc::channel(4);
        let usage = Arc::new(Mutex::new(Usage::default()));
        let child = self.spawn()?;
        let task = tokio::spawn(supervise(self, child, received, Arc::clone(&usage)));
        Ok(Running { requests, usage, task })
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let members = self.group.as_ref().map(Group::members).unwrap_or_default();
        Command::new("sh")
            .args(["-c", JOIN_CGROUP])
            .arg(members)
            .arg(&self.path)
            .args(&self.container.args)
            .envs(self.container.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A separate process group: Ctrl-C must reach only this process, which then stops the programs.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.path.display()))
    }
}

/// Restarts a running program.
#[derive(Clone, Debug)]
pub(crate) struct Restarter(mpsc::Sender<Request>);

impl Restarter {
    /// Terminates the program as a rolling update does, and starts it again.
    pub(crate) async fn restart(&self) {
        _ = self.0.send(Request::Restart).await;
    }
}

impl Running {
    pub(crate) fn restarter(&self) -> Restarter {
        Restarter(self.requests.clone())
    }

    /// Terminates the program and returns its usage.
    pub(crate) async fn stop(self) -> Usage {
        _ = self.requests.send(Request::Stop).await;
        _ = self.task.await;
        std::mem::take(&mut *self.usage.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn supervise(
    program: Program,
    first: Child,
    mut requests: mpsc::Receiver<Request>,
    usage: Arc<Mutex<Usage>>,
) {
    let edit =
        |change: &dyn Fn(&mut Usage)| change(&mut usage.lock().unwrap_or_else(PoisonError::into_inner));
    let kills_before = program.group.as_ref().map_or(0, Group::oom_kills);
    let mut child = Some(first);
    let mut sample = interval(SAMPLE_INTERVAL);
    let mut backoff = BACKOFF.iter().copied().chain(std::iter::repeat(Duration::from_secs(40)));
    let mut start_at = Instant::now();
    loop {
        let Some(running) = &mut child else {
            tokio::select! {
                () = tokio::time::sleep_until(start_at) => child = program.spawn().ok(),
                request = requests.recv() => if !matches!(request, Some(Request::Restart)) { return },
            }
            start_at = Instant::now() + Duration::from_secs(1);
            continue;
        };
        tokio::select! {
            status = running.wait() => {
                child = None;
                start_at = Instant::now() + backoff.next().unwrap_or_default();
                let kills = program.group.as_ref().map_or(0, Group::oom_kills) - kills_before;
                let limit = program.container.memory;
                edit(&|usage| {
                    usage.restarts += 1;
                    if kills > usage.oom_kills {
                        usage.oom_kills = kills;
                        usage.peak = usage.peak.max(limit);
                    }
                    usage.exits.push(exit_status(status.as_ref().ok()));
                });
            }
            request = requests.recv() => {
                edit(&|usage| usage.peak = usage.peak.max(peak(running)));
                terminate(running).await;
                match request {
                    Some(Request::Restart) => (child, start_at) = (None, Instant::now()),
                    Some(Request::Stop) | None => return,
                }
            }
            _ = sample.tick() => edit(&|usage| usage.peak = usage.peak.max(peak(running))),
        }
    }
}

fn exit_status(status: Option<&ExitStatus>) -> String {
    status.map_or_else(|| "unknown".to_owned(), ToString::to_string)
}

/// Sends SIGTERM, and SIGKILL after the termination grace period.
async fn terminate(child: &mut Child) {
    if let Some(pid) = child.id() {
        _ = Command::new("sh").args(["-c", r#"kill -TERM "$0""#, &pid.to_string()]).status().await;
    }
    if timeout(TERMINATION_GRACE_PERIOD, child.wait()).await.is_err() {
        _ = child.kill().await;
    }
    // Give the kernel time to release the port.
    sleep(Duration::from_millis(20)).await;
}

/// Peak of the process's resident memory in bytes.
fn peak(child: &Child) -> u64 {
    let Some(pid) = child.id() else { return 0 };
    let file = Path::new("/proc").join(pid.to_string()).join("status");
    let status = fs::read_to_string(file).unwrap_or_default();
    // Until `exec` this is the memory of the shell, which is small.
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    line.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or_default() * 1024
}
