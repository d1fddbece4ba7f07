//! Simulates traffic and faults, hours in seconds, through the texts that Pulsar and pods answer with.
//!
//! `cargo test -p function-mesh-observer --test simulator -- --nocapture` prints the table of stalls reported, missed and
//! false. A report is false when the model acknowledged a message within the time that it claims, or when nothing waits.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs,
    unreachable_pub,
    reason = "a model in a test"
)]

mod broker;
mod scenario;
mod world;

use std::time::Duration;

use function_mesh_observer::stall::StallReason;
use scenario::{ALL, Scenario};
use world::{Report, World};

const HOURS: u64 = 12;
const SEEDS: u64 = 2;

fn simulate(scenario: &Scenario) -> Report {
    let mut total = Report::default();
    for seed in 0..SEEDS {
        total.add(World::new(scenario, seed).run(HOURS * 3600));
    }
    total
}

fn row(scenario: &Scenario, report: &Report) -> String {
    let reasons: Vec<_> = report.reasons.iter().map(ToString::to_string).collect();
    format!(
        "{:<36} {:>5} {:>7} {:>7} {:>9} {:>7} {:>6} {:>9} {:>8} {:>7}  {}",
        scenario.name,
        SEEDS * HOURS,
        report.rounds,
        report.stalls,
        report.reported,
        report.missed,
        report.false_reports,
        format!("{} s", report.slowest.as_secs()),
        format!("{:.0} %", 100.0 * report.unknown as f64 / report.rounds as f64),
        report.writes,
        reasons.join(", ")
    )
}

#[test]
fn every_stall_is_reported_and_none_is_false() {
    let head = ["hours", "rounds", "stalls", "reported", "missed", "false", "slowest", "unknown", "writes"];
    println!(
        "{:<36} {:>5} {:>7} {:>7} {:>9} {:>7} {:>6} {:>9} {:>8} {:>7}  reasons",
        "scenario", head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7], head[8]
    );
    let mut failures = Vec::new();
    for scenario in ALL {
        let report = simulate(scenario);
        println!("{}", row(scenario, &report));
        let is_reason_right = report.reasons.iter().all(|reason| scenario.reasons.contains(reason));
        let has_stalls = scenario.faults.iter().any(|(fault, _)| fault.is_stall());
        if report.missed > 0
            || report.false_reports > 0
            || report.reported != report.stalls
            || (report.stalls > 0) != has_stalls
            || report.slowest > Duration::from_mins(10)
            || !is_reason_right
        {
            failures.push((scenario.name, report));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn an_unreachable_broker_is_unknown_and_an_idle_component_is_quiet() {
    let named = |name: &str| ALL.iter().find(|scenario| scenario.name == name).expect(name);
    let away = simulate(named("broker away"));
    // Twenty of fifty minutes, less the minute in which the last answer is still good.
    let share = away.unknown as f64 / away.rounds as f64;
    assert!((0.33..0.41).contains(&share), "{share}");
    let idle = simulate(named("idle"));
    assert!(idle.writes <= SEEDS * 2, "{idle:?}");
    assert_eq!(idle.unknown, 0);
}

#[test]
fn rates_match_what_was_published() {
    for (name, expected) in
        [("constant load", 5.0), ("topic is moved every 7 min", 5.0), ("hot key, Key_Shared", 4.0)]
    {
        let scenario = ALL.iter().find(|scenario| scenario.name == name).expect(name);
        let report = simulate(scenario);
        let mean = report.in_rate_sum / report.in_rates as f64;
        assert!((mean - expected).abs() < 0.05 * expected, "{name}: {mean}");
        assert!(report.in_rates as f64 > 0.9 * report.rounds as f64, "{name}: {report:?}");
    }
}

#[test]
fn reasons_of_scenarios_are_of_the_list() {
    for scenario in ALL {
        assert!(scenario.reasons.iter().all(|reason| StallReason::ALL.contains(reason)), "{}", scenario.name);
    }
}
