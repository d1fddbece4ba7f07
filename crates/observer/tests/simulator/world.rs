//! Runs a scenario: the model second by second, and the observer every ten seconds.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use fastrand::Rng;
use function_mesh_observer::parse::{
    ParseLimits, StatsFlags, parse_backlog_policies, parse_broker_metrics, parse_partitioned_stats,
    parse_pod_metrics, parse_topic_stats,
};
use function_mesh_observer::stall::{StallPolicy, StallReason, Verdict, detect, effective_stall_after};
use function_mesh_observer::{
    Cause, Monotonic, Observation, PodObservation, Reading, ServerClock, TopicAnswer, TopicObservation,
    Tracker, TrackerSettings, Traffic, TrafficSettings, UnixMillis, Workload, WriteLimits, is_output_blocked,
};

use crate::broker::{Broker, Consumer, Message, Partition, SUBSCRIPTION, TOPIC};
use crate::scenario::{Fault, Scenario};

/// Wall clock of the operator when a run begins.
const EPOCH: u64 = 1_800_000_000;
/// Seconds for what was acknowledged since the last answers.
const STALENESS: u64 = 30;

#[derive(Clone, Debug, Default)]
pub struct Report {
    pub rounds: u64,
    pub stalls: u64,
    pub reported: u64,
    pub missed: u64,
    pub false_reports: u64,
    /// Longest time from the last acknowledgement to the report.
    pub slowest: Duration,
    pub unknown: u64,
    pub writes: u64,
    pub reasons: BTreeSet<StallReason>,
    pub in_rate_sum: f64,
    pub in_rates: u64,
}

impl Report {
    pub fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.stalls += other.stalls;
        self.reported += other.reported;
        self.missed += other.missed;
        self.false_reports += other.false_reports;
        self.slowest = self.slowest.max(other.slowest);
        self.unknown += other.unknown;
        self.writes += other.writes;
        self.reasons.extend(other.reasons);
        self.in_rate_sum += other.in_rate_sum;
        self.in_rates += other.in_rates;
    }
}

/// Counters of a pod.
#[derive(Clone, Debug, Default)]
struct Pod {
    received: u64,
    processed: u64,
    exceptions: u64,
    latency_ms: f64,
    /// Seconds of work that it may still do, negative while a call lasts.
    budget: f64,
}

pub struct World<'a> {
    scenario: &'a Scenario,
    rng: Rng,
    broker: Broker,
    pods: Vec<Pod>,
    /// Messages that wait for their redelivery.
    nacked: VecDeque<(u64, usize, Message)>,
    tracker: Tracker,
    written: Option<(Traffic, u64)>,
    report: Report,
    /// Whether the current stall was reported.
    episode: Option<bool>,
}

impl<'a> World<'a> {
    pub fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let consumer = Consumer { by_partition: vec![0; scenario.partitions], ..Consumer::default() };
        let broker = Broker {
            partitions: vec![Partition::default(); scenario.partitions],
            consumers: vec![consumer; scenario.pods],
            is_connected: true,
            is_output_full: false,
            is_partition_stuck: false,
            skew: EPOCH + scenario.skew,
            type_name: scenario.type_name,
            max_unacked: 5_000,
            receiver_queue: 1_000,
        };
        Self {
            scenario,
            rng: Rng::with_seed(seed),
            broker,
            pods: vec![Pod::default(); scenario.pods],
            nacked: VecDeque::new(),
            tracker: Tracker::new(TrackerSettings::default()),
            written: None,
            report: Report::default(),
            episode: None,
        }
    }

    pub fn run(mut self, seconds: u64) -> Report {
        let mut next_round = 0;
        for second in 0..seconds {
            self.step(second);
            if second >= next_round {
                self.round(second);
                // Jitter, and now and then a slow answer.
                next_round = second + 9 + self.rng.u64(..3) + if self.rng.u32(..50) == 0 { 12 } else { 0 };
            }
        }
        self.report
    }

    fn has(&self, fault: Fault, second: u64) -> bool {
        self.scenario.faults.iter().any(|(own, every)| *own == fault && every.is_now(second))
    }

    fn step(&mut self, second: u64) {
        if self.scenario.unload_every.is_some_and(|every| second > 0 && second.is_multiple_of(every)) {
            self.broker.unload();
        }
        let is_connected = !self.has(Fault::NotConnected, second);
        if self.broker.is_connected && !is_connected {
            self.broker.disconnect();
        }
        self.broker.is_connected = is_connected;
        self.broker.is_partition_stuck = self.has(Fault::PartitionStuck, second);
        self.broker.is_output_full = self.has(Fault::OutputHeld, second);
        for _ in 0..(self.scenario.load)(second, &mut self.rng) {
            let partition = self.rng.usize(..self.scenario.partitions);
            let is_delayed = self.scenario.delay > 0 && self.rng.bool();
            let deliverable = if is_delayed { second + self.scenario.delay } else { second };
            self.broker.publish(partition, second, deliverable);
        }
        while let Some((_, partition, message)) = self.nacked.pop_front_if(|(due, ..)| *due <= second) {
            self.broker.partitions[partition].queue.push_back(message);
            self.broker.partitions[partition].unacked -= 1;
        }
        self.broker.deliver(second);
        for number in 0..self.pods.len() {
            if is_connected {
                self.work(number, second);
            }
        }
        self.broker.note_waiting(second);
    }

    /// A second of a pod.
    fn work(&mut self, number: usize, second: u64) {
        let is_stuck = [Fault::Blocks, Fault::ThreadEnds, Fault::OutputHeld]
            .iter()
            .any(|fault| self.has(*fault, second))
            || (number == 0 && self.has(Fault::OnePodBlocks, second));
        if is_stuck {
            self.pods[number].budget = 0.0;
            return;
        }
        let (never_acks, raises) = (self.has(Fault::NeverAcks, second), self.has(Fault::Raises, second));
        if !never_acks {
            // What it kept, it gives back when it works again.
            self.broker.consumers[number].kept = 0;
        }
        // A hot key leaves the other pods little to do.
        let share = match self.scenario.hot_key {
            0 => 1.0,
            hot if number == 0 => f64::from(hot) / 100.0,
            hot => f64::from(100 - hot) / 100.0,
        };
        let call = self.scenario.call.as_secs_f64() / share;
        let pod = &mut self.pods[number];
        pod.budget = (pod.budget + 1.0).min(1.0);
        while pod.budget > 0.0 {
            let consumer = &mut self.broker.consumers[number];
            if never_acks {
                if consumer.kept >= consumer.delivered.len() {
                    break;
                }
                consumer.kept += 1;
                pod.received += 1;
                pod.budget -= call;
                continue;
            }
            let Some((partition, message)) = consumer.delivered.pop_front() else { break };
            consumer.by_partition[partition] -= 1;
            pod.received += 1;
            pod.budget -= call;
            if raises {
                pod.exceptions += 1;
                // A message that waits for its redelivery still counts as delivered.
                self.nacked.push_back((second + 60, partition, message));
            } else {
                pod.processed += 1;
                pod.latency_ms += call * 1000.0;
                self.broker.ack(partition, second);
            }
        }
    }

    fn pod_metrics(&self, number: usize) -> String {
        let pod = &self.pods[number];
        let labels = format!("{{tenant=\"public\",name=\"f\",instance_id=\"{number}\"}}");
        format!(
            "pulsar_function_received_total{labels} {}.0\n\
             pulsar_function_processed_successfully_total{labels} {}.0\n\
             pulsar_function_user_exceptions_total{labels} {}.0\n\
             pulsar_function_process_latency_ms_sum{labels} {}\n\
             pulsar_function_process_latency_ms_count{labels} {}.0\n",
            pod.received, pod.processed, pod.exceptions, pod.latency_ms, pod.processed
        )
    }

    fn missing(&mut self, second: u64) -> Vec<usize> {
        if !self.has(Fault::PartialPartitions, second) {
            return Vec::new();
        }
        (0..self.scenario.partitions).filter(|_| self.rng.u32(..3) == 0).collect()
    }

    fn ask(&mut self, second: u64, flags: StatsFlags) -> Result<TopicAnswer, Cause> {
        if self.has(Fault::BrokerAway, second) {
            return Err(Cause::Failed);
        }
        let missing = self.missing(second);
        let limits = ParseLimits::default();
        if self.scenario.is_by_metrics && !flags.consumers && !flags.earliest_time {
            let text = self.broker.metrics(&missing);
            let metrics = parse_broker_metrics(text.as_bytes(), &limits, |_, _| true).unwrap();
            return metrics.answer(TOPIC, self.scenario.partitions);
        }
        let text = self.broker.stats(flags.consumers, flags.earliest_time, &missing);
        parse_partitioned_stats(text.as_bytes(), flags, &limits, |name| name == SUBSCRIPTION)
            .map_err(|error| Cause::from(&error))
    }

    fn round(&mut self, second: u64) {
        let now = Monotonic(Duration::from_secs(second));
        let policy = StallPolicy { start_time: Duration::ZERO, ..StallPolicy::default() };
        let needs_details = self.tracker.needs_details(now, policy.stall_after);
        let flags = StatsFlags { consumers: needs_details, earliest_time: second % 60 < 11 };
        let wall = UnixMillis((EPOCH + second) * 1000);
        let server = UnixMillis(self.broker.clock(second));
        let answer = self.ask(second, flags);
        let limits = ParseLimits::default();
        let output =
            parse_topic_stats("out", self.broker.output().as_bytes(), flags, &limits, |_| false).unwrap();
        let policies = br#"{"destination_storage":{"policy":"producer_request_hold"}}"#;
        let stops = parse_backlog_policies(policies, &limits).unwrap();
        let is_output_blocked = if needs_details && answer.is_ok() {
            is_output_blocked(&Ok(output), stops)
        } else {
            Reading::Unknown(Cause::NotAsked)
        };
        let pods = (0..self.pods.len()).map(|number| PodObservation {
            ordinal: number as u64,
            at: now,
            stats: Ok(parse_pod_metrics(self.pod_metrics(number).as_bytes(), &limits).unwrap()),
        });
        let observation = Observation {
            at: now,
            wall,
            clock: ServerClock::measure(server, wall, wall),
            topics: vec![TopicObservation { topic: TOPIC.into(), subscription: SUBSCRIPTION.into(), answer }],
            is_output_blocked,
            pods: pods.collect(),
        };
        let pods = self.scenario.pods as u32;
        let workload = Workload { wanted: pods, ready: pods, ready_since: Some(Monotonic::default()) };
        self.tracker.observe(&observation, &workload);
        let verdict = detect(&self.tracker, &workload, &policy, now);
        self.judge(&verdict, second, effective_stall_after(&self.tracker, &policy).as_secs());
        self.summarize(second);
    }

    /// Compares a verdict with the truth.
    fn judge(&mut self, verdict: &Verdict, second: u64, stall_after: u64) {
        self.report.rounds += 1;
        self.report.unknown += u64::from(matches!(verdict, Verdict::Unknown(_)));
        let truth = self.broker.true_stall(second);
        let in_fault = self.scenario.faults.iter().any(|(fault, every)| {
            // Redelivery needs a minute after an exception.
            fault.is_stall() && (every.is_now(second) || every.is_now(second.saturating_sub(90)))
        });
        if let Some(stall) = verdict.stall() {
            self.report.reasons.insert(stall.reason);
            let is_false = truth + STALENESS < stall_after || !in_fault;
            self.report.false_reports += u64::from(is_false);
        }
        let is_stalled = in_fault && truth >= stall_after;
        match (self.episode, is_stalled) {
            (None, true) => {
                self.report.stalls += 1;
                self.episode = Some(false);
            }
            (Some(is_reported), false) => {
                self.report.missed += u64::from(!is_reported);
                self.episode = None;
            }
            _ => {}
        }
        if self.episode == Some(false) && verdict.stall().is_some() {
            self.episode = Some(true);
            self.report.reported += 1;
            self.report.slowest = self.report.slowest.max(Duration::from_secs(truth));
        }
    }

    /// Counts what a status would cost.
    fn summarize(&mut self, second: u64) {
        let now = Monotonic(Duration::from_secs(second));
        let traffic = Traffic::summarize(self.tracker.window(), now, &TrafficSettings::default());
        let is_worth = match &self.written {
            None => traffic.backlog.is_known(),
            Some((previous, at)) => {
                let since = Duration::from_secs(second - at);
                traffic.is_meaningful_change(previous, since, &WriteLimits::default())
            }
        };
        if is_worth {
            self.report.writes += 1;
            self.written = Some((traffic, second));
        }
        if let Reading::Known(rate) = traffic.in_rate {
            self.report.in_rate_sum += rate;
            self.report.in_rates += 1;
        }
    }
}
