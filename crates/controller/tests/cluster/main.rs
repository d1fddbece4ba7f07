//! The controllers against a real control plane without kubelets: a component is ready only if a test marks its pods
//! ready.

mod admission;
mod adoption;
mod annotations;
mod backend_configs;
mod connection;
mod deletion;
mod drift;
mod election;
mod fairness;
mod harness;
mod invalid_objects;
mod leadership;
mod lifecycle;
mod migration;
mod ownership;
mod pods;
mod protected_namespaces;
mod recovery;
mod rewrites;
mod scaling;
mod steady_state;
mod subscriptions;
mod upstream;
mod validation;
mod watched_namespaces;
