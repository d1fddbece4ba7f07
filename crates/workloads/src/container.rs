//! The main container, which runs the component.

use function_mesh_api::types::{Liveness, LogLevel};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvFromSource, EnvVar, EnvVarSource, HTTPGetAction, Probe, SecretKeySelector,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::connection::Connection;
use crate::container_parts::{self, GRPC, METRICS};
use crate::context::{Context, Runtime};
use crate::optional::none_if_empty;
use crate::{command, images, volumes};

/// Builds the main container.
pub(crate) fn build_main_container(context: &Context<'_>) -> Container {
    let backend = &context.backend;
    let liveness = context.pod.liveness.as_ref().and_then(liveness);
    let startup = context.pod.startup_probe.as_ref().or(backend.startup_probe.as_ref());
    let (readiness, default_startup) = default_probes(context).unzip();
    Container {
        name: context.container_name(),
        image: Some(images::runner(context)),
        image_pull_policy: Some(images::pull_policy(context)),
        command: command::build_command(context),
        env: Some(backend.env(env(context))),
        env_from: none_if_empty(env_from(context)),
        ports: Some([GRPC, METRICS].into_iter().map(port).collect()),
        resources: context.common.resources.cloned(),
        security_context: Some(container_parts::security_context()),
        liveness_probe: liveness.or_else(|| backend.liveness.as_ref().and_then(self::liveness)),
        readiness_probe: readiness,
        startup_probe: startup.cloned().or(default_startup),
        volume_mounts: none_if_empty(volumes::build_main_mounts(context)),
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

/// Environment variables of the component.
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
    let mut env = vec![container_parts::pod_name()];
    env.extend(secrets);
    env.extend(context.pod.env.iter().flatten().cloned());
    if let Some(Runtime::Go(go)) = context.runtime {
        let log = go.log.as_ref();
        if log.is_none_or(|log| log.log_config.is_none()) {
            env.push(container_parts::variable("LOGGING_LEVEL", go_level(log.and_then(|log| log.level))));
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

/// Sources of environment variables: the ConfigMaps and Secrets of the connections.
pub(crate) fn env_from(context: &Context<'_>) -> Vec<EnvFromSource> {
    let packages = context.package_connection();
    let packages = packages.iter().flat_map(Connection::env_from);
    context.connection().env_from().chain(packages).collect()
}

/// The readiness and the startup probe. The runner opens its metrics port once it runs, so a pod whose package or
/// program is missing never counts as ready. None for a generic runtime, whose programs need not serve metrics.
fn default_probes(context: &Context<'_>) -> Option<(Probe, Probe)> {
    let serves_metrics =
        matches!(context.runtime, Some(Runtime::Java(_) | Runtime::Python(_) | Runtime::Go(_)));
    if !context.is_second_edition() || !context.settings.add_default_probes || !serves_metrics {
        return None;
    }
    let probe = |period, failures| Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/metrics".to_owned()),
            port: IntOrString::String(METRICS.0.to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    };
    // The container downloads its package first, and the kubelet kills what does not start: ten minutes.
    Some((probe(10, 3), probe(5, 120)))
}

/// The liveness probe, if it is enabled.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bare_function, function, sink, with_settings};
    use crate::{Edition, Settings};
    use function_mesh_api::Component;
    use function_mesh_api::validate::Valid;
    use serde_json::json;

    fn probes<C: Component>(
        component: &Valid<C>,
        settings: &Settings,
        edition: Edition,
    ) -> [Option<Probe>; 2] {
        let container = with_settings(component, settings, |context| {
            build_main_container(&Context { edition, ..context.clone() })
        });
        [container.readiness_probe, container.startup_probe]
    }

    #[test]
    fn default_probes_of_runners_with_metrics() {
        let settings = Settings::default();
        let off = Settings { add_default_probes: false, ..Settings::default() };
        let generic =
            bare_function(json!({ "genericRuntime": { "functionFile": "f.js", "language": "nodejs" } }));
        let python = bare_function(json!({ "python": { "py": "f.py" } }));
        let java = function(json!({}));
        for (found, expected) in [
            (probes(&java, &settings, Edition::Second), true),
            (probes(&python, &settings, Edition::Second), true),
            (probes(&sink(json!({})), &settings, Edition::Second), true),
            (probes(&generic, &settings, Edition::Second), false),
            (probes(&java, &settings, Edition::First), false),
            (probes(&java, &off, Edition::Second), false),
        ] {
            assert_eq!(found.map(|probe| probe.is_some()), [expected; 2]);
        }
    }

    #[test]
    fn startup_probe_of_the_component_wins() {
        let function = function(json!({ "pod": { "startupProbe": { "periodSeconds": 1 } } }));
        let [readiness, startup] = probes(&function, &Settings::default(), Edition::Second);
        assert_eq!(startup.unwrap().period_seconds, Some(1));
        assert!(readiness.is_some());
    }
}
