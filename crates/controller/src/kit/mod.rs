//! Tools of all controllers: requests, caches, work queues, writing children and a status, events, backoff,
//! election. Nothing here knows our kinds.

pub(crate) mod answer;
mod applied;
pub mod backoff;
pub mod cache;
pub mod children;
pub mod compact;
pub mod compute;
pub mod controller;
pub mod election;
mod event_budget;
pub mod events;
pub mod fence;
mod heritage;
pub(crate) mod lean;
pub mod list_watch;
pub mod memory;
mod merge;
pub mod namespaces;
pub mod patience;
pub mod position;
pub mod queue;
mod refusal;
pub mod requests;
mod split;
pub mod status;
