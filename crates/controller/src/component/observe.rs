//! Stage one: everything that the other stages need to know, from the caches.

use std::sync::Arc;

use function_mesh_api::Component;
use function_mesh_workloads::names;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::Context;
use crate::context::{HeldBackends, Revisions};

/// What is there.
pub(super) struct Observed {
    pub(super) stateful_set: Option<Arc<StatefulSet>>,
    pub(super) service: Option<Arc<Service>>,
    pub(super) autoscaler: Option<Arc<HorizontalPodAutoscaler>>,
    pub(super) backends: HeldBackends,
    /// Whether a change of those is to wait, so that the StatefulSet stays as it is.
    pub(super) is_held: bool,
    /// The versions of those that the StatefulSet is, or is about to be, in line with.
    pub(super) revisions: Revisions,
}

pub(super) fn observe<C: Component>(component: &C, context: &Context) -> Observed {
    let namespace = component.namespace().unwrap_or_default();
    let workload = names::stateful_set(&component.name_any(), C::ROLE);
    let service = names::service(&component.name_any(), C::ROLE);
    let backends = context.shared.backends_for(&namespace);
    // Of a component whose specification was acted on, the status says with which of them.
    let acted_on = component.status().filter(|status| {
        status.observed_generation.is_some() && status.observed_generation == component.meta().generation
    });
    let applied = acted_on.map(|status| {
        (status.global_backend_config_revision.as_ref(), status.namespaced_backend_config_revision.as_ref())
    });
    let held = applied.filter(|applied| backends.are_to_wait(*applied));
    Observed {
        is_held: held.is_some(),
        revisions: held.map_or_else(
            || backends.revisions(),
            |(global, namespaced)| (global.cloned(), namespaced.cloned()),
        ),
        stateful_set: context.stateful_sets.get(&ObjectRef::new(&workload).within(&namespace)),
        service: context.services.get(&ObjectRef::new(&service).within(&namespace)),
        autoscaler: context.autoscalers.get(&ObjectRef::new(&workload).within(&namespace)),
        backends,
    }
}
