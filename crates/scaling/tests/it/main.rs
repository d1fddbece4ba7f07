//! Decisions about replicas over time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests: a failed expectation fails the test"
)]

#[path = "../../benches/simulate/node.rs"]
mod node;
#[allow(dead_code, clippy::print_stdout, reason = "the benchmark uses all of it")]
#[path = "../../benches/simulate/ours.rs"]
mod ours;
mod properties;
#[allow(dead_code, reason = "the benchmark uses all of it")]
#[path = "../../benches/simulate/rivals.rs"]
mod rivals;
mod schedules;
mod simulator;
#[allow(dead_code, reason = "the benchmark uses all of it")]
#[path = "../../benches/simulate/trace.rs"]
mod trace;
#[allow(dead_code, reason = "the benchmark uses all of it")]
#[path = "../../benches/simulate/world.rs"]
mod world;
