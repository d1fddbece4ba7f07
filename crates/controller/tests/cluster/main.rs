//! The controllers against a real control plane. Nothing runs pods there, so a component gets ready only
//! where a test says that its pods are.

mod admission;
mod backends;
mod deletion;
mod edits;
mod election;
mod fairness;
mod leadership;
mod lifecycle;
mod line;
mod original;
mod ownership;
mod poison;
mod quiet;
mod rights;
mod robust;
mod rules;
mod scaling;
mod scope;
mod steering;
mod takeover;
mod world;
