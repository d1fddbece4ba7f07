//! Merges the global and the namespaced BackendConfig into one set of defaults.
//!
//! The namespaced BackendConfig overrides the global one. Builders let component settings override both. Fields that
//! run code in the pods of other users are omitted; see [`ignored`].

use std::collections::BTreeMap;

use function_mesh_api::types::{Liveness, PodPolicy};
use function_mesh_api::validate::{Violation, check_backend_config, check_trusted_backend_config};
use function_mesh_api::validate::{is_unsafe_probe, unsafe_variable};
use function_mesh_api::{BackendConfig, BackendConfigSpec};
use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, LocalObjectReference, PodSecurityContext, Probe, Toleration,
};

use crate::settings::Settings;

/// The BackendConfigs of a component.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backends<'a> {
    /// The global BackendConfig.
    pub global: Option<&'a BackendConfig>,
    /// The BackendConfig of the component's namespace, which overrides the global one.
    pub namespaced: Option<&'a BackendConfig>,
}

impl Backends<'_> {
    /// Whether one of them has another revision than the applied ones, without `autoUpdate`: it takes effect with the next
    /// change of the component. `revision` is that of a BackendConfig.
    pub fn has_deferred_change(
        &self,
        applied: (Option<&str>, Option<&str>),
        revision: impl Fn(&BackendConfig) -> Option<String>,
    ) -> bool {
        let is_deferred = |config: Option<&BackendConfig>, applied: Option<&str>| {
            config.is_some_and(|config| {
                !config.spec.auto_update.unwrap_or_default() && revision(config).as_deref() != applied
            })
        };
        is_deferred(self.global, applied.0) || is_deferred(self.namespaced, applied.1)
    }
}

/// Merged defaults for the pods of a component.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Backend {
    env: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) node_selector: BTreeMap<String, String>,
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) image_pull_secrets: Vec<LocalObjectReference>,
    pub(crate) affinity: Option<Affinity>,
    pub(crate) security_context: Option<PodSecurityContext>,
    pub(crate) termination_grace_period_seconds: Option<i64>,
    pub(crate) service_account_name: Option<String>,
    pub(crate) liveness: Option<Liveness>,
    pub(crate) startup_probe: Option<Probe>,
}

impl Backend {
    pub(crate) fn merge(backends: Backends<'_>, settings: &Settings) -> Self {
        let mut merged = Self::default();
        for config in [backends.global, backends.namespaced].into_iter().flatten() {
            merged.overlay(effective(config, settings));
        }
        merged
    }

    fn overlay(&mut self, spec: BackendConfigSpec) {
        self.env.extend(spec.env.unwrap_or_default());
        let Some(pod) = spec.pod else { return };
        // Destructured, so that a new field fails to compile until it is here.
        let PodPolicy {
            labels,
            node_selector,
            affinity,
            tolerations,
            annotations,
            security_context,
            termination_grace_period_seconds,
            image_pull_secrets,
            service_account_name,
            liveness,
            startup_probe,
            // Fields of components alone.
            volumes: _,
            init_containers: _,
            sidecars: _,
            builtin_autoscaler: _,
            auto_scaling_metrics: _,
            auto_scaling_behavior: _,
            vpa: _,
            env: _,
            disable_default_affinity: _,
        } = pod;
        self.labels.extend(labels.unwrap_or_default());
        self.annotations.extend(annotations.unwrap_or_default());
        self.node_selector.extend(node_selector.unwrap_or_default());
        self.tolerations.extend(tolerations.unwrap_or_default());
        self.image_pull_secrets.extend(image_pull_secrets.unwrap_or_default());
        replace(&mut self.affinity, affinity);
        replace(&mut self.security_context, security_context);
        replace(&mut self.termination_grace_period_seconds, termination_grace_period_seconds);
        replace(&mut self.service_account_name, service_account_name.filter(|name| !name.is_empty()));
        replace(&mut self.liveness, liveness);
        replace(&mut self.startup_probe, startup_probe);
    }

    /// Prepends the defaults to the variables of a container: the last variable of a name wins.
    pub(crate) fn env(&self, own: Vec<EnvVar>) -> Vec<EnvVar> {
        let defaults = self.env.iter().map(|(name, value)| EnvVar {
            name: name.clone(),
            value: Some(value.clone()),
            value_from: None,
        });
        defaults.chain(own).collect()
    }
}

/// The effective fields of a BackendConfig: without those that run code, unless the settings allow them.
fn effective(config: &BackendConfig, settings: &Settings) -> BackendConfigSpec {
    let mut spec = config.spec.clone();
    if settings.allow_unsafe_backend_config {
        return spec;
    }
    if let Some(env) = &mut spec.env {
        env.retain(|name, _| unsafe_variable(name).is_none());
    }
    if let Some(pod) = &mut spec.pod {
        pod.startup_probe = pod.startup_probe.take().filter(|probe| !is_unsafe_probe(probe));
    }
    spec
}

/// The ignored fields of a BackendConfig: those that run code in the pods of other users, unless the settings allow
/// them.
#[must_use]
pub fn ignored(config: &BackendConfig, settings: &Settings) -> Vec<Violation> {
    if settings.allow_unsafe_backend_config {
        return Vec::new();
    }
    let known = check_trusted_backend_config(&config.spec).violations;
    let mut all = check_backend_config(&config.spec).violations;
    all.retain(|violation| !known.contains(violation));
    all
}

fn replace<T>(field: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *field = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use function_mesh_api::BackendConfigSpec;
    use serde_json::json;

    fn config(spec: serde_json::Value) -> BackendConfig {
        BackendConfig::new("c", serde_json::from_value::<BackendConfigSpec>(spec).unwrap())
    }

    #[test]
    fn namespaced_overrides_global_by_key() {
        let global = config(json!({
            "env": { "A": "g", "B": "g" },
            "pod": {
                "labels": { "l": "g" }, "tolerations": [{ "key": "g" }], "serviceAccountName": "g",
                "terminationGracePeriodSeconds": 1, "liveness": { "periodSeconds": 1 },
            },
        }));
        let namespaced = config(json!({
            "env": { "B": "n" },
            "pod": {
                "labels": { "l": "n", "m": "n" }, "tolerations": [{ "key": "n" }], "serviceAccountName": "",
                "terminationGracePeriodSeconds": 2,
            },
        }));
        let merged = Backend::merge(
            Backends { global: Some(&global), namespaced: Some(&namespaced) },
            &Settings::default(),
        );
        let own = EnvVar { name: "B".into(), value: Some("own".into()), value_from: None };
        let env = merged.env(vec![own]);
        let env: Vec<_> = env.iter().map(|var| (var.name.as_str(), var.value.as_deref().unwrap())).collect();
        assert_eq!(env, [("A", "g"), ("B", "n"), ("B", "own")]);
        assert_eq!(merged.labels["l"], "n");
        assert_eq!(merged.labels["m"], "n");
        let keys: Vec<_> = merged.tolerations.iter().map(|it| it.key.as_deref().unwrap()).collect();
        assert_eq!(keys, ["g", "n"]);
        assert_eq!(merged.service_account_name.as_deref(), Some("g"));
        assert_eq!(merged.termination_grace_period_seconds, Some(2));
        assert_eq!(merged.liveness.unwrap().period_seconds, Some(1));
    }

    #[test]
    fn no_backend_configs_set_no_defaults() {
        assert_eq!(Backend::merge(Backends::default(), &Settings::default()), Backend::default());
    }

    #[test]
    fn unsafe_fields_are_ignored_unless_allowed() {
        let hostile = config(json!({
            "env": { "BASH_ENV": "$(id)", "LD_PRELOAD": "/x.so", "webServiceURL": "http://evil", "A": "1" },
            "pod": { "startupProbe": { "exec": { "command": ["id"] } } },
        }));
        let names = |settings: &Settings| {
            // Global and namespaced alike.
            let backends = [
                Backends { global: Some(&hostile), namespaced: None },
                Backends { global: None, namespaced: Some(&hostile) },
            ];
            backends.map(|backends| {
                let merged = Backend::merge(backends, settings);
                (merged.env.into_keys().collect::<Vec<_>>(), merged.startup_probe.is_some())
            })
        };
        let safe = (vec!["A".to_owned()], false);
        assert_eq!(names(&Settings::default()), [safe.clone(), safe]);
        let fields: Vec<_> = ignored(&hostile, &Settings::default())
            .into_iter()
            .map(|it| it.field.as_str().to_owned())
            .collect();
        assert_eq!(
            fields,
            [
                r#"spec.env["BASH_ENV"]"#,
                r#"spec.env["LD_PRELOAD"]"#,
                r#"spec.env["webServiceURL"]"#,
                "spec.pod.startupProbe.exec"
            ]
        );
        let trusting = Settings { allow_unsafe_backend_config: true, ..Settings::default() };
        for (env, probe) in names(&trusting) {
            assert_eq!((env.len(), probe), (4, true));
        }
        assert!(ignored(&hostile, &trusting).is_empty());
    }
}
