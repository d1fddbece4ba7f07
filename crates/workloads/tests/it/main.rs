//! Rendered objects, their containers' commands in real shells, and manifests at a real API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests: a failed expectation fails the test"
)]

mod cleanup;
mod common;
mod differences;
mod examples;
mod free_form;
mod log_configuration;
mod other_users;
mod properties;
mod render;
