//! The console with a real control plane, without nodes and without the operator: the tests write the statuses.

#![allow(
    clippy::unwrap_used,
    clippy::unnecessary_wraps,
    clippy::needless_pass_by_value,
    reason = "helpers of tests"
)]

mod access;
mod actions;
mod browser;
mod detail;
mod dialog;
mod events;
mod figures;
mod harness;
mod outage;
mod page;
mod reviews;
mod rights;
mod tokens;
mod users;
