//! What a component reads and writes: topics, schemas, consumers, producers and encryption.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::schema;

/// The topics that a component reads. Topics of all fields are read together.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InputConf {
    /// Class of the messages' payload. Default: `[B`, plain bytes.
    pub type_class_name: Option<String>,
    /// Topics, by name: `topic`, `tenant/namespace/topic` or `persistent://tenant/namespace/topic`.
    pub topics: Option<Vec<String>>,
    /// Topics, by a regular expression over the names in one namespace.
    pub topic_pattern: Option<String>,
    /// Topics with the class that deserialises their messages.
    pub custom_serde_sources: Option<BTreeMap<String, String>>,
    /// Topics with the schema type of their messages.
    pub custom_schema_sources: Option<BTreeMap<String, String>>,
    /// Topics, or patterns, with all settings of their consumer.
    pub source_specs: Option<BTreeMap<String, ConsumerConfig>>,
}

impl InputConf {
    /// The names and patterns of all inputs, in order and without repetition.
    pub fn all_topics(&self) -> BTreeSet<&str> {
        let listed = self.topics.iter().flatten().map(String::as_str);
        let serde = self.custom_serde_sources.iter().flat_map(BTreeMap::keys).map(String::as_str);
        let schema = self.custom_schema_sources.iter().flat_map(BTreeMap::keys).map(String::as_str);
        let specs = self.source_specs.iter().flat_map(BTreeMap::keys).map(String::as_str);
        listed.chain(self.pattern()).chain(serde).chain(schema).chain(specs).collect()
    }

    /// The topic pattern, when one is given.
    pub fn pattern(&self) -> Option<&str> {
        self.topic_pattern.as_deref().filter(|pattern| !pattern.is_empty())
    }
}

/// Settings of the consumer of one topic.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerConfig {
    /// Schema type, for example `string`, `json`, `avro`, or the name of a schema class.
    pub schema_type: Option<String>,
    /// Class that deserialises the messages.
    #[serde(rename = "serdeClassname")]
    pub serde_class_name: Option<String>,
    /// Whether the topic's name is a regular expression.
    pub is_regex_pattern: Option<bool>,
    /// Properties of the schema.
    pub schema_properties: Option<BTreeMap<String, String>>,
    /// Properties of the consumer.
    pub consumer_properties: Option<BTreeMap<String, String>>,
    /// Messages held in the receiver queue.
    pub receiver_queue_size: Option<i32>,
    /// Decryption of the messages.
    pub crypto_config: Option<CryptoConfig>,
}

/// The topic that a component writes.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputConf {
    /// Class of the messages' payload. Default: `[B`, plain bytes.
    pub type_class_name: Option<String>,
    /// Name of the topic. A function without one writes nothing.
    pub topic: Option<String>,
    /// Class that serialises the messages.
    pub sink_serde_class_name: Option<String>,
    /// Schema type of the messages.
    pub sink_schema_type: Option<String>,
    /// Settings of the producer.
    pub producer_conf: Option<ProducerConfig>,
    /// Topics with a consumer configuration as JSON text, of which the schema properties are used.
    pub custom_schema_sinks: Option<BTreeMap<String, String>>,
}

/// Settings of a producer.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProducerConfig {
    /// Messages that may wait for the broker's answer.
    pub max_pending_messages: Option<i32>,
    /// The same, over all partitions of a topic.
    pub max_pending_messages_across_partitions: Option<i32>,
    /// Whether each thread has a producer of its own.
    pub use_thread_local_producers: Option<bool>,
    /// Encryption of the messages.
    pub crypto_config: Option<CryptoConfig>,
    /// Batching: `DEFAULT` or `KEY_BASED`.
    pub batch_builder: Option<String>,
    /// Compression. Default: LZ4.
    pub compression_type: Option<CompressionType>,
}

/// Encryption and decryption of messages.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CryptoConfig {
    /// Class that reads the keys.
    pub crypto_key_reader_class_name: Option<String>,
    /// Configuration of that class.
    pub crypto_key_reader_config: Option<BTreeMap<String, String>>,
    /// Names of the keys to encrypt with.
    pub encryption_keys: Option<Vec<String>>,
    /// What a producer does when it cannot encrypt: `FAIL` or `SEND`.
    pub producer_crypto_failure_action: Option<String>,
    /// What a consumer does when it cannot decrypt: `FAIL`, `DISCARD` or `CONSUME`.
    pub consumer_crypto_failure_action: Option<String>,
    /// Secrets that hold the keys.
    pub crypto_secrets: Option<Vec<CryptoSecret>>,
}

/// A Secret that holds keys for encryption.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["secretName", "secretKey"]))]
pub struct CryptoSecret {
    /// Name of the Secret.
    #[schemars(schema_with = "schema::string")]
    pub secret_name: String,
    /// Key in the Secret.
    #[schemars(schema_with = "schema::string")]
    pub secret_key: String,
    /// Folder in the container where the key is mounted as a file.
    pub as_volume: Option<String>,
}

/// Compression of messages.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum CompressionType {
    None,
    Lz4,
    Zlib,
    Zstd,
    Snappy,
}

/// Where a new subscription begins.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum SubscribePosition {
    Latest,
    Earliest,
}

/// How often a message takes effect.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum ProcessingGuarantee {
    #[default]
    #[serde(rename = "atleast_once")]
    AtLeastOnce,
    #[serde(rename = "atmost_once")]
    AtMostOnce,
    EffectivelyOnce,
    Manual,
}

/// Who writes log lines to the log topic.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogTopicAgent {
    /// The function's own runtime.
    Runtime,
    /// A sidecar that reads the log files.
    Sidecar,
}
