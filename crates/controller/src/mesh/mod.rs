//! The controller of FunctionMeshes: from a mesh to the Functions, Sources and Sinks that it is made of.
//!
//! Orphans are found by who owns them, never from the status, so a lost status loses nothing.

mod apply;
mod report;
mod status;

use std::sync::Arc;

use function_mesh_api::validate::{Violations, valid_mesh};
use function_mesh_api::{Function, FunctionMesh, Sink, Source, labels};
use function_mesh_workloads::components;
use kube::{Resource, ResourceExt};

use crate::component::room_retry;
use crate::context::Shared;
use crate::kit::cache::{Cache, INCOMPLETE};
use crate::kit::children::ChildError;
use crate::kit::compact::Compact;
use crate::kit::controller::Action;
use crate::kit::position::{self, DecodeError};
use crate::metrics::{Stage, Work};

pub use status::{ComponentState, Outcome, Seen, status_of};

/// What the mesh controller has to hand.
pub struct Context {
    /// What all controllers share.
    pub shared: Arc<Shared>,
    /// All functions.
    pub functions: Cache<Compact<Function>>,
    /// All sources.
    pub sources: Cache<Compact<Source>>,
    /// All sinks.
    pub sinks: Cache<Compact<Sink>>,
}

impl Context {
    /// Whether all caches are full of a namespace; see [`Cache::is_ready_for`]. Else it would look as if
    /// components were missing.
    pub async fn is_complete(&self, namespace: &str) -> bool {
        self.functions.is_ready_for(namespace).await
            && self.sources.is_ready_for(namespace).await
            && self.sinks.is_ready_for(namespace).await
    }
}

/// Why a reconcile came to no end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule is broken. Nothing was changed.
    #[error("{0}")]
    Invalid(Violations),
    /// The object cannot be decoded. Nothing was changed.
    #[error("cannot decode the object: {0}")]
    Undecodable(DecodeError),
    /// The object could not be read.
    #[error("cannot read the object: {}", position::words(.0))]
    Observe(#[source] Box<kube::Error>),
    /// Components could not be written. The others were.
    #[error("{}", list(.0))]
    Children(Vec<ChildError>),
    /// The mesh goes, and its components with it.
    #[error("being deleted")]
    Deleting,
    /// The status could not be written.
    #[error("cannot write the status: {}", position::words(.0))]
    Report(#[source] Box<kube::Error>),
}

impl Error {
    /// Whether it was only decided on a stale cache: there is nothing to report, and the next try knows better.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Children(errors) if errors.iter().all(ChildError::is_conflict))
    }

    fn stage(&self) -> Stage {
        let is_form = |error: &ChildError| matches!(error, ChildError::Form { .. });
        match self {
            Self::Invalid(_) => Stage::Validate,
            Self::Children(errors) if errors.iter().all(is_form) => Stage::Render,
            Self::Children(_) => Stage::Apply,
            Self::Deleting | Self::Undecodable(_) | Self::Observe(_) => Stage::Observe,
            Self::Report(_) => Stage::Report,
        }
    }
}

fn list(errors: &[ChildError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Brings the components of one mesh in line with it, and its status in line with them.
pub async fn reconcile(object: Arc<Compact<FunctionMesh>>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = object.namespace().unwrap_or_default();
    if !context.is_complete(&namespace).await {
        return Ok(Action::requeue(INCOMPLETE));
    }
    // Large objects are worked on a few at a time, and wait without a place of work.
    let Some(_room) = context.shared.memory.room(object.cost()) else {
        return Ok(Action::requeue(room_retry()));
    };
    let kind = "FunctionMesh";
    let work = context.shared.metrics.begin(kind);
    let whole = match context.shared.whole(&object).await {
        Ok(Some(whole)) => whole,
        Ok(None) => {
            work.skipped();
            return Ok(Action::await_change());
        }
        Err(error) => {
            work.ended([Stage::Observe]);
            return Err(Error::Observe(Box::new(error)));
        }
    };
    let decoded = context.shared.compute.run(&namespace, || whole.decode()).await;
    let mesh = match decoded {
        Ok(mesh) => Box::new(mesh),
        Err(fault) => {
            let (namespace, name) = (object.namespace(), object.name_any());
            tracing::warn!(kind, namespace, name, %fault, "cannot be decoded; skipped");
            context.shared.events.unreadable(&object.object_ref(&()), &fault.to_string()).await;
            work.unreadable();
            report::report_undecodable(&whole, Error::Undecodable(fault), &context.shared).await;
            return Ok(Action::await_change());
        }
    };
    drop(whole);
    let mesh = &*mesh;
    let is_deleted = mesh.meta().deletion_timestamp.is_some();
    let outcome = if is_deleted {
        Outcome { seen: Seen::default(), error: Some(Error::Deleting) }
    } else if labels::is_managed(mesh.meta()) {
        bring_in_line(mesh, &context).await
    } else {
        return let_go(mesh, &context, work).await;
    };
    if outcome.error.as_ref().is_some_and(Error::is_conflict) {
        work.late();
        return Ok(Action::requeue(context.shared.backoff.conflicted(&key(mesh))));
    }
    let result =
        report::report(mesh, &outcome, &context.shared).await.map_err(|e| Error::Report(Box::new(e)));
    let failed = outcome.error.as_ref().filter(|error| !matches!(error, Error::Deleting));
    work.ended([failed, result.as_ref().err()].into_iter().flatten().map(Error::stage));
    let later = result?;
    match outcome.error {
        None | Some(Error::Invalid(_) | Error::Undecodable(_) | Error::Deleting) => {
            context.shared.backoff.forget(&key(mesh));
            Ok(later.map_or_else(Action::await_change, Action::requeue))
        }
        Some(error) => Err(error),
    }
}

async fn bring_in_line(mesh: &FunctionMesh, context: &Context) -> Outcome {
    let namespace = mesh.metadata.namespace.as_deref().unwrap_or_default();
    let plan = || {
        context.shared.protected.check(Some(namespace))?;
        let valid = valid_mesh(mesh.clone())?;
        let components = components(&valid);
        Ok::<_, Violations>((valid, components))
    };
    match context.shared.compute.run(namespace, plan).await {
        Ok((valid, components)) => apply::apply(&valid, components, context).await,
        Err(violations) => Outcome { seen: Seen::default(), error: Some(Error::Invalid(violations)) },
    }
}

/// A mesh that is not managed is left alone, and so are its components. Only that is seen to.
async fn let_go(mesh: &FunctionMesh, context: &Context, work: Work) -> Result<Action, Error> {
    let Outcome { seen, error } = apply::let_go(mesh, context).await;
    context.shared.backoff.forget(&key(mesh));
    if !seen.changes.is_empty() {
        let regarding = mesh.object_ref(&());
        context
            .shared
            .events
            .publish(&regarding, true, "Released", "Release", &seen.changes.join(", "))
            .await;
    }
    match &error {
        Some(error) => work.ended([error.stage()]),
        None => work.skipped(),
    }
    error.map_or_else(|| Ok(Action::await_change()), Err)
}

/// How long a mesh waits after a failure.
pub fn on_error(object: &Compact<FunctionMesh>, error: &Error, context: &Context) -> Action {
    let wait = context.shared.backoff.failed(&key(object));
    tracing::warn!(kind = "FunctionMesh", namespace = object.namespace(), name = object.name_any(), %error, retry_in = ?wait, "reconcile failed");
    Action::requeue(wait)
}

/// What the names of meshes begin with where failures are counted.
pub(crate) const PREFIX: &str = "mesh/";

fn key(mesh: &impl Resource<DynamicType = ()>) -> String {
    let meta = mesh.meta();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    format!("{PREFIX}{namespace}/{}", meta.name.as_deref().unwrap_or_default())
}
