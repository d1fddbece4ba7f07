//! The newest messages of an output topic, entry by entry: no subscription is created, and nothing is acknowledged.

use function_mesh_api::names::TopicName;
use function_mesh_observer::requests::topic_url;
use function_mesh_pulsar::Answer;
use function_mesh_shadow::{Side, messages};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Deserialize;

use super::{Broker, BrokerError};

/// Requests at a time.
const AT_A_TIME: usize = 8;
/// Largest answer about a topic, in bytes.
const MAX_STATS: usize = 4 << 20;
/// Largest entry, in bytes: Pulsar's own limit, with room for metadata.
const MAX_ENTRY: usize = 6 << 20;
/// Most partitions of a topic that are read.
const MAX_PARTITIONS: u32 = 128;

/// What was read of a topic.
pub(crate) struct Newest {
    /// Its messages.
    pub(crate) side: Side,
    /// Entries that were read.
    pub(crate) entries: usize,
    /// Entries that cannot be compared, such as encrypted ones.
    pub(crate) unreadable: usize,
}

/// `PersistentTopicInternalStats`, as far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InternalStats {
    #[serde(default)]
    ledgers: Vec<Ledger>,
    /// The last entry, as LEDGER:ENTRY.
    last_confirmed_entry: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ledger {
    ledger_id: u64,
    /// Entries; 0 for the last ledger, which grows.
    #[serde(default)]
    entries: u64,
}

#[derive(Deserialize)]
struct PartitionedMetadata {
    partitions: u32,
}

/// The messages of the newest entries of these topics, at most so many of each. A topic that does not exist has none.
pub(crate) fn newest_outputs(
    url: &str,
    token: Option<String>,
    topics: &[&str],
    entries: usize,
) -> Result<Vec<Newest>, BrokerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let broker = Broker::new("--pulsar", url, token)?;
        let mut found = Vec::new();
        for topic in topics {
            found.push(broker.newest(topic, entries).await?);
        }
        Ok(found)
    })
}

impl Broker {
    async fn newest(&self, topic: &str, most: usize) -> Result<Newest, BrokerError> {
        let mut newest = Newest { side: Side::default(), entries: 0, unreadable: 0 };
        let Ok(name) = TopicName::parse(topic) else { return Ok(newest) };
        let parts = self.parts(topic, &name).await?;
        let each = most.div_ceil(parts.len().max(1));
        for part in &parts {
            let Some(stats) = self.internal_stats(topic, part).await? else { continue };
            let ids = newest_entries(&stats, each)
                .ok_or_else(|| self.unexpected(topic, "invalid internal stats"))?;
            let mut answers = stream::iter(ids)
                .map(|(ledger, entry)| self.entry(topic, part, ledger, entry))
                .buffered(AT_A_TIME);
            while let Some(answer) = answers.try_next().await? {
                // An entry can be deleted meanwhile.
                let Some(answer) = answer else { continue };
                newest.entries += 1;
                let headers = answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                match messages(headers, &answer.body) {
                    Ok(messages) => newest.side.take(messages),
                    Err(_) => newest.unreadable += 1,
                }
            }
        }
        Ok(newest)
    }

    /// The topic, or its partitions.
    async fn parts(&self, topic: &str, name: &TopicName) -> Result<Vec<TopicName>, BrokerError> {
        let from = topic_url(self.url.as_str(), name, "partitions");
        let count = match self.get("partitions", topic, &from, MAX_STATS).await? {
            Some(answer) => self.parsed::<PartitionedMetadata>(topic, &answer)?.partitions,
            None => 0,
        };
        Ok(match count {
            0 => vec![name.clone()],
            count => (0..count.min(MAX_PARTITIONS))
                .map(|number| TopicName {
                    local: format!("{}-partition-{number}", name.local),
                    ..name.clone()
                })
                .collect(),
        })
    }

    async fn internal_stats(
        &self,
        topic: &str,
        part: &TopicName,
    ) -> Result<Option<InternalStats>, BrokerError> {
        let from = topic_url(self.url.as_str(), part, "internalStats");
        let answer = self.get("messages", topic, &from, MAX_STATS).await?;
        answer.map(|answer| self.parsed(topic, &answer)).transpose()
    }

    async fn entry(
        &self,
        topic: &str,
        part: &TopicName,
        ledger: u64,
        entry: u64,
    ) -> Result<Option<Answer>, BrokerError> {
        let from = topic_url(self.url.as_str(), part, &format!("ledger/{ledger}/entry/{entry}"));
        self.get("messages", topic, &from, MAX_ENTRY).await
    }

    fn parsed<T: for<'de> Deserialize<'de>>(&self, topic: &str, answer: &Answer) -> Result<T, BrokerError> {
        serde_json::from_slice(&answer.body).map_err(|error| self.unexpected(topic, &error.to_string()))
    }

    fn unexpected(&self, topic: &str, what: &str) -> BrokerError {
        BrokerError::UnexpectedResponse {
            url: self.url.clone(),
            topic: topic.to_owned(),
            what: what.to_owned(),
        }
    }
}

/// The newest entries, at most so many, oldest first; None if the last one is not an entry.
fn newest_entries(stats: &InternalStats, most: usize) -> Option<Vec<(u64, u64)>> {
    let (ledger, entry) = stats.last_confirmed_entry.split_once(':')?;
    let (ledger, entry): (i64, i64) = (ledger.parse().ok()?, entry.parse().ok()?);
    // A topic without a ledger has -1.
    let Ok(ledger) = u64::try_from(ledger) else { return Some(Vec::new()) };
    let last = (ledger, entry);
    let counts = stats.ledgers.iter().rev().filter(|ledger| ledger.ledger_id <= last.0).map(|ledger| {
        let entries = if ledger.ledger_id == last.0 {
            // It is -1 for an empty ledger.
            u64::try_from(last.1 + 1).unwrap_or_default()
        } else {
            ledger.entries
        };
        (ledger.ledger_id, entries)
    });
    let mut ids: Vec<_> = counts
        .flat_map(|(ledger, entries)| (0..entries).rev().map(move |entry| (ledger, entry)))
        .take(most)
        .collect();
    ids.reverse();
    Some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_entries_are_read_across_ledgers() {
        let stats = |last: &str, ledgers: &[(u64, u64)]| InternalStats {
            last_confirmed_entry: last.to_owned(),
            ledgers: ledgers
                .iter()
                .map(|(ledger_id, entries)| Ledger { ledger_id: *ledger_id, entries: *entries })
                .collect(),
        };
        let newest = |last, ledgers: &[(u64, u64)], most| newest_entries(&stats(last, ledgers), most);
        assert_eq!(newest("9:1", &[(7, 3), (9, 0)], 4), Some(vec![(7, 1), (7, 2), (9, 0), (9, 1)]));
        assert_eq!(newest("9:-1", &[(7, 1), (9, 0)], 4), Some(vec![(7, 0)]));
        assert_eq!(newest("9:5", &[(9, 0), (11, 0)], 2), Some(vec![(9, 4), (9, 5)]));
        assert_eq!(newest("-1:-1", &[], 2), Some(Vec::new()));
        assert_eq!(newest("nine", &[], 2), None);
    }
}
