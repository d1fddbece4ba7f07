//! Stage two: all reads of a reconcile.

use std::sync::Arc;

use function_mesh_api::{Component, Spec, labels};
use function_mesh_workloads::{VerticalPodAutoscaler, function_uid, names};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::rollout::{self, Decided, ObservedRollout};
use super::{Context, cleanup_jobs, pod_spec_hash, previous_pods, recreate};
use crate::context::{ResolvedBackendConfigs, Revisions};
use crate::error::Error;
use function_mesh_kube::apply::{ChildApplier, is_orphan_of, is_owned_by};

/// Why a rollout is deferred.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PauseReason {
    /// A BackendConfig without `autoUpdate` changed: it takes effect with the next change of the component.
    BackendConfig,
    /// Rollouts of this component, or all rollouts, are paused.
    Rollouts,
}

/// The observed state.
pub(super) struct Observed {
    pub(super) stateful_set: Option<Arc<StatefulSet>>,
    pub(super) service: Option<Arc<Service>>,
    pub(super) autoscaler: Option<Arc<HorizontalPodAutoscaler>>,
    /// The vertical autoscaler, if it is wanted or existed before.
    pub(super) vertical_autoscaler: Option<Arc<VerticalPodAutoscaler>>,
    /// Clean-up Jobs of previous objects of this name, if the component has no StatefulSet.
    pub(super) previous_jobs: Vec<Job>,
    /// Names of their pods that still run, whether or not there is a Job.
    pub(super) previous_pods: Vec<String>,
    pub(super) backends: ResolvedBackendConfigs,
    pub(super) pause: Option<PauseReason>,
    /// The pods and the subscription of a component with `strategy: Recreate`, if its StatefulSet exists.
    pub(super) recreate: Option<recreate::Facts>,
    /// Hash of the part of the spec that determines pods.
    pub(super) pod_spec_hash: String,
    /// The UID in the function IDs of its pods, if the StatefulSet names one.
    pub(super) function_uid: Option<String>,
    /// Resource versions of the BackendConfigs from which the StatefulSet is rendered, or will be.
    pub(super) revisions: Revisions,
    /// What is recorded of the rollout, and the template that replaces one that failed.
    pub(super) rollout: ObservedRollout,
}

/// Reads everything. `decided` is what a decision of this reconcile about the rollout changes.
pub(super) async fn observe<C: Component>(
    component: &C,
    decided: Option<Decided>,
    context: &Context,
) -> Result<Observed, Error> {
    let namespace = component.namespace().unwrap_or_default();
    let workload = names::stateful_set(&component.name_any(), C::ROLE);
    let service = names::service(&component.name_any(), C::ROLE);
    let backends = context.shared.resolve_backends(&namespace).await.map_err(Error::observe)?;
    let stateful_set = context.stateful_sets.fetch(&workload, &namespace).await.map_err(Error::observe)?;
    let owner = component.uid().unwrap_or_default();
    let children = super::children(context, &namespace, &owner);
    let identity = [
        (labels::COMPONENT, C::ROLE.as_str().to_owned()),
        (labels::NAME, component.name_any()),
        (labels::NAMESPACE, namespace.clone()),
    ];
    let identity = identity.map(|(key, value)| (key.to_owned(), value)).into();
    // An orphan will be ours.
    let is_ours = |live: &&StatefulSet| is_owned_by(*live, &owner) || is_orphan_of(*live, &identity);
    let ours = stateful_set.as_deref().filter(is_ours);
    let pod_spec_hash = pod_spec_hash::hash(component);
    let is_unchanged = ours.is_some_and(|live| is_made_of(live, &pod_spec_hash, component));
    let status = component.status().filter(|_| is_unchanged);
    let applied = status.map(|status| {
        (status.global_backend_config_revision.as_ref(), status.namespaced_backend_config_revision.as_ref())
    });
    let is_paused = context.shared.is_paused(component.meta());
    // A StatefulSet of upstream's operator has no hash: while rollouts are paused, the first write adds one.
    let has_no_hash =
        ours.is_some_and(|live| labels::annotation(&live.metadata, labels::POD_SPEC_HASH).is_none());
    let pause = match applied {
        _ if is_paused && (is_unchanged || has_no_hash) => Some(PauseReason::Rollouts),
        Some(applied) if backends.has_deferred_change(applied) => Some(PauseReason::BackendConfig),
        _ => None,
    };
    let revisions = match applied.filter(|_| pause.is_some()) {
        Some((global, namespaced)) => (global.cloned(), namespaced.cloned()),
        None => backends.revisions(),
    };
    let made_of = (pod_spec_hash.as_str(), &backends);
    let rollout = rollout::observe(component, ours, made_of, decided, &children, context).await?;
    let function_uid = ours.and_then(function_uid).map(str::to_owned);
    let is_owned = ours.is_some_and(|live| is_owned_by(live, &owner));
    let previous_jobs = if is_owned {
        Vec::new()
    } else {
        cleanup_jobs::previous_jobs(component, &context.jobs, &children).await?
    };
    let previous_pods = if is_owned { Vec::new() } else { previous_pods::running(&context.pods, component) };
    let recreate = match ours.filter(|_| recreate::is_strategy_of(component)) {
        Some(live) => Some(recreate::observe(component, live, &children, context).await?),
        None => None,
    };
    Ok(Observed {
        recreate,
        service: context.services.fetch(&service, &namespace).await.map_err(Error::observe)?,
        autoscaler: context.autoscalers.fetch(&workload, &namespace).await.map_err(Error::observe)?,
        vertical_autoscaler: vertical_autoscaler(component, &workload, &children).await?,
        stateful_set,
        previous_jobs,
        previous_pods,
        backends,
        pause,
        pod_spec_hash,
        function_uid,
        revisions,
        rollout,
    })
}

/// Vertical autoscalers are rare and their CRD is optional, so they are not watched. One is read if the component wants
/// it, or if the status shows that it existed.
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
    // The API server responds "not found" to a missing object and to a missing CRD. Other errors must not count as
    // missing, or the status would lose an active autoscaler.
    Ok(children.read(name).await?.map(Arc::new))
}

/// Whether a StatefulSet was rendered from the current spec. Upstream's have no hash; then the observed generation
/// decides.
fn is_made_of<C: Component>(live: &StatefulSet, pod_spec_hash: &str, component: &C) -> bool {
    match labels::annotation(&live.metadata, labels::POD_SPEC_HASH) {
        Some(hash) => hash == pod_spec_hash,
        None => component.status().is_some_and(|status| {
            status.observed_generation.is_some() && status.observed_generation == component.meta().generation
        }),
    }
}
