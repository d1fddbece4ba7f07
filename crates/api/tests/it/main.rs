//! Rules, defaults, warnings and CRDs as other crates and a real API server see them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests: a failed expectation fails the test"
)]

mod cases;
mod cel;
mod crds;
mod robust;
mod rules;
mod warned;
mod warnings;
