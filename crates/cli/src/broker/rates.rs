//! Message rates of topics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use function_mesh_api::names::TopicName;
use function_mesh_observer::Cause;
use function_mesh_observer::parse::{ParseLimits, StatsFlags, parse_partitioned_stats, parse_topic_stats};
use function_mesh_observer::requests::stats_url;
use function_mesh_observer::{Reading, TopicAnswer};

use super::{Broker, BrokerError};
use crate::graph::Rate;

/// What a topic has counted so far, over all partitions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Counts {
    /// Messages published since the topic was loaded.
    published: u64,
    /// The largest backlog of a subscription.
    backlog: u64,
}

/// Measures the rates of these topics over an interval, from counters: the rates that brokers report are averages of
/// the last minute. Topics that do not exist are omitted.
pub(crate) fn rates(
    url: &str,
    token: Option<String>,
    topics: &BTreeSet<String>,
    interval: Duration,
) -> Result<BTreeMap<String, Rate>, BrokerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let broker = Broker::new("--rates", url, token)?;
        let mut first = Vec::new();
        for topic in topics {
            if let Some(counts) = broker.counts(topic).await? {
                first.push((topic, Instant::now(), counts));
            }
        }
        if !first.is_empty() {
            tokio::time::sleep(interval).await;
        }
        let mut rates = BTreeMap::new();
        for (topic, since, before) in first {
            if let Some(now) = broker.counts(topic).await? {
                rates.insert(topic.clone(), rate(before, now, since.elapsed()));
            }
        }
        Ok(rates)
    })
}

#[allow(clippy::cast_precision_loss, reason = "no topic takes 2^53 messages in an interval")]
fn rate(before: Counts, now: Counts, elapsed: Duration) -> Rate {
    // The counter restarts when another broker takes over the topic.
    let received = now.published.checked_sub(before.published).unwrap_or(now.published);
    Rate { per_second: received as f64 / elapsed.as_secs_f64().max(0.001), backlog: now.backlog }
}

/// The counts of an answer, which are known if each partition reports them.
fn counts_of(answer: &TopicAnswer) -> Reading<Counts> {
    if !answer.is_complete() {
        return Reading::Unknown(answer.expected.cause().unwrap_or(Cause::Incomplete));
    }
    let published = Reading::<u64>::sum(answer.parts.iter().map(|part| part.in_counter));
    let mut backlogs = BTreeMap::<&str, Vec<Reading<u64>>>::new();
    for (name, subscription) in answer.parts.iter().flat_map(|part| &part.subscriptions) {
        backlogs.entry(name).or_default().push(subscription.backlog);
    }
    let backlogs = backlogs.into_values().map(Reading::<u64>::sum).chain([Reading::Known(0)]);
    published.zip(Reading::fold(backlogs, u64::max)).map(|(published, backlog)| Counts { published, backlog })
}

impl Broker {
    /// The counts of a topic; None when it does not exist.
    async fn counts(&self, topic: &str) -> Result<Option<Counts>, BrokerError> {
        let Ok(name) = TopicName::parse(topic) else { return Ok(None) };
        let (limits, flags) = (ParseLimits::default(), StatsFlags::default());
        let answer = if let Some(body) = self.stats(topic, &name, false).await? {
            parse_topic_stats(topic, &body, flags, &limits, |_| true)
        } else if let Some(body) = self.stats(topic, &name, true).await? {
            parse_partitioned_stats(&body, flags, &limits, |_| true)
        } else {
            return Ok(None);
        };
        let (url, topic) = (self.url.clone(), topic.to_owned());
        match answer.as_ref().map(counts_of) {
            Ok(Reading::Known(counts)) => Ok(Some(counts)),
            Ok(Reading::Unknown(cause)) => Err(BrokerError::Unknown { url, topic, cause }),
            Err(error) => {
                let what = format!("invalid topic stats: {error}");
                Err(BrokerError::UnexpectedResponse { url, topic, what })
            }
        }
    }

    /// The stats of a topic, or of its partitions.
    async fn stats(
        &self,
        topic: &str,
        name: &TopicName,
        is_partitioned: bool,
    ) -> Result<Option<Vec<u8>>, BrokerError> {
        let from = stats_url(self.url.as_str(), name, is_partitioned, StatsFlags::default());
        let answer = self.get("stats", topic, &from, ParseLimits::default().max_bytes).await?;
        Ok(answer.map(|answer| answer.body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_survives_a_counter_reset() {
        let two = Duration::from_secs(2);
        let counts = |published, backlog| Counts { published, backlog };
        assert_eq!(rate(counts(50, 9), counts(150, 70), two), Rate { per_second: 50.0, backlog: 70 });
        assert_eq!(rate(counts(500, 0), counts(150, 70), two), Rate { per_second: 75.0, backlog: 70 });
        assert_eq!(rate(counts(9, 0), counts(9, 0), two), Rate::default());
    }

    #[test]
    fn counts_are_summed_over_all_partitions() {
        let answer = |count| {
            let text = format!(
                r#"{{"metadata": {{"partitions": {count}}}, "partitions": {{
                    "persistent://a/b/c-partition-0": {{"msgInCounter": 100, "subscriptions":
                        {{"one": {{"msgBacklog": 3}}, "two": {{"msgBacklog": 5}}}}}},
                    "persistent://a/b/c-partition-1": {{"msgInCounter": 50, "subscriptions":
                        {{"one": {{"msgBacklog": 4}}}}}}}}}}"#
            );
            let (flags, limits) = (StatsFlags::default(), ParseLimits::default());
            parse_partitioned_stats(text.as_bytes(), flags, &limits, |_| true).expect("statistics")
        };
        assert_eq!(counts_of(&answer(2)), Reading::Known(Counts { published: 150, backlog: 7 }));
        assert_eq!(counts_of(&answer(3)), Reading::Unknown(Cause::Incomplete));
    }
}
