//! Tools of all controllers: caches, writing children, events and backoff. Nothing here knows our kinds.

pub mod backoff;
pub mod cache;
pub mod children;
mod distinct;
pub mod election;
pub mod events;
pub mod status;
pub(crate) mod subset;
