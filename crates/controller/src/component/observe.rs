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
use crate::context::HeldBackends;

/// What is there.
pub(super) struct Observed {
    pub(super) stateful_set: Option<Arc<StatefulSet>>,
    pub(super) service: Option<Arc<Service>>,
    pub(super) autoscaler: Option<Arc<HorizontalPodAutoscaler>>,
    pub(super) backends: HeldBackends,
}

pub(super) fn observe<C: Component>(component: &C, context: &Context) -> Observed {
    let namespace = component.namespace().unwrap_or_default();
    let workload = names::stateful_set(&component.name_any(), C::ROLE);
    let service = names::service(&component.name_any(), C::ROLE);
    Observed {
        stateful_set: context.stateful_sets.get(&ObjectRef::new(&workload).within(&namespace)),
        service: context.services.get(&ObjectRef::new(&service).within(&namespace)),
        autoscaler: context.autoscalers.get(&ObjectRef::new(&workload).within(&namespace)),
        backends: context.shared.backends_for(&namespace),
    }
}
