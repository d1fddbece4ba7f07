//! Answers of brokers, and properties of what follows from them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests: a failed expectation fails the test"
)]

mod properties;
mod recorded;
