//! What requests may cost. The memory limit of the container follows from these figures:
//!
//! ```text
//! 12 MiB                      the program at rest
//! + 64 KiB × --max-connections
//! + --memory-budget           bodies that are read or decided, and answers that are written
//! + 32 MiB                    the one large object that is decided (function_mesh_api::MAX_MEMORY)
//! ```
//!
//! That is 76 MiB by default, if everything is exhausted at once to the last byte.

use std::num::NonZero;
use std::time::Duration;

use clap::Args;
use function_mesh_serving::{ConnectionLimits, args};

/// Bodies up to this size are small: they are read and decided in places that large ones cannot take.
pub const SMALL: usize = 64 * 1024;

const MIB: usize = 1024 * 1024;

/// What one request may cost, and all together.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Largest body of a request, in bytes. An update holds the object twice, the API server takes objects of
    /// up to 3 MiB, and etcd stores 1.5 MiB
    #[arg(id = "max_body_bytes", long = "max-body-bytes", env = "MAX_BODY_BYTES", value_name = "BYTES")]
    #[arg(default_value_t = 7 * MIB)]
    pub body: usize,

    /// Bytes of all bodies that are read or decided at a time. A quarter is kept for bodies of up to 64 KiB
    #[arg(long, env = "MEMORY_BUDGET", value_name = "BYTES", default_value_t = 16 * MIB)]
    pub memory_budget: usize,

    /// Time for an answer. Below the five seconds after which the API server gives up, so that the answer
    /// arrives and says why
    #[arg(long = "decision-timeout", env = "DECISION_TIMEOUT", value_name = "TIME", default_value = "4s")]
    #[arg(value_parser = args::duration)]
    pub deadline: Duration,

    /// Bytes a second that a client must send of a body, after the first half second
    #[arg(long, env = "MIN_BODY_RATE", value_name = "BYTES", default_value_t = 256 * 1024)]
    pub min_body_rate: usize,

    /// Small objects that are decided at a time, and one large object beside them [default: the number of
    /// processors]
    #[arg(long = "max-decisions", env = "MAX_DECISIONS", value_name = "NUMBER", hide_default_value = true)]
    #[arg(default_value_t = processors())]
    pub concurrency: usize,

    /// Open connections in total. A new one takes the place of the one that is idle longest
    #[arg(long, env = "MAX_CONNECTIONS", value_name = "NUMBER", default_value_t = 256)]
    pub max_connections: usize,

    /// Open connections of one client address
    #[arg(long, env = "MAX_CLIENT_CONNECTIONS", value_name = "NUMBER", default_value_t = 192)]
    pub max_client_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 7 * MIB,
            memory_budget: 16 * MIB,
            deadline: Duration::from_secs(4),
            min_body_rate: 256 * 1024,
            concurrency: processors(),
            max_connections: 256,
            max_client_connections: 192,
        }
    }
}

impl Limits {
    /// Those of the listener.
    pub fn connections(&self) -> ConnectionLimits {
        ConnectionLimits {
            total: self.max_connections,
            per_address: self.max_client_connections,
            ..ConnectionLimits::default()
        }
    }

    /// Bytes that are kept for small bodies.
    pub(crate) fn small_budget(&self) -> usize {
        (self.memory_budget / 4).max(SMALL)
    }

    /// Bytes for large bodies: at least one of them must fit.
    pub(crate) fn large_budget(&self) -> usize {
        (self.memory_budget - self.memory_budget / 4).max(self.body)
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get).min(8)
}
