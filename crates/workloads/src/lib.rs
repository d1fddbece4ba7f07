//! What a component becomes on a cluster.
//!
//! [`render`] turns a complete and valid Function, Source or Sink, the BackendConfigs that apply to it and the
//! operator's [`Settings`] into its children. It is a pure function: no client, no clock, no randomness, and
//! the same input gives the same bytes. [`cleanup()`] is what removes its subscriptions when it goes, and
//! [`components`] the components of a mesh.

mod admin;
#[cfg(feature = "args")]
mod args;
mod arguments;
mod backend;
mod cleanup;
mod command;
mod connection;
mod container;
mod context;
mod details;
pub mod diff;
mod download;
mod filebeat;
mod hpa;
mod images;
mod json;
mod log;
mod mesh;
pub mod names;
mod pattern;
mod pod;
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
use function_mesh_api::{BackendConfig, Component, Function, FunctionMesh, Sink, Source};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Service;

#[cfg(feature = "args")]
pub use args::{SettingsArgs, parse_bool};
pub use arguments::check_arguments;
pub use backend::ignored as ignored_in_backend_config;
pub use redact::message as without_credentials;
pub use settings::{RunnerImages, Settings, SettingsError};
pub use vpa::{VerticalPodAutoscaler, VerticalPodAutoscalerSpec};

use context::Context;
use subscriptions::Targets;

/// The BackendConfigs that apply to a component.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backends<'a> {
    /// The one of the cluster.
    pub global: Option<&'a BackendConfig>,
    /// The one of the component's namespace, which takes precedence.
    pub namespaced: Option<&'a BackendConfig>,
}

/// All children of a component that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Its pods.
    pub stateful_set: StatefulSet,
    /// Their names.
    pub service: Service,
    /// Horizontal scaling, when `maxReplicas` is set.
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    /// Vertical scaling, when `pod.vpa` is set.
    pub vertical_autoscaler: Option<VerticalPodAutoscaler>,
}

/// Renders a component.
pub fn render<C: Component>(component: &Valid<C>, backends: Backends<'_>, settings: &Settings) -> Workload {
    let context = Context::new(component, backends, settings);
    Workload {
        stateful_set: stateful_set::of(&context),
        service: service::of(&context),
        autoscaler: hpa::of(&context),
        vertical_autoscaler: vpa::of(&context),
    }
}

/// The Job that removes all subscriptions of a component when it is deleted, if they are to be removed.
pub fn cleanup<C: Component>(
    component: &Valid<C>,
    backends: Backends<'_>,
    settings: &Settings,
) -> Option<Job> {
    cleanup::of(&Context::new(component, backends, settings)).map(with_volume_names)
}

/// Whether subscriptions are to be removed with the component, by the operator.
pub fn is_cleanup_wanted<C: Component>(component: &Valid<C>) -> bool {
    let settings = Settings::default();
    cleanup::is_wanted(&Context::new(component, Backends::default(), &settings))
}

/// The Job that removes some subscriptions of a component.
pub fn cleanup_job<C: Component>(
    component: &Valid<C>,
    backends: Backends<'_>,
    settings: &Settings,
    targets: &Targets,
) -> Job {
    with_volume_names(cleanup::job(&Context::new(component, backends, settings), targets))
}

fn with_volume_names(mut job: Job) -> Job {
    if let Some(pod) = job.spec.as_mut().and_then(|job| job.template.spec.as_mut()) {
        volume_names::settle(pod);
    }
    job
}

/// The components of a mesh, as objects of their own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshComponents {
    /// Its functions.
    pub functions: Vec<Function>,
    /// Its sources.
    pub sources: Vec<Source>,
    /// Its sinks.
    pub sinks: Vec<Sink>,
}

/// The components of a mesh, as objects of their own.
pub fn components(mesh: &Valid<FunctionMesh>) -> MeshComponents {
    mesh::components(mesh)
}
