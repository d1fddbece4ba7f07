//! The pod template of a component.

use std::collections::BTreeMap;

use function_mesh_api::labels;
use k8s_openapi::api::core::v1::{
    Affinity, Container, LocalObjectReference, PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec,
    PodTemplateSpec, SeccompProfile, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::context::Context;
use crate::optional::none_if_empty;
use crate::{container, container_parts};
use crate::{download, filebeat, volume_names, volumes};

/// Keys and values that decline the injection of a proxy. Istio reads a label, and its older releases an annotation.
const INJECTION: [(&str, &str); 2] =
    [("sidecar.istio.io/inject", "false"), ("linkerd.io/inject", "disabled")];

type Map = BTreeMap<String, String>;

/// Builds the pod template.
pub(crate) fn build_template(context: &Context<'_>) -> PodTemplateSpec {
    let policy = context.pod;
    let sidecars = policy.sidecars.iter().flatten().cloned().map(|sidecar| Container {
        env: none_if_empty(context.backend.env(sidecar.env.clone().unwrap_or_default())),
        ..sidecar
    });
    let containers = sidecars
        .chain([container::build_main_container(context)])
        .chain(filebeat::build_sidecar(context))
        .collect();
    let init_containers = policy.init_containers.iter().flatten().cloned();
    let init_containers = init_containers.chain(download::build_init_container(context)).collect();
    let own = own_labels(context);
    let mut annotations = merge(&context.backend.annotations, annotations(context));
    if context.is_second_edition() {
        annotations.entry(labels::DEFAULT_CONTAINER.to_owned()).or_insert_with(|| context.container_name());
    }
    let metadata = ObjectMeta {
        labels: Some(merge(&context.backend.labels, own.clone())),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    let mut pod = PodSpec {
        affinity: affinity(context, own),
        init_containers: none_if_empty(init_containers),
        containers,
        volumes: none_if_empty(volumes::build_volumes(context, &context.connection(), true)),
        ..build_scheduling(context)
    };
    volume_names::assign(&mut pod);
    PodTemplateSpec { metadata: Some(metadata), spec: Some(pod) }
}

/// Builds the part of the pod spec that the clean-up Job shares: scheduling, security and image pull secrets.
pub(crate) fn build_scheduling(context: &Context<'_>) -> PodSpec {
    let (policy, backend) = (context.pod, &context.backend);
    let account = policy.service_account_name.as_ref().filter(|name| !name.is_empty());
    let selector = merge(&backend.node_selector, policy.node_selector.clone().unwrap_or_default());
    let tolerations = backend.tolerations.iter().chain(policy.tolerations.iter().flatten());
    PodSpec {
        image_pull_secrets: none_if_empty(image_pull_secrets(context)),
        node_selector: (!selector.is_empty()).then_some(selector),
        security_context: Some(security_context(context)),
        service_account_name: account.or(backend.service_account_name.as_ref()).cloned(),
        termination_grace_period_seconds: policy
            .termination_grace_period_seconds
            .or(backend.termination_grace_period_seconds),
        tolerations: none_if_empty(tolerations.cloned().collect()),
        ..PodSpec::default()
    }
}

/// Builds the metadata of the clean-up Job's pods: what policies, identities and secrets of the component's pods go by,
/// without the labels of their selector. The Job ends with its container, so it declines sidecars that never end.
pub(crate) fn build_job_metadata(context: &Context<'_>, own: &Map) -> ObjectMeta {
    let (policy, settings, backend) = (context.pod, context.settings, &context.backend);
    let shared = |backend: &Map, settings: &Map, policy: &Option<Map>| {
        merge(&merge(backend, settings.clone()), policy.clone().unwrap_or_default())
    };
    let mut labels = shared(&backend.labels, &settings.resource_labels, &policy.labels);
    let selector = context.labels();
    labels.retain(|key, _| !selector.contains_key(key));
    labels.extend(own.clone());
    let mut annotations = shared(&backend.annotations, &settings.resource_annotations, &policy.annotations);
    let [istio, linkerd] = INJECTION;
    if !labels.contains_key(istio.0) && !annotations.contains_key(istio.0) {
        labels.insert(istio.0.to_owned(), istio.1.to_owned());
        annotations.insert(istio.0.to_owned(), istio.1.to_owned());
    }
    annotations.entry(linkerd.0.to_owned()).or_insert_with(|| linkerd.1.to_owned());
    ObjectMeta { labels: Some(labels), annotations: Some(annotations), ..ObjectMeta::default() }
}

/// Merges two maps; the second one wins.
fn merge(defaults: &Map, overrides: Map) -> Map {
    let mut merged = defaults.clone();
    merged.extend(overrides);
    merged
}

/// Labels of the pods without those of BackendConfigs. The labels of the selector always win.
fn own_labels(context: &Context<'_>) -> Map {
    let labels = context.pod.labels.clone().unwrap_or_default();
    merge(&merge(&context.settings.resource_labels, labels), context.labels())
}

fn annotations(context: &Context<'_>) -> Map {
    let (_, metrics) = container_parts::METRICS;
    let scraped = [("prometheus.io/scrape", "true".to_owned()), ("prometheus.io/port", metrics.to_string())];
    let scraped = scraped.map(|(key, value)| (key.to_owned(), value)).into();
    let annotations = merge(&scraped, context.settings.resource_annotations.clone());
    let mut annotations = merge(&annotations, context.pod.annotations.clone().unwrap_or_default());
    if let Some(moment) = labels::annotation(context.meta, labels::RESTARTED_AT) {
        annotations.insert(labels::RESTARTED_AT.to_owned(), moment.to_owned());
    }
    annotations
}

fn image_pull_secrets(context: &Context<'_>) -> Vec<LocalObjectReference> {
    let own = context.pod.image_pull_secrets.iter().flatten();
    let configured = context.backend.image_pull_secrets.iter().chain(own).cloned();
    let from_settings = context.settings.runner_image_pull_secrets.iter();
    let mut secrets: Vec<LocalObjectReference> = Vec::new();
    for secret in configured.chain(from_settings.map(|name| LocalObjectReference { name: name.clone() })) {
        if !secrets.contains(&secret) {
            secrets.push(secret);
        }
    }
    secrets
}

fn security_context(context: &Context<'_>) -> PodSecurityContext {
    let configured = context.pod.security_context.as_ref().or(context.backend.security_context.as_ref());
    configured.cloned().unwrap_or_else(|| PodSecurityContext {
        run_as_user: Some(10000),
        run_as_group: Some(10001),
        fs_group: Some(10001),
        run_as_non_root: Some(context.settings.run_as_non_root),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    })
}

/// The affinity of the component or its BackendConfigs, with the default anti-affinity between replicas.
fn affinity(context: &Context<'_>, labels: Map) -> Option<Affinity> {
    let configured = context.pod.affinity.as_ref().or(context.backend.affinity.as_ref()).cloned();
    if !context.settings.add_default_affinity || context.pod.disable_default_affinity.unwrap_or_default() {
        return configured;
    }
    let spread = WeightedPodAffinityTerm {
        weight: 100,
        pod_affinity_term: PodAffinityTerm {
            topology_key: "kubernetes.io/hostname".to_owned(),
            label_selector: Some(LabelSelector { match_labels: Some(labels), match_expressions: None }),
            ..PodAffinityTerm::default()
        },
    };
    let mut affinity = configured.unwrap_or_default();
    let anti: &mut PodAntiAffinity = affinity.pod_anti_affinity.get_or_insert_default();
    anti.preferred_during_scheduling_ignored_during_execution.get_or_insert_default().push(spread);
    Some(affinity)
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "JSON reads best where it is used")]
mod tests {
    use super::*;
    use crate::testing::{function, with_defaults, with_settings};
    use crate::{Backends, Settings};
    use function_mesh_api::BackendConfig;
    use serde_json::{Value, json};

    fn spec(pod: Value, settings: &Settings) -> PodSpec {
        with_settings(&function(json!({ "pod": pod })), settings, build_template).spec.unwrap()
    }

    fn with_backend_config(backend: Value, pod: Value) -> PodTemplateSpec {
        let backend = BackendConfig::new("b", serde_json::from_value(backend).unwrap());
        let backends = Backends { global: None, namespaced: Some(&backend) };
        let function = function(json!({ "pod": pod }));
        build_template(&Context::new(&function, backends, &Settings::default()))
    }

    #[test]
    fn selector_labels_cannot_be_overridden() {
        let labels = json!({ "component": "mine", "app.kubernetes.io/name": "mine", "tier": "x" });
        let settings = Settings {
            resource_labels: [("tier", "y"), ("team", "t")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            ..Settings::default()
        };
        let function = function(json!({ "pod": { "labels": labels } }));
        let found = with_settings(&function, &settings, build_template).metadata.unwrap().labels.unwrap();
        assert_eq!(found["component"], "function");
        assert_eq!(found["app.kubernetes.io/name"], "f-function");
        assert_eq!((found["tier"].as_str(), found["team"].as_str()), ("x", "t"));
    }

    #[test]
    fn default_anti_affinity_can_be_disabled() {
        let affinity = json!({ "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
            { "weight": 1, "podAffinityTerm": { "topologyKey": "zone" } },
        ] } });
        let terms = |spec: PodSpec| {
            let anti = spec.affinity.and_then(|affinity| affinity.pod_anti_affinity);
            anti.and_then(|anti| anti.preferred_during_scheduling_ignored_during_execution)
                .map_or(0, |it| it.len())
        };
        let settings = Settings::default();
        assert_eq!(terms(spec(json!({}), &settings)), 1);
        assert_eq!(terms(spec(json!({ "affinity": affinity }), &settings)), 2);
        assert_eq!(
            terms(spec(json!({ "affinity": affinity, "disableDefaultAffinity": true }), &settings)),
            1
        );
        let off = Settings { add_default_affinity: false, ..settings };
        assert_eq!(spec(json!({}), &off).affinity, None);
    }

    #[test]
    fn image_pull_secrets_are_unique() {
        let settings =
            Settings { runner_image_pull_secrets: vec!["a".into(), "b".into()], ..Settings::default() };
        let secrets =
            spec(json!({ "imagePullSecrets": [{ "name": "b" }] }), &settings).image_pull_secrets.unwrap();
        let names: Vec<_> = secrets.iter().map(|secret| secret.name.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
    }

    #[test]
    fn sidecars_get_backend_config_variables() {
        let sidecar = json!({ "name": "side", "env": [{ "name": "A", "value": "own" }] });
        let backend = json!({ "env": { "A": "b", "B": "b" } });
        let spec = with_backend_config(
            backend,
            json!({ "sidecars": [sidecar], "initContainers": [{ "name": "init" }] }),
        )
        .spec
        .unwrap();
        let names: Vec<_> = spec.containers.iter().map(|container| container.name.as_str()).collect();
        assert_eq!(names, ["side", "pulsar-function"]);
        let values: Vec<_> =
            spec.containers[0].env.iter().flatten().filter_map(|it| it.value.as_deref()).collect();
        assert_eq!(values, ["b", "b", "own"]);
        assert_eq!(spec.init_containers.unwrap()[0].env, None);
    }

    #[test]
    fn component_pod_settings_override_backend_config() {
        let backend = json!({ "pod": {
            "securityContext": { "runAsUser": 7 }, "affinity": { "nodeAffinity": {} }, "serviceAccountName": "b",
            "terminationGracePeriodSeconds": 3, "labels": { "component": "b", "l": "b" }, "annotations": { "a": "b" },
            "liveness": { "periodSeconds": 7 }, "startupProbe": { "periodSeconds": 8 },
        } });
        let unset = with_backend_config(backend.clone(), json!({}));
        let labels = unset.metadata.unwrap().labels.unwrap();
        assert_eq!((labels["component"].as_str(), labels["l"].as_str()), ("function", "b"));
        let spec = unset.spec.unwrap();
        assert_eq!(spec.security_context.unwrap().run_as_user, Some(7));
        let affinity = spec.affinity.unwrap();
        assert!(affinity.node_affinity.is_some() && affinity.pod_anti_affinity.is_some());
        assert_eq!(spec.service_account_name.as_deref(), Some("b"));
        assert_eq!(spec.termination_grace_period_seconds, Some(3));
        assert_eq!(spec.containers[0].liveness_probe.as_ref().unwrap().timeout_seconds, Some(7));
        assert_eq!(spec.containers[0].startup_probe.as_ref().unwrap().period_seconds, Some(8));

        let own = json!({
            "securityContext": { "runAsUser": 1 }, "affinity": { "podAffinity": {} }, "serviceAccountName": "own",
            "terminationGracePeriodSeconds": 0, "liveness": { "periodSeconds": 1 }, "startupProbe": { "periodSeconds": 1 },
        });
        let spec = with_backend_config(backend, own).spec.unwrap();
        assert_eq!(spec.security_context.unwrap().run_as_user, Some(1));
        assert!(spec.affinity.unwrap().node_affinity.is_none());
        assert_eq!(spec.service_account_name.as_deref(), Some("own"));
        assert_eq!(spec.termination_grace_period_seconds, Some(0));
        assert_eq!(spec.containers[0].liveness_probe.as_ref().unwrap().period_seconds, Some(1));
        assert_eq!(spec.containers[0].startup_probe.as_ref().unwrap().period_seconds, Some(1));
    }

    #[test]
    fn default_container_of_the_user_wins() {
        let key = labels::DEFAULT_CONTAINER;
        let found = |template: PodTemplateSpec| template.metadata.unwrap().annotations.unwrap()[key].clone();
        assert_eq!(found(with_backend_config(json!({}), json!({}))), "pulsar-function");
        let backend = json!({ "pod": { "annotations": { key: "b" } } });
        assert_eq!(found(with_backend_config(backend.clone(), json!({}))), "b");
        assert_eq!(found(with_backend_config(backend, json!({ "annotations": { key: "own" } }))), "own");
    }

    fn job_metadata(backend: Value, pod: Value) -> (Map, Map) {
        let backend = BackendConfig::new("b", serde_json::from_value(backend).unwrap());
        let backends = Backends { global: None, namespaced: Some(&backend) };
        let one = |key: &str, value: &str| Map::from([(key.to_owned(), value.to_owned())]);
        let settings = Settings {
            resource_labels: one("team", "t"),
            resource_annotations: one("note", "n"),
            ..Settings::default()
        };
        let function = function(json!({ "pod": pod }));
        let metadata =
            build_job_metadata(&Context::new(&function, backends, &settings), &one(labels::OWNER, "u"));
        (metadata.labels.unwrap(), metadata.annotations.unwrap())
    }

    #[test]
    fn cleanup_pods_have_labels_of_every_layer() {
        let backend = json!({ "pod": { "labels": { "l": "b", "tier": "b" }, "annotations": { "a": "b" } } });
        let pod = json!({
            "labels": { "l": "own", "component": "x", "owner": "x", "app.kubernetes.io/instance": "x" },
            "annotations": { "x": "own" },
        });
        let (labels, annotations) = job_metadata(backend, pod);
        let found = |map: &Map, key: &str| map.get(key).cloned().unwrap_or_default();
        let keys = ["l", "tier", "team", "owner", "component", "app.kubernetes.io/instance"];
        assert_eq!(keys.map(|key| found(&labels, key)), ["own", "b", "t", "u", "", ""]);
        assert_eq!(["a", "note", "x"].map(|key| found(&annotations, key)), ["b", "n", "own"]);
        // Prometheus does not scrape Jobs.
        assert!(!annotations.contains_key("prometheus.io/scrape"));
    }

    #[test]
    fn cleanup_pods_decline_proxies() {
        let [(istio, no), (linkerd, disabled)] = INJECTION;
        let (labels, annotations) = job_metadata(json!({}), json!({}));
        assert_eq!((labels[istio].as_str(), annotations[istio].as_str()), (no, no));
        assert_eq!(annotations[linkerd], disabled);
        for pod in [json!({ "labels": { istio: "true" } }), json!({ "annotations": { istio: "true" } })] {
            let (labels, annotations) = job_metadata(json!({}), pod.clone());
            let found = [labels.get(istio), annotations.get(istio)].map(|it| it.map(String::as_str));
            assert!(found.contains(&Some("true")) && found.contains(&None), "{pod}");
        }
        let (_, annotations) =
            job_metadata(json!({ "pod": { "annotations": { linkerd: "enabled" } } }), json!({}));
        assert_eq!(annotations[linkerd], "enabled");
    }

    #[test]
    fn default_annotations_and_security_context() {
        let template = with_defaults(
            &function(json!({ "pod": { "annotations": { "prometheus.io/port": "1" } } })),
            build_template,
        );
        let annotations = template.metadata.unwrap().annotations.unwrap();
        assert_eq!(annotations["prometheus.io/scrape"], "true");
        assert_eq!(annotations["prometheus.io/port"], "1");
        let security = template.spec.unwrap().security_context.unwrap();
        assert_eq!((security.run_as_user, security.run_as_non_root), (Some(10000), Some(false)));
    }
}
