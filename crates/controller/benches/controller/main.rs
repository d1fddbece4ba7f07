//! The cost of a thousand functions: reconcile speed, requests, processor time and memory of an operator.
//!
//! The benchmark measures the release build, or any other operator of the same CRDs, in its own process, against a real API server with etcd and the built-in
//! controllers. There are no kubelets, so all functions wait for their pods, which is the expensive case: the
//! controller rechecks them continuously. Every run has a new control plane, and these stages:
//!
//! 1. Functions are created, some concurrently. Every fourth is autoscaled. They contain the webhook's defaults;
//!    the webhook is not part of the benchmark.
//!    With `--edits`, another function is edited again and again meanwhile.
//! 2. The controller creates their children, one StatefulSet and one Service each, and an autoscaler for every fourth.
//!    The API server counts them.
//! 3. The controller reaches a steady state: it writes nothing for longer than its longest recheck interval. The time
//!    is that of its last write.
//! 4. The steady state is observed for a while.
//! 5. The controller is restarted. It lists all objects at once, which may cause the peak memory; it has nothing to
//!    write.
//! 6. With `--bare`, a plain client writes the same children again, to another namespace and without a controller: the
//!    lower bound.
//! 7. On another control plane, a mesh is created and, in a steady state, one of its functions is edited.
//!
//! The API server counts requests in an audit log of the controller's user. Processor time and memory are the kernel's
//! values for the process. Everything shares one machine, so ratios to the time of creation are more significant than
//! times. The benchmark asserts nothing.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints figures, and how far it is")]

mod figures;
mod load;
#[allow(dead_code, reason = "shared with the benchmark `observer`")]
mod program;
mod requests;
mod rig;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use function_mesh_testkit::ControlPlane;
use jiff::Timestamp;

use crate::figures::{Edit, Edits, Figures, Restart, Steady, print_json, print_table};
use crate::load::Load;
use crate::program::{Operator, Program};
use crate::requests::Requests;
use crate::rig::Rig;

/// Name of the controller's user, which identifies its requests.
const USER: &str = "controller-under-test";

/// Duration of the steady state.
const STEADY: Duration = Duration::from_secs(20);

/// Measures an operator with many functions, on new control planes.
///
/// The operator gets a real API server with etcd and the built-in controllers, the CRDs, and a user that may do everything.
/// There are no nodes and no webhook: the functions have the webhook's defaults, and their pods stay Pending.
#[derive(Debug, Parser)]
#[command(name = "bench", after_help = EXAMPLES)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
struct Args {
    /// Functions to create
    #[arg(long, env = "FUNCTIONS", default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    functions: u32,
    /// Replicas of each function; 0 leaves out pods and autoscalers, and so most of what Kubernetes' own controllers do
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    replicas: i32,
    /// Requests at a time when objects are created
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    at_a_time: u16,
    /// Functions of the mesh of which one is edited; 0 to skip this stage
    #[arg(long, default_value_t = 200, value_name = "N")]
    mesh: u32,
    /// Number of runs
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Also measure how long a plain client takes to write the same children
    #[arg(long)]
    bare: bool,
    /// While the functions are created, edit another one, and measure how long it takes until that is accepted, and
    /// then until its pod template has changed
    #[arg(long)]
    edits: bool,
    /// Print the results as JSON: the machine, and an object for each run
    #[arg(long)]
    json: bool,
    /// Measure another operator of these CRDs: a command of the shell that runs it in the foreground. KUBECONFIG is set
    #[arg(long, value_name = "CMD", conflicts_with_all = ["program", "flags"])]
    operator: Option<String>,
    /// Measure this program instead of the benchmark's own build, for example a released one
    #[arg(long, value_name = "FILE", default_value = Program::OWN, hide_default_value = true)]
    program: PathBuf,
    /// Additional flags for the controller, for example --controller-arg=--concurrency=32
    #[arg(long = "controller-arg", value_name = "FLAG", allow_hyphen_values = true)]
    flags: Vec<String>,
    /// Accepted for cargo, which passes it to all benchmarks
    #[arg(long, hide = true)]
    bench: bool,
}

const EXAMPLES: &str = "\
Examples:
  just bench --runs 3                                     this controller, three runs and their medians
  just bench --functions 10000 --replicas 0 --mesh 0      how it grows
  just bench --operator './manager --leader-elect=false'  another operator

The figures of two operators are comparable on one quiet machine only: most of the time is the API server's.";

impl Args {
    fn operator(&self) -> Operator {
        match &self.operator {
            Some(command) => Operator::Command(command.clone()),
            None => Operator::Controller(self.program.clone(), self.flags.clone()),
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let rig = Rig::look()?;
    let mut figures = Vec::new();
    for number in 1..=args.runs {
        eprintln!("run {number} of {}", args.runs);
        figures.push(measure(&args).await?);
    }
    if args.json {
        return print_json(&rig, &figures);
    }
    println!("{rig}\n");
    print_table(&figures);
    Ok(())
}

/// A new control plane with an idle operator.
struct Stage {
    load: Load,
    requests: Requests,
    program: Program,
    operator: Operator,
    kubeconfig: PathBuf,
    /// Dropped last: the others are connected to it.
    _plane: ControlPlane,
}

impl Stage {
    async fn new(args: &Args) -> anyhow::Result<Self> {
        eprintln!("  starting a control plane");
        let (plane, log) = ControlPlane::start_auditing(USER).await?;
        let load = Load::new(&plane, args.replicas, args.at_a_time.into()).await?;
        let kubeconfig = plane.kubeconfig_of(USER).await?;
        let (operator, mut requests) = (args.operator(), Requests::new(log));
        let program = Program::start(&operator, &kubeconfig).await?;
        requests.until_first().await?;
        Ok(Self { load, requests, program, operator, kubeconfig, _plane: plane })
    }

    /// Kills the operator and starts it again; returns how long a controller takes until it is ready.
    async fn restart(&mut self) -> anyhow::Result<Duration> {
        self.program.stop();
        let begun = Instant::now();
        self.program = Program::start(&self.operator, &self.kubeconfig).await?;
        Ok(begun.elapsed())
    }
}

async fn measure(args: &Args) -> anyhow::Result<Figures> {
    let mut figures = measure_functions(args).await?;
    if args.mesh > 0 {
        figures.edit = Some(measure_edit(args).await?);
    }
    Ok(figures)
}

async fn measure_functions(args: &Args) -> anyhow::Result<Figures> {
    let mut stage = Stage::new(args).await?;
    let empty = stage.program.usage()?;

    eprintln!("  creating {} functions", args.functions);
    let start = Timestamp::now();
    let (created, edits) = if args.edits {
        stage.load.create_functions_beside_edits(args.functions).await?
    } else {
        (stage.load.create_functions(args.functions).await?, Vec::new())
    };
    eprintln!("  waiting for their children");
    let children = created + stage.load.children_of(args.functions).await?;
    eprintln!("  waiting until the controller is quiet");
    let work = stage.requests.until_quiet().await?;
    let busy = stage.program.usage()?;

    eprintln!("  watching the steady state for {STEADY:?}");
    let requests = stage.requests.during(STEADY).await?;
    let (usage, scrape) = (stage.program.usage()?, stage.program.scrape()?);

    eprintln!("  restarting the operator");
    let ready = stage.restart().await?;
    let requests_anew = stage.requests.until_quiet().await?;
    let is_ours = matches!(stage.operator, Operator::Controller(..));
    let restart = Restart {
        ready: is_ours.then_some(ready),
        writes: requests_anew.all_writes(),
        peak: stage.program.usage()?.peak,
    };
    let Stage { load, program, _plane, .. } = stage;
    drop(program);

    let bare = if args.bare {
        eprintln!("  writing the same children with a plain client");
        Some(load.write_children_again().await?)
    } else {
        None
    };
    Ok(Figures {
        functions: args.functions,
        created,
        children,
        quiet: work.ended_after(start),
        work,
        cpu: busy.cpu.saturating_sub(empty.cpu),
        empty: empty.resident,
        peak: usage.peak,
        resident: usage.resident,
        steady: Steady { requests, cpu: usage.cpu.saturating_sub(busy.cpu) },
        scrape,
        edits: Edits::of(&edits),
        restart,
        edit: None,
        bare,
    })
}

async fn measure_edit(args: &Args) -> anyhow::Result<Edit> {
    let mut stage = Stage::new(args).await?;
    eprintln!("  creating a mesh of {} functions", args.mesh);
    let mesh = stage.load.create_mesh(args.mesh).await?;
    stage.load.children_of_mesh(args.mesh).await?;
    stage.requests.until_quiet().await?;
    eprintln!("  editing one of them");
    let start = Timestamp::now();
    stage.load.edit(mesh).await?;
    let requests = stage.requests.until_quiet().await?;
    Ok(Edit { components: args.mesh, quiet: requests.ended_after(start), requests })
}
