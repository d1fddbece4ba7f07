//! `function_details`: the description of a component for its runner, as one JSON argument.
//!
//! The format is the JSON encoding of Pulsar's protobuf message FunctionDetails: fields with their default are
//! omitted, and 64-bit integers are strings.

mod connector;
mod crypto;
mod sink;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use function_mesh_api::Role;
use function_mesh_api::component::{Consuming, KindSpecific};
use function_mesh_api::quantity;
use function_mesh_api::types::{FreeForm, ProcessingGuarantee, WindowConfig, canonical};
use k8s_openapi::api::core::v1::ResourceRequirements;
use serde::Serialize;

use crate::context::{Context, Runtime};
use crate::json::{self, is_default};

pub(crate) use source::{input_specs, subscription_type};

/// Function class of connectors, which passes records unchanged.
const IDENTITY: &str = "org.apache.pulsar.functions.api.utils.IdentityFunction";
/// Function class of window functions, which collects messages for the user's class.
const WINDOWS: &str = "org.apache.pulsar.functions.windowing.WindowFunctionExecutor";

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FunctionDetails<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    tenant: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    class_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processing_guarantees: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_config: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secrets_map: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<&'static str>,
    #[serde(skip_serializing_if = "is_default")]
    auto_ack: bool,
    #[serde(skip_serializing_if = "is_default")]
    parallelism: i32,
    source: source::SourceSpec<'a>,
    sink: sink::SinkSpec<'a>,
    resources: Resources,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_details: Option<RetryDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_flags: Option<&'a str>,
    component_type: &'static str,
    #[serde(skip_serializing_if = "is_default")]
    retain_ordering: bool,
    #[serde(skip_serializing_if = "is_default")]
    retain_key_ordering: bool,
}

/// Requested resources of a component.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Resources {
    #[serde(serialize_with = "json::number", skip_serializing_if = "is_default")]
    pub(crate) cpu: f64,
    #[serde(serialize_with = "json::quoted", skip_serializing_if = "is_default")]
    pub(crate) ram: i64,
    #[serde(serialize_with = "json::quoted", skip_serializing_if = "is_default")]
    pub(crate) disk: i64,
}

/// Handling of failed messages.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RetryDetails {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) max_message_retries: i32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) dead_letter_topic: String,
}

/// Builds the JSON argument of a component.
pub(crate) fn build_function_details(context: &Context<'_>) -> String {
    json::text(&details(context))
}

fn details<'a>(context: &Context<'a>) -> FunctionDetails<'a> {
    let common = context.common;
    let consuming = context.view.consuming;
    FunctionDetails {
        tenant: common.tenant.unwrap_or_default(),
        namespace: common.namespace.unwrap_or_default(),
        name: context.name(),
        class_name: class_name(context),
        log_topic: log_topic(context),
        processing_guarantees: match common.processing_guarantee {
            ProcessingGuarantee::AtLeastOnce => None,
            ProcessingGuarantee::AtMostOnce => Some("ATMOST_ONCE"),
            ProcessingGuarantee::EffectivelyOnce => Some("EFFECTIVELY_ONCE"),
            ProcessingGuarantee::Manual => Some("MANUAL"),
        },
        user_config: user_config(context),
        secrets_map: common.secrets_map.map(json::text),
        runtime: match context.runtime {
            Some(Runtime::Python(_)) => Some("PYTHON"),
            Some(Runtime::Go(_)) => Some("GO"),
            Some(Runtime::Java(_) | Runtime::Generic(_)) | None => None,
        },
        auto_ack: consuming.and_then(|consuming| consuming.auto_ack).unwrap_or(true),
        parallelism: parallelism(context),
        source: source::build_source_spec(context),
        sink: sink::build_sink_spec(context),
        resources: resources(common.resources),
        retry_details: consuming.and_then(|consuming| retry_details(context, &consuming)),
        runtime_flags: common.runtime_flags.filter(|flags| !flags.is_empty()),
        component_type: match context.role() {
            Role::Function => "FUNCTION",
            Role::Source => "SOURCE",
            Role::Sink => "SINK",
        },
        retain_ordering: consuming.is_some_and(|consuming| consuming.retain_ordering),
        retain_key_ordering: consuming.is_some_and(|consuming| consuming.retain_key_ordering),
    }
}

fn class_name<'a>(context: &Context<'a>) -> &'a str {
    match context.view.kind_specific {
        KindSpecific::Function(function) if function.window_config.is_some() => WINDOWS,
        KindSpecific::Function(_) => context.common.class_name.unwrap_or_default(),
        KindSpecific::Source { .. } | KindSpecific::Sink { .. } => IDENTITY,
    }
}

/// The log topic, if the runner produces to it.
pub(crate) fn log_topic<'a>(context: &Context<'a>) -> Option<&'a str> {
    context.log_topic().filter(|_| !context.logs_to_files())
}

/// Parallelism for the runner. The number of replicas is opt-in, since its change restarts all pods.
pub(crate) fn parallelism(context: &Context<'_>) -> i32 {
    if context.common.show_precise_parallelism { context.common.replicas.unwrap_or(1) } else { 1 }
}

/// User configuration for the code, as JSON.
pub(crate) fn user_config(context: &Context<'_>) -> Option<String> {
    match context.view.kind_specific {
        KindSpecific::Function(function) => {
            let window = function.window_config.as_ref().map(|window| WindowConfig {
                actual_window_function_class_name: function.class_name.clone(),
                ..window.clone()
            });
            (function.func_config.is_some() || window.is_some()).then(|| {
                let entries = function.func_config.as_ref().map(FreeForm::entries).unwrap_or_default();
                let mut config: BTreeMap<_, _> =
                    entries.iter().map(|(key, value)| (key.as_ref(), canonical(value))).collect();
                // Window fields keep the order of their declaration.
                config.extend(window.map(|window| ("__WINDOWCONFIGS__", json::text(&window))));
                json::map(config)
            })
        }
        KindSpecific::Source { config, .. } => config.map(json::text),
        KindSpecific::Sink { .. } => None,
    }
}

/// Resource requests for the runner.
pub(crate) fn resources(resources: Option<&ResourceRequirements>) -> Resources {
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let request = |name| requests.and_then(|requests| requests.get(name));
    let cpu = request("cpu").and_then(quantity::value).unwrap_or_default();
    Resources {
        // Rounds to nanocores, the smallest unit, to hide errors of binary fractions.
        cpu: (cpu * 1e9).round() / 1e9,
        ram: request("memory").and_then(quantity::bytes).unwrap_or_default(),
        disk: request("storage").and_then(quantity::bytes).unwrap_or_default(),
    }
}

fn retry_details(context: &Context<'_>, consuming: &Consuming<'_>) -> Option<RetryDetails> {
    let retry = retries(context, consuming);
    (retry.max_message_retries > 0 || !retry.dead_letter_topic.is_empty()).then_some(retry)
}

/// Redeliveries and the dead-letter topic. Pulsar derives the default name of the dead-letter topic from the
/// subscription, whose default contains `/` and is invalid in a topic name. In that case the topic is named here.
pub(crate) fn retries(context: &Context<'_>, consuming: &Consuming<'_>) -> RetryDetails {
    let common = context.common;
    let retries = consuming.max_message_retry.unwrap_or_default();
    let subscription = consuming.subscription_name.unwrap_or_default();
    let given = consuming.dead_letter_topic.filter(|topic| !topic.is_empty());
    let needs_name = retries > 0 && (subscription.is_empty() || subscription.contains(['/', '\\']));
    let dead_letter_topic = match given {
        Some(topic) => topic.to_owned(),
        None if needs_name => {
            let (tenant, namespace) =
                (common.tenant.unwrap_or_default(), common.namespace.unwrap_or_default());
            format!("{tenant}-{namespace}-{}-DLQ", context.name())
        }
        None => String::new(),
    };
    RetryDetails { max_message_retries: retries.max(0), dead_letter_topic }
}
