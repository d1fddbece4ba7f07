//! Crash points: the operator is killed, or its requests are lost, rejected, delayed or duplicated, at every request of
//! every flow. The final state must equal that of an undisturbed run.
//!
//! Arguments name the flows to run, by a part of their names. Environment:
//!
//! * `FUNCTION_MESH_ALL_POINTS=1`: every mode at every request, not a sample of them
//! * `FUNCTION_MESH_CHAOS_MINUTES=10`: the chaos run alone, for that long
//! * `FUNCTION_MESH_SEED=7`: another sample, another chaos

#![allow(clippy::print_stdout, reason = "a test binary with its own report")]

mod chaos;
mod fixture;
mod flows;
mod images;
mod model;
mod operator;
mod points;
mod snapshot;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_testkit::ControlPlane;
use futures::FutureExt;

use crate::fixture::Fixture;

/// Duration of the chaos run in every test run.
const SHORT_CHAOS: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    // `cargo test` passes its own options to every target.
    let words: Vec<_> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    let flows: Vec<_> = words.into_iter().filter(|word| !word.starts_with('-') && !is_number(word)).collect();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no runtime")
        .and_then(|runtime| runtime.block_on(run(&flows)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_number(word: &str) -> bool {
    word.parse::<u64>().is_ok()
}

async fn run(flows: &[String]) -> anyhow::Result<()> {
    if std::env::var_os("FUNCTION_MESH_TRACE").is_some() {
        tracing_subscriber::fmt().with_env_filter("function_mesh_controller=info").init();
    }
    let plane = ControlPlane::shared().await?;
    let seed = number("FUNCTION_MESH_SEED")?;
    if let Some(minutes) = number("FUNCTION_MESH_CHAOS_MINUTES")? {
        let (duration, seed) = (Duration::from_secs(minutes * 60), seed.unwrap_or_else(|| fastrand::u64(..)));
        return Box::pin(chaos::run(plane, duration, seed)).await;
    }
    let is_all = std::env::var_os("FUNCTION_MESH_ALL_POINTS").is_some();
    let seed = seed.unwrap_or(1);
    let began = std::time::Instant::now();
    let mut outcomes = vec![table::run(plane, flows, is_all, seed).await];
    if flows.is_empty() {
        outcomes.push(stops_while_it_starts(plane).await.context("stopped while it starts"));
        outcomes.push(Box::pin(chaos::run(plane, SHORT_CHAOS, seed)).await.context("chaos"));
    }
    let failed: Vec<_> = outcomes.into_iter().filter_map(|it| Some(format!("{:#}", it.err()?))).collect();
    println!("\nall of it in {:.0?}", began.elapsed());
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// An operator that is stopped before its caches have synced exits.
async fn stops_while_it_starts(plane: &'static ControlPlane) -> anyhow::Result<()> {
    let fixture = Fixture::new(plane, "stops", |_, _| async {}.boxed()).await?;
    fixture.start().await?;
    let mut operator = fixture.operator.lock().await;
    ensure!(!operator.is_ready(), "it is ready already");
    operator.stop().await
}

fn number(variable: &str) -> anyhow::Result<Option<u64>> {
    let Some(value) = std::env::var_os(variable) else { return Ok(None) };
    let value = value.to_string_lossy().into_owned();
    value.parse().map(Some).with_context(|| format!("{variable}={value}"))
}
