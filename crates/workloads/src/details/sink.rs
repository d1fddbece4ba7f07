//! The sink of a component in `function_details`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use function_mesh_api::DEFAULT_TYPE_CLASS;
use function_mesh_api::component::KindSpecific;
use function_mesh_api::types::{CompressionType, ConsumerConfig, OutputConf, ProducerConfig};
use serde::Serialize;

use crate::context::Context;
use crate::json::{self, is_default};
use crate::optional::non_empty;

use super::connector::Connector;
use super::crypto::CryptoSpec;

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SinkSpec<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    class_name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    type_class_name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    producer_spec: Option<ProducerSpec<'a>>,
    #[serde(rename = "serDeClassName", skip_serializing_if = "Option::is_none")]
    serde_class_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    builtin: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_type: Option<&'a str>,
    #[serde(skip_serializing_if = "is_default")]
    forward_source_message_property: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    schema_properties: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    consumer_properties: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProducerSpec<'a> {
    #[serde(skip_serializing_if = "is_default")]
    max_pending_messages: i32,
    #[serde(skip_serializing_if = "is_default")]
    max_pending_messages_across_partitions: i32,
    #[serde(skip_serializing_if = "is_default")]
    use_thread_local_producers: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    crypto_spec: Option<CryptoSpec<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    batch_builder: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression_type: Option<&'static str>,
}

impl<'a> From<&'a ProducerConfig> for ProducerSpec<'a> {
    fn from(config: &'a ProducerConfig) -> Self {
        Self {
            max_pending_messages: config.max_pending_messages.unwrap_or_default(),
            max_pending_messages_across_partitions: config
                .max_pending_messages_across_partitions
                .unwrap_or_default(),
            use_thread_local_producers: config.use_thread_local_producers.unwrap_or_default(),
            crypto_spec: config.crypto_config.as_ref().map(CryptoSpec::from),
            batch_builder: config.batch_builder.as_deref().unwrap_or_default(),
            compression_type: config.compression_type.and_then(|compression| match compression {
                CompressionType::Lz4 => None,
                CompressionType::None => Some("NONE"),
                CompressionType::Zlib => Some("ZLIB"),
                CompressionType::Zstd => Some("ZSTD"),
                CompressionType::Snappy => Some("SNAPPY"),
            }),
        }
    }
}

pub(super) fn build_sink_spec<'a>(context: &Context<'a>) -> SinkSpec<'a> {
    match context.view.kind_specific {
        KindSpecific::Function(function) => {
            let mut sink = topic(context);
            if let Some(output) = &function.output {
                let consumer = schema(output);
                sink.schema_properties = consumer.schema_properties.unwrap_or_default();
                sink.consumer_properties = consumer.consumer_properties.unwrap_or_default();
            }
            if let Some(config) = &function.sink_config {
                let connector = Connector::sink(config);
                connector.replace(&mut sink.class_name, &mut sink.configs, &mut sink.builtin);
                sink.type_class_name = sink
                    .type_class_name
                    .or(connector.type_class_name)
                    .or(Some(Cow::Borrowed(DEFAULT_TYPE_CLASS)));
            }
            sink
        }
        KindSpecific::Source { .. } => {
            let sink = topic(context);
            SinkSpec { producer_spec: Some(sink.producer_spec.unwrap_or_default()), ..sink }
        }
        KindSpecific::Sink { config } => SinkSpec {
            class_name: context.common.class_name.filter(|name| !name.is_empty()).map(Cow::Borrowed),
            configs: config.map(json::text),
            type_class_name: context
                .view
                .input()
                .and_then(|input| non_empty(input.type_class_name.as_ref()))
                .map(Cow::Borrowed),
            ..SinkSpec::default()
        },
    }
}

fn topic<'a>(context: &Context<'a>) -> SinkSpec<'a> {
    let Some(producing) = context.view.producing else { return SinkSpec::default() };
    let forward_source_message_property = producing.forward_source_message_property.unwrap_or(true);
    let Some(output) = producing.output else {
        return SinkSpec { forward_source_message_property, ..SinkSpec::default() };
    };
    SinkSpec {
        type_class_name: non_empty(output.type_class_name.as_ref()).map(Cow::Borrowed),
        topic: non_empty(output.topic.as_ref()),
        producer_spec: output.producer_conf.as_ref().map(ProducerSpec::from),
        serde_class_name: non_empty(output.sink_serde_class_name.as_ref()),
        schema_type: non_empty(output.sink_schema_type.as_ref()),
        forward_source_message_property,
        ..SinkSpec::default()
    }
}

/// The schema of the output topic, a consumer configuration in JSON. Invalid JSON is ignored.
fn schema(output: &OutputConf) -> ConsumerConfig {
    let schemas = output.custom_schema_sinks.as_ref();
    let text = schemas.zip(output.topic.as_ref()).and_then(|(schemas, topic)| schemas.get(topic));
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
