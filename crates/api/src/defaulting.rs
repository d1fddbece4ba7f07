//! Defaults of component specs.
//!
//! The webhook writes them into objects. The controller applies them again before it renders, so that the result is
//! the same without the webhook. Defaulting is idempotent.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity;
use crate::spec::{Function, FunctionSpec, Sink, SinkSpec, Source, SourceSpec};
use crate::types::{LogTopicAgent, ProcessingGuarantee, ProducerConfig, Scaling, WindowConfig};

/// Default type class of messages: plain bytes.
pub const DEFAULT_TYPE_CLASS: &str = "[B";
/// Default memory request.
pub const DEFAULT_MEMORY: &str = "1Gi";
/// Default CPU request.
pub const DEFAULT_CPU: &str = "1";

/// Sets the defaults of a component spec.
pub trait SetDefaults {
    /// Sets all unset fields that have a default. `object` is the name of the object, or empty before the API server
    /// generates one.
    fn set_defaults(&mut self, object: &str);

    /// Sets the only default that a mesh sets for its components, `minReplicas`.
    fn set_mesh_defaults(&mut self);
}

fn or_default(field: &mut Option<String>, value: &str) {
    if field.as_deref().unwrap_or_default().is_empty() && !value.is_empty() {
        *field = Some(value.to_owned());
    }
}

macro_rules! common_defaults {
    ($spec:expr, $object:expr, $log_agent:expr) => {{
        or_default(&mut $spec.name, $object);
        or_default(&mut $spec.tenant, "public");
        or_default(&mut $spec.namespace, "default");
        or_default(&mut $spec.cluster_name, "kubernetes");
        $spec.processing_guarantee.get_or_insert(ProcessingGuarantee::AtLeastOnce);
        let first = $spec.scaling.as_ref().filter(|scaling| scaling.is_automatic());
        let first = first.map_or($spec.min_replicas.unwrap_or(1), Scaling::first_replicas);
        let replicas = *$spec.replicas.get_or_insert(first);
        $spec.min_replicas.get_or_insert(replicas);
        if $spec.log_topic.as_deref().is_some_and(|topic| !topic.is_empty()) {
            $spec.log_topic_agent.get_or_insert($log_agent);
        }
        apply_resource_defaults($spec.resources.get_or_insert_default());
    }};
}

impl SetDefaults for FunctionSpec {
    fn set_mesh_defaults(&mut self) {
        self.min_replicas.get_or_insert(1);
    }

    fn set_defaults(&mut self, object: &str) {
        common_defaults!(self, object, LogTopicAgent::Runtime);
        self.auto_ack.get_or_insert(true);
        self.max_pending_async_requests.get_or_insert(1000);
        self.forward_source_message_property.get_or_insert(true);
        // A connector that replaces a topic has its own type class.
        if self.source_config.is_none() {
            or_default(&mut self.input.get_or_insert_default().type_class_name, DEFAULT_TYPE_CLASS);
        }
        if self.sink_config.is_none() {
            or_default(&mut self.output.get_or_insert_default().type_class_name, DEFAULT_TYPE_CLASS);
        }
        if let Some(window) = &mut self.window_config {
            apply_window_defaults(window, self.class_name.as_deref());
        }
    }
}

impl SetDefaults for SourceSpec {
    fn set_mesh_defaults(&mut self) {
        self.min_replicas.get_or_insert(1);
    }

    fn set_defaults(&mut self, object: &str) {
        common_defaults!(self, object, LogTopicAgent::Sidecar);
        self.forward_source_message_property.get_or_insert(true);
        let output = self.output.get_or_insert_default();
        or_default(&mut output.type_class_name, DEFAULT_TYPE_CLASS);
        output.producer_conf.get_or_insert_with(|| ProducerConfig {
            max_pending_messages: Some(1000),
            max_pending_messages_across_partitions: Some(1000),
            use_thread_local_producers: Some(true),
            ..ProducerConfig::default()
        });
    }
}

impl SetDefaults for SinkSpec {
    fn set_mesh_defaults(&mut self) {
        self.min_replicas.get_or_insert(1);
    }

    fn set_defaults(&mut self, object: &str) {
        common_defaults!(self, object, LogTopicAgent::Sidecar);
        self.auto_ack.get_or_insert(true);
        or_default(&mut self.input.get_or_insert_default().type_class_name, DEFAULT_TYPE_CLASS);
    }
}

macro_rules! object_defaults {
    ($($kind:ident),*) => {$(
        impl $kind {
            /// Sets all unset fields that have a default.
            pub fn set_defaults(&mut self) {
                let name = self.metadata.name.clone().unwrap_or_default();
                self.spec.set_defaults(&name);
            }
        }
    )*};
}

object_defaults!(Function, Source, Sink);

/// Memory requests and limits default to each other, then to [`DEFAULT_MEMORY`]. Only a component without any requests
/// and limits gets [`DEFAULT_CPU`]: one that omits just CPU can mean to run without a CPU request.
fn apply_resource_defaults(resources: &mut ResourceRequirements) {
    let limits = resources.limits.get_or_insert_default();
    let requests = resources.requests.get_or_insert_default();
    if limits.is_empty() && requests.is_empty() {
        requests.insert("cpu".to_owned(), Quantity(DEFAULT_CPU.to_owned()));
    }
    if is_unset(requests, "memory") {
        let limit = limits.get("memory").filter(|_| !is_unset(limits, "memory")).cloned();
        requests.insert("memory".to_owned(), limit.unwrap_or_else(|| Quantity(DEFAULT_MEMORY.to_owned())));
    }
    if is_unset(limits, "memory") {
        limits
            .extend(requests.get_key_value("memory").map(|(key, quantity)| (key.clone(), quantity.clone())));
    }
}

fn is_unset(list: &BTreeMap<String, Quantity>, resource: &str) -> bool {
    list.get(resource).is_none_or(|quantity| quantity::value(quantity) == Some(0.0))
}

fn apply_window_defaults(window: &mut WindowConfig, class_name: Option<&str>) {
    if let Some(class_name) = class_name.filter(|name| !name.is_empty()) {
        window.actual_window_function_class_name = Some(class_name.to_owned());
    }
    if let Some(duration) = window.window_length_duration_ms {
        window.sliding_interval_duration_ms.get_or_insert(duration);
    }
    if let Some(count) = window.window_length_count {
        window.sliding_interval_count.get_or_insert(count);
        window.max_lag_ms.get_or_insert(0);
        window.watermark_emit_interval_ms.get_or_insert(1000);
    }
}
/// A number of replicas within the bounds of an autoscaler; the lower bound is 1 by default.
pub fn bounded_replicas(replicas: i32, min: Option<i32>, max: i32) -> i32 {
    replicas.min(max).max(min.unwrap_or(1).min(max))
}
