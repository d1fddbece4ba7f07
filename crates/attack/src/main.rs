//! Attacks the controller and the webhook on a real API server and measures the effect on another tenant, the bystander.
//!
//! The harness runs both programs as the chart's Deployments do: with their arguments, the permissions of their
//! ServiceAccounts, and a memory cgroup of their limit, in which the kernel kills them as it does in a cluster. It
//! restarts them with the kubelet's back-off, and starts new processes for each attack. The attackers have the
//! permissions of a tenant in one namespace, or only the network.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "prints results and progress")]

mod args;
mod attacks;
mod cgroup;
mod generate;
mod harness;
mod manifest;
mod measure;
mod program;
mod raw_client;
mod report;
mod target;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::runtime::{Builder, Runtime};

use crate::args::Args;
use crate::harness::Harness;
use crate::report::{Row, table};

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if args.list {
        for attack in args.attacks() {
            println!("{:22} {:4} {}", attack.name, attack.weakness, attack.description);
        }
        return Ok(ExitCode::SUCCESS);
    }
    // Separate threads: load from the attackers must not delay the measurement.
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
    eprintln!("starting an API server; load average: {}", load().trim());
    let harness = Harness::start(args).await?;
    let limits = harness.limits();
    let (mut rows, mut unmeasured): (Vec<Row>, Vec<_>) = Default::default();
    for attack in args.attacks() {
        eprintln!("{}: {}", attack.name, attack.description);
        // Continue after an error: an attack may crash the API server itself.
        match harness.run(attack, args.duration(), attackers.handle()).await {
            Ok(mut row) => {
                row.check_goals(limits, args.factor);
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
    eprintln!("load average: {}", load().trim());
    if !harness.is_limited() {
        eprintln!("memory limits were NOT enforced; run as root on a machine with writable cgroups");
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
