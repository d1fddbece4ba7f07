//! The caches of components and pods, as the observer reads them.

use std::net::IpAddr;
use std::time::Duration;

use function_mesh_api::component::Component;
use function_mesh_api::labels;
use function_mesh_api::types::ComponentStatus;
use function_mesh_kube::cache::Cache;
use function_mesh_kube::compact::Compact;
use kube::{Resource, ResourceExt};

use super::board::{StallReport, TrafficReport};
use super::demand::Demand;
use crate::component::pods::pods_of;
use crate::component::{PodSummary, prefix};
use crate::reconciler::key_of;
use crate::runtime::workers::Triggers;

/// Pods of a component that are looked up.
const MAX_PODS: u32 = 100;

/// A component in a cache.
pub(crate) struct Listed<'a> {
    pub(super) key: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) content: u64,
    /// Decodes the object, whose pods start within this time; None if that fails, which its own reconcile reports.
    pub(super) read: &'a dyn Fn(Duration) -> Option<(Demand, Option<TrafficReport>)>,
    /// Restarts of pods that the status has recorded.
    pub(super) recorded_restarts: &'a dyn Fn() -> u32,
}

/// A pod of a component.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pod {
    pub(super) ordinal: u64,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) address: Option<IpAddr>,
    pub(super) is_ready: bool,
    /// How long it took to become ready.
    pub(super) start: Option<Duration>,
}

/// A kind of component.
pub(crate) trait Kind: Send + Sync {
    /// The kind's name.
    fn name(&self) -> &'static str;
    /// Visits each component that the operator reconciles.
    fn visit(&self, visit: &mut dyn FnMut(Listed<'_>));
    /// The pods of a component with this number of wanted pods.
    fn pods(&self, namespace: &str, name: &str, wanted: u32) -> Vec<Pod>;
    /// Path of the API for the components of a namespace.
    fn path(&self, namespace: &str) -> String;
    /// Triggers a reconcile.
    fn trigger(&self, namespace: &str, name: &str);
}

/// The caches of a kind.
pub(crate) struct Caches<C: Component> {
    pub(crate) components: Cache<Compact<C>>,
    pub(crate) pods: Cache<PodSummary>,
    pub(crate) triggers: Triggers<Compact<C>>,
}

impl<C: Component> Kind for Caches<C> {
    fn name(&self) -> &'static str {
        C::ROLE.kind()
    }

    fn visit(&self, visit: &mut dyn FnMut(Listed<'_>)) {
        for object in self.components.store().state() {
            let is_unmanaged = object.annotation(labels::MANAGED).as_deref() == Some("false");
            if object.meta().deletion_timestamp.is_some() || is_unmanaged {
                continue;
            }
            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
            let read = |start_time| {
                let component = object.decode().ok()?;
                Some((Demand::of(&component, start_time), component.status().and_then(report_of)))
            };
            let recorded_restarts = || {
                let component = object.decode().ok();
                let status = component.as_ref().and_then(|component| component.status());
                status.and_then(|status| status.traffic.as_ref()?.restarts).unwrap_or_default()
            };
            visit(Listed {
                key: key_of(prefix::<C>(), &namespace, &name),
                uid: object.uid().unwrap_or_default(),
                content: object.content(),
                namespace,
                name,
                read: &read,
                recorded_restarts: &recorded_restarts,
            });
        }
    }

    fn pods(&self, namespace: &str, name: &str, wanted: u32) -> Vec<Pod> {
        let pods = pods_of::<C>(&self.pods, namespace, name, wanted.min(MAX_PODS));
        pods.map(|(ordinal, pod)| Pod {
            ordinal: ordinal.into(),
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            address: pod.address(),
            is_ready: pod.is_ready() && pod.meta().deletion_timestamp.is_none(),
            start: pod.start(),
        })
        .collect()
    }

    fn path(&self, namespace: &str) -> String {
        C::url_path(&(), Some(namespace))
    }

    fn trigger(&self, namespace: &str, name: &str) {
        self.triggers.change(namespace, name);
    }
}

/// What a status says about traffic and scaling.
fn report_of(status: &ComponentStatus) -> Option<TrafficReport> {
    let (traffic, scaling) = (status.traffic.clone(), status.scaling.clone());
    if traffic.is_none() && scaling.is_none() {
        return None;
    }
    let stall = StallReport::of(&status.standard_conditions);
    Some(TrafficReport { traffic: traffic.unwrap_or_default(), stall, scaling })
}
