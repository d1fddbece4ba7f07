//! The command line: manifests, terminals, and a real control plane.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests: a failed expectation fails the test"
)]

mod any_input;
#[path = "../../../api/tests/it/cases/mod.rs"]
mod cases;
mod cli;
#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "cluster")]
mod harness;
mod online;
mod pods_of_public_cases;
mod public_cases;
#[cfg(feature = "cluster")]
mod rates;
mod reference;
#[cfg(feature = "cluster")]
mod rollout;
mod screens;
#[cfg(feature = "cluster")]
mod shadow;
#[cfg(feature = "cluster")]
mod status;
