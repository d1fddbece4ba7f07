//! How reconciles run: which object is next, on how many workers, and how long one waits after a failure.

pub mod backoff;
pub mod compute;
pub mod debounce;
pub mod queue;
pub mod workers;
