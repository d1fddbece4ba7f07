//! What controller, webhook and command line share about the Kubernetes API: requests, caches, server-side apply, events
//! and leader election. This crate does not know how a component is reconciled.
//!
//! - [`client`], [`request`], [`api_error`], [`decode_error`]: requests with metrics and timeouts, and errors that never
//!   quote the content of objects.
//! - [`list_watch`], [`cache`], [`compact`], [`objects`], [`memory`], [`namespaces`]: caches and watches in which one invalid
//!   or large object does not block the others.
//! - [`apply`], [`managed_fields`], [`status`]: writes, only when something changes and never to foreign objects;
//!   [`echoes`] recognizes them when a watch shows them.
//! - [`events`]: Events with a rate limit per object.
//! - [`leader_election`], [`service_account`], [`fence`]: one leader, and no write without leadership.

pub mod api_error;
pub mod apply;
pub mod cache;
pub mod client;
pub mod compact;
pub mod connect;
pub mod decode_error;
pub mod echoes;
mod event_budget;
pub mod events;
pub mod fence;
pub mod leader_election;
pub mod list_watch;
mod managed_fields;
pub mod memory;
pub mod namespaces;
pub mod objects;
mod pack;
pub mod prune;
pub mod request;
pub mod service_account;
mod split;
mod ssa_patch;
pub mod status;
mod store;
mod value_path;
