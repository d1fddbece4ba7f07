//! What a user observes, on the cluster, the broker and the operator that `hack/up` started.
//!
//! One program, so that it is linked once, and tests of several modules run side by side. Modules say where their tests change
//! the whole cluster: those run alone (`run_e2e` in `hack/test`).

mod access;
mod backends;
mod backends_global;
mod basics;
mod canary;
mod changes;
mod cleanup;
mod credentials;
mod deletion;
mod downloader;
mod entries;
mod faults;
mod first_result;
mod functions;
mod installation;
mod kinds;
mod logs;
mod messages;
mod operator;
mod packages;
mod permissions;
mod recreate;
mod rollback;
mod rollouts;
mod rotation;
mod scaling;
mod security;
mod shadow;
mod stalls;
mod traffic;
mod work;
