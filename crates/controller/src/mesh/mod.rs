//! The controller of FunctionMeshes: reconciles a mesh into Functions, Sources and Sinks.
//!
//! Orphans are found by their owner references, never from the status, so a lost status does no damage.

mod apply;
mod replicas;
mod report;
mod rollout;
mod status;

use std::sync::Arc;
use std::time::Duration;

use function_mesh_api::conditions::Reason;
use function_mesh_api::types::FunctionMeshStatus;
use function_mesh_api::validate::{Violations, valid_mesh};
use function_mesh_api::{Function, FunctionMesh, Sink, Source, labels};
use function_mesh_workloads::components;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;

use crate::context::Shared;
use crate::error::Error;
use crate::reconciler::{Reconciler, RunResult, Text, key_of, report_undecodable};
use crate::runtime::workers::Action;
use function_mesh_kube::cache::Cache;
use function_mesh_kube::compact::Compact;
use function_mesh_kube::decode_error::DecodeError;

pub use status::{ComponentState, Observation, Outcome, status_of};

/// The dependencies of the mesh controller.
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
    /// Whether all caches of a namespace have synced; see [`Cache::has_synced_for`]. Otherwise existing components would
    /// look missing.
    pub async fn has_synced(&self, namespace: &str) -> bool {
        self.functions.has_synced_for(namespace).await
            && self.sources.has_synced_for(namespace).await
            && self.sinks.has_synced_for(namespace).await
    }
}

/// Reconciles meshes.
pub struct MeshReconciler {
    context: Context,
}

impl MeshReconciler {
    /// A reconciler with this context.
    pub fn new(context: Context) -> Self {
        Self { context }
    }
}

impl Reconciler for MeshReconciler {
    type Object = FunctionMesh;
    type Outcome = Outcome;

    const KIND: &'static str = "FunctionMesh";
    const PREFIX: &'static str = PREFIX;

    fn shared(&self) -> &Shared {
        &self.context.shared
    }

    async fn has_synced(&self, namespace: &str) -> bool {
        self.context.has_synced(namespace).await
    }

    fn cost(&self, object: &Compact<FunctionMesh>) -> usize {
        object.cost()
    }

    async fn run(&self, mesh: &mut FunctionMesh, text: Text) -> RunResult<Outcome> {
        let outcome = if mesh.metadata.deletion_timestamp.is_some() {
            Outcome::Deleting
        } else if labels::is_managed(&mesh.metadata) {
            reconcile_spec(mesh, text.cost, &self.context).await
        } else {
            return release(mesh, &self.context).await;
        };
        RunResult::Report(outcome, Action::await_change())
    }

    fn error(outcome: &Outcome) -> Option<&Error> {
        match outcome {
            Outcome::Failed { error, .. } => Some(error),
            Outcome::Applied(_) | Outcome::Deleting => None,
        }
    }

    async fn report(&self, mesh: &FunctionMesh, outcome: &Outcome) -> Result<Option<Duration>, kube::Error> {
        report::report(mesh, outcome, self.shared()).await
    }

    async fn undecodable(&self, error: DecodeError, object: &Compact<FunctionMesh>) -> Result<(), Error> {
        let status = |before: Option<&FunctionMeshStatus>, error| {
            let now = Time(jiff::Timestamp::now());
            status_of(before, object.meta().generation, &Outcome::failed(error), &now)
        };
        report_undecodable(self, object, Error::Undecodable(error), status).await;
        Ok(())
    }
}

async fn reconcile_spec(mesh: &FunctionMesh, cost: usize, context: &Context) -> Outcome {
    let namespace = mesh.metadata.namespace.as_deref().unwrap_or_default();
    let plan = || {
        context.shared.protected.check(Some(namespace))?;
        let valid = valid_mesh(mesh.clone())?;
        let components = components(&valid);
        Ok::<_, Violations>((valid, components))
    };
    match context.shared.compute.run(namespace, cost, plan).await {
        Ok((valid, mut components)) => match rollout::annotate(&mut components, mesh, context).await {
            Ok(()) => apply::apply(&valid, components, context).await,
            Err(error) => Outcome::failed(Error::observe(error)),
        },
        Err(violations) => Outcome::failed(Error::Invalid(violations)),
    }
}

/// Releases the components of an unmanaged mesh.
async fn release(mesh: &FunctionMesh, context: &Context) -> RunResult<Outcome> {
    let (changes, errors) = apply::release(mesh, context).await;
    if !changes.is_empty() {
        let regarding = mesh.object_ref(&());
        let note = changes.join(", ");
        context.shared.events.publish(&regarding, true, Reason::Released, "Release", &note).await;
    }
    if errors.is_empty() { RunResult::Skipped } else { RunResult::Unreported(Err(Error::Children(errors))) }
}

/// Prefix of the keys of meshes.
pub(crate) const PREFIX: &str = "mesh/";

fn key(mesh: &impl Resource<DynamicType = ()>) -> String {
    let meta = mesh.meta();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    key_of(PREFIX, namespace, meta.name.as_deref().unwrap_or_default())
}
