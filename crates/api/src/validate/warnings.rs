//! Warnings of what is legal and cannot work: one table, like that of the rules. Upstream and the API server accept
//! these specs; the autoscaler, the runner or Pulsar then does nothing with them, or not what they say.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::MetricSpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::BuiltinMetric;
use crate::component::Role::{self, Function, Sink, Source};
use crate::component::{KindSpecific, SpecView};
use crate::names::TopicName;
use crate::quantity;
use crate::types::{ProcessingGuarantee, Scaling, image_pull_policy};

use super::collector::Collector;
use super::violation::FieldPath;

/// A warning on a component spec.
#[derive(Clone, Copy, Debug)]
pub struct Warning {
    /// The roles that it concerns.
    pub roles: &'static [Role],
    /// The field, relative to the component spec.
    pub field: &'static str,
    /// What cannot work, and what to do.
    pub message: &'static str,
    /// Whether it concerns a spec with defaults.
    concerns: fn(&SpecView<'_>) -> bool,
}

const ALL_ROLES: &[Role] = &Role::ALL;
const READERS: &[Role] = &[Function, Sink];

/// Pulsar's class that runs batch sources.
const BATCH_EXECUTOR: &str = "org.apache.pulsar.functions.source.batch.BatchSourceExecutor";
/// Key of a source's configuration that names the class which the executor runs.
const BATCH_CLASS: &str = "__BATCHSOURCECLASSNAME__";

macro_rules! warnings {
    ($($roles:expr, $field:expr, $concerns:expr, $message:expr;)*) => {
        /// All warnings.
        pub const ALL: &[Warning] =
            &[$(Warning { roles: $roles, field: $field, message: $message, concerns: $concerns }),*];
    };
}

warnings! {
    ALL_ROLES, "imagePullPolicy", |spec| pull_policy(spec).is_some_and(|text| image_pull_policy(text).is_none()),
        "unknown, so it is left out; known are `Always`, `IfNotPresent` and `Never`";
    ALL_ROLES, "imagePullPolicy",
        |spec| pull_policy(spec).is_some_and(|text| image_pull_policy(text).is_some_and(|known| known != text)),
        "read without regard to case; Kubernetes writes `Always`, `IfNotPresent` and `Never`";
    &[Function], "genericRuntime", is_generic_ignored, "ignored, because another runtime is set";
    &[Source, Sink], "python", |spec| spec.common.python.is_some(), "ignored: connectors run in Java";
    &[Source, Sink], "golang", |spec| spec.common.golang.is_some(), "ignored: connectors run in Java";
    &[Source, Sink], "genericRuntime", |spec| spec.common.generic_runtime.is_some(),
        "ignored: connectors run in Java";
    ALL_ROLES, "resources.requests.cpu", |spec| scales_by_cpu(spec) && !has_cpu(spec),
        "the autoscaler measures CPU as a share of this request, and never scales without it; set it, or metrics in \
         `pod.autoScalingMetrics` that need none";
    ALL_ROLES, "pod.autoScalingMetrics", measures_sidecars,
        "a `Resource` metric measures all containers of a pod, and a sidecar has no request of this resource, so the \
         autoscaler never scales; set the request, or use `ContainerResource` with the runner's container";
    ALL_ROLES, "pod.autoScalingMetrics",
        |spec| has_builtin_metrics(spec) && spec.common.pod.is_some_and(|pod| has_items(pod.auto_scaling_metrics.as_ref())),
        "ignored, because `pod.builtinAutoscaler` is set";
    ALL_ROLES, "pod.autoScalingBehavior",
        |spec| has_builtin_metrics(spec) && spec.common.pod.is_some_and(|pod| pod.auto_scaling_behavior.is_some()),
        "ignored, because `pod.builtinAutoscaler` is set";
    ALL_ROLES, "pod.builtinAutoscaler", |spec| !is_scaled(spec) && has_builtin_rules(spec),
        "no effect without `maxReplicas`, which enables the autoscaler";
    ALL_ROLES, "pod.autoScalingMetrics",
        |spec| !is_scaled(spec)
            && spec.common.pod.is_some_and(|pod| has_items(pod.auto_scaling_metrics.as_ref())),
        "no effect without `maxReplicas`, which enables the autoscaler";
    ALL_ROLES, "pod.builtinAutoscaler", |spec| spec.common.scaling.is_some() && has_builtin_rules(spec),
        "no effect with `scaling`, which scales on messages";
    ALL_ROLES, "pod.autoScalingMetrics",
        |spec| spec.common.scaling.is_some()
            && spec.common.pod.is_some_and(|pod| has_items(pod.auto_scaling_metrics.as_ref())),
        "no effect with `scaling`, which scales on messages";
    ALL_ROLES, "minReplicas",
        // The CRD has a default of 1.
        |spec| spec.common.scaling.is_some() && spec.common.min_replicas.is_some_and(|min| min != 1),
        "no effect with `scaling`; write `scaling.minReplicas`";
    ALL_ROLES, "scaling.idleAfter",
        |spec| spec.common.scaling.is_some_and(|it| it.idle_after.is_some()) && !may_reach_zero(spec),
        "no effect unless `scaling.minReplicas` is 0";
    ALL_ROLES, "scaling.keys",
        |spec| spec.common.scaling.is_some_and(|it| it.keys.is_some())
            && !spec.consuming.is_some_and(|consuming| consuming.retain_key_ordering),
        "no effect without `retainKeyOrdering`";
    READERS, "scaling.maxReplicas",
        |spec| most_consumers(spec)
            .is_some_and(|most| spec.common.scaling.is_some_and(|it| it.max_replicas > Some(most))),
        "more than the partitions of the input topics: a Failover subscription has one consumer for each partition, so \
         the operator starts no more";
    ALL_ROLES, "showPreciseParallelism",
        |spec| spec.common.show_precise_parallelism && scales(spec),
        "each step of the autoscaler changes the parallelism, which restarts all pods; leave one of the two out";
    READERS, "replicas", |spec| most_consumers(spec).is_some_and(|most| spec.common.replicas.unwrap_or(1) > most),
        "more than the partitions of the input topics: a Failover subscription has one consumer for each partition, so \
         the other pods get no messages";
    READERS, "maxReplicas", |spec| most_consumers(spec).is_some_and(|most| spec.common.max_replicas > Some(most)),
        "more than the partitions of the input topics: a Failover subscription has one consumer for each partition, so \
         the other pods get no messages";
    &[Function], "maxReplicas",
        |spec| scales(spec) && is_once(spec) && spec.output_topic().is_some(),
        "with processingGuarantee `effectively_once`, a change of replicas moves partitions between pods, whose \
         producers have the same names: pods can fail until the old producer is gone; scale by hand";
    &[Sink], "retainKeyOrdering",
        |spec| is_once(spec) && spec.consuming.is_some_and(|consuming| consuming.retain_key_ordering),
        "with processingGuarantee `effectively_once`, messages can still be delivered twice";
    READERS, "deadLetterTopic",
        |spec| is_failover(spec) && spec.consuming.is_some_and(|it| !is_blank(it.dead_letter_topic)),
        "no effect: a Failover subscription, which `retainOrdering` and `effectively_once` ask for, redelivers a failed \
         message forever";
    READERS, "timeout",
        |spec| spec.common.processing_guarantee == ProcessingGuarantee::AtMostOnce
            && spec.consuming.is_some_and(|consuming| consuming.timeout.unwrap_or_default() > 0),
        "no effect: with `atmost_once` messages are acknowledged before they are processed";
    &[Function], "processingGuarantee", |spec| is_go(spec) && is_once(spec),
        "the Go runner does not support `effectively_once`, and acknowledges nothing; use `atleast_once`";
    &[Function], "replicas",
        |spec| is_python(spec) && is_once(spec) && spec.output_topic().is_some() && spec.common.replicas > Some(1),
        "with `effectively_once` the Python runner names its producer after the output topic, so only one pod can \
         produce to it";
    READERS, "deadLetterTopic",
        |spec| reads(spec, spec.consuming.and_then(|consuming| consuming.dead_letter_topic)),
        "is also an input topic, so failed messages come back forever; use another topic";
    ALL_ROLES, "logTopic", |spec| reads(spec, spec.common.log_topic),
        "is also an input topic, so the component consumes its own log; use another topic";
    &[Sink], "retainKeyOrdering",
        |spec| spec.consuming.is_some_and(|consuming| consuming.retain_ordering && consuming.retain_key_ordering),
        "no effect with `retainOrdering`, which keeps the order of all messages";
    &[Function], "skipToLatest",
        |spec| (is_python(spec) || is_go(spec)) && spec.consuming.is_some_and(|consuming| consuming.skip_to_latest),
        "no effect: only the Java runner skips messages";
    &[Function], "timeout",
        |spec| is_go(spec) && spec.consuming.is_some_and(|consuming| consuming.timeout.unwrap_or_default() > 0),
        "no effect: the Go runner has no acknowledgement timeout";
    &[Function], "windowConfig",
        |spec| spec.function().is_some_and(|function| function.window_config.is_some())
            && spec.common.java.is_none(),
        "no effect: only the Java runner has windows";
    &[Function], "maxMessageRetry",
        |spec| (is_python(spec) || is_go(spec))
            && spec.consuming.is_some_and(|consuming| consuming.max_message_retry.unwrap_or_default() > 0),
        "no effect: only the Java runner counts retries and has dead-letter topics";
    &[Function], "retainKeyOrdering",
        |spec| is_go(spec) && spec.consuming.is_some_and(|consuming| consuming.retain_key_ordering),
        "no effect: the Go runner has no Key_Shared subscriptions";
    &[Source], "className", runs_itself,
        "is the executor of batch sources, which would run itself: `batchSourceConfig` adds it; name the source's own \
         class here";
    &[Source], "batchSourceConfig", lacks_batch_class,
        "the executor of batch sources is the class, and nothing says what it runs; set `batchSourceConfig`, and the \
         source's own class as `className`";
    &[Function], "sourceConfig.className", runs_itself,
        "is the executor of batch sources, which would run itself: `batchSourceConfig` adds it; name the source's own \
         class here";
    ALL_ROLES, "pod.vpa.updatePolicy.minReplicas", is_never_evicted,
        "the vertical autoscaler replaces no pod of a component with fewer than 2 replicas unless this is 1";
}

/// Adds the warnings of a spec with defaults at `path`.
pub(super) fn check(path: &FieldPath, view: &SpecView<'_>, findings: &mut Collector) {
    if !findings.wants_warnings() {
        return;
    }
    for warning in ALL.iter().filter(|warning| warning.roles.contains(&view.role)) {
        if (warning.concerns)(view) {
            findings.warn(path.field(warning.field), warning.message);
        }
    }
    for (name, secret) in view.common.secrets_map.into_iter().flatten() {
        if is_blank(secret.path.as_deref()) || is_blank(secret.key.as_deref()) {
            findings.warn(
                path.field("secretsMap").key(name),
                "Kubernetes rejects the pods: set `path` to the name of a Secret and `key` to one of its keys",
            );
        }
    }
}

fn is_blank(text: Option<&str>) -> bool {
    text.is_none_or(str::is_empty)
}

fn has_items<T>(list: Option<&Vec<T>>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

fn pull_policy<'a>(spec: &SpecView<'a>) -> Option<&'a str> {
    spec.common.image_pull_policy.filter(|text| !text.is_empty())
}

fn is_generic_ignored(spec: &SpecView<'_>) -> bool {
    let common = &spec.common;
    common.generic_runtime.is_some()
        && (common.java.is_some() || common.python.is_some() || common.golang.is_some())
}

fn is_python(spec: &SpecView<'_>) -> bool {
    spec.common.java.is_none() && spec.common.python.is_some()
}

fn is_go(spec: &SpecView<'_>) -> bool {
    spec.common.java.is_none() && spec.common.python.is_none() && spec.common.golang.is_some()
}

/// Whether a topic is one of the input topics, by its full name.
fn reads(spec: &SpecView<'_>, topic: Option<&str>) -> bool {
    let full = topic.filter(|topic| !topic.is_empty()).and_then(|topic| TopicName::parse(topic).ok());
    let inputs = spec.input().map(|input| input.all_topics()).unwrap_or_default();
    full.is_some_and(|full| {
        inputs.into_iter().any(|input| TopicName::parse(input).is_ok_and(|input| input == full))
    })
}

fn is_once(spec: &SpecView<'_>) -> bool {
    spec.common.processing_guarantee == ProcessingGuarantee::EffectivelyOnce
}

fn is_failover(spec: &SpecView<'_>) -> bool {
    spec.consuming.is_some_and(|consuming| consuming.retain_ordering) || is_once(spec)
}

/// Whether the autoscaler has a choice.
fn scales(spec: &SpecView<'_>) -> bool {
    spec.common.max_replicas.is_some_and(|max| max > spec.common.min_replicas.unwrap_or(1))
}

/// Whether something sets the replicas.
fn is_scaled(spec: &SpecView<'_>) -> bool {
    spec.common.max_replicas.is_some() || spec.common.scaling.is_some()
}

/// Whether the scaling has zero replicas at some time.
fn may_reach_zero(spec: &SpecView<'_>) -> bool {
    spec.common.scaling.is_some_and(Scaling::may_reach_zero)
}

fn has_builtin_rules(spec: &SpecView<'_>) -> bool {
    spec.common.pod.is_some_and(|pod| has_items(pod.builtin_autoscaler.as_ref()))
}

/// Whether the built-in metrics take the place of all others.
fn has_builtin_metrics(spec: &SpecView<'_>) -> bool {
    scales(spec) && has_builtin_rules(spec)
}

/// The resource of a metric that is a share of requests, and whether it measures the pod as a whole.
fn utilization(metric: &MetricSpec) -> Option<(&str, bool)> {
    if let Some(of_pod) = &metric.resource {
        return of_pod.target.average_utilization.map(|_| (of_pod.name.as_str(), true));
    }
    let of_container = metric.container_resource.as_ref()?;
    let is_runner = of_container.container.starts_with("pulsar-");
    of_container.target.average_utilization.filter(|_| is_runner).map(|_| (of_container.name.as_str(), false))
}

fn metrics<'a>(spec: &SpecView<'a>) -> &'a [MetricSpec] {
    spec.common.pod.and_then(|pod| pod.auto_scaling_metrics.as_deref()).unwrap_or_default()
}

fn scales_by_cpu(spec: &SpecView<'_>) -> bool {
    let rules = spec.common.pod.and_then(|pod| pod.builtin_autoscaler.as_deref()).unwrap_or_default();
    scales(spec)
        && if !rules.is_empty() {
            rules.iter().filter_map(|rule| BuiltinMetric::parse(rule)).any(|metric| metric.resource == "cpu")
        } else if metrics(spec).is_empty() {
            // The default, of this operator and of Kubernetes.
            true
        } else {
            metrics(spec).iter().filter_map(utilization).any(|(resource, _)| resource == "cpu")
        }
}

fn amount(list: Option<&BTreeMap<String, Quantity>>, resource: &str) -> Option<f64> {
    list?.get(resource).and_then(quantity::value)
}

/// Whether the main container has a CPU request. Kubernetes derives it from a limit.
fn has_cpu(spec: &SpecView<'_>) -> bool {
    let resources = spec.common.resources;
    let request = amount(resources.and_then(|all| all.requests.as_ref()), "cpu");
    let limit = amount(resources.and_then(|all| all.limits.as_ref()), "cpu");
    request.or(limit).is_some_and(|amount| amount > 0.0)
}

fn measures_sidecars(spec: &SpecView<'_>) -> bool {
    let sidecars = spec.common.pod.and_then(|pod| pod.sidecars.as_deref()).unwrap_or_default();
    scales(spec)
        && !has_builtin_rules(spec)
        && metrics(spec).iter().filter_map(utilization).any(|(resource, is_pod)| {
            is_pod
                && sidecars.iter().any(|sidecar| {
                    let resources = sidecar.resources.as_ref();
                    let request = amount(resources.and_then(|all| all.requests.as_ref()), resource);
                    let limit = amount(resources.and_then(|all| all.limits.as_ref()), resource);
                    request.or(limit).is_none()
                })
        })
}

/// The most consumers that a Failover subscription gives messages to, if the spec lists partitions.
fn most_consumers(spec: &SpecView<'_>) -> Option<i32> {
    let input = spec.input().filter(|_| is_failover(spec))?;
    let is_regex = |topic: &str| {
        input
            .source_specs
            .as_ref()
            .and_then(|specs| specs.get(topic))
            .is_some_and(|it| it.is_regex_pattern == Some(true))
    };
    let topics = input.all_topics();
    let are_partitions = input.pattern().is_none()
        && topics.iter().all(|topic| {
            let parsed = TopicName::parse(topic).ok();
            !is_regex(topic) && parsed.is_some_and(|name| name.clone().without_partition() != name)
        });
    i32::try_from(topics.len()).ok().filter(|most| *most > 0 && are_partitions)
}

/// Whether the executor of batch sources is the class of the batch source.
fn runs_itself(spec: &SpecView<'_>) -> bool {
    match spec.kind_specific {
        KindSpecific::Source { batch, .. } => {
            batch.is_some() && spec.common.class_name == Some(BATCH_EXECUTOR)
        }
        KindSpecific::Function(function) => function.source_config.as_ref().is_some_and(|source| {
            source.batch_source_config.is_some() && source.class_name.as_deref() == Some(BATCH_EXECUTOR)
        }),
        KindSpecific::Sink { .. } => false,
    }
}

/// Whether the executor of batch sources has no class to run.
fn lacks_batch_class(spec: &SpecView<'_>) -> bool {
    match spec.kind_specific {
        KindSpecific::Source { config, batch: None } => {
            spec.common.class_name == Some(BATCH_EXECUTOR)
                && !config.is_some_and(|config| config.entries().contains_key(BATCH_CLASS))
        }
        KindSpecific::Source { .. } | KindSpecific::Function(_) | KindSpecific::Sink { .. } => false,
    }
}

/// Whether the updater of the VerticalPodAutoscaler leaves the only pod alone, as it does by default.
fn is_never_evicted(spec: &SpecView<'_>) -> bool {
    let policy = spec.common.pod.and_then(|pod| pod.vpa.as_ref()?.update_policy.as_ref());
    let replaces = |mode: &str| matches!(mode, "Auto" | "Recreate" | "InPlaceOrRecreate");
    policy.is_some_and(|policy| {
        policy.min_replicas.is_none() && policy.update_mode.as_deref().is_some_and(replaces)
    }) && spec.common.replicas == Some(1)
}
