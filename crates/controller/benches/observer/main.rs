//! The cost of observing message traffic: requests to Pulsar, and processor time, memory and writes of the controller.
//!
//! The benchmark measures the release build in its own process, against a real API server and a stand-in for Pulsar's
//! admin REST API. For each number of functions it starts a new control plane, with these stages:
//!
//! 1. Functions are created. Each consumes its own topic of the stand-in, and the ConfigMap of all has its address. The
//!    controller creates their children, and their pods are marked as running and ready.
//! 2. For each mode the controller is restarted, and gets some time to settle: `baseline` without `--observe`, `topics`
//!    with a request for each topic, and `metrics` with the metrics of the broker, which `brokers` in the access file
//!    allows.
//! 3. It is observed for two minutes, in which nothing changes but the counters of the topics.
//!
//! With `--pulsar URL` a real broker takes the place of the stand-in: its topics and subscriptions are created, and the
//! controller's metrics say how many of its requests were answered.
//!
//! The stand-in counts requests, and the API server those of the controller in an audit log. Processor time and memory
//! are the kernel's numbers for the process.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints figures, and how far it is")]

mod figures;
mod load;
#[allow(dead_code, reason = "shared with the benchmark `controller`")]
#[path = "../controller/program.rs"]
mod program;
#[allow(dead_code, reason = "shared with the benchmark `controller`")]
#[path = "../controller/requests.rs"]
mod requests;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use function_mesh_testkit::{ControlPlane, PulsarStandIn};
use tempfile::NamedTempFile;

use crate::figures::{Figures, print_table};
use crate::load::Load;
use crate::program::{Operator, Program};
use crate::requests::Requests;

/// Name of the controller's user, which identifies its requests.
const USER: &str = "controller-under-test";

/// Measures the controller while it observes many functions, on new control planes.
#[derive(Debug, Parser)]
#[command(name = "bench-observer")]
struct Args {
    /// Numbers of functions, each on a new control plane
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1000], value_name = "N")]
    functions: Vec<u32>,
    /// What to measure with each of them
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Mode::Baseline, Mode::Topics, Mode::Metrics])]
    modes: Vec<Mode>,
    /// Seconds to measure
    #[arg(long, default_value_t = 120, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Seconds to settle before that
    #[arg(long, default_value_t = 90, value_name = "S")]
    settle: u64,
    /// Messages per second of each topic; 0 for topics without traffic
    #[arg(long, default_value_t = 10, value_name = "N")]
    rate: u64,
    /// Partitions of each topic; 0 for topics that are not partitioned
    #[arg(long, default_value_t = 0, value_name = "N")]
    partitions: usize,
    /// Pods of each function; 0 for suspended functions
    #[arg(long, default_value_t = 1, value_name = "N")]
    replicas: i32,
    /// Milliseconds until each answer of the stand-in
    #[arg(long, default_value_t = 5, value_name = "MS")]
    delay: u64,
    /// Web service URL of a real broker to observe instead of the stand-in; topics in public/default are created
    #[arg(long, value_name = "URL")]
    pulsar: Option<String>,
    /// Do not serve the metrics of pods, which need the port 9094 of this machine
    #[arg(long)]
    no_pods: bool,
    /// Measure this program instead of the benchmark's own build, for example a released one
    #[arg(long, value_name = "FILE", default_value = Program::OWN, hide_default_value = true)]
    program: PathBuf,
    /// Additional flags for the controller while it observes, for example --controller-arg=--observe-metrics
    #[arg(long = "controller-arg", value_name = "FLAG", allow_hyphen_values = true)]
    flags: Vec<String>,
    /// Accepted for cargo, which passes it to all benchmarks
    #[arg(long, hide = true)]
    bench: bool,
}

/// How the controller observes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Mode {
    /// Not at all
    Baseline,
    /// With a request for each topic
    Topics,
    /// With the metrics of the broker, where there are many topics
    Metrics,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Topics => "topics",
            Self::Metrics => "metrics",
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = Args::parse();
    if args.modes.iter().any(|mode| *mode != Mode::Baseline) && !can_observe(&args.program)? {
        eprintln!("this controller has no flag --observe: only the baseline is measured");
        args.modes = vec![Mode::Baseline];
    }
    let mut figures = Vec::new();
    for functions in &args.functions {
        figures.extend(measure(&args, *functions).await?);
    }
    print_table(&figures);
    Ok(())
}

/// Whether the program has the flags of the observer.
fn can_observe(program: &Path) -> anyhow::Result<bool> {
    let help = Command::new(program).arg("--help").output()?;
    Ok(String::from_utf8_lossy(&help.stdout).contains("--observe-access"))
}

/// The controller's flags for a mode. The file is needed as long as the controller runs.
fn flags(mode: Mode, args: &Args, url: &str) -> anyhow::Result<(Vec<String>, NamedTempFile)> {
    let mut access = NamedTempFile::new()?;
    let mut flags = vec!["--observe".to_owned()];
    match mode {
        Mode::Baseline => return Ok((Vec::new(), access)),
        Mode::Topics => {}
        Mode::Metrics => {
            writeln!(access, "clusters: [{{url: {url:?}, brokers: [{url:?}]}}]")?;
            flags.push(format!("--observe-access={}", access.path().display()));
        }
    }
    flags.extend(args.flags.iter().cloned());
    Ok((flags, access))
}

/// A control plane with functions that are ready.
struct Stage {
    load: Load,
    requests: Requests,
    kubeconfig: PathBuf,
    pulsar: PulsarStandIn,
    /// Web service URL of the stand-in, or of the real broker.
    url: String,
    /// Dropped last: the others are connected to it.
    _plane: ControlPlane,
}

impl Stage {
    async fn new(args: &Args, functions: u32) -> anyhow::Result<Self> {
        eprintln!("{functions} functions: starting a control plane");
        let (plane, log) = ControlPlane::start_auditing(USER).await?;
        let delay = Duration::from_millis(args.delay);
        let topics = load::topics(functions, args.partitions, args.rate, delay);
        let mut pulsar = PulsarStandIn::start(topics).await?;
        if !args.no_pods {
            pulsar.serve_pods().await?;
        }
        let url = args.pulsar.clone().unwrap_or_else(|| pulsar.url());
        let load = Load::new(&plane, functions, args.replicas).await?;
        let kubeconfig = plane.kubeconfig_of(USER).await?;
        let mut requests = Requests::new(log);

        eprintln!("  creating functions, and waiting until they are ready");
        let program =
            Program::start(&Operator::Controller(args.program.clone(), Vec::new()), &kubeconfig).await?;
        load.create(&url).await?;
        if args.pulsar.is_some() {
            load.create_topics(&url).await?;
        }
        load.run_pods(pulsar.ip()).await?;
        requests.until_quiet().await?;
        drop(program);
        Ok(Self { load, requests, kubeconfig, pulsar, url, _plane: plane })
    }
}

/// Requests of the observer that were answered, and those that were not.
fn asked(program: &Program) -> anyhow::Result<(u64, u64)> {
    let count = |labels| program.counter("function_mesh_observer_requests_total", labels);
    let answered = count("outcome=\"answered\"")?;
    Ok((answered, count("")? - answered))
}

async fn measure(args: &Args, functions: u32) -> anyhow::Result<Vec<Figures>> {
    let mut stage = Stage::new(args, functions).await?;
    let (settle, measured) = (Duration::from_secs(args.settle), Duration::from_secs(args.seconds));
    let mut all = Vec::new();
    for mode in &args.modes {
        eprintln!("  {}: {settle:?} to settle, then {measured:?}", mode.name());
        let (flags, _access) = flags(*mode, args, &stage.url)?;
        let operator = Operator::Controller(args.program.clone(), flags);
        let mut program = Program::start(&operator, &stage.kubeconfig).await?;
        let first = stage.requests.during(settle).await?;
        let before = program.usage()?;
        let asked_before = asked(&program)?;
        stage.pulsar.take_requests();
        let steady = stage.requests.during(measured).await?;
        let pulsar = stage.pulsar.take_requests();
        let asked = asked(&program)?;
        let after = program.usage()?;
        let observed = stage.load.observed().await?;
        let cpu = after.cpu.saturating_sub(before.cpu);
        all.push(Figures {
            functions,
            mode: mode.name(),
            observed,
            measured,
            pulsar,
            answered: asked.0 - asked_before.0,
            unanswered: asked.1 - asked_before.1,
            cpu,
            resident: after.resident,
            peak: after.peak,
            first,
            steady,
        });
    }
    Ok(all)
}
