//! The simulator itself: the same seed gives the same run, and no message is lost.

use crate::world::{Outcome, Scaler, World};
use crate::{ours, rivals, trace};

/// The first minutes of a trace.
fn run(name: &str, seconds: u64, seed: u64, scaler: &mut dyn Scaler) -> Outcome {
    let mut trace = trace::all().into_iter().find(|trace| trace.name == name).unwrap();
    trace.seconds = seconds;
    World::new(&trace, seed).run(scaler)
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let text = |seed| format!("{:?}", run("hot key", 2400, seed, &mut ours::Ours::new(false)));
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn a_sleeping_chain_wakes_as_one() {
    let mut scaler = ours::Ours::new(false);
    let outcome = run("chain of five", 900, 42, &mut scaler);
    // Each of five starts takes 25 seconds: one by one, the first message would take more than two minutes.
    assert!(outcome.longest_lag < 120, "{outcome:?}");
    let keda = run("chain of five", 900, 42, &mut rivals::Keda::default());
    assert!(keda.longest_lag > outcome.longest_lag);
}

#[test]
fn a_step_is_answered_by_one_step_and_nothing_expires() {
    let mut scaler = ours::Ours::new(false);
    let outcome = run("step", 2700, 42, &mut scaler);
    assert!(outcome.late_seconds < 30 && outcome.actions <= 5, "{outcome:?}");
    assert_eq!(outcome.expired, 0);
}
