//! An answer, parsed for what its request asked.

use std::collections::{BTreeSet, HashMap};

use function_mesh_api::topology::TopicPattern;

use super::{Interest, MAX_BROKERS, MAX_TOPICS};
use crate::parse::{
    BrokerMetrics, ParseError, ParseLimits, TopicList, parse_backlog_policies, parse_broker_metrics,
    parse_brokers, parse_partitioned_stats, parse_partitions, parse_topic_list, parse_topic_stats,
};
use crate::requests::{Request, RequestKey};
use crate::{Reading, TopicAnswer};

/// What an answer contains.
#[derive(Clone, Debug)]
pub enum Parsed {
    /// Number of partitions.
    Partitions(Reading<usize>),
    /// Statistics of a topic.
    Stats(TopicAnswer),
    /// Topics of a namespace that match a pattern.
    Topics(TopicList),
    /// Whether the backlog quotas of a namespace stop producers.
    Quotas(Reading<bool>),
    /// Active brokers.
    Brokers(Vec<String>),
    /// Metrics of a broker.
    Metrics(BrokerMetrics),
}

/// What the components of a cluster want of its answers. Everything else is dropped while parsing.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Subscriptions by topic without the number of a partition.
    subscriptions: HashMap<String, BTreeSet<String>>,
    /// Subscriptions of components with patterns, whose topics are not known in advance.
    of_patterns: BTreeSet<String>,
    patterns: Vec<TopicPattern>,
}

impl Wanted {
    /// Adds what a component wants.
    pub fn add(&mut self, interest: &Interest) {
        for topic in &interest.topics {
            let names = self.subscriptions.entry(base(&topic.to_string()).to_owned()).or_default();
            names.insert(interest.subscription.clone());
        }
        if let Some(output) = &interest.output {
            self.subscriptions.entry(base(&output.to_string()).to_owned()).or_default();
        }
        if !interest.patterns.is_empty() {
            self.of_patterns.insert(interest.subscription.clone());
            self.patterns.extend(interest.patterns.iter().map(|(_, pattern)| pattern.clone()));
        }
    }

    fn wants(&self, topic: &str, subscription: &str) -> bool {
        if subscription.is_empty() {
            let is_known = self.subscriptions.contains_key(base(topic));
            return is_known || self.patterns.iter().any(|pattern| pattern.matches(base(topic)));
        }
        let known = self.subscriptions.get(base(topic));
        known.is_some_and(|names| names.contains(subscription)) || self.of_patterns.contains(subscription)
    }
}

/// A topic without the number of a partition.
fn base(topic: &str) -> &str {
    match topic.rsplit_once("-partition-") {
        Some((base, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => base,
        _ => topic,
    }
}

/// Parses the body of an answer.
pub fn parse(
    request: &Request,
    body: &[u8],
    limits: &ParseLimits,
    wanted: &Wanted,
) -> Result<Parsed, ParseError> {
    Ok(match &request.key {
        RequestKey::Partitions { .. } => Parsed::Partitions(parse_partitions(body, limits)?),
        RequestKey::Stats { topic, .. } => {
            let name = topic.to_string();
            let is_wanted = |subscription: &str| wanted.wants(&name, subscription);
            Parsed::Stats(if request.is_partitioned {
                parse_partitioned_stats(body, request.flags, limits, is_wanted)?
            } else {
                parse_topic_stats(&name, body, request.flags, limits, is_wanted)?
            })
        }
        RequestKey::Topics { .. } => {
            let matches = |topic: &str| wanted.patterns.iter().any(|pattern| pattern.matches(topic));
            Parsed::Topics(parse_topic_list(body, limits, MAX_TOPICS, matches)?)
        }
        RequestKey::BacklogQuotas { .. } => Parsed::Quotas(parse_backlog_policies(body, limits)?),
        RequestKey::Brokers { .. } => Parsed::Brokers(parse_brokers(body, limits, MAX_BROKERS)?),
        RequestKey::Metrics { .. } => {
            let is_wanted = |topic: &str, subscription: &str| wanted.wants(topic, subscription);
            Parsed::Metrics(parse_broker_metrics(body, limits, is_wanted)?)
        }
    })
}
