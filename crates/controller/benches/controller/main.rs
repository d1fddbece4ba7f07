//! What it costs to run a thousand functions: the controller's speed, its requests, its processor time and its
//! memory.
//!
//! The program itself is measured, built as for a release and run as a process of its own, against a real API
//! server with etcd and the built-in controllers. Nothing runs pods, so all functions wait for theirs without
//! end, which is the dear case: the controller asks after them again and again. Every run has a fresh control
//! plane, and goes through these stages:
//!
//! 1. Functions are created, a hundred at a time. Every fourth of them is autoscaled. They are defaulted as the
//!    webhook does it, which is not part of this.
//! 2. Their children come into being, one StatefulSet and one Service each, and an autoscaler for every fourth.
//!    They are counted by the API server.
//! 3. The controller becomes quiet: it writes nothing for longer than it ever waits before it looks again. The
//!    time is that of its last write.
//! 4. The steady state is watched for a while.
//! 5. The controller is started anew. It reads all that there is at once, which may take more memory than
//!    anything before; it has nothing to write.
//! 6. With `--bare`, a plain client writes the same children once more, to another namespace and without a
//!    controller. Nobody could be faster.
//! 7. On another control plane, a mesh is created and, when all is quiet, one of its functions is edited.
//!
//! Requests are counted by the API server, in an audit log of the controller's own user. Processor time and
//! memory are what the kernel says of the process. All of it shares one machine, so times say little by
//! themselves; the ratio to the time of creating says more. Nothing is asserted.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints figures, and how far it is")]

mod figures;
mod load;
mod program;
mod requests;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use function_mesh_testkit::ControlPlane;
use jiff::Timestamp;

use crate::figures::{Edit, Figures, Restart, Steady, print_json, print_table};
use crate::load::Load;
use crate::program::Program;
use crate::requests::Requests;

/// Name of the user that the controller runs as, by which its requests are told apart.
const USER: &str = "controller-under-test";

/// How long the steady state is watched.
const STEADY: Duration = Duration::from_secs(20);

/// Measures the controller with many functions, on control planes of its own.
#[derive(Debug, Parser)]
#[command(name = "bench-controller")]
struct Args {
    /// Functions to create
    #[arg(long, env = "FUNCTIONS", default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    functions: u32,
    /// Functions of the mesh of which one is edited; 0 for no such mesh
    #[arg(long, default_value_t = 200, value_name = "N")]
    mesh: u32,
    /// How often to measure
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Also measure how long a plain client takes to write the same children
    #[arg(long)]
    bare: bool,
    /// Print the figures as JSON: a list with an object for each run
    #[arg(long)]
    json: bool,
    /// More flags for the controller, for example --controller-arg=--concurrency=32
    #[arg(long = "controller-arg", value_name = "FLAG", allow_hyphen_values = true)]
    flags: Vec<String>,
    /// What cargo passes to all benchmarks
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut figures = Vec::new();
    for number in 1..=args.runs {
        eprintln!("run {number} of {}", args.runs);
        figures.push(measure(&args).await?);
    }
    if args.json {
        return print_json(&figures);
    }
    print_table(&figures);
    Ok(())
}

/// A fresh control plane with a controller that has nothing to do yet.
struct Stage {
    load: Load,
    requests: Requests,
    program: Program,
    kubeconfig: PathBuf,
    flags: Vec<String>,
    /// Ends last: the others talk to it.
    _plane: ControlPlane,
}

impl Stage {
    async fn new(args: &Args) -> anyhow::Result<Self> {
        eprintln!("  starting a control plane");
        let (plane, log) = ControlPlane::start_auditing(USER).await?;
        plane.install_definitions().await?;
        let load = Load::new(&plane).await?;
        let (kubeconfig, flags) = (plane.kubeconfig_of(USER).await?, args.flags.clone());
        let program = Program::start(&kubeconfig, &flags).await?;
        Ok(Self { load, requests: Requests::new(log), program, kubeconfig, flags, _plane: plane })
    }

    async fn restart(&mut self) -> anyhow::Result<()> {
        self.program.stop();
        self.program = Program::start(&self.kubeconfig, &self.flags).await?;
        Ok(())
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
    let created = stage.load.create_functions(args.functions).await?;
    eprintln!("  waiting for their children");
    let children = created + stage.load.children_of(args.functions).await?;
    eprintln!("  waiting until the controller is quiet");
    let work = stage.requests.until_quiet().await?;
    let busy = stage.program.usage()?;

    eprintln!("  watching the steady state for {STEADY:?}");
    let requests = stage.requests.during(STEADY).await?;
    let usage = stage.program.usage()?;

    eprintln!("  starting the controller anew");
    stage.restart().await?;
    let requests_anew = stage.requests.until_quiet().await?;
    let restart = Restart { writes: requests_anew.all_writes(), peak: stage.program.usage()?.peak };
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
