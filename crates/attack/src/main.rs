//! Attacks the real programs, on a real API server and under the memory limits of the chart, and measures what a
//! bystander in another namespace notices.
//!
//! Both programs are run as the chart's Deployments say: with their arguments, the rights of their accounts, and a
//! cgroup of the memory limit, in which the kernel kills them as it would in a cluster; they are restarted as the
//! kubelet does. For each attack they start fresh. The attackers have what the chart of rights says that a tenant may
//! have, or the network alone.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints figures, and how far it is")]

mod args;
mod attacks;
mod cgroup;
mod generate;
mod manifest;
mod measure;
mod program;
mod report;
mod stage;
mod target;
mod wire;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::runtime::{Builder, Runtime};

use crate::args::Args;
use crate::report::{Row, table};
use crate::stage::Stage;

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if args.list {
        for attack in args.attacks() {
            println!("{:22} {:4} {}", attack.name, attack.weakness, attack.description);
        }
        return Ok(ExitCode::SUCCESS);
    }
    // What measures is not to wait for what attacks.
    let attackers = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let runtime = Runtime::new()?;
    let interrupted = async { _ = tokio::signal::ctrl_c().await };
    let result = runtime.block_on(async {
        tokio::select! {
            result = run(&args, &attackers) => result,
            () = interrupted => anyhow::bail!("interrupted"),
        }
    });
    attackers.shutdown_background();
    result
}

async fn run(args: &Args, attackers: &Runtime) -> anyhow::Result<ExitCode> {
    let load = || std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    eprintln!("starting an API server; load of this machine: {}", load().trim());
    let stage = Stage::start(args).await?;
    let limits = stage.limits();
    let (mut rows, mut unmeasured): (Vec<Row>, Vec<_>) = Default::default();
    for attack in args.attacks() {
        eprintln!("{}: {}", attack.name, attack.description);
        // One attack that brings down the API server itself is not to hide what the others show.
        match stage.run(attack, args.duration(), attackers.handle()).await {
            Ok(mut row) => {
                row.judge(limits, args.factor);
                eprint!("{}", row.notes());
                rows.push(row);
            }
            Err(error) => {
                eprintln!("    not measured: {error:#}");
                unmeasured.push(attack.name);
            }
        }
    }
    println!("{}", table(&rows, limits));
    eprintln!("load of this machine: {}", load().trim());
    if !stage.is_limited() {
        eprintln!("memory limits were NOT enforced: run it as root where cgroups are writable");
    }
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&rows)?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let missed: Vec<_> = rows.iter().filter(|row| !row.missed.is_empty()).map(|row| row.name).collect();
    if missed.is_empty() && unmeasured.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("goals missed: {}; not measured: {}", missed.join(", "), unmeasured.join(", "));
    Ok(ExitCode::FAILURE)
}
