//! BackendConfigs: the cluster's and the namespace's, merged into one set of defaults.
//!
//! The namespace's takes precedence over the cluster's, and what a component says over both; the builders of
//! the parts see to the latter.

use std::collections::BTreeMap;

use function_mesh_api::BackendConfig;
use function_mesh_api::types::Liveness;
use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, LocalObjectReference, PodSecurityContext, Probe, Toleration,
};

use crate::Backends;

/// Defaults for a component's pods.
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
    pub(crate) fn merge(backends: Backends<'_>) -> Self {
        let mut merged = Self::default();
        for config in [backends.global, backends.namespaced].into_iter().flatten() {
            merged.overlay(config);
        }
        merged
    }

    fn overlay(&mut self, config: &BackendConfig) {
        let spec = config.spec.clone();
        self.env.extend(spec.env.unwrap_or_default());
        let Some(pod) = spec.pod else { return };
        self.labels.extend(pod.labels.unwrap_or_default());
        self.annotations.extend(pod.annotations.unwrap_or_default());
        self.node_selector.extend(pod.node_selector.unwrap_or_default());
        self.tolerations.extend(pod.tolerations.unwrap_or_default());
        self.image_pull_secrets.extend(pod.image_pull_secrets.unwrap_or_default());
        replace(&mut self.affinity, pod.affinity);
        replace(&mut self.security_context, pod.security_context);
        replace(&mut self.termination_grace_period_seconds, pod.termination_grace_period_seconds);
        replace(&mut self.service_account_name, pod.service_account_name.filter(|name| !name.is_empty()));
        replace(&mut self.liveness, pod.liveness);
        replace(&mut self.startup_probe, pod.startup_probe);
    }

    /// A container's environment with these defaults before it: of two variables of one name the later counts.
    pub(crate) fn env(&self, own: Vec<EnvVar>) -> Vec<EnvVar> {
        let defaults = self.env.iter().map(|(name, value)| EnvVar {
            name: name.clone(),
            value: Some(value.clone()),
            value_from: None,
        });
        defaults.chain(own).collect()
    }
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
    fn the_namespace_beats_the_cluster_key_by_key() {
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
        let merged = Backend::merge(Backends { global: Some(&global), namespaced: Some(&namespaced) });
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
    fn without_configs_nothing_is_set() {
        assert_eq!(Backend::merge(Backends::default()), Backend::default());
    }
}
