//! An answer, parsed for what its request asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use function_mesh_api::names::TopicName;
use function_mesh_api::topology::TopicPattern;

use super::{Interest, MAX_BROKERS, MAX_TOPICS};
use crate::parse::{
    BrokerMetrics, NamespacePolicies, ParseError, ParseLimits, parse_backlog_policies, parse_broker_metrics,
    parse_brokers, parse_namespace_policies, parse_partitioned_stats, parse_partitions, parse_topic_list,
    parse_topic_stats,
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
    /// Topics of a namespace that match each pattern.
    Topics(Matches),
    /// Whether the backlog quotas of a namespace stop producers.
    Quotas(Reading<bool>),
    /// Policies of a namespace.
    Policies(NamespacePolicies),
    /// Active brokers.
    Brokers(Vec<String>),
    /// Metrics of a broker.
    Metrics(BrokerMetrics),
}

/// Steps that matching the names of one list may take: a fraction of a second.
const MAX_STEPS: usize = 30_000_000;
/// Names of a list.
const MAX_NAMES: usize = 50_000;

/// The topics that match each pattern of a namespace; None for a pattern with too many, or too costly to match.
pub type Matches = BTreeMap<TopicName, Option<Vec<TopicName>>>;

/// What the components of a cluster want of its answers. Everything else is dropped while parsing.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Subscriptions by topic without the number of a partition.
    subscriptions: HashMap<String, BTreeSet<String>>,
    /// Topics that match patterns, as far as they are known.
    matched: BTreeSet<String>,
    /// Subscriptions of components with patterns, whose topics are not known in advance.
    of_patterns: BTreeSet<String>,
    patterns: BTreeMap<TopicName, TopicPattern>,
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
            self.patterns.extend(interest.patterns.iter().cloned());
        }
    }

    /// Adds the topics that match patterns.
    pub fn add_matched<'a>(&mut self, topics: impl Iterator<Item = &'a TopicName>) {
        self.matched.extend(topics.map(|topic| base(&topic.to_string()).to_owned()));
    }

    /// Whether an answer about a known topic wants this subscription.
    fn wants_of(&self, topic: &str, subscription: &str) -> bool {
        let known = self.subscriptions.get(base(topic));
        known.is_some_and(|names| names.contains(subscription)) || self.of_patterns.contains(subscription)
    }

    /// Whether the metrics of a broker are wanted: for topics that are known by name.
    fn wants_metric(&self, topic: &str, subscription: &str) -> bool {
        let is_known = self.subscriptions.contains_key(base(topic)) || self.matched.contains(base(topic));
        is_known && (subscription.is_empty() || self.wants_of(topic, subscription))
    }

    /// Matches the names of a list against the patterns of its namespace, each within its share of the steps.
    fn matches(&self, (tenant, namespace): &(String, String), names: &[String]) -> Matches {
        let of_namespace =
            self.patterns.iter().filter(|(name, _)| name.tenant == *tenant && name.namespace == *namespace);
        let of_namespace: Vec<_> = of_namespace.collect();
        let share = MAX_STEPS / of_namespace.len().max(1);
        let mut all = Matches::new();
        for (name, pattern) in of_namespace {
            let steps = names.iter().map(|topic| pattern.steps(topic)).fold(0, usize::saturating_add);
            let found = || {
                let found: Vec<_> =
                    names.iter().filter(|topic| pattern.matches(topic)).take(MAX_TOPICS + 1).collect();
                let topics = found.iter().filter_map(|topic| TopicName::parse(topic).ok());
                (found.len() <= MAX_TOPICS).then(|| topics.collect())
            };
            all.insert(name.clone(), (steps <= share).then(found).flatten());
        }
        all
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
            let is_wanted = |subscription: &str| wanted.wants_of(&name, subscription);
            Parsed::Stats(if request.is_partitioned {
                parse_partitioned_stats(body, request.flags, limits, is_wanted)?
            } else {
                parse_topic_stats(&name, body, request.flags, limits, is_wanted)?
            })
        }
        RequestKey::Topics { namespace, .. } => {
            let list = parse_topic_list(body, limits, MAX_NAMES, |_| true)?;
            let mut matches = wanted.matches(namespace, &list.topics);
            if list.is_truncated {
                for topics in matches.values_mut() {
                    *topics = None;
                }
            }
            Parsed::Topics(matches)
        }
        RequestKey::BacklogQuotas { .. } => Parsed::Quotas(parse_backlog_policies(body, limits)?),
        RequestKey::Policies { .. } => Parsed::Policies(parse_namespace_policies(body, limits)?),
        RequestKey::Brokers { .. } => Parsed::Brokers(parse_brokers(body, limits, MAX_BROKERS)?),
        RequestKey::Metrics { .. } => {
            let is_wanted = |topic: &str, subscription: &str| wanted.wants_metric(topic, subscription);
            Parsed::Metrics(parse_broker_metrics(body, limits, is_wanted)?)
        }
    })
}
