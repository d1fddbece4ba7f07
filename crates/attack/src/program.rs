//! A program under a memory limit, restarted when it dies, as the kubelet does.

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

/// Joins the group, if there is one, and becomes the program.
const JOIN: &str = r#"[ -z "$0" ] || echo "$$" >"$0"; exec "$@""#;

/// How long the kubelet waits before the first restarts.
const BACKOFF: [Duration; 3] = [Duration::ZERO, Duration::from_secs(10), Duration::from_secs(20)];

/// `terminationGracePeriodSeconds` of both Deployments.
const GRACE: Duration = Duration::from_secs(20);

/// How often the kernel is asked for the peak; it remembers the peak itself for as long as the process lives.
const SAMPLE: Duration = Duration::from_millis(50);

/// How a program is run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) container: Container,
    pub(crate) group: Option<Group>,
    pub(crate) log: PathBuf,
}

/// What became of a program while it ran.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// The most memory that it held, in bytes.
    pub(crate) peak: u64,
    /// How often it ended by itself.
    pub(crate) restarts: u64,
    /// How often the kernel killed it because of its limit.
    pub(crate) oom_kills: u64,
    /// How it ended, each time.
    pub(crate) endings: Vec<String>,
}

#[derive(Debug)]
enum Order {
    Restart,
    Stop,
}

/// A program that runs until it is stopped.
#[derive(Debug)]
pub(crate) struct Running {
    orders: mpsc::Sender<Order>,
    usage: Arc<Mutex<Usage>>,
    task: JoinHandle<()>,
}

impl Program {
    pub(crate) fn start(self) -> anyhow::Result<Running> {
        let (orders, received) = mpsc::channel(4);
        let usage = Arc::new(Mutex::new(Usage::default()));
        let child = self.spawn()?;
        let task = tokio::spawn(supervise(self, child, received, Arc::clone(&usage)));
        Ok(Running { orders, usage, task })
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let members = self.group.as_ref().map(Group::members).unwrap_or_default();
        Command::new("sh")
            .args(["-c", JOIN])
            .arg(members)
            .arg(&self.path)
            .args(&self.container.args)
            .envs(self.container.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for this program, which then ends the others.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.path.display()))
    }
}

/// Restarts a running program.
#[derive(Clone, Debug)]
pub(crate) struct Restarter(mpsc::Sender<Order>);

impl Restarter {
    /// Ends the program as a rolling update does, and starts it again.
    pub(crate) async fn restart(&self) {
        _ = self.0.send(Order::Restart).await;
    }
}

impl Running {
    pub(crate) fn restarter(&self) -> Restarter {
        Restarter(self.orders.clone())
    }

    /// Ends the program, and tells what became of it.
    pub(crate) async fn stop(self) -> Usage {
        _ = self.orders.send(Order::Stop).await;
        _ = self.task.await;
        std::mem::take(&mut *self.usage.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn supervise(
    program: Program,
    first: Child,
    mut orders: mpsc::Receiver<Order>,
    usage: Arc<Mutex<Usage>>,
) {
    let edit =
        |change: &dyn Fn(&mut Usage)| change(&mut usage.lock().unwrap_or_else(PoisonError::into_inner));
    let kills_before = program.group.as_ref().map_or(0, Group::oom_kills);
    let mut child = Some(first);
    let mut sample = interval(SAMPLE);
    let mut backoff = BACKOFF.iter().copied().chain(std::iter::repeat(Duration::from_secs(40)));
    let mut start_at = Instant::now();
    loop {
        let Some(running) = &mut child else {
            tokio::select! {
                () = tokio::time::sleep_until(start_at) => child = program.spawn().ok(),
                order = orders.recv() => if !matches!(order, Some(Order::Restart)) { return },
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
                    usage.endings.push(ending(status.as_ref().ok()));
                });
            }
            order = orders.recv() => {
                edit(&|usage| usage.peak = usage.peak.max(peak(running)));
                end(running).await;
                match order {
                    Some(Order::Restart) => (child, start_at) = (None, Instant::now()),
                    Some(Order::Stop) | None => return,
                }
            }
            _ = sample.tick() => edit(&|usage| usage.peak = usage.peak.max(peak(running))),
        }
    }
}

fn ending(status: Option<&ExitStatus>) -> String {
    status.map_or_else(|| "unknown".to_owned(), ToString::to_string)
}

/// SIGTERM, and SIGKILL after the time that the chart gives.
async fn end(child: &mut Child) {
    if let Some(pid) = child.id() {
        _ = Command::new("sh").args(["-c", r#"kill -TERM "$0""#, &pid.to_string()]).status().await;
    }
    if timeout(GRACE, child.wait()).await.is_err() {
        _ = child.kill().await;
    }
    // Its port is free in the next moment.
    sleep(Duration::from_millis(20)).await;
}

/// The most memory that the process held, in bytes.
fn peak(child: &Child) -> u64 {
    let Some(pid) = child.id() else { return 0 };
    let file = Path::new("/proc").join(pid.to_string()).join("status");
    let status = fs::read_to_string(file).unwrap_or_default();
    // Before it becomes the program it is a shell, which is small.
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    line.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or_default() * 1024
}
