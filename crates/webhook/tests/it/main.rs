//! Admission, certificates and limits of the webhook.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests: a failed expectation fails the test"
)]

mod authorization;
mod certs;
mod certs_replicas;
mod manifests;
mod patch;
mod reviews;
mod robust;
mod serving;
#[path = "../../../serving/tests/it/support.rs"]
mod support;
mod warnings;
