//! What was asked, what is under way, and what failed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::Duration;

use super::{PlanLimits, RequestKey};
use crate::{Cause, Monotonic};

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// With a usable answer.
    Answered,
    /// With this HTTP status.
    Status(u16),
    /// Without an answer: no connection, or a timeout.
    NoAnswer,
    /// Without an answer of the broker to which the web service redirected it.
    NoAnswerOfOwner,
    /// With a redirect that is not followed, or with an answer that is too large or cannot be decoded.
    Unusable,
}

impl Outcome {
    /// Why numbers are unknown after this outcome.
    pub const fn cause(self) -> Option<Cause> {
        match self {
            Self::Answered => None,
            Self::Status(401 | 403) => Some(Cause::Unauthorized),
            Self::Status(404) => Some(Cause::NotFound),
            Self::Status(_) | Self::NoAnswer | Self::NoAnswerOfOwner => Some(Cause::Failed),
            Self::Unusable => Some(Cause::Invalid),
        }
    }

    /// What a failure affects. A request that exceeds a rate, or that no broker answers, concerns the web service;
    /// permissions are those of a namespace; anything else concerns the topic alone. So does a broker that does not answer
    /// after a redirect: the others do, and only the web service knows which topics are still its own.
    fn scope(self, key: &RequestKey) -> Option<Scope> {
        let server = || Scope::Server(key.server().to_owned());
        Some(match self {
            Self::Answered => return None,
            Self::NoAnswer | Self::Status(429 | 502 | 503 | 504) => server(),
            Self::Status(401 | 403) => match key.namespace() {
                Some((tenant, namespace)) => {
                    Scope::Namespace(key.server().to_owned(), tenant.to_owned(), namespace.to_owned())
                }
                // The list of brokers and their metrics can need more permissions than topics.
                None => Scope::Request(key.clone()),
            },
            Self::Status(_) | Self::NoAnswerOfOwner | Self::Unusable => Scope::Request(key.clone()),
        })
    }
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Scope {
    Server(String),
    Namespace(String, String, String),
    Request(RequestKey),
}

/// A broker writes its metrics for at most a tenth of the time, as far as the numbers do not become too old.
const METRICS_PAUSE: u32 = 10;
const METRICS_LONGEST: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
struct Backoff {
    failures: u32,
    until: Monotonic,
}

/// The state of requests between two plans.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    last: HashMap<RequestKey, Monotonic>,
    /// When the lag or another slow part of an answer was last asked for.
    last_slow: HashMap<RequestKey, Monotonic>,
    in_flight: BTreeSet<RequestKey>,
    backoff: HashMap<Scope, Backoff>,
    /// How long the last metrics of a broker took.
    took: HashMap<RequestKey, Duration>,
    /// Requests of the current second, by server.
    started: BTreeMap<String, (Monotonic, usize)>,
}

impl Schedule {
    /// Notes that a request begins. `is_slow` says whether it asks for the lag.
    pub fn start(&mut self, key: &RequestKey, is_slow: bool, now: Monotonic) {
        self.last.insert(key.clone(), now);
        if is_slow {
            self.last_slow.insert(key.clone(), now);
        }
        self.in_flight.insert(key.clone());
        let entry = self.started.entry(key.server().to_owned()).or_insert((now, 0));
        if now.since(entry.0) >= Duration::from_secs(1) {
            *entry = (now, 0);
        }
        entry.1 += 1;
    }

    /// Notes how a request ended.
    pub fn finish(&mut self, key: &RequestKey, outcome: Outcome, limits: &PlanLimits, now: Monotonic) {
        self.in_flight.remove(key);
        if let (RequestKey::Metrics { .. }, Some(begun)) = (key, self.last.get(key)) {
            self.took.insert(key.clone(), now.since(*begun));
        }
        if let Some(scope) = outcome.scope(key) {
            let failures = self.backoff.get(&scope).map_or(0, |backoff| backoff.failures).saturating_add(1);
            let (first, longest) = match outcome {
                Outcome::Status(401 | 403) => limits.denied_backoff,
                _ => limits.backoff,
            };
            let factor = 2_u32.checked_pow(failures - 1).unwrap_or(u32::MAX);
            let delay = jitter(first.saturating_mul(factor).min(longest), &(key, failures));
            self.backoff.insert(scope, Backoff { failures, until: now.after(delay) });
            return;
        }
        for scope in scopes(key) {
            self.backoff.remove(&scope);
        }
    }

    /// Forgets requests that no component needs any more.
    pub fn retain(&mut self, is_needed: impl Fn(&RequestKey) -> bool) {
        self.last.retain(|key, _| is_needed(key));
        self.last_slow.retain(|key, _| is_needed(key));
        self.took.retain(|key, _| is_needed(key));
        let servers: BTreeSet<&str> = self.last.keys().map(RequestKey::server).collect();
        self.started.retain(|server, _| servers.contains(server.as_str()));
        self.backoff.retain(|scope, _| match scope {
            Scope::Server(server) | Scope::Namespace(server, ..) => servers.contains(server.as_str()),
            Scope::Request(key) => is_needed(key),
        });
    }

    /// When a request is due: its interval, with jitter, after the last one, and not within a back-off.
    pub(super) fn due(&self, key: &RequestKey, interval: Duration) -> Monotonic {
        let cost =
            self.took.get(key).map_or(Duration::ZERO, |took| (METRICS_PAUSE * *took).min(METRICS_LONGEST));
        let interval = interval.max(cost);
        let next = self.last.get(key).map(|last| last.after(jitter(interval, &(key, last))));
        let backoff = scopes(key).filter_map(|scope| self.backoff.get(&scope)).map(|backoff| backoff.until);
        backoff.chain(next).max().unwrap_or_default()
    }

    /// Whether the slow part of an answer is due.
    pub(super) fn is_slow_due(&self, key: &RequestKey, interval: Duration, now: Monotonic) -> bool {
        self.last_slow.get(key).is_none_or(|last| now.since(*last) >= interval)
    }

    pub(super) fn is_in_flight(&self, key: &RequestKey) -> bool {
        self.in_flight.contains(key)
    }

    /// Requests under way to a server, and for a namespace.
    pub(super) fn under_way(&self) -> impl Iterator<Item = &RequestKey> {
        self.in_flight.iter()
    }

    /// Whether the last request to a server failed, so that the next one is a probe.
    pub(super) fn is_failing(&self, server: &str) -> bool {
        self.backoff.contains_key(&Scope::Server(server.to_owned()))
    }

    /// Requests that began at a server in the current second.
    pub(super) fn started(&self, server: &str, now: Monotonic) -> usize {
        let current =
            self.started.get(server).filter(|(begin, _)| now.since(*begin) < Duration::from_secs(1));
        current.map_or(0, |(_, count)| *count)
    }
}

fn scopes(key: &RequestKey) -> impl Iterator<Item = Scope> {
    let server = key.server().to_owned();
    let namespace = key
        .namespace()
        .map(|(tenant, namespace)| Scope::Namespace(server.clone(), tenant.to_owned(), namespace.to_owned()));
    [Some(Scope::Server(server)), namespace, Some(Scope::Request(key.clone()))].into_iter().flatten()
}

/// Between 90 and 110 percent of a duration, by the hash of a seed: the same seed gives the same duration.
fn jitter(duration: Duration, seed: &impl Hash) -> Duration {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    let per_mille = 900 + u32::try_from(hasher.finish() % 201).unwrap_or(100);
    duration / 1000 * per_mille
}

#[cfg(test)]
mod tests {
    use super::*;
    use function_mesh_api::names::TopicName;

    fn key(topic: &str) -> RequestKey {
        RequestKey::Stats { web: "http://a".into(), topic: TopicName::parse(topic).unwrap() }
    }

    fn due_after(outcome: Outcome, other: &str) -> (Duration, Duration) {
        let (mut schedule, limits) = (Schedule::default(), PlanLimits::default());
        let now = Monotonic(Duration::from_secs(100));
        schedule.finish(&key("t/n/a"), outcome, &limits, now);
        let due = |topic| schedule.due(&key(topic), limits.awake).since(now);
        (due("t/n/a"), due(other))
    }

    #[test]
    fn metrics_that_take_long_are_asked_for_less_often() {
        let metrics = RequestKey::Metrics { web: "http://a".into(), broker: "http://b".into() };
        let limits = PlanLimits::default();
        let interval = |key: &RequestKey, took: u64| {
            let (mut schedule, begun) = (Schedule::default(), Monotonic(Duration::from_secs(100)));
            schedule.start(key, false, begun);
            schedule.finish(key, Outcome::Answered, &limits, begun.after(Duration::from_secs(took)));
            schedule.due(key, limits.awake).since(begun).as_secs_f64().round()
        };
        let is_about = |found: f64, seconds: f64| (0.9 * seconds..=1.1 * seconds).contains(&found);
        for (took, seconds) in [(0, 10.0), (1, 10.0), (2, 20.0), (8, 30.0)] {
            let found = interval(&metrics, took);
            assert!(is_about(found, seconds), "{took}: {found}");
        }
        assert!(is_about(interval(&key("t/n/a"), 8), 10.0), "others are small");
    }

    #[test]
    fn a_failure_delays_what_it_affects() {
        let zero = Duration::ZERO;
        for (outcome, same_namespace, other_namespace) in [
            (Outcome::NoAnswer, true, true),
            (Outcome::Status(503), true, true),
            (Outcome::Status(403), true, false),
            (Outcome::Status(401), true, false),
            (Outcome::Status(404), false, false),
            (Outcome::Status(500), false, false),
            (Outcome::NoAnswerOfOwner, false, false),
            (Outcome::Unusable, false, false),
        ] {
            assert!(due_after(outcome, "t/n/b").0 > zero, "{outcome:?}");
            assert_eq!(due_after(outcome, "t/n/b").1 > zero, same_namespace, "{outcome:?}");
            assert_eq!(due_after(outcome, "t/m/b").1 > zero, other_namespace, "{outcome:?}");
            assert!(outcome.cause().is_some());
        }
        assert_eq!(due_after(Outcome::Answered, "t/n/b"), (zero, zero));
    }

    #[test]
    fn delays_double_up_to_a_limit_and_end_with_an_answer() {
        let (mut schedule, limits) = (Schedule::default(), PlanLimits::default());
        let mut now = Monotonic::default();
        let mut delays = Vec::new();
        for _ in 0..40 {
            schedule.finish(&key("a"), Outcome::NoAnswer, &limits, now);
            let until = schedule.due(&key("a"), Duration::ZERO);
            delays.push(until.since(now));
            now = until;
        }
        assert!(delays[1] > delays[0] && delays[0] >= Duration::from_millis(4500), "{delays:?}");
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(330)), "{delays:?}");
        assert!(schedule.is_failing("http://a"));
        schedule.finish(&key("b"), Outcome::Answered, &limits, now);
        assert!(!schedule.is_failing("http://a"));
    }

    #[test]
    fn state_of_requests_that_are_not_needed_is_dropped() {
        let (mut schedule, limits) = (Schedule::default(), PlanLimits::default());
        for number in 0..100 {
            let key = key(&format!("t{number}"));
            schedule.start(&key, true, Monotonic::default());
            schedule.finish(&key, Outcome::Status(404), &limits, Monotonic::default());
        }
        schedule.retain(|_| false);
        assert!(schedule.last.is_empty() && schedule.last_slow.is_empty());
        assert!(schedule.backoff.is_empty() && schedule.started.is_empty());
    }
}
