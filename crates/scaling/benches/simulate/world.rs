//! The simulated world: a broker, its topics, and the pods that work them off, as a discrete-event simulation.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::node::{Message, Node, NodeView};
use crate::trace::Trace;

/// Microseconds of simulated time.
pub(crate) type Time = u64;
pub(crate) const SECOND: Time = 1_000_000;

/// Something that happens.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    /// The next batch is published to the head.
    Publish,
    /// A pod finishes a message, unless it is gone.
    Finish { node: usize, pod: u64 },
    /// A pod becomes ready, unless it is gone.
    Ready { node: usize, pod: u64 },
    /// Counters are taken, once a second.
    Tick,
    /// The broker goes away or comes back.
    Broker { is_up: bool },
}

/// What decides the replicas of all nodes.
pub(crate) trait Scaler {
    /// Its name in the table.
    fn name(&self) -> &'static str;
    /// Called each second: the wanted replicas of each node, if it decides now.
    fn decide(&mut self, second: u64, views: &[NodeView]) -> Vec<Option<u32>>;
}

/// The figures of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Seconds in which the oldest message was older than the objective.
    pub(crate) late_seconds: u64,
    /// Sum of the pods over all seconds.
    pub(crate) replica_seconds: u64,
    /// Number of changes of the replicas.
    pub(crate) actions: u64,
    /// Messages lost by expiry.
    pub(crate) expired: u64,
    /// Oldest age ever, in seconds.
    pub(crate) longest_lag: u64,
    /// Every ten seconds: pods of all nodes, and the oldest age in seconds.
    pub(crate) series: Vec<(u32, u64)>,
}

/// The world of one run.
pub(crate) struct World<'a> {
    trace: &'a Trace,
    now: Time,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    sequence: u64,
    nodes: Vec<Node>,
    arrivals: fastrand::Rng,
    rng: fastrand::Rng,
    is_up: bool,
    /// Messages that producers hold while the broker is away.
    held: Vec<Message>,
    outcome: Outcome,
}

impl<'a> World<'a> {
    pub(crate) fn new(trace: &'a Trace, seed: u64) -> Self {
        let nodes = trace.nodes.iter().map(|spec| Node::new(spec.clone())).collect();
        Self {
            trace,
            now: 0,
            events: BinaryHeap::new(),
            sequence: 0,
            nodes,
            arrivals: fastrand::Rng::with_seed(seed),
            rng: fastrand::Rng::with_seed(seed ^ 0x9e37_79b9_7f4a_7c15),
            is_up: true,
            held: Vec::new(),
            outcome: Outcome::default(),
        }
    }

    /// Runs the whole trace.
    pub(crate) fn run(mut self, scaler: &mut dyn Scaler) -> Outcome {
        for node in 0..self.nodes.len() {
            let pods = self.nodes[node].spec.initial;
            self.scale(node, pods);
        }
        self.outcome.actions = 0;
        self.schedule(0, Event::Publish);
        self.schedule(SECOND, Event::Tick);
        if let Some((from, to)) = self.trace.away {
            self.schedule(from * SECOND, Event::Broker { is_up: false });
            self.schedule(to * SECOND, Event::Broker { is_up: true });
        }
        let end = self.trace.seconds * SECOND;
        while let Some(Reverse((time, _, event))) = self.events.pop() {
            if time > end {
                break;
            }
            self.now = time;
            match event {
                Event::Publish => self.publish(),
                Event::Finish { node, pod } => self.finish(node, pod),
                Event::Ready { node, pod } => {
                    self.nodes[node].ready(pod);
                    self.dispatch(node);
                }
                Event::Tick => self.tick(scaler),
                Event::Broker { is_up } => self.set_broker(is_up),
            }
        }
        self.outcome
    }

    fn schedule(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    /// Publishes a batch, and schedules the next one by a Poisson process.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn publish(&mut self) {
        let second = self.now as f64 / SECOND as f64;
        let rate = self.trace.rate_at(second);
        if rate <= 0.0 {
            self.schedule(self.now + SECOND / 2, Event::Publish);
            return;
        }
        let spec = &self.nodes[0].spec;
        let (batch, lanes, hot) = (spec.batch, spec.lanes, spec.hot_share);
        for _ in 0..batch {
            let lane =
                if lanes == 1 || self.arrivals.f64() < hot { 0 } else { self.arrivals.usize(1..lanes) };
            self.deliver(0, Message { origin: self.now, published: self.now, lane: lane as u32 });
        }
        self.dispatch(0);
        let gap = -(1.0 - self.arrivals.f64()).ln() * f64::from(batch) / rate;
        self.schedule(self.now + (gap.min(20.0) * SECOND as f64) as Time, Event::Publish);
    }

    fn deliver(&mut self, node: usize, message: Message) {
        if self.is_up {
            self.nodes[node].publish(message);
        } else {
            self.held.push(message);
        }
    }

    fn dispatch(&mut self, node: usize) {
        if !self.is_up {
            return;
        }
        for pod in self.nodes[node].dispatch() {
            self.start_work(node, pod);
        }
    }

    fn start_work(&mut self, node: usize, pod: u64) {
        if let Some(time) = self.nodes[node].start(pod, self.now, &mut self.rng) {
            self.schedule(time, Event::Finish { node, pod });
        }
    }

    fn finish(&mut self, node: usize, pod: u64) {
        let Some(message) = self.nodes[node].finish(pod, self.now) else { return };
        for (to, ratio) in self.nodes[node].spec.outputs.clone() {
            let mut copies = ratio;
            while copies > 0.0 {
                if copies >= 1.0 || self.rng.f64() < copies {
                    self.deliver(to, Message { published: self.now, lane: 0, ..message });
                }
                copies -= 1.0;
            }
            self.dispatch(to);
        }
        self.dispatch(node);
        self.start_work(node, pod);
    }

    fn set_broker(&mut self, is_up: bool) {
        self.is_up = is_up;
        if is_up {
            for message in std::mem::take(&mut self.held) {
                self.nodes[0].publish(Message { published: self.now, origin: self.now, ..message });
            }
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].set_connected(is_up, self.now);
            self.dispatch(node);
        }
    }

    fn scale(&mut self, node: usize, replicas: u32) {
        let mut started = Vec::new();
        let current = self.nodes[node].replicas();
        for _ in current..replicas {
            started.push(self.nodes[node].add_pod());
        }
        for _ in replicas..current {
            self.nodes[node].remove_pod(self.now);
        }
        let start = self.nodes[node].spec.start_seconds;
        for pod in started {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let delay = (start * (0.75 + 0.5 * self.rng.f64()) * SECOND as f64) as Time;
            // The trace begins with pods that run.
            let delay = if self.now == 0 { 0 } else { delay };
            self.schedule(self.now + delay, Event::Ready { node, pod });
        }
        if replicas < current {
            self.dispatch(node);
        }
    }

    fn tick(&mut self, scaler: &mut dyn Scaler) {
        let second = self.now / SECOND;
        self.schedule(self.now + SECOND, Event::Tick);
        let by_origin = self.nodes.len() > 1;
        let (mut lag, mut replicas) = (0, 0);
        for node in &mut self.nodes {
            self.outcome.expired += node.expire(self.now);
            let oldest = node.oldest(by_origin);
            lag = lag.max(oldest.map_or(0, |time| self.now.saturating_sub(time) / SECOND));
            replicas += node.replicas();
            node.note_second(second);
        }
        self.outcome.late_seconds += u64::from(lag > self.trace.objective);
        self.outcome.replica_seconds += u64::from(replicas);
        self.outcome.longest_lag = self.outcome.longest_lag.max(lag);
        if second.is_multiple_of(10) {
            self.outcome.series.push((replicas, lag));
        }
        let views: Vec<_> = self.nodes.iter().map(|node| node.view(self.now, self.is_up)).collect();
        for (node, wanted) in scaler.decide(second, &views).into_iter().enumerate() {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != self.nodes[node].replicas()) {
                self.outcome.actions += 1;
                self.scale(node, wanted);
            }
        }
    }
}
