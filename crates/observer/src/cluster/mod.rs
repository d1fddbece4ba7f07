//! What is known about one Pulsar cluster: the newest answer for each topic, and what components want of it.
//!
//! Pure: requests come from the [plan](crate::requests::plan), answers are put in with [`Cluster::apply`].

mod answer;
mod inputs;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use function_mesh_api::names::TopicName;
use function_mesh_api::topology::TopicPattern;

pub use answer::{Matches, Parsed, Wanted, parse};

use crate::parse::{BrokerMetrics, NamespacePolicies};
use crate::requests::{Activity, Outcome, PlanLimits, Request, RequestKey, Schedule, Target, TopicTarget};
use crate::{
    Cause, Monotonic, Observation, PodObservation, Reading, ServerClock, TopicAnswer, TopicObservation,
    UnixMillis, is_output_blocked,
};

/// Topics of a component that are observed; a pattern can match many.
pub const MAX_TOPICS: usize = 1_000;
/// Brokers of a cluster that are asked for metrics.
pub const MAX_BROKERS: usize = 100;

/// What a component wants to know about a cluster.
#[derive(Clone, Debug)]
pub struct Interest {
    /// Its subscription.
    pub subscription: String,
    /// Its input topics.
    pub topics: Vec<TopicName>,
    /// Its topic patterns.
    pub patterns: Vec<(TopicName, TopicPattern)>,
    /// Its output topic.
    pub output: Option<TopicName>,
}

type Namespace = (String, String, bool);

/// The newest answers of a cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    /// URL of the web service.
    web: String,
    /// Brokers that the administrator named.
    named: Vec<String>,
    /// Brokers that the administrator named, or that the cluster listed, while their metrics are of use.
    brokers: BTreeMap<String, Vec<String>>,
    /// Requests.
    schedule: Schedule,
    partitions: HashMap<TopicName, Reading<usize>>,
    topics: HashMap<TopicName, (Monotonic, Result<TopicAnswer, Cause>)>,
    lists: HashMap<Namespace, (Matches, Option<Cause>)>,
    /// Whether other topics match patterns than when the caller asked last.
    has_new_matches: bool,
    quotas: HashMap<(String, String), Reading<bool>>,
    policies: HashMap<(String, String), Reading<NamespacePolicies>>,
    metrics: BTreeMap<String, (Monotonic, BrokerMetrics)>,
    clock: ServerClock,
    /// How long it takes at least to ask for everything that components need.
    round_time: Duration,
    /// Why the last request failed, unless one has been answered since.
    failure: Option<Cause>,
}

impl Cluster {
    /// A cluster of which nothing is known but its URL, and the URLs of brokers if an administrator named them.
    pub fn new(web: &str, brokers: Vec<String>) -> Self {
        let known = (!brokers.is_empty()).then(|| (web.to_owned(), brokers.clone()));
        Self { web: web.to_owned(), named: brokers, brokers: known.into_iter().collect(), ..Self::default() }
    }

    /// What to ask for a component.
    pub fn target(
        &self,
        interest: &Interest,
        activity: Activity,
        needs_details: bool,
        needs_lag: bool,
        needs_policies: bool,
    ) -> Target {
        let target = |name: &TopicName| TopicTarget {
            name: name.clone(),
            partitions: self.partitions.get(name).copied().unwrap_or(Reading::Unknown(Cause::NotAsked)),
        };
        let matched = self.matched(interest);
        Target {
            web: self.web.clone(),
            topics: interest.topics.iter().chain(&matched).take(MAX_TOPICS).map(target).collect(),
            patterns: interest.patterns.iter().map(|(name, _)| name.clone()).collect(),
            output: interest.output.as_ref().map(target),
            activity,
            needs_details,
            needs_lag,
            needs_policies,
        }
    }

    /// Requests to begin now, which count as begun.
    pub fn begin(
        &mut self,
        targets: &[Target],
        limits: &PlanLimits,
        most: usize,
        now: Monotonic,
    ) -> Vec<Request> {
        let plan = crate::requests::plan(&self.schedule, targets, &self.brokers, limits, now);
        let mut requests = plan.requests;
        requests.truncate(most);
        for request in &requests {
            self.schedule.start(&request.key, request.flags.earliest_time, now);
        }
        let (needed, per_second) = (plan.needed.len(), limits.per_second.max(1));
        self.round_time = Duration::from_secs(u64::try_from(needed / per_second).unwrap_or(u64::MAX));
        self.schedule.retain(|key| plan.needed.contains(key));
        let topics: BTreeSet<&TopicName> = targets
            .iter()
            .flat_map(|target| target.topics.iter().chain(&target.output).map(|topic| &topic.name))
            .collect();
        self.partitions.retain(|name, _| topics.contains(name));
        self.topics.retain(|name, _| topics.contains(name));
        self.quotas.retain(|namespace, _| {
            let key = RequestKey::BacklogQuotas { web: self.web.clone(), namespace: namespace.clone() };
            plan.needed.contains(&key)
        });
        self.policies.retain(|namespace, _| {
            let key = RequestKey::Policies { web: self.web.clone(), namespace: namespace.clone() };
            plan.needed.contains(&key)
        });
        self.lists.retain(|(tenant, namespace, persistent), _| {
            let key = RequestKey::Topics {
                web: self.web.clone(),
                namespace: (tenant.clone(), namespace.clone()),
                persistent: *persistent,
            };
            plan.needed.contains(&key)
        });
        requests
    }

    /// How long it takes at least to ask for everything that components need.
    pub const fn round_time(&self) -> Duration {
        self.round_time
    }

    /// Takes the end of a request.
    pub fn apply(
        &mut self,
        request: &Request,
        outcome: Outcome,
        result: Result<Parsed, Cause>,
        clock: Option<ServerClock>,
        limits: &PlanLimits,
        now: Monotonic,
    ) {
        self.schedule.finish(&request.key, outcome, limits, now);
        self.clock = clock.unwrap_or(self.clock);
        self.failure = match &result {
            Err(cause) if cause.is_of_cluster() => Some(*cause),
            _ => None,
        };
        match &request.key {
            RequestKey::Partitions { topic, .. } => {
                let reading = match result {
                    Ok(Parsed::Partitions(reading)) => reading,
                    Ok(_) => return,
                    // A topic that does not exist has no partitions; its statistics say so too.
                    Err(cause) => {
                        self.topics.insert(topic.clone(), (now, Err(cause)));
                        Reading::Unknown(cause)
                    }
                };
                self.partitions.insert(topic.clone(), reading);
            }
            RequestKey::Stats { topic, .. } => {
                let answer = match result {
                    Ok(Parsed::Stats(answer)) => Ok(answer),
                    Ok(_) => return,
                    Err(cause) => Err(cause),
                };
                if answer.as_ref().is_err_and(|cause| *cause == Cause::NotFound) {
                    // It may come again with another number of partitions.
                    self.partitions.remove(topic);
                }
                self.topics.insert(topic.clone(), (now, answer));
            }
            RequestKey::Topics { namespace: (tenant, namespace), persistent, .. } => {
                let list = self.lists.entry((tenant.clone(), namespace.clone(), *persistent)).or_default();
                match result {
                    Ok(Parsed::Topics(matches)) => {
                        self.has_new_matches |= list.0 != matches;
                        *list = (matches, None);
                    }
                    Ok(_) => {}
                    // Nothing says that the topics of the last list are gone.
                    Err(cause) => list.1 = Some(cause),
                }
            }
            RequestKey::BacklogQuotas { namespace, .. } => {
                let reading = match result {
                    Ok(Parsed::Quotas(reading)) => reading,
                    Ok(_) => return,
                    Err(cause) => Reading::Unknown(cause),
                };
                self.quotas.insert(namespace.clone(), reading);
            }
            RequestKey::Policies { namespace, .. } => self.apply_policies(namespace, &result),
            RequestKey::Brokers { .. } => self.apply_brokers(result),
            RequestKey::Metrics { broker, .. } => self.apply_metrics(broker, result, now),
        }
    }

    fn apply_brokers(&mut self, result: Result<Parsed, Cause>) {
        // The list does not matter: their metrics are tried again as often as those of listed brokers.
        if !self.named.is_empty() {
            self.brokers.insert(self.web.clone(), self.named.clone());
            return;
        }
        let Ok(Parsed::Brokers(names)) = result else { return };
        let scheme = if self.web.starts_with("https:") { "https" } else { "http" };
        // A single broker is the one that answers under that URL too.
        let urls = match names.as_slice() {
            [] => {
                self.brokers.remove(&self.web);
                return;
            }
            [_] => vec![self.web.clone()],
            many => many.iter().map(|name| format!("{scheme}://{name}")).collect(),
        };
        self.brokers.insert(self.web.clone(), urls);
    }

    fn apply_metrics(&mut self, broker: &str, result: Result<Parsed, Cause>, now: Monotonic) {
        match result {
            Ok(Parsed::Metrics(metrics)) => {
                self.metrics.insert(broker.to_owned(), (now, metrics));
            }
            Ok(_) => {}
            // Brokers may require a role for metrics, or have moved: back to requests for each topic.
            Err(_) => {
                self.metrics.remove(broker);
                self.brokers.remove(&self.web);
            }
        }
        let brokers = self.brokers.get(&self.web);
        self.metrics.retain(|name, _| brokers.is_some_and(|brokers| brokers.contains(name)));
        // Metrics of topics can be turned off.
        let is_complete = brokers.is_some_and(|brokers| brokers.len() == self.metrics.len());
        if is_complete && self.metrics.values().all(|(_, metrics)| metrics.is_empty()) {
            self.brokers.remove(&self.web);
            self.metrics.clear();
        }
    }

    /// When the newest answer for all topics of a component came: the oldest of their newest answers. None while a topic
    /// has none.
    pub fn answered_at(&self, interest: &Interest) -> Option<Monotonic> {
        let matched = self.matched(interest);
        let mut topics = interest.topics.iter().chain(&matched).take(MAX_TOPICS).peekable();
        topics.peek()?;
        topics
            .map(|topic| self.newest(topic).map(|(at, _)| at))
            .try_fold(None::<Monotonic>, |oldest, at| {
                at.map(|at| Some(oldest.map_or(at, |oldest| oldest.min(at))))
            })?
    }

    /// The observation of a component. Answers older than `max_age` count as none.
    pub fn observe(
        &self,
        interest: &Interest,
        pods: Vec<PodObservation>,
        at: Monotonic,
        wall: UnixMillis,
        max_age: Duration,
    ) -> Observation {
        let matched = self.matched(interest);
        let none = || self.failure.unwrap_or(Cause::NotAsked);
        let fresh = |topic: &TopicName| match self.answer(topic) {
            Some((answered, answer)) if at.since(answered) <= max_age => answer,
            Some(_) => Err(self.failure.unwrap_or(Cause::Stale)),
            None => Err(none()),
        };
        let observation = |name: String, answer| TopicObservation {
            topic: name,
            subscription: interest.subscription.clone(),
            answer,
        };
        let names = interest.topics.iter().chain(&matched);
        let mut topics: Vec<_> =
            names.take(MAX_TOPICS).map(|name| observation(name.to_string(), fresh(name))).collect();
        for (name, _) in &interest.patterns {
            let key = (name.tenant.clone(), name.namespace.clone(), name.persistent);
            let cause = match self.lists.get(&key) {
                None => Some(none()),
                Some((by_pattern, failure)) => match by_pattern.get(name) {
                    None => Some(failure.unwrap_or(Cause::NotAsked)),
                    Some(None) => Some(Cause::TooLarge),
                    Some(Some(_)) => None,
                },
            };
            topics.extend(cause.map(|cause| observation(name.to_string(), Err(cause))));
        }
        // Without a topic there is no subscription, so that a backlog of zero would be wrong.
        if topics.is_empty() {
            let names = interest.patterns.iter().map(|(name, _)| name.to_string());
            topics.extend(names.map(|name| observation(name, Err(Cause::NoMatch))));
        }
        if interest.topics.len() + matched.len() > MAX_TOPICS {
            topics.push(observation("more topics".to_owned(), Err(Cause::TooLarge)));
        }
        let is_output_blocked = match &interest.output {
            None => Reading::Known(false),
            Some(output) => {
                let namespace = (output.tenant.clone(), output.namespace.clone());
                let policy = self.quotas.get(&namespace).copied();
                is_output_blocked(&fresh(output), policy.unwrap_or(Reading::Unknown(Cause::NotAsked)))
            }
        };
        Observation { at, wall, clock: self.clock, topics, is_output_blocked, pods }
    }

    /// Whether the newest answer for a topic is that of the brokers' metrics, and when it came.
    fn newest(&self, topic: &TopicName) -> Option<(Monotonic, bool)> {
        let own = self.topics.get(topic).map(|(at, _)| *at);
        let brokers = self.brokers.get(&self.web).map_or(0, Vec::len);
        let scraped = self.metrics.values().map(|(at, _)| *at).min();
        let scraped =
            scraped.filter(|_| brokers == self.metrics.len() && self.partitions.contains_key(topic));
        match (own, scraped) {
            (Some(own), Some(scraped)) => Some((own.max(scraped), scraped > own)),
            (Some(own), None) => Some((own, false)),
            (None, scraped) => scraped.map(|at| (at, true)),
        }
    }

    fn answer(&self, topic: &TopicName) -> Option<(Monotonic, Result<TopicAnswer, Cause>)> {
        let (at, is_scraped) = self.newest(topic)?;
        let answer = if is_scraped {
            match self.partitions.get(topic)? {
                Reading::Known(partitions) => self.scraped(topic, *partitions),
                Reading::Unknown(cause) => Err(*cause),
            }
        } else {
            self.topics.get(topic)?.1.clone()
        };
        Some((at, answer))
    }

    fn scraped(&self, topic: &TopicName, partitions: usize) -> Result<TopicAnswer, Cause> {
        let mut all = self.metrics.values().map(|(_, metrics)| metrics);
        let name = topic.to_string();
        if self.metrics.len() == 1 {
            return all.next().map_or(Err(Cause::NotAsked), |metrics| metrics.answer(&name, partitions));
        }
        let mut merged = BrokerMetrics::default();
        for metrics in all {
            merged.merge(metrics.only(&name, partitions));
        }
        merged.answer(&name, partitions)
    }

    /// Whether other topics match patterns than at the last call: [`Wanted`] has to be made again.
    pub const fn take_new_matches(&mut self) -> bool {
        std::mem::replace(&mut self.has_new_matches, false)
    }

    /// The topics that match patterns.
    pub fn all_matched(&self) -> impl Iterator<Item = &TopicName> {
        self.lists.values().flat_map(|(matches, _)| matches.values().flatten().flatten())
    }

    /// The topics that match the patterns of a component.
    fn matched(&self, interest: &Interest) -> Vec<TopicName> {
        if interest.patterns.is_empty() {
            return Vec::new();
        }
        let mut matched = BTreeSet::new();
        for (name, _) in &interest.patterns {
            let key = (name.tenant.clone(), name.namespace.clone(), name.persistent);
            let found = self.lists.get(&key).and_then(|(matches, _)| matches.get(name)?.as_ref());
            matched.extend(found.into_iter().flatten().cloned());
        }
        matched.into_iter().collect()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
