//! Tools of all controllers: requests, caches, what waits, writing children and a status, events, backoff,
//! election. Nothing here knows our kinds.

mod applied;
pub mod backoff;
pub mod cache;
pub mod cached;
pub mod children;
pub mod election;
pub mod events;
mod heritage;
mod merge;
pub mod namespaces;
pub mod patience;
mod refusal;
pub mod requests;
pub mod status;
pub mod waiting;
