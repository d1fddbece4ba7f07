//! Rules of input and output topics.

use crate::component::{Role, SpecView};
use crate::types::{CryptoConfig, InputConf};

use super::collector::Collector;
use super::rules;
use super::violation::FieldPath;
use crate::names::TopicName;

pub(super) fn check(path: &FieldPath, view: &SpecView<'_>, findings: &mut Collector) {
    let function = view.function();
    let reads_topics = function.is_none_or(|function| function.source_config.is_none());
    let writes_topic = function.is_none_or(|function| function.sink_config.is_none());
    let none = InputConf::default();
    if view.role != Role::Source {
        let input = view.input().unwrap_or(&none);
        if reads_topics {
            inputs(&path.field("input"), input, findings);
            if input.all_topics().is_empty() {
                // The rules of functions and sinks only differ in CEL.
                findings.deny_rule(path, &rules::NO_SINK_INPUT);
            }
        }
        same_topic(path, view, input, findings);
    }
    if view.role != Role::Sink && writes_topic {
        output(path, view, findings);
    }
    if view.role == Role::Function {
        optional(&path.field("logTopic"), view.common.log_topic, findings);
    }
    let dead_letters = view.consuming.and_then(|consuming| consuming.dead_letter_topic);
    optional(&path.field("deadLetterTopic"), dead_letters, findings);
}

fn optional(path: &FieldPath, topic: Option<&str>, findings: &mut Collector) {
    if let Some(Err(error)) = topic.filter(|topic| !topic.is_empty()).map(TopicName::parse) {
        findings.deny(path.clone(), error);
    }
}

fn inputs(path: &FieldPath, input: &InputConf, findings: &mut Collector) {
    let mut check = |field: FieldPath, topic: &str| {
        if let Err(error) = TopicName::parse(topic) {
            findings.deny(field, error);
        }
    };
    for (index, topic) in input.topics.iter().flatten().enumerate() {
        check(path.field("topics").index(index), topic);
    }
    if let Some(pattern) = input.pattern() {
        check(path.field("topicPattern"), pattern);
    }
    for topic in input.custom_serde_sources.iter().flat_map(|map| map.keys()) {
        check(path.field("customSerdeSources").key(topic), topic);
    }
    for topic in input.custom_schema_sources.iter().flat_map(|map| map.keys()) {
        check(path.field("customSchemaSources").key(topic), topic);
    }
    for topic in input.source_specs.iter().flat_map(|map| map.keys()) {
        check(path.field("sourceSpecs").key(topic), topic);
    }
    for (topic, consumer) in input.source_specs.iter().flatten() {
        let at = path.field("sourceSpecs").key(topic);
        if consumer.receiver_queue_size.is_some_and(|size| size < 0) {
            findings.deny(at.field("receiverQueueSize"), "must be 0 or more");
        }
        if let Some(crypto) = &consumer.crypto_config {
            key_reader(&at.field("cryptoConfig"), crypto, findings);
        }
    }
}

fn key_reader(path: &FieldPath, crypto: &CryptoConfig, findings: &mut Collector) {
    if crypto.crypto_key_reader_class_name.as_deref().unwrap_or_default().is_empty() {
        findings.deny(path.field("cryptoKeyReaderClassName"), "must be the CryptoKeyReader class");
    }
}

fn output(path: &FieldPath, view: &SpecView<'_>, findings: &mut Collector) {
    let Some(topic) = view.output_topic() else { return };
    let at = path.field("output");
    optional(&at.field("topic"), Some(topic), findings);
    let producer = view.output().and_then(|output| output.producer_conf.as_ref());
    if let Some(crypto) = producer.and_then(|producer| producer.crypto_config.as_ref()) {
        let at = at.field("producerConf.cryptoConfig");
        key_reader(&at, crypto, findings);
        if crypto.encryption_keys.iter().flatten().next().is_none() {
            findings.deny(at.field("encryptionKeys"), "must name at least one key");
        }
    }
}

/// A function that produces to its own input topic would process its output forever.
fn same_topic(path: &FieldPath, view: &SpecView<'_>, input: &InputConf, findings: &mut Collector) {
    let Some(output) = view.output_topic() else { return };
    let full = TopicName::parse(output).ok();
    for topic in input.all_topics() {
        if topic == output {
            findings.deny(
                path.field("output.topic"),
                format!("{output:?} is also an input topic; use another output topic"),
            );
        } else if full.is_some() && TopicName::parse(topic).ok() == full {
            // Upstream compares the texts, so such functions run.
            findings.warn(
                path.field("output.topic"),
                format!("{output:?} is the input topic {topic:?}: the function consumes its own output, which never ends"),
            );
        }
    }
}
