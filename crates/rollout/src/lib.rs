//! Decides about the rollout of a component: whether it progresses, is good or has failed, and what to do about it.
//!
//! The crate is pure: no client, no clock, no randomness.

pub mod recreate;
