//! Renders the Kubernetes objects of components and meshes.
//!
//! [`render`] builds the children of a valid Function, Source or Sink from its spec, its BackendConfigs and the
//! operator's [`Settings`]. It is a pure function: no client, no clock, no randomness, and the same input gives the
//! same bytes. [`cleanup()`] builds the Job that deletes the subscriptions of a deleted component, [`components`] the
//! component objects of a mesh.

mod admin;
#[cfg(feature = "args")]
mod args;
mod arguments;
mod backend;
pub mod change;
mod cleanup;
mod command;
mod connection;
mod container;
mod container_parts;
mod context;
mod details;
pub mod diff;
mod download;
mod edition;
mod filebeat;
mod hpa;
mod images;
mod json;
mod log;
mod mesh;
pub mod names;
mod optional;
mod pattern;
mod pod;
#[cfg(feature = "args")]
mod published;
pub mod redact;
mod service;
mod settings;
mod shape;
mod shell;
mod stateful_set;
pub mod subscriptions;
#[cfg(test)]
mod testing;
mod volume_names;
mod volumes;
mod vpa;

use function_mesh_api::validate::Valid;
use function_mesh_api::{Component, FunctionMesh, labels};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Service;
use serde_json::Value;

#[cfg(feature = "args")]
pub use args::{SettingsArgs, parse_bool};
pub use arguments::check_arguments;
pub use backend::{Backends, ignored as ignored_in_backend_config};
pub use cleanup::{CANNOT_START, CONTAINER as CLEANUP_CONTAINER};
pub use edition::{Edition, has_same_template, has_template_of};
pub use hpa::hold_replicas;
pub use mesh::MeshComponents;
#[cfg(feature = "args")]
pub use published::{
    OPERATOR_NAMESPACE, PublishedSettings, PublishedSettingsError, SETTINGS_CONFIG_MAP, SETTINGS_KEY,
};
pub use redact::message as without_credentials;
pub use settings::{BackendConfigRef, RunnerImages, Settings, SettingsError};
pub use vpa::{VerticalPodAutoscaler, VerticalPodAutoscalerSpec};

use context::Context;
use subscriptions::Targets;

/// The children of a component.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The StatefulSet of its pods.
    pub stateful_set: StatefulSet,
    /// The headless Service of its pods.
    pub service: Service,
    /// The HorizontalPodAutoscaler, with `maxReplicas`.
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    /// The VerticalPodAutoscaler, with `pod.vpa`.
    pub vertical_autoscaler: Option<VerticalPodAutoscaler>,
}

impl Workload {
    /// The kinds of the children, in the order of [`Self::to_json`].
    pub const KINDS: [&'static str; 4] =
        ["StatefulSet", "Service", "HorizontalPodAutoscaler", "VerticalPodAutoscaler"];

    /// The children as JSON, in the order of [`Self::KINDS`]; None for one that is not wanted.
    pub fn to_json(&self) -> serde_json::Result<[Option<Value>; Self::KINDS.len()]> {
        // Destructured, so that a new child fails to compile until it is here.
        let Self { stateful_set, service, autoscaler, vertical_autoscaler } = self;
        Ok([
            Some(serde_json::to_value(stateful_set)?),
            Some(serde_json::to_value(service)?),
            autoscaler.as_ref().map(serde_json::to_value).transpose()?,
            vertical_autoscaler.as_ref().map(serde_json::to_value).transpose()?,
        ])
    }
}

/// Builds the children of a component that has no StatefulSet yet.
pub fn render<C: Component>(component: &Valid<C>, backends: Backends<'_>, settings: &Settings) -> Workload {
    render_edition(component, backends, settings, Edition::NEWEST)
}

/// Builds the children of a component whose StatefulSet may be live. Its pods keep their function IDs, and its pod
/// template keeps the edition that it has, unless the template changes anyway.
pub fn render_live<C: Component>(
    component: &Valid<C>,
    backends: Backends<'_>,
    settings: &Settings,
    live: Option<&StatefulSet>,
) -> Workload {
    let function_uid = live.and_then(function_uid);
    let context = |edition| Context { edition, function_uid, ..Context::new(component, backends, settings) };
    if let Some(live) = live.filter(|live| Edition::of(live) != Edition::NEWEST) {
        let kept = build(&context(Edition::of(live)));
        if edition::is_live(&kept.stateful_set, live) {
            return kept;
        }
    }
    build(&context(Edition::NEWEST))
}

/// Builds the children of a component, with an edition of the pod template.
pub fn render_edition<C: Component>(
    component: &Valid<C>,
    backends: Backends<'_>,
    settings: &Settings,
    edition: Edition,
) -> Workload {
    build(&Context { edition, ..Context::new(component, backends, settings) })
}

/// The UID in the function IDs of live pods. Anything but a UID is ignored.
pub fn function_uid(live: &StatefulSet) -> Option<&str> {
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let uid = labels::annotation(&live.metadata, labels::FUNCTION_UID)?;
    (uid.len() == 36 && uid.bytes().all(is_part)).then_some(uid)
}

fn build(context: &Context<'_>) -> Workload {
    Workload {
        stateful_set: stateful_set::build_stateful_set(context),
        service: service::build_service(context),
        autoscaler: hpa::build_autoscaler(context),
        vertical_autoscaler: vpa::build_vertical_autoscaler(context),
    }
}

/// Builds the Job that deletes all subscriptions of a deleted component. None without `cleanupSubscription`, or if the
/// operator does not own the subscriptions.
pub fn cleanup<C: Component>(
    component: &Valid<C>,
    backends: Backends<'_>,
    settings: &Settings,
) -> Option<Job> {
    cleanup::build_job(&Context::new(component, backends, settings)).map(with_volume_names)
}

/// Whether the operator deletes the subscriptions of the component with it.
pub fn is_cleanup_wanted<C: Component>(component: &Valid<C>) -> bool {
    let settings = Settings::default();
    cleanup::is_wanted(&Context::new(component, Backends::default(), &settings))
}

/// Builds the Job that deletes the given subscriptions of a component.
pub fn cleanup_job<C: Component>(
    component: &Valid<C>,
    backends: Backends<'_>,
    settings: &Settings,
    targets: &Targets,
) -> Job {
    with_volume_names(cleanup::build_job_for(&Context::new(component, backends, settings), targets))
}

fn with_volume_names(mut job: Job) -> Job {
    if let Some(pod) = job.spec.as_mut().and_then(|job| job.template.spec.as_mut()) {
        volume_names::assign(pod);
    }
    job
}

/// Builds the component objects of a mesh.
pub fn components(mesh: &Valid<FunctionMesh>) -> MeshComponents {
    mesh::build_components(mesh)
}
