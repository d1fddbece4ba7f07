//! The plan: candidates from components, those that are due, and as many as the limits allow.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use function_mesh_api::names::TopicName;

use super::{Activity, PlanLimits, Request, RequestKey, Schedule, Target, TopicTarget, url};
use crate::parse::StatsFlags;
use crate::{Monotonic, Reading};

/// What to ask now.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Requests to begin, the most overdue ones first.
    pub requests: Vec<Request>,
    /// When the next one is due; None if none will be. Requests that the limits postponed are due at once.
    pub next: Option<Monotonic>,
    /// Everything that the components need, for [`Schedule::retain`].
    pub needed: BTreeSet<RequestKey>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    interval: Duration,
    flags: StatsFlags,
    is_partitioned: bool,
}

impl Candidate {
    fn new(interval: Duration) -> Self {
        Self { interval, flags: StatsFlags::default(), is_partitioned: false }
    }

    /// A request for statistics.
    fn of_stats(interval: Duration, flags: StatsFlags, topic: &TopicTarget) -> Self {
        Self { interval, flags, is_partitioned: topic.partitions.is_known_and(|count| count > 0) }
    }
}

/// Plans the requests for these components. `brokers` has the URLs of the brokers of each cluster, by the URL of its web
/// service, where they are known.
pub fn plan(
    schedule: &Schedule,
    targets: &[Target],
    brokers: &BTreeMap<String, Vec<String>>,
    limits: &PlanLimits,
    now: Monotonic,
) -> Plan {
    let candidates = candidates(schedule, targets, brokers, limits, now);
    let mut due = Vec::new();
    let mut next: Option<Monotonic> = None;
    let mut earliest = |time: Monotonic| next = Some(next.map_or(time, |before| before.min(time)));
    for (key, candidate) in &candidates {
        if schedule.is_in_flight(key) {
            continue;
        }
        let time = schedule.due(key, candidate.interval);
        if time <= now { due.push((time, key, candidate)) } else { earliest(time) }
    }
    due.sort_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)));
    let mut budget = Budget::new(schedule, limits, now);
    let mut requests = Vec::new();
    for (_, key, candidate) in due {
        if budget.take(key) {
            requests.push(request(key, candidate));
        } else {
            earliest(now);
        }
    }
    Plan { requests, next, needed: candidates.into_keys().collect() }
}

fn candidates(
    schedule: &Schedule,
    targets: &[Target],
    brokers: &BTreeMap<String, Vec<String>>,
    limits: &PlanLimits,
    now: Monotonic,
) -> BTreeMap<RequestKey, Candidate> {
    let large = large_clusters(targets, limits);
    let mut all = BTreeMap::new();
    for web in &large {
        // Brokers come and go. Many may not ask: then there are requests for each topic.
        let interval = limits.slow.saturating_mul(5);
        add(&mut all, RequestKey::Brokers { web: (*web).to_owned() }, Candidate::new(interval));
    }
    for target in targets {
        let interval = match target.activity {
            Activity::Awake => limits.awake,
            Activity::Asleep => limits.asleep,
            Activity::Suspended => limits.suspended,
        };
        let web = &target.web;
        let has_metrics =
            large.contains(web.as_str()) && brokers.get(web).is_some_and(|brokers| !brokers.is_empty());
        for topic in &target.topics {
            let key = stats_key(web, topic);
            let lag = target.needs_lag && schedule.is_slow_due(&key, limits.slow, now);
            let flags = StatsFlags { consumers: target.needs_details, earliest_time: lag };
            add_partitions(&mut all, web, topic, limits);
            if !topic.partitions.is_known() && !is_one_partition(&topic.name) {
                continue;
            }
            // Metrics have everything but details of consumers and the lag.
            if !has_metrics {
                add(&mut all, key, Candidate::of_stats(interval, flags, topic));
            } else if target.needs_details || target.needs_lag {
                let flags = StatsFlags { earliest_time: target.needs_lag, ..flags };
                add(&mut all, key, Candidate::of_stats(limits.slow, flags, topic));
            }
        }
        if has_metrics {
            for broker in brokers.get(web).into_iter().flatten() {
                let key = RequestKey::Metrics { web: web.clone(), broker: broker.clone() };
                add(&mut all, key, Candidate::new(interval));
            }
        }
        for pattern in &target.patterns {
            let namespace = (pattern.tenant.clone(), pattern.namespace.clone());
            let key = RequestKey::Topics { web: web.clone(), namespace, persistent: pattern.persistent };
            // A topic that is new has no consumer yet, so that a component without pods must find it.
            let interval = if target.activity == Activity::Asleep { limits.asleep } else { limits.slow };
            add(&mut all, key, Candidate::new(interval));
        }
        if target.needs_policies {
            let topics = target.topics.iter().map(|topic| &topic.name);
            for topic in topics.chain(&target.patterns) {
                let namespace = (topic.tenant.clone(), topic.namespace.clone());
                let key = RequestKey::Policies { web: web.clone(), namespace };
                add(&mut all, key, Candidate::new(limits.slow.saturating_mul(5)));
            }
        }
        // The output matters only for a component that makes no progress.
        if let Some(output) = target.output.as_ref().filter(|_| target.needs_details) {
            let namespace = (output.name.tenant.clone(), output.name.namespace.clone());
            add(
                &mut all,
                RequestKey::BacklogQuotas { web: web.clone(), namespace },
                Candidate::new(limits.slow),
            );
            add_partitions(&mut all, web, output, limits);
            if output.partitions.is_known() {
                let new = Candidate::of_stats(limits.awake, StatsFlags::default(), output);
                add(&mut all, stats_key(web, output), new);
            }
        }
    }
    all
}

/// The clusters with many topics, whose brokers are asked for metrics instead of each topic where they are known.
fn large_clusters<'a>(targets: &'a [Target], limits: &PlanLimits) -> BTreeSet<&'a str> {
    let mut topics: BTreeMap<&str, BTreeSet<&TopicName>> = BTreeMap::new();
    for target in targets {
        topics.entry(&target.web).or_default().extend(target.topics.iter().map(|topic| &topic.name));
    }
    let is_large = |(_, topics): &(&str, BTreeSet<&TopicName>)| topics.len() >= limits.metrics_from;
    topics.into_iter().filter(is_large).map(|(web, _)| web).collect()
}

fn stats_key(web: &str, topic: &TopicTarget) -> RequestKey {
    RequestKey::Stats { web: web.to_owned(), topic: topic.name.clone() }
}

/// Whether a name is that of one partition, which has none itself.
fn is_one_partition(topic: &TopicName) -> bool {
    topic.clone().without_partition().local != topic.local
}

/// Asks for the number of partitions, again and again while it is unknown and rarely later: partitions can be added.
fn add_partitions(
    all: &mut BTreeMap<RequestKey, Candidate>,
    web: &str,
    topic: &TopicTarget,
    limits: &PlanLimits,
) {
    if is_one_partition(&topic.name) {
        return;
    }
    let key = RequestKey::Partitions { web: web.to_owned(), topic: topic.name.clone() };
    match topic.partitions {
        Reading::Unknown(_) => add(all, key, Candidate::new(limits.awake)),
        // An answer with partitions states their number.
        Reading::Known(0) => add(all, key, Candidate::new(limits.slow.saturating_mul(5))),
        Reading::Known(_) => {}
    }
}

/// Adds a request, or joins it with that of another component: the shorter interval, and all flags.
fn add(all: &mut BTreeMap<RequestKey, Candidate>, key: RequestKey, new: Candidate) {
    let join = |old: &mut Candidate| {
        old.interval = old.interval.min(new.interval);
        old.flags.consumers |= new.flags.consumers;
        old.flags.earliest_time |= new.flags.earliest_time;
        old.is_partitioned |= new.is_partitioned;
    };
    all.entry(key).and_modify(join).or_insert(new);
}

fn request(key: &RequestKey, candidate: &Candidate) -> Request {
    let Candidate { flags, is_partitioned, .. } = *candidate;
    let url = match key {
        RequestKey::Partitions { web, topic } => url::partitions(web, topic),
        RequestKey::Stats { web, topic } => url::stats(web, topic, is_partitioned, flags),
        RequestKey::Topics { web, namespace: (tenant, namespace), persistent } => {
            url::topics(web, tenant, namespace, *persistent)
        }
        RequestKey::BacklogQuotas { web, namespace: (tenant, namespace) } => {
            url::backlog_quotas(web, tenant, namespace)
        }
        RequestKey::Policies { web, namespace: (tenant, namespace) } => url::policies(web, tenant, namespace),
        RequestKey::Brokers { web } => url::brokers(web),
        RequestKey::Metrics { broker, .. } => url::metrics(broker),
    };
    Request { key: key.clone(), url, flags, is_partitioned }
}

/// What may still begin.
struct Budget<'a> {
    schedule: &'a Schedule,
    limits: &'a PlanLimits,
    now: Monotonic,
    /// Requests under way, and those that begin now, by server.
    servers: HashMap<String, (usize, usize)>,
    namespaces: HashMap<(String, String, String), usize>,
}

impl<'a> Budget<'a> {
    fn new(schedule: &'a Schedule, limits: &'a PlanLimits, now: Monotonic) -> Self {
        let mut budget = Self { schedule, limits, now, servers: HashMap::new(), namespaces: HashMap::new() };
        for key in schedule.under_way() {
            budget.servers.entry(key.server().to_owned()).or_default().0 += 1;
            if let Some(namespace) = namespace(key) {
                *budget.namespaces.entry(namespace).or_default() += 1;
            }
        }
        budget
    }

    fn take(&mut self, key: &RequestKey) -> bool {
        let server = self.servers.entry(key.server().to_owned()).or_default();
        // A server that failed gets one request, until it answers.
        let limit = if self.schedule.is_failing(key.server()) { 1 } else { self.limits.in_flight_per_broker };
        let started = self.schedule.started(key.server(), self.now) + server.1;
        if server.0 >= limit || started >= self.limits.per_second {
            return false;
        }
        if let Some(namespace) = namespace(key) {
            let count = self.namespaces.entry(namespace).or_default();
            if *count >= self.limits.in_flight_per_namespace {
                return false;
            }
            *count += 1;
        }
        *server = (server.0 + 1, server.1 + 1);
        true
    }
}

fn namespace(key: &RequestKey) -> Option<(String, String, String)> {
    let (tenant, namespace) = key.namespace()?;
    Some((key.server().to_owned(), tenant.to_owned(), namespace.to_owned()))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
