//! Stage one: everything that the other stages need to know. All reads of a reconcile are here.

use std::sync::Arc;

use function_mesh_api::{Component, Spec, labels};
use function_mesh_workloads::{VerticalPodAutoscaler, names};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::{Context, cleanup_jobs, specification};
use crate::context::{HeldBackends, Revisions};
use crate::error::Error;
use function_mesh_kube::apply::{ChildApplier, is_owned_by};

/// Why a rollout is held back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PauseReason {
    /// A BackendConfig changed that takes effect only with the next change of the component.
    BackendConfig,
    /// Rollouts are paused, of this component or of all.
    Rollouts,
}

/// What is there.
pub(super) struct Observed {
    pub(super) stateful_set: Option<Arc<StatefulSet>>,
    pub(super) service: Option<Arc<Service>>,
    pub(super) autoscaler: Option<Arc<HorizontalPodAutoscaler>>,
    /// The vertical autoscaler, where there may be one.
    pub(super) vertical_autoscaler: Option<Arc<VerticalPodAutoscaler>>,
    /// Clean-up Jobs of earlier objects of this name, while the component has no StatefulSet.
    pub(super) left_over_jobs: Vec<Job>,
    pub(super) backends: HeldBackends,
    pub(super) pause: Option<PauseReason>,
    /// Digest of the specification, as far as it shapes pods.
    pub(super) digest: String,
    /// The versions of BackendConfigs that the StatefulSet is, or is about to be, in line with.
    pub(super) revisions: Revisions,
}

pub(super) async fn observe<C: Component>(component: &C, context: &Context) -> Result<Observed, Error> {
    let namespace = component.namespace().unwrap_or_default();
    let workload = names::stateful_set(&component.name_any(), C::ROLE);
    let service = names::service(&component.name_any(), C::ROLE);
    let backends = context.shared.backends_for(&namespace).await.map_err(Error::observe)?;
    let stateful_set = context.stateful_sets.fetch(&workload, &namespace).await.map_err(Error::observe)?;
    let owner = component.uid().unwrap_or_default();
    let children = super::children(context, &namespace, &owner);
    let ours = stateful_set.as_deref().filter(|live| is_owned_by(*live, &owner));
    let digest = specification::digest(component);
    let is_unchanged = ours.is_some_and(|live| is_made_of(live, &digest, component));
    let status = component.status().filter(|_| is_unchanged);
    let applied = status.map(|status| {
        (status.global_backend_config_revision.as_ref(), status.namespaced_backend_config_revision.as_ref())
    });
    let is_paused = context.shared.pause_rollout || labels::is_paused(component.meta());
    // A StatefulSet of another operator has no digest: while rollouts are paused it gets one before anything else.
    let is_unknown =
        ours.is_some_and(|live| labels::annotation(&live.metadata, labels::POD_SPEC_HASH).is_none());
    let pause = match applied {
        _ if is_paused && (is_unchanged || is_unknown) => Some(PauseReason::Rollouts),
        Some(applied) if backends.are_to_wait(applied) => Some(PauseReason::BackendConfig),
        _ => None,
    };
    let revisions = match applied.filter(|_| pause.is_some()) {
        Some((global, namespaced)) => (global.cloned(), namespaced.cloned()),
        None => backends.revisions(),
    };
    let left_over_jobs =
        if ours.is_some() { Vec::new() } else { cleanup_jobs::left_over(component, &children).await? };
    Ok(Observed {
        service: context.services.fetch(&service, &namespace).await.map_err(Error::observe)?,
        autoscaler: context.autoscalers.fetch(&workload, &namespace).await.map_err(Error::observe)?,
        vertical_autoscaler: vertical_autoscaler(component, &workload, &children).await?,
        stateful_set,
        left_over_jobs,
        backends,
        pause,
        digest,
        revisions,
    })
}

/// Vertical autoscalers are rare and their kind may come and go, so they are not watched: one is read where the
/// component wants it, or where the status says that there was one.
async fn vertical_autoscaler<C: Component>(
    component: &C,
    name: &str,
    children: &ChildApplier<'_>,
) -> Result<Option<Arc<VerticalPodAutoscaler>>, Error> {
    let is_wanted = component.spec().view().common.pod.is_some_and(|pod| pod.vpa.is_some());
    let had_one =
        component.status().is_some_and(|status| status.conditions.contains_key("VerticalPodAutoscaler"));
    if !is_wanted && !had_one {
        return Ok(None);
    }
    // Without the CRD there is no object either: the API server says "not found" to both. Any other error must not
    // pass for that, or the status would forget an autoscaler that still acts.
    Ok(children.read(name).await?.map(Arc::new))
}

/// Whether a StatefulSet was made from the specification as it is now. One that somebody else made does not say;
/// then it counts whether the specification as it is was acted on.
fn is_made_of<C: Component>(live: &StatefulSet, digest: &str, component: &C) -> bool {
    match labels::annotation(&live.metadata, labels::POD_SPEC_HASH) {
        Some(made_of) => made_of == digest,
        None => component.status().is_some_and(|status| {
            status.observed_generation.is_some() && status.observed_generation == component.meta().generation
        }),
    }
}
