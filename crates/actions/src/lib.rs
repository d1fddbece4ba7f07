//! What people do to running components and meshes: suspend, resume, restart, scale, pause, resume or undo a rollout, and
//! promote a canary.
//!
//! `kubectl mesh rollout` and the page of `kubectl mesh ui` call the same [`run`], with the permissions of a kubeconfig. Each
//! [`Action`] is one write of an annotation or of the scale subresource, and has the command line that does the same
//! ([`Action::command`]) and the permissions that it needs ([`Action::needs`]). With the [`version`] that a person saw, an
//! object that has changed since is not overwritten.

mod action;
mod error;
mod need;
mod promote;
pub mod revisions;
mod run;
mod undo;
mod version;

pub use action::{Action, Restart};
pub use error::ActionError;
pub use need::Need;
pub use promote::tried_revision;
pub use run::{FIELD_MANAGER, components, read, resource, run};
pub use version::version;
