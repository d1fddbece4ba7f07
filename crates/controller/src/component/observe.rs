//! Stage one: everything that the other stages need to know, from the caches.

use std::sync::Arc;

use function_mesh_api::{Component, labels};
use function_mesh_workloads::names;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::{Context, specification};
use crate::context::{HeldBackends, Revisions};
use crate::kit::children::is_owned_by;

/// Why the pods of a component stay as they are, though others are wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hold {
    /// A BackendConfig changed that is to take effect only with the next change of the component.
    Backends,
    /// Rollouts are paused, of this component or of all.
    Paused,
}

/// What is there.
pub(super) struct Observed {
    pub(super) stateful_set: Option<Arc<StatefulSet>>,
    pub(super) service: Option<Arc<Service>>,
    pub(super) autoscaler: Option<Arc<HorizontalPodAutoscaler>>,
    pub(super) backends: HeldBackends,
    pub(super) hold: Option<Hold>,
    /// Digest of the specification, as far as it shapes pods.
    pub(super) digest: String,
    /// The versions of BackendConfigs that the StatefulSet is, or is about to be, in line with.
    pub(super) revisions: Revisions,
}

impl Observed {
    /// Whether the component has its StatefulSet.
    pub(super) fn is_made<C: Component>(&self, component: &C) -> bool {
        let owner = component.uid().unwrap_or_default();
        self.stateful_set.as_deref().is_some_and(|live| is_owned_by(live, &owner))
    }
}

pub(super) async fn observe<C: Component>(component: &C, context: &Context) -> Result<Observed, kube::Error> {
    let namespace = component.namespace().unwrap_or_default();
    let workload = names::stateful_set(&component.name_any(), C::ROLE);
    let service = names::service(&component.name_any(), C::ROLE);
    let backends = context.shared.backends_for(&namespace).await?;
    let stateful_set = context.stateful_sets.fetch(&workload, &namespace).await?;
    let owner = component.uid().unwrap_or_default();
    let ours = stateful_set.as_deref().filter(|live| is_owned_by(*live, &owner));
    let digest = specification::digest(component);
    let is_unchanged = ours.is_some_and(|live| is_made_of(live, &digest, component));
    let status = component.status().filter(|_| is_unchanged);
    let applied = status.map(|status| {
        (status.global_backend_config_revision.as_ref(), status.namespaced_backend_config_revision.as_ref())
    });
    let is_paused = context.shared.pause_rollout || labels::is_paused(component.meta());
    // Of one that another operator made nobody knows what it was made from: while rollouts are paused that is noted
    // before anything else.
    let is_unknown =
        ours.is_some_and(|live| labels::annotation(&live.metadata, labels::POD_SPEC_HASH).is_none());
    let hold = match applied {
        _ if is_paused && (is_unchanged || is_unknown) => Some(Hold::Paused),
        Some(applied) if backends.are_to_wait(applied) => Some(Hold::Backends),
        _ => None,
    };
    let revisions = match applied.filter(|_| hold.is_some()) {
        Some((global, namespaced)) => (global.cloned(), namespaced.cloned()),
        None => backends.revisions(),
    };
    Ok(Observed {
        stateful_set,
        service: context.services.fetch(&service, &namespace).await?,
        autoscaler: context.autoscalers.fetch(&workload, &namespace).await?,
        backends,
        hold,
        digest,
        revisions,
    })
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
