//! The state of one component between rounds: last samples, runs without acknowledgement, and the window.
//!
//! Its size is bounded by the number of partitions and pods of the last round, and by the length of the window.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::observation::{Observation, TopicObservation, Workload};
use crate::series::{PodSeries, PodStep, Rates, Series, duration};
use crate::stats::{ConsumerStats, SubscriptionStats, TopicStats};
use crate::{Cause, Monotonic, Point, Reading, UnixMillis, Window};

/// Milliseconds by which two measurements of the same clocks can differ.
const CLOCK_NOISE: u64 = 10_000;

/// Settings of a tracker.
#[derive(Clone, Copy, Debug)]
pub struct TrackerSettings {
    /// Length of the window, in points.
    pub points: usize,
    /// Time after which a sample is too old, for rates across it and for a judgement.
    pub max_age: Duration,
    /// Time without an acknowledgement on any topic after which the next one ends a stall.
    pub stall_after: Duration,
}

impl Default for TrackerSettings {
    fn default() -> Self {
        let minutes = Duration::from_mins;
        Self { points: 64, max_age: minutes(1), stall_after: minutes(5) }
    }
}

/// What was found out about a topic last.
#[derive(Clone, Debug)]
pub(crate) struct TopicState {
    /// When all its partitions last reported the subscription.
    pub(crate) complete_at: Option<Monotonic>,
    /// Why the last answer was not complete.
    pub(crate) cause: Option<Cause>,
}

/// The samples of a component.
#[derive(Clone, Debug)]
pub struct Tracker {
    pub(crate) settings: TrackerSettings,
    pub(crate) window: Window,
    /// By name of the topic or partition, and subscription.
    pub(crate) series: BTreeMap<(String, String), Series>,
    pub(crate) topics: BTreeMap<String, TopicState>,
    pods: BTreeMap<u64, PodSeries>,
    /// Exceptions seen since the tracker began.
    pub(crate) exceptions: Reading<u64>,
    /// Since when no topic has the subscription, though all answer.
    pub(crate) absent_since: Option<Monotonic>,
    pub(crate) is_output_blocked: Reading<bool>,
    /// When an acknowledgement was last seen on any topic, or the tracker began.
    progress_at: Option<Monotonic>,
    /// When the last stall of the whole component ended.
    pub(crate) resumed_at: Option<Monotonic>,
    /// The last acknowledgement on the broker's clock, and on the operator's.
    last_acked: Option<(UnixMillis, UnixMillis)>,
    longest_call: Reading<Duration>,
    p99: Reading<Duration>,
    mean_call: Reading<Duration>,
    /// Unacknowledged messages by instance, of the last round with details.
    unacked: BTreeMap<u64, u64>,
}

/// The readings of the partitions of a round.
#[derive(Default)]
struct Parts {
    backlog: Vec<Reading<u64>>,
    ready_backlog: Vec<Reading<u64>>,
    unacked: Vec<Reading<u64>>,
    incoming: Vec<Reading<f64>>,
    outgoing: Vec<Reading<f64>>,
    acked: Vec<Reading<f64>>,
    redelivered: Vec<Reading<f64>>,
    lag: Vec<Reading<u64>>,
}

impl Parts {
    fn unknown(&mut self, cause: Cause) {
        let counts = [&mut self.backlog, &mut self.ready_backlog, &mut self.unacked, &mut self.lag];
        for count in counts {
            count.push(Reading::Unknown(cause));
        }
        let rates = [&mut self.incoming, &mut self.outgoing, &mut self.acked, &mut self.redelivered];
        for rate in rates {
            rate.push(Reading::Unknown(cause));
        }
    }
}

impl Tracker {
    /// A tracker without samples.
    pub fn new(settings: TrackerSettings) -> Self {
        Self {
            settings,
            window: Window::new(settings.points),
            series: BTreeMap::new(),
            topics: BTreeMap::new(),
            pods: BTreeMap::new(),
            exceptions: Reading::Unknown(Cause::NotAsked),
            absent_since: None,
            is_output_blocked: Reading::Unknown(Cause::NotAsked),
            progress_at: None,
            resumed_at: None,
            last_acked: None,
            longest_call: Reading::Unknown(Cause::NotAsked),
            p99: Reading::Unknown(Cause::NotAsked),
            mean_call: Reading::Unknown(Cause::NotAsked),
            unacked: BTreeMap::new(),
        }
    }

    /// Sets the time after which a sample is too old. It has to be longer than the time between two requests.
    pub const fn set_max_age(&mut self, max_age: Duration) {
        self.settings.max_age = max_age;
    }

    /// The window of points.
    pub const fn window(&self) -> &Window {
        &self.window
    }

    /// The longest call seen so far: the highest mean or 99th percentile of any sample.
    pub const fn longest_call(&self) -> Reading<Duration> {
        self.longest_call
    }

    /// The 99th percentile of calls, or their mean where the runner reports no percentile.
    pub fn typical_call(&self) -> Reading<Duration> {
        self.p99.or(self.mean_call)
    }

    /// Unacknowledged messages by ordinal of the pod, as of the last answer with details of consumers.
    pub const fn unacked_by_pod(&self) -> &BTreeMap<u64, u64> {
        &self.unacked
    }

    /// Whether messages have waited for half of this time without an acknowledgement, so that the next request is worth
    /// details of consumers.
    pub fn needs_details(&self, now: Monotonic, stall_after: Duration) -> bool {
        let mut runs = self.series.values().filter_map(|series| series.run.as_ref_known());
        runs.any(|run| now.since(run.since) * 2 >= stall_after)
    }

    /// Whether an acknowledgement was seen after this time.
    pub fn has_progressed_since(&self, time: Monotonic) -> bool {
        self.series.values().any(|series| series.progress_at.is_some_and(|at| at > time))
    }

    /// Whether messages wait on a topic, or it is unknown.
    pub fn has_waiting(&self) -> bool {
        self.series.is_empty() || self.series.values().any(|series| series.run != Reading::Known(None))
    }

    /// Takes the answers of a round. One that is not later than the round before is ignored.
    pub fn observe(&mut self, observation: &Observation, workload: &Workload) {
        let at = observation.at;
        if self.window.last().is_some_and(|last| last.at >= at) {
            return;
        }
        let pods = self.observe_pods(observation);
        let mut parts = Parts::default();
        let mut seen = BTreeSet::new();
        let mut has_details = false;
        let mut unacked = BTreeMap::new();
        let mut absent = 0;
        for topic in &observation.topics {
            if !seen.insert(topic.topic.clone()) {
                continue;
            }
            let cause = self.observe_topic(topic, observation, &mut parts);
            absent += usize::from(cause == Some(Cause::NoSubscription));
            let entry = self.topics.entry(topic.topic.clone());
            let state = entry.or_insert(TopicState { complete_at: None, cause });
            state.cause = cause;
            if cause.is_none() {
                state.complete_at = Some(at);
            }
            if let Ok(answer) = &topic.answer {
                for stats in answer.parts.iter().filter_map(|part| part.subscription(&topic.subscription)) {
                    has_details |= !stats.consumer_details.is_empty();
                    add_unacked(&mut unacked, &stats.consumer_details);
                }
            }
        }
        if has_details {
            self.unacked = unacked;
        }
        self.topics.retain(|name, _| seen.contains(name));
        self.series.retain(|_, series| seen.contains(&series.topic));
        self.absent_since = match absent {
            0 => None,
            // A topic that does not answer leaves the question open.
            absent if absent == seen.len() => self.absent_since.or(Some(at)),
            _ => None,
        };
        self.is_output_blocked = observation.is_output_blocked;
        self.note_progress(at);
        self.note_last_acked(observation);
        self.window.push(Point {
            at,
            wall: observation.wall,
            backlog: Reading::<u64>::sum(parts.backlog),
            ready_backlog: Reading::<u64>::sum(parts.ready_backlog),
            unacked: Reading::<u64>::sum(parts.unacked),
            in_rate: Reading::<f64>::sum(parts.incoming),
            out_rate: Reading::<f64>::sum(parts.outgoing),
            ack_rate: Reading::<f64>::sum(parts.acked),
            redelivery_rate: Reading::<f64>::sum(parts.redelivered),
            lag: Reading::fold(parts.lag, u64::max),
            ready: workload.ready,
            processed_rate: pods.processed,
            busy: pods.busy,
            exceptions: pods.exceptions,
            last_acked: self
                .last_acked
                .map_or(Reading::Unknown(Cause::NotAsked), |(_, local)| Reading::Known(local)),
        });
    }

    /// Takes the answer for a topic. Returns why it is not complete.
    fn observe_topic(
        &mut self,
        topic: &TopicObservation,
        observation: &Observation,
        parts: &mut Parts,
    ) -> Option<Cause> {
        let answer = match &topic.answer {
            Ok(answer) => answer,
            Err(cause) => {
                if *cause == Cause::NotFound {
                    // A topic of that name that comes later is another one.
                    self.series.retain(|_, series| series.topic != topic.topic);
                }
                parts.unknown(*cause);
                return Some(*cause);
            }
        };
        let mut missing = None;
        let mut present = 0;
        for part in &answer.parts {
            let key = (part.topic.clone(), topic.subscription.clone());
            let Some(stats) = part.subscription(&topic.subscription) else {
                self.series.remove(&key);
                missing = Some(Cause::NoSubscription);
                continue;
            };
            present += 1;
            self.observe_part(key, &topic.topic, part, stats, observation, parts);
        }
        if !answer.is_complete() {
            missing = Some(Cause::Incomplete);
        } else if missing.is_some() && present > 0 {
            // The consumer has subscribed to some partitions so far.
            missing = Some(Cause::Incomplete);
        }
        if let Some(cause) = missing {
            parts.unknown(cause);
        }
        missing
    }

    fn observe_part(
        &mut self,
        key: (String, String),
        topic: &str,
        part: &TopicStats,
        stats: &SubscriptionStats,
        observation: &Observation,
        parts: &mut Parts,
    ) {
        let at = observation.at;
        let exceptions = self.exceptions.known().unwrap_or_default();
        let rates = if let Some(series) = self.series.get_mut(&key) {
            series.observe(at, part.in_counter, stats, exceptions, self.settings.max_age)
        } else {
            self.series.insert(key, Series::new(topic, at, part.in_counter, stats, exceptions));
            let first = Reading::Unknown(Cause::TooFewSamples);
            Rates { incoming: first, outgoing: first }
        };
        let ready = stats.ready_backlog();
        parts.backlog.push(stats.backlog);
        parts.ready_backlog.push(ready);
        parts.unacked.push(stats.counted_unacked());
        parts.incoming.push(rates.incoming);
        parts.outgoing.push(rates.outgoing);
        parts.acked.push(stats.ack_rate);
        parts.redelivered.push(stats.redelivery_rate);
        let server_now = observation.clock.to_server(observation.wall);
        parts.lag.push(match (ready, stats.earliest_publish) {
            (Reading::Known(0), _) => Reading::Known(0),
            (_, earliest) => earliest.map(|time| server_now.seconds_since(UnixMillis(time))),
        });
    }

    /// Keeps when a component makes progress again: its partitions are worked off one after another.
    fn note_progress(&mut self, at: Monotonic) {
        let before = *self.progress_at.get_or_insert(at);
        if self.series.values().any(|series| series.progress_at == Some(at)) {
            if at.since(before) >= self.settings.stall_after {
                self.resumed_at = Some(at);
            }
            self.progress_at = Some(at);
        }
    }

    /// Keeps the last acknowledgement: the broker forgets it with the consumer or when it loads the topic. The newest one is
    /// that of the broker's clock; the operator's may be set back.
    fn note_last_acked(&mut self, observation: &Observation) {
        let current = self.series.values().filter(|series| series.at == observation.at);
        let times = current.filter_map(|series| series.stats.last_acked.known()).filter(|time| *time > 0);
        let before = self.last_acked;
        let newest = times.map(UnixMillis).chain(before.map(|(server, _)| server)).max();
        self.last_acked = newest.map(|server| {
            let local = observation.clock.to_local(server);
            // Each answer measures the clocks: the same acknowledgement does not move with the noise.
            let kept = before.filter(|(own, kept)| *own == server && kept.0.abs_diff(local.0) <= CLOCK_NOISE);
            (server, kept.map_or(local, |(_, kept)| kept))
        });
    }

    /// Takes the answers of pods, and sums what changed.
    #[allow(clippy::cast_precision_loss, reason = "a mean needs no more than 52 bits")]
    fn observe_pods(&mut self, observation: &Observation) -> PodStep {
        let max_age = self.settings.max_age;
        let mut steps: Vec<PodStep> = Vec::new();
        for pod in &observation.pods {
            let stats = match &pod.stats {
                Ok(stats) => stats,
                Err(cause) => {
                    steps.push(PodStep::unknown(*cause));
                    continue;
                }
            };
            steps.push(if let Some(series) = self.pods.get_mut(&pod.ordinal) {
                series.observe(pod.at, stats, max_age)
            } else {
                self.pods.insert(pod.ordinal, PodSeries::new(pod.at, stats.clone()));
                PodStep::unknown(Cause::TooFewSamples)
            });
        }
        let ordinals: BTreeSet<_> = observation.pods.iter().map(|pod| pod.ordinal).collect();
        self.pods.retain(|ordinal, _| ordinals.contains(ordinal));
        // Exceptions of the pods that answered count, even if another pod did not.
        let known = Reading::<u64>::sum(steps.iter().map(|it| it.exceptions).filter(Reading::is_known));
        if let Reading::Known(new) = known {
            self.exceptions = Reading::Known(self.exceptions.known().unwrap_or_default().saturating_add(new));
        }
        self.note_calls(&steps);
        let pods = steps.len().max(1) as f64;
        PodStep {
            exceptions: Reading::<u64>::sum(steps.iter().map(|it| it.exceptions)),
            processed: Reading::<f64>::sum(steps.iter().map(|it| it.processed)),
            busy: Reading::<f64>::sum(steps.iter().map(|it| it.busy)).map(|sum| sum / pods),
            call: Reading::Unknown(Cause::NotAsked),
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a mean needs no more than 52 bits")]
    fn note_calls(&mut self, steps: &[PodStep]) {
        let stats = || self.pods.values().map(|pod| &pod.stats);
        let p99 = stats().filter_map(|pod| pod.latency_p99.known()).filter_map(duration).max();
        // Without recent calls the percentile is missing, and the last one still holds.
        self.p99 = Reading::from(p99).or(self.p99);
        let sum: f64 = stats().filter_map(|pod| pod.latency_sum.known()).sum();
        let count: u64 = stats().filter_map(|pod| pod.latency_count.known()).fold(0, u64::saturating_add);
        if count > 0 {
            self.mean_call = Reading::from(duration(sum / count as f64)).or(self.mean_call);
        }
        let longest = steps.iter().filter_map(|step| step.call.known()).chain(self.p99.known()).max();
        if let Some(longest) = longest {
            let before = self.longest_call.known().unwrap_or_default();
            self.longest_call = Reading::Known(before.max(longest));
        }
    }
}

fn add_unacked(unacked: &mut BTreeMap<u64, u64>, consumers: &[ConsumerStats]) {
    for consumer in consumers {
        if let (Reading::Known(instance), Reading::Known(count)) = (consumer.instance, consumer.unacked) {
            let total = unacked.entry(instance).or_default();
            *total = total.saturating_add(count);
        }
    }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
