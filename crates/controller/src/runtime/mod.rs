//! The runtime of reconciles: work queue, workers, backoff, debounce and CPU limits.

pub mod backoff;
pub mod compute;
pub mod debounce;
pub mod queue;
pub mod workers;
