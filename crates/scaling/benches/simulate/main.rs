//! Runs the decision of this crate beside three published formulas on the same traces, and prints a table.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints figures")]
#![allow(missing_docs, reason = "a program")]

mod node;
mod ours;
mod rivals;
mod trace;
mod world;

use world::{Outcome, Scaler, World};

const SEED: u64 = 42;

fn scalers() -> Vec<Box<dyn Scaler>> {
    vec![
        Box::<ours::Ours>::default(),
        Box::<rivals::Keda>::default(),
        Box::<rivals::Numaflow>::default(),
        Box::<rivals::Flink>::default(),
    ]
}

fn main() {
    let only: Vec<_> = std::env::args().skip(1).filter(|it| !it.starts_with("--")).collect();
    let verbose = std::env::args().any(|it| it == "--series");
    for trace in trace::all() {
        if !only.is_empty() && !only.iter().any(|it| trace.name.contains(it.as_str())) {
            continue;
        }
        println!("{} ({})", trace.name, trace.about);
        for mut scaler in scalers().into_iter().take(if std::env::var_os("OURS").is_some() { 1 } else { 4 }) {
            let outcome = World::new(&trace, SEED).run(scaler.as_mut());
            let Outcome { late_seconds, replica_seconds, actions, expired, longest_lag, series } = outcome;
            println!(
                "  {:14} late {:6.1} min  replica-hours {:6.2}  actions {actions:4}  expired {expired}  longest {longest_lag} s",
                scaler.name(),
                late_seconds as f64 / 60.0,
                replica_seconds as f64 / 3600.0,
            );
            if verbose && scaler.name() == "Function Mesh" {
                for (index, (replicas, lag, rate)) in series.iter().enumerate() {
                    println!("    {:5} s: rate {rate:6.1} replicas {replicas:3} lag {lag}", index * 10);
                }
            }
        }
    }
}
