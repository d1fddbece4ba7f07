//! Messages of an entry, as the admin API of Pulsar returns one: properties in headers, and a payload, which the broker has
//! decompressed. An entry can contain a batch; then each message has its own metadata, in Protocol Buffers.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use function_mesh_api::printable;
use prost::Message as _;
use sha2::{Digest, Sha256};

/// Prefix of the headers with properties. Names of headers are in lower case.
const PROPERTY: &str = "x-pulsar-property-";
/// Property of an output message: the input message, by which the runners of Java and Python name it.
const INPUT_ID: &str = "__pfn_input_msg_id__";
/// Property of an output message: the topic of the input message.
const INPUT_TOPIC: &str = "__pfn_input_topic__";
/// Prefix of the properties that runners set.
const RUNNER: &str = "__pfn_";
/// Characters of a payload that are kept to be shown.
const SHOWN: usize = 120;

/// Why the messages of an entry are unknown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EntryError {
    /// Only a consumer with the key can read it.
    #[error("encrypted")]
    Encrypted,
    /// It is a part of a message.
    #[error("a chunk of a larger message")]
    Chunk,
    /// It is not as Pulsar writes it.
    #[error("invalid")]
    Invalid,
}

/// A message that a function wrote.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// The input message that caused it; None if the runner does not name it, as Go's.
    pub input: Option<Input>,
    /// What it says.
    pub output: Output,
}

/// An input message.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Input {
    /// Its topic, or the partition of it.
    pub topic: String,
    /// Where it is there.
    pub id: MessageId,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", printable(&self.topic), self.id)
    }
}

/// The place of a message in a topic. The order is that of the topic.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct MessageId {
    /// Ledger of the entry.
    pub ledger: u64,
    /// Entry in the ledger.
    pub entry: u64,
    /// Place in the batch; negative without one.
    pub batch_index: i32,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ledger, entry, batch_index } = self;
        write!(f, "{ledger}:{entry}")?;
        if *batch_index >= 0 { write!(f, ":{batch_index}") } else { Ok(()) }
    }
}

/// What a message says.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Output {
    /// Its key.
    pub key: Option<String>,
    /// Its properties, without those of the runner.
    pub properties: BTreeMap<String, String>,
    /// Its payload; None for a message without a value, which deletes a key.
    pub payload: Option<Payload>,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            write!(f, "key {:?}, ", printable(key))?;
        }
        for (name, value) in &self.properties {
            write!(f, "{} {:?}, ", printable(name), printable(value))?;
        }
        match &self.payload {
            None => f.write_str("no value"),
            Some(Payload { size, beginning, .. }) if beginning.len() == *size => write!(f, "{beginning:?}"),
            Some(Payload { size, beginning, .. }) => write!(f, "{beginning:?}… ({size} bytes)"),
        }
    }
}

/// A payload: its digest, and its beginning to be shown.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Payload {
    /// Number of bytes.
    pub size: usize,
    digest: [u8; 32],
    /// The first characters, printable.
    pub beginning: String,
}

impl Payload {
    /// The payload with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        // Four bytes are the longest character.
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN)]);
        let beginning: String = printable(&text).chars().take(SHOWN).collect();
        Self { size: bytes.len(), digest: Sha256::digest(bytes).into(), beginning }
    }
}

/// The messages of an entry, with the headers of its answer.
///
/// # Errors
///
/// If the entry is encrypted, a chunk, or not as Pulsar writes one.
pub fn messages<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: &[u8],
) -> Result<Vec<Message>, EntryError> {
    let mut properties = BTreeMap::new();
    let (mut batch, mut key, mut has_value) = (None, None, true);
    for (name, value) in headers {
        match name {
            "x-pulsar-num-batch-message" => {
                batch = Some(value.parse::<u32>().map_err(|_| EntryError::Invalid)?);
            }
            "x-pulsar-partition-key" => key = Some(value.to_owned()),
            "x-pulsar-null-value" => has_value = value != "true",
            "x-pulsar-is-encrypted" if value == "true" => return Err(EntryError::Encrypted),
            "x-pulsar-chunk-id" => return Err(EntryError::Chunk),
            name => {
                if let Some(property) = name.strip_prefix(PROPERTY) {
                    properties.insert(property.to_owned(), value.to_owned());
                }
            }
        }
    }
    match batch {
        Some(count) => batched(count, body),
        None => Ok(vec![message(properties, key, has_value.then(|| Payload::of(body)))]),
    }
}

fn message(
    mut properties: BTreeMap<String, String>,
    key: Option<String>,
    payload: Option<Payload>,
) -> Message {
    let input = input(&properties);
    properties.retain(|name, _| !name.starts_with(RUNNER));
    Message { input, output: Output { key, properties, payload } }
}

fn input(properties: &BTreeMap<String, String>) -> Option<Input> {
    let bytes = BASE64_STANDARD.decode(properties.get(INPUT_ID)?).ok()?;
    let IdData { ledger, entry, batch_index, .. } = IdData::decode(bytes.as_slice()).ok()?;
    let id = MessageId { ledger, entry, batch_index: batch_index.unwrap_or(-1) };
    Some(Input { topic: properties.get(INPUT_TOPIC)?.clone(), id })
}

/// Each message is the size of its metadata, the metadata, and as many bytes as they say.
fn batched(count: u32, mut body: &[u8]) -> Result<Vec<Message>, EntryError> {
    let mut found = Vec::new();
    for _ in 0..count {
        let size = take(&mut body, 4)?.try_into().map(u32::from_be_bytes).map_err(|_| EntryError::Invalid)?;
        let metadata = take(&mut body, usize::try_from(size).map_err(|_| EntryError::Invalid)?)?;
        let metadata = SingleMetadata::decode(metadata).map_err(|_| EntryError::Invalid)?;
        let payload =
            take(&mut body, usize::try_from(metadata.payload_size).map_err(|_| EntryError::Invalid)?)?;
        if metadata.compacted_out == Some(true) {
            continue;
        }
        // As in the headers of an entry.
        let properties =
            metadata.properties.into_iter().map(|it| (it.key.to_ascii_lowercase(), it.value)).collect();
        let has_value = metadata.null_value != Some(true);
        found.push(message(properties, metadata.partition_key, has_value.then(|| Payload::of(payload))));
    }
    Ok(found)
}

fn take<'a>(body: &mut &'a [u8], size: usize) -> Result<&'a [u8], EntryError> {
    let (taken, rest) = body.split_at_checked(size).ok_or(EntryError::Invalid)?;
    *body = rest;
    Ok(taken)
}

/// `MessageIdData` of Pulsar's protocol, as far as it is read.
#[derive(Clone, PartialEq, prost::Message)]
struct IdData {
    #[prost(uint64, required, tag = "1")]
    ledger: u64,
    #[prost(uint64, required, tag = "2")]
    entry: u64,
    #[prost(int32, optional, tag = "4")]
    batch_index: Option<i32>,
}

/// `SingleMessageMetadata` of Pulsar's protocol, as far as it is read.
#[derive(Clone, PartialEq, prost::Message)]
struct SingleMetadata {
    #[prost(message, repeated, tag = "1")]
    properties: Vec<KeyValue>,
    #[prost(string, optional, tag = "2")]
    partition_key: Option<String>,
    #[prost(int32, required, tag = "3")]
    payload_size: i32,
    #[prost(bool, optional, tag = "4")]
    compacted_out: Option<bool>,
    #[prost(bool, optional, tag = "9")]
    null_value: Option<bool>,
}

/// `KeyValue` of Pulsar's protocol.
#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(string, required, tag = "1")]
    key: String,
    #[prost(string, required, tag = "2")]
    value: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(ledger: u64, entry: u64, batch_index: Option<i32>) -> String {
        BASE64_STANDARD.encode(IdData { ledger, entry, batch_index }.encode_to_vec())
    }

    fn single(text: &str, entry: u64) -> Vec<u8> {
        let property = |key: &str, value: String| KeyValue { key: key.to_owned(), value };
        let metadata = SingleMetadata {
            properties: vec![
                property(INPUT_ID, id(7, entry, Some(2))),
                property(INPUT_TOPIC, "persistent://a/b/in".to_owned()),
                property("Colour", "red".to_owned()),
            ],
            partition_key: Some("k".to_owned()),
            payload_size: i32::try_from(text.len()).expect("a short text"),
            compacted_out: None,
            null_value: None,
        };
        let metadata = metadata.encode_to_vec();
        let size = u32::try_from(metadata.len()).expect("short metadata").to_be_bytes();
        [&size[..], &metadata, text.as_bytes()].concat()
    }

    #[test]
    fn a_message_is_in_headers_and_body() {
        let id = id(7, 9, None);
        let headers = [
            ("x-pulsar-message-id", "3:4"),
            ("x-pulsar-property-__pfn_input_msg_id__", id.as_str()),
            ("x-pulsar-property-__pfn_input_topic__", "persistent://a/b/in"),
            ("x-pulsar-property-colour", "red"),
            ("x-pulsar-partition-key", "k"),
        ];
        let found = messages(headers, b"text").expect("a message");
        let [Message { input: Some(input), output }] = &found[..] else { panic!("{found:?}") };
        assert_eq!(input.to_string(), "persistent://a/b/in 7:9");
        assert_eq!((output.key.as_deref(), output.properties["colour"].as_str()), (Some("k"), "red"));
        assert_eq!((output.properties.len(), output.payload.as_ref()), (1, Some(&Payload::of(b"text"))));
    }

    #[test]
    fn a_batch_has_several() {
        let body = [single("one", 1), single("two", 2)].concat();
        let found = messages([("x-pulsar-num-batch-message", "2")], &body).expect("two messages");
        let shown: Vec<_> = found
            .iter()
            .map(|it| {
                let payload = it.output.payload.as_ref().expect("a payload");
                format!("{} {}", it.input.as_ref().expect("an input").id, payload.beginning)
            })
            .collect();
        assert_eq!(shown, ["7:1:2 one", "7:2:2 two"]);
        // The same as alone.
        assert_eq!(found[0].output.properties["colour"], "red");
    }

    #[test]
    fn what_cannot_be_compared_says_why() {
        let body = single("one", 1);
        for (headers, body, expected) in [
            (vec![("x-pulsar-is-encrypted", "true")], &body[..], EntryError::Encrypted),
            (vec![("x-pulsar-chunk-id", "0")], &body[..], EntryError::Chunk),
            (vec![("x-pulsar-num-batch-message", "two")], &body[..], EntryError::Invalid),
            (vec![("x-pulsar-num-batch-message", "2")], &body[..], EntryError::Invalid),
            (vec![("x-pulsar-num-batch-message", "1")], &body[..9], EntryError::Invalid),
        ] {
            assert_eq!(messages(headers, body), Err(expected));
        }
        let none = messages([("x-pulsar-null-value", "true")], b"").expect("a message");
        assert_eq!((&none[0].input, &none[0].output), (&None, &Output::default()));
    }

    #[test]
    fn payloads_are_shown_as_one_printable_line() {
        let payload = Payload::of("a\u{1b}[2J\nb".repeat(1000).as_bytes());
        assert_eq!(payload.beginning.chars().count(), SHOWN);
        assert!(!payload.beginning.contains(['\u{1b}', '\n']));
        assert_ne!(Payload::of(&[0xff; 500]), Payload::of(&[0xfe; 500]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed(count in "[0-9]{1,10}", body in prop::collection::vec(any::<u8>(), 0..200), id in ".{0,40}") {
            let headers = [
                ("x-pulsar-num-batch-message", count.as_str()),
                ("x-pulsar-property-__pfn_input_msg_id__", &id),
                ("x-pulsar-property-__pfn_input_topic__", "t"),
            ];
            let _ = messages(headers, &body);
            let _ = messages(headers[1..].iter().copied(), &body);
        }
    }
}
