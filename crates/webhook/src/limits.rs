//! Resource limits. They determine the container's memory limit:
//!
//! ```text
//! 12 MiB                      the idle process
//! + 64 KiB × --max-connections
//! + --memory-budget           request bodies and responses
//! + 32 MiB                    the one large object that is decoded (function_mesh_api::MAX_MEMORY)
//! ```
//!
//! By default that is 76 MiB in the worst case.

use std::num::NonZero;
use std::time::Duration;

use clap::Args;
use function_mesh_serving::{ConnectionLimits, args};

/// Bodies up to this size are small: they have their own budget and permits.
pub const SMALL_BODY: usize = 64 * 1024;

const MIB: usize = 1024 * 1024;

/// Limits per request and in total.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Largest request body in bytes. An update contains the object twice; the API server accepts objects of up to
    /// 3 MiB, and etcd stores up to 1.5 MiB
    #[arg(id = "max_body_bytes", long = "max-body-bytes", value_name = "BYTES", default_value_t = 7 * MIB)]
    #[arg(env = "FUNCTION_MESH_MAX_BODY_BYTES")]
    pub body: usize,

    /// Memory for all request bodies and responses in bytes. A quarter is reserved for bodies of up to 64 KiB
    #[arg(long, env = "FUNCTION_MESH_MEMORY_BUDGET", value_name = "BYTES", default_value_t = 16 * MIB)]
    pub memory_budget: usize,

    /// Time for a decision. Keep it below timeoutSeconds of the webhook configuration (5 seconds), so that the response
    /// arrives in time
    #[arg(long = "decision-timeout", value_name = "DURATION", default_value = "4s")]
    #[arg(env = "FUNCTION_MESH_DECISION_TIMEOUT", value_parser = args::duration)]
    pub deadline: Duration,

    /// Minimum rate of a request body in bytes per second, enforced after the first half second
    #[arg(long, env = "FUNCTION_MESH_MIN_BODY_RATE", value_name = "BYTES", default_value_t = 256 * 1024)]
    pub min_body_rate: usize,

    /// Concurrent decisions on small objects, in addition to one large object [default: the number of CPUs]
    #[arg(long = "max-decisions", value_name = "NUMBER", hide_default_value = true)]
    #[arg(env = "FUNCTION_MESH_MAX_DECISIONS", default_value_t = available_cpus())]
    pub concurrency: usize,

    /// Open connections in total. At the limit a new connection evicts the longest idle one
    #[arg(long, env = "FUNCTION_MESH_MAX_CONNECTIONS", value_name = "NUMBER", default_value_t = 256)]
    pub max_connections: usize,

    /// Open connections per client address
    #[arg(long, env = "FUNCTION_MESH_MAX_CLIENT_CONNECTIONS", value_name = "NUMBER", default_value_t = 192)]
    pub max_client_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 7 * MIB,
            memory_budget: 16 * MIB,
            deadline: Duration::from_secs(4),
            min_body_rate: 256 * 1024,
            concurrency: available_cpus(),
            max_connections: 256,
            max_client_connections: 192,
        }
    }
}

impl Limits {
    /// The limits of the listener.
    pub fn connections(&self) -> ConnectionLimits {
        ConnectionLimits {
            total: self.max_connections,
            per_address: self.max_client_connections,
            ..ConnectionLimits::default()
        }
    }

    /// The budget for small bodies.
    pub(crate) fn small_budget(&self) -> usize {
        (self.memory_budget / 4).max(SMALL_BODY)
    }

    /// The budget for large bodies: at least one body of the largest size.
    pub(crate) fn large_budget(&self) -> usize {
        (self.memory_budget - self.memory_budget / 4).max(self.body)
    }
}

fn available_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get).min(8)
}
