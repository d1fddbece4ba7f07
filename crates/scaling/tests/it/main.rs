//! Decisions about replicas over time.

#![allow(
    dead_code,
    clippy::print_stdout,
    reason = "the simulator is shared with the benchmark, which uses all of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests: a failed expectation fails the test"
)]

#[path = "../../benches/simulate/node.rs"]
mod node;
#[path = "../../benches/simulate/ours.rs"]
mod ours;
mod properties;
#[path = "../../benches/simulate/rivals.rs"]
mod rivals;
mod schedules;
mod simulator;
#[path = "../../benches/simulate/trace.rs"]
mod trace;
#[path = "../../benches/simulate/world.rs"]
mod world;
