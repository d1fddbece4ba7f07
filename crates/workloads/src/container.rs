//! The container that runs the component.

use function_mesh_api::types::{Liveness, LogLevel};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvFromSource, EnvVar, EnvVarSource, HTTPGetAction,
    ObjectFieldSelector, Probe, SecretKeySelector, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::connection::Connection;
use crate::context::{Context, Runtime};
use crate::{command, images, shell, volumes};

/// Port of the runner's health and statistics.
pub(crate) const GRPC: (&str, i32) = ("tcp-grpc", 9093);
/// Port of the runner's metrics.
pub(crate) const METRICS: (&str, i32) = ("http-metrics", 9094);

/// A list, unless it is empty.
pub(crate) fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Security settings of every container that the operator adds.
pub(crate) fn security_context() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
        ..SecurityContext::default()
    }
}

/// The container that runs the component.
pub(crate) fn main(context: &Context<'_>) -> Container {
    let backend = &context.backend;
    let liveness = context.pod.liveness.as_ref().and_then(liveness);
    let startup = context.pod.startup_probe.as_ref().or(backend.startup_probe.as_ref());
    Container {
        name: context.container(),
        image: Some(images::runner(context)),
        image_pull_policy: Some(images::pull_policy(context)),
        command: command::of(context),
        env: Some(backend.env(env(context))),
        env_from: some(env_from(context)),
        ports: Some([GRPC, METRICS].into_iter().map(port).collect()),
        resources: context.common.resources.cloned(),
        security_context: Some(security_context()),
        liveness_probe: liveness.or_else(|| backend.liveness.as_ref().and_then(self::liveness)),
        startup_probe: startup.cloned(),
        volume_mounts: some(volumes::main_mounts(context)),
        ..Container::default()
    }
}

fn port((name, number): (&str, i32)) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// Name of the pod: the runner reads its own number from it.
pub(crate) fn pod_name() -> EnvVar {
    let field = ObjectFieldSelector { api_version: None, field_path: "metadata.name".to_owned() };
    EnvVar {
        name: "POD_NAME".to_owned(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
    }
}

/// A variable with a value that is known here.
pub(crate) fn variable(name: &str, value: &str) -> EnvVar {
    let value = shell::literal_value(value);
    EnvVar { name: name.to_owned(), value: Some(value), value_from: None }
}

/// The component's own environment.
pub(crate) fn env(context: &Context<'_>) -> Vec<EnvVar> {
    let secrets = context.common.secrets_map.into_iter().flatten().map(|(name, secret)| EnvVar {
        name: name.clone(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.path.clone().unwrap_or_default(),
                key: secret.key.clone().unwrap_or_default(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
    });
    let mut env = vec![pod_name()];
    env.extend(secrets);
    env.extend(context.pod.env.iter().flatten().cloned());
    if let Some(Runtime::Go(go)) = context.runtime {
        let log = go.log.as_ref();
        if log.is_none_or(|log| log.log_config.is_none()) {
            env.push(variable("LOGGING_LEVEL", go_level(log.and_then(|log| log.level))));
        }
    }
    env
}

fn go_level(level: Option<LogLevel>) -> &'static str {
    match level {
        Some(LogLevel::Debug) => "debug",
        Some(LogLevel::Trace) => "trace",
        Some(LogLevel::Warn) => "warn",
        Some(LogLevel::Error) => "error",
        Some(LogLevel::Fatal) => "fatal",
        Some(LogLevel::Panic) => "panic",
        Some(LogLevel::Info | LogLevel::Off | LogLevel::All) | None => "info",
    }
}

/// The objects that the environment is taken from.
pub(crate) fn env_from(context: &Context<'_>) -> Vec<EnvFromSource> {
    let packages = context.package_connection();
    let packages = packages.iter().flat_map(Connection::env_from);
    context.connection().env_from().chain(packages).collect()
}

/// The check that restarts a runner which no longer answers, when it is switched on.
fn liveness(liveness: &Liveness) -> Option<Probe> {
    let period = liveness.period_seconds.filter(|seconds| *seconds > 0)?;
    Some(Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/".to_owned()),
            port: IntOrString::Int(METRICS.1),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        initial_delay_seconds: liveness.initial_delay_seconds.filter(|seconds| *seconds > 0),
        period_seconds: Some(period),
        timeout_seconds: Some(period),
        success_threshold: liveness.success_threshold.filter(|times| *times > 0),
        failure_threshold: liveness.failure_threshold.filter(|times| *times > 0),
        ..Probe::default()
    })
}
