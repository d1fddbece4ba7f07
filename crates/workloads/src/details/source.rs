//! The source of a component in `function_details`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use function_mesh_api::DEFAULT_TYPE_CLASS;
use function_mesh_api::component::{Consuming, KindSpecific};
use function_mesh_api::types::{
    BatchSourceConfig, ConsumerConfig, FreeForm, InputConf, ProcessingGuarantee, SubscribePosition,
};
use serde::Serialize;

use crate::context::Context;
use crate::json::{self, is_default};
use crate::optional::non_empty;

use super::connector::Connector;
use super::crypto::CryptoSpec;

/// Source class that runs batch sources.
const BATCHES: &str = "org.apache.pulsar.functions.source.batch.BatchSourceExecutor";

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SourceSpec<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    class_name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    type_class_name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_type: Option<SubscriptionType>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    input_specs: BTreeMap<&'a str, ConsumerSpec<'a>>,
    #[serde(serialize_with = "json::quoted", skip_serializing_if = "is_default")]
    timeout_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    builtin: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_name: Option<&'a str>,
    #[serde(skip_serializing_if = "is_default")]
    cleanup_subscription: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_position: Option<&'static str>,
    #[serde(serialize_with = "json::quoted", skip_serializing_if = "is_default")]
    negative_ack_redelivery_delay_ms: i64,
    #[serde(skip_serializing_if = "is_default")]
    skip_to_latest: bool,
}

/// Subscription type of a component, other than the default Shared.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum SubscriptionType {
    /// One replica consumes, the others are standby.
    Failover = 1,
    /// All messages of a key go to the same replica.
    KeyShared = 2,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConsumerSpec<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) schema_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serde_class_name: Option<&'a str>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) is_regex_pattern: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiver_queue_size: Option<ReceiverQueueSize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_properties: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer_properties: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crypto_spec: Option<CryptoSpec<'a>>,
}

/// A number for which absent and zero differ.
#[derive(Debug, Serialize)]
struct ReceiverQueueSize {
    #[serde(skip_serializing_if = "is_default")]
    value: i32,
}

impl ConsumerSpec<'_> {
    /// Size of the receiver queue in messages, or 0 for the runner's default.
    pub(crate) fn receiver_queue_size(&self) -> i32 {
        self.receiver_queue_size.as_ref().map_or(0, |size| size.value)
    }
}

impl<'a> From<&'a ConsumerConfig> for ConsumerSpec<'a> {
    fn from(config: &'a ConsumerConfig) -> Self {
        let some = |map: &'a Option<BTreeMap<String, String>>| map.as_ref().filter(|map| !map.is_empty());
        Self {
            schema_type: non_empty(config.schema_type.as_ref()),
            serde_class_name: non_empty(config.serde_class_name.as_ref()),
            is_regex_pattern: config.is_regex_pattern.unwrap_or_default(),
            receiver_queue_size: config.receiver_queue_size.map(|value| ReceiverQueueSize { value }),
            schema_properties: some(&config.schema_properties),
            consumer_properties: some(&config.consumer_properties),
            crypto_spec: config.crypto_config.as_ref().map(CryptoSpec::from),
        }
    }
}

/// Consumers by topic or topic pattern. If several fields contain a topic, the most specific one wins.
pub(crate) fn input_specs(input: &InputConf) -> BTreeMap<&str, ConsumerSpec<'_>> {
    let mut specs = BTreeMap::new();
    for topic in input.topics.iter().flatten() {
        specs.insert(topic.as_str(), ConsumerSpec::default());
    }
    if let Some(pattern) = input.pattern() {
        specs.insert(pattern, ConsumerSpec { is_regex_pattern: true, ..ConsumerSpec::default() });
    }
    for (topic, class) in input.custom_serde_sources.iter().flatten() {
        specs.insert(topic, ConsumerSpec { serde_class_name: Some(class), ..ConsumerSpec::default() });
    }
    for (topic, schema) in input.custom_schema_sources.iter().flatten() {
        specs.insert(topic, ConsumerSpec { schema_type: Some(schema), ..ConsumerSpec::default() });
    }
    for (topic, config) in input.source_specs.iter().flatten() {
        specs.insert(topic, ConsumerSpec::from(config));
    }
    specs
}

/// The subscription type, or None for Shared.
pub(crate) fn subscription_type(
    consuming: &Consuming<'_>,
    guarantee: ProcessingGuarantee,
) -> Option<SubscriptionType> {
    if consuming.retain_ordering || guarantee == ProcessingGuarantee::EffectivelyOnce {
        Some(SubscriptionType::Failover)
    } else {
        consuming.retain_key_ordering.then_some(SubscriptionType::KeyShared)
    }
}

pub(super) fn build_source_spec<'a>(context: &Context<'a>) -> SourceSpec<'a> {
    match context.view.kind_specific {
        KindSpecific::Source { config, batch } => connector_source(context, config, batch),
        KindSpecific::Function(function) => {
            let mut source = topics(context);
            if let Some(config) = &function.source_config {
                let connector = Connector::source(config);
                connector.replace(&mut source.class_name, &mut source.configs, &mut source.builtin);
                source.type_class_name = source
                    .type_class_name
                    .or(connector.type_class_name)
                    .or(Some(Cow::Borrowed(DEFAULT_TYPE_CLASS)));
                if let Some(batch) = &config.batch_source_config {
                    source.configs =
                        Some(batch_configs(connector.configs, batch, source.class_name.as_deref()));
                    source.class_name = Some(Cow::Borrowed(BATCHES));
                }
            }
            source
        }
        KindSpecific::Sink { .. } => topics(context),
    }
}

fn topics<'a>(context: &Context<'a>) -> SourceSpec<'a> {
    let Some(consuming) = context.view.consuming else { return SourceSpec::default() };
    let input = consuming.input;
    SourceSpec {
        type_class_name: input.and_then(|input| non_empty(input.type_class_name.as_ref())).map(Cow::Borrowed),
        subscription_type: subscription_type(&consuming, context.common.processing_guarantee),
        input_specs: input.map(input_specs).unwrap_or_default(),
        timeout_ms: consuming.timeout.unwrap_or_default().max(0).into(),
        subscription_name: consuming.subscription_name.filter(|name| !name.is_empty()),
        cleanup_subscription: consuming.cleanup_subscription,
        subscription_position: match consuming.subscription_position {
            Some(SubscribePosition::Latest) => None,
            Some(SubscribePosition::Earliest) | None => Some("EARLIEST"),
        },
        negative_ack_redelivery_delay_ms: consuming
            .negative_ack_redelivery_delay_ms
            .unwrap_or_default()
            .max(0)
            .into(),
        skip_to_latest: consuming.skip_to_latest,
        ..SourceSpec::default()
    }
}

fn connector_source<'a>(
    context: &Context<'a>,
    config: Option<&'a FreeForm>,
    batch: Option<&'a BatchSourceConfig>,
) -> SourceSpec<'a> {
    let class_name = context.common.class_name.filter(|name| !name.is_empty());
    let output = context.view.output();
    SourceSpec {
        class_name: batch.map(|_| BATCHES).or(class_name).map(Cow::Borrowed),
        configs: match batch {
            Some(batch) => {
                let config = config.map(json::entries).unwrap_or_default();
                Some(batch_configs(config, batch, class_name))
            }
            None => config.map(json::text),
        },
        type_class_name: output
            .and_then(|output| non_empty(output.type_class_name.as_ref()))
            .map(Cow::Borrowed),
        ..SourceSpec::default()
    }
}

/// The configuration of a connector with the entries for the batch source executor.
fn batch_configs(
    mut configs: json::Entries<'_>,
    batch: &BatchSourceConfig,
    class_name: Option<&str>,
) -> String {
    configs.insert(Cow::Borrowed("__BATCHSOURCECONFIGS__"), json::raw(&json::text(batch)));
    configs.insert(Cow::Borrowed("__BATCHSOURCECLASSNAME__"), json::raw(class_name.unwrap_or_default()));
    json::map_of(&configs)
}
