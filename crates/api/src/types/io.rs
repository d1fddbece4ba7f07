//! Input and output of a component: topics, schemas, consumers, producers and encryption.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::schema;

/// Input topics of a component. It consumes the topics of all fields together.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InputConf {
    /// Type class of the messages. Defaults to `[B`, plain bytes.
    pub type_class_name: Option<String>,
    /// Topic names: `topic`, `tenant/namespace/topic` or `persistent://tenant/namespace/topic`.
    pub topics: Option<Vec<String>>,
    /// Topic pattern: a regular expression over the topics of one namespace.
    pub topic_pattern: Option<String>,
    /// Topics by name, each with the SerDe class of its messages.
    pub custom_serde_sources: Option<BTreeMap<String, String>>,
    /// Topics by name, each with the schema type of its messages.
    pub custom_schema_sources: Option<BTreeMap<String, String>>,
    /// Topics or topic patterns, each with the settings of its consumer.
    pub source_specs: Option<BTreeMap<String, ConsumerConfig>>,
}

impl InputConf {
    /// The names and patterns of all inputs, sorted and without duplicates.
    pub fn all_topics(&self) -> BTreeSet<&str> {
        let listed = self.topics.iter().flatten().map(String::as_str);
        let serde = self.custom_serde_sources.iter().flat_map(BTreeMap::keys).map(String::as_str);
        let schema = self.custom_schema_sources.iter().flat_map(BTreeMap::keys).map(String::as_str);
        let specs = self.source_specs.iter().flat_map(BTreeMap::keys).map(String::as_str);
        listed.chain(self.pattern()).chain(serde).chain(schema).chain(specs).collect()
    }

    /// The topic pattern, unless it is empty.
    pub fn pattern(&self) -> Option<&str> {
        self.topic_pattern.as_deref().filter(|pattern| !pattern.is_empty())
    }
}

/// Consumer settings of one topic.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerConfig {
    /// Schema type, for example `string`, `json` or `avro`, or a schema class.
    pub schema_type: Option<String>,
    /// SerDe class that deserializes the messages.
    #[serde(rename = "serdeClassname")]
    pub serde_class_name: Option<String>,
    /// Whether the topic name is a topic pattern.
    pub is_regex_pattern: Option<bool>,
    /// Schema properties.
    pub schema_properties: Option<BTreeMap<String, String>>,
    /// Consumer properties of the Pulsar client.
    pub consumer_properties: Option<BTreeMap<String, String>>,
    /// Size of the receiver queue, in messages.
    pub receiver_queue_size: Option<i32>,
    /// Decryption of the messages.
    pub crypto_config: Option<CryptoConfig>,
}

/// Output topic of a component.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputConf {
    /// Type class of the messages. Defaults to `[B`, plain bytes.
    pub type_class_name: Option<String>,
    /// Topic name. A function without one produces no messages.
    pub topic: Option<String>,
    /// SerDe class that serializes the messages.
    pub sink_serde_class_name: Option<String>,
    /// Schema type of the messages.
    pub sink_schema_type: Option<String>,
    /// Producer settings.
    pub producer_conf: Option<ProducerConfig>,
    /// Topics by name, each with a consumer configuration in JSON; only its schema and consumer properties are used.
    pub custom_schema_sinks: Option<BTreeMap<String, String>>,
}

/// Producer settings.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProducerConfig {
    /// Most messages that wait for an acknowledgement from the broker.
    pub max_pending_messages: Option<i32>,
    /// Most messages that wait for an acknowledgement, over all partitions of a topic.
    pub max_pending_messages_across_partitions: Option<i32>,
    /// Whether each thread has its own producer.
    pub use_thread_local_producers: Option<bool>,
    /// Encryption of the messages.
    pub crypto_config: Option<CryptoConfig>,
    /// Batch builder: `DEFAULT` or `KEY_BASED`.
    pub batch_builder: Option<String>,
    /// Compression type. Defaults to `LZ4`.
    pub compression_type: Option<CompressionType>,
}

/// End-to-end encryption of messages.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CryptoConfig {
    /// CryptoKeyReader class.
    pub crypto_key_reader_class_name: Option<String>,
    /// Configuration of the CryptoKeyReader.
    pub crypto_key_reader_config: Option<BTreeMap<String, String>>,
    /// Names of the encryption keys.
    pub encryption_keys: Option<Vec<String>>,
    /// Action of the producer when encryption fails: `FAIL` or `SEND`.
    pub producer_crypto_failure_action: Option<String>,
    /// Action of the consumer when decryption fails: `FAIL`, `DISCARD` or `CONSUME`.
    pub consumer_crypto_failure_action: Option<String>,
    /// Secrets that contain the keys.
    pub crypto_secrets: Option<Vec<CryptoSecret>>,
}

/// Secret that contains an encryption key.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["secretName", "secretKey"]))]
pub struct CryptoSecret {
    /// Name of the Secret.
    #[schemars(schema_with = "schema::string")]
    pub secret_name: String,
    /// Key of the Secret.
    #[schemars(schema_with = "schema::string")]
    pub secret_key: String,
    /// Mount path of the key, a separate directory.
    pub as_volume: Option<String>,
}

/// Compression type of messages.
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

/// Initial position of a new subscription.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum SubscribePosition {
    Latest,
    Earliest,
}

/// Processing guarantee.
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

/// What produces to the log topic.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogTopicAgent {
    /// The runner.
    Runtime,
    /// A Filebeat sidecar that tails the log files.
    Sidecar,
}
