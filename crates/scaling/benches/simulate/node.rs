//! A component in the simulated world: its topic, its pods with their receiver queues, and its counters.

use std::collections::VecDeque;

use crate::world::{SECOND, Time};

/// Messages that a consumer receives before it works on them: Pulsar's `receiverQueueSize`.
const PREFETCH: usize = 1_000;
/// Age at which the namespace expires messages.
const TIME_TO_LIVE: Time = 3 * 3600 * SECOND;

/// A message of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    /// When the first message that led to it was published.
    pub(crate) origin: Time,
    /// When it was published.
    pub(crate) published: Time,
    /// Its partition, or the hash range of its key.
    pub(crate) lane: u32,
}

/// A component.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// Mean time of work on a message, in seconds.
    pub(crate) work_seconds: f64,
    /// Mean time from a pod to its first message, in seconds.
    pub(crate) start_seconds: f64,
    /// Messages of an entry.
    pub(crate) batch: u32,
    /// Hash ranges of keys; 1 for Shared.
    pub(crate) lanes: usize,
    /// Share of the first of them.
    pub(crate) hot_share: f64,
    /// Messages that a service behind it works on at once; more of them make each slower.
    pub(crate) parallel: Option<f64>,
    /// Whether the pods' busy share is worth anything.
    pub(crate) is_synchronous: bool,
    /// Successors, and messages for each of them by message.
    pub(crate) outputs: Vec<(usize, f64)>,
    /// Pods at the beginning.
    pub(crate) initial: u32,
    pub(crate) max: u32,
}

#[derive(Debug)]
struct Pod {
    id: u64,
    is_ready: bool,
    queue: VecDeque<Message>,
    work: Option<(Message, Time)>,
}

/// What a scaler can see of a component.
#[derive(Clone, Debug)]
pub(crate) struct NodeView {
    /// Whether broker and pods answer.
    pub(crate) is_up: bool,
    pub(crate) replicas: u32,
    pub(crate) ready: u32,
    pub(crate) max: u32,
    pub(crate) batch: u32,
    /// Entries that are not acknowledged.
    pub(crate) backlog: u64,
    pub(crate) unacked: u64,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) processed: u64,
    /// Pod-seconds of work.
    pub(crate) busy_seconds: f64,
    /// Acknowledged messages a second, renewed by the broker once a minute.
    pub(crate) ack_rate: f64,
    /// Age of the oldest message, in seconds.
    pub(crate) lag: u64,
    pub(crate) is_synchronous: bool,
    pub(crate) lanes: usize,
    pub(crate) outputs: Vec<(usize, f64)>,
}

/// A component that runs.
pub(crate) struct Node {
    pub(crate) spec: Spec,
    lanes: Vec<VecDeque<Message>>,
    pods: Vec<Pod>,
    next_id: u64,
    turn: usize,
    working: u32,
    waiting: u64,
    held: u64,
    published: u64,
    delivered: u64,
    processed: u64,
    busy: Time,
    ack_rate: f64,
    processed_then: u64,
    is_connected: bool,
}

impl Node {
    pub(crate) fn new(spec: Spec) -> Self {
        let lanes = vec![VecDeque::new(); spec.lanes];
        Self {
            spec,
            lanes,
            pods: Vec::new(),
            next_id: 0,
            turn: 0,
            working: 0,
            waiting: 0,
            held: 0,
            published: 0,
            delivered: 0,
            processed: 0,
            busy: 0,
            ack_rate: 0.0,
            processed_then: 0,
            is_connected: true,
        }
    }

    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn replicas(&self) -> u32 {
        self.pods.len() as u32
    }

    pub(crate) fn publish(&mut self, message: Message) {
        self.published += 1;
        self.waiting += 1;
        self.lanes[message.lane as usize].push_back(message);
    }

    pub(crate) fn add_pod(&mut self) -> u64 {
        self.next_id += 1;
        self.pods.push(Pod { id: self.next_id, is_ready: false, queue: VecDeque::new(), work: None });
        self.next_id
    }

    /// Removes the last pod, as a StatefulSet does. What it holds is delivered again.
    pub(crate) fn remove_pod(&mut self, now: Time) {
        if let Some(mut pod) = self.pods.pop() {
            self.release(&mut pod, now);
        }
    }

    fn release(&mut self, pod: &mut Pod, now: Time) {
        while let Some(message) = pod.queue.pop_back() {
            self.give_back(message);
        }
        if let Some((message, since)) = pod.work.take() {
            self.working -= 1;
            self.busy += now - since;
            self.give_back(message);
        }
    }

    fn give_back(&mut self, message: Message) {
        self.held -= 1;
        self.waiting += 1;
        self.lanes[message.lane as usize].push_front(message);
    }

    pub(crate) fn ready(&mut self, id: u64) {
        if let Some(pod) = self.pods.iter_mut().find(|pod| pod.id == id) {
            pod.is_ready = true;
        }
    }

    /// The connection to the broker: without it, what the pods hold is delivered again later.
    pub(crate) fn set_connected(&mut self, is_connected: bool, now: Time) {
        self.is_connected = is_connected;
        if !is_connected {
            let mut pods = std::mem::take(&mut self.pods);
            for pod in &mut pods {
                self.release(pod, now);
            }
            self.pods = pods;
        }
    }

    /// Sends what waits to pods that have room. Returns the pods that can begin to work.
    pub(crate) fn dispatch(&mut self) -> Vec<u64> {
        let ready: Vec<usize> = (0..self.pods.len()).filter(|pod| self.pods[*pod].is_ready).collect();
        let mut idle = Vec::new();
        if ready.is_empty() || self.waiting == 0 || !self.is_connected {
            return idle;
        }
        for lane in 0..self.lanes.len() {
            while !self.lanes[lane].is_empty() {
                let free = if self.lanes.len() == 1 {
                    self.turn += 1;
                    let turn = self.turn;
                    (0..ready.len())
                        .map(|step| ready[(turn + step) % ready.len()])
                        .find(|pod| self.has_room(*pod))
                } else {
                    // A key stays with its pod.
                    Some(ready[lane % ready.len()]).filter(|pod| self.has_room(*pod))
                };
                let Some(pod) = free else { break };
                let Some(message) = self.lanes[lane].pop_front() else { break };
                self.waiting -= 1;
                self.held += 1;
                self.delivered += 1;
                let pod = &mut self.pods[pod];
                if pod.work.is_none() && pod.queue.is_empty() {
                    idle.push(pod.id);
                }
                pod.queue.push_back(message);
            }
        }
        idle
    }

    fn has_room(&self, pod: usize) -> bool {
        self.pods[pod].queue.len() < PREFETCH
    }

    /// Begins to work on the next message. Returns when it will be finished.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    pub(crate) fn start(&mut self, id: u64, now: Time, rng: &mut fastrand::Rng) -> Option<Time> {
        let pod = self.pods.iter_mut().find(|pod| pod.id == id && pod.work.is_none())?;
        let message = pod.queue.pop_front()?;
        pod.work = Some((message, now));
        self.working += 1;
        let crowd = self.spec.parallel.map_or(1.0, |parallel| (f64::from(self.working) / parallel).max(1.0));
        let seconds = self.spec.work_seconds * crowd * (0.5 + rng.f64());
        Some(now + (seconds * SECOND as f64) as Time)
    }

    /// Acknowledges the message that a pod worked on.
    pub(crate) fn finish(&mut self, id: u64, now: Time) -> Option<Message> {
        let pod = self.pods.iter_mut().find(|pod| pod.id == id)?;
        let (message, since) = pod.work.take()?;
        self.working -= 1;
        self.held -= 1;
        self.processed += 1;
        self.busy += now - since;
        Some(message)
    }

    pub(crate) fn expire(&mut self, now: Time) -> u64 {
        let mut expired = 0;
        for lane in &mut self.lanes {
            while lane.front().is_some_and(|message| now - message.published > TIME_TO_LIVE) {
                lane.pop_front();
                expired += 1;
            }
        }
        self.waiting -= expired;
        expired
    }

    /// The publish time of the oldest message, or of the one that led to it.
    pub(crate) fn oldest(&self, by_origin: bool) -> Option<Time> {
        let waiting = self.lanes.iter().filter_map(VecDeque::front);
        let held =
            self.pods.iter().filter_map(|pod| pod.work.as_ref().map(|(it, _)| it).or(pod.queue.front()));
        waiting.chain(held).map(|it| if by_origin { it.origin } else { it.published }).min()
    }

    /// The broker renews its rates once a minute.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn note_second(&mut self, second: u64) {
        if second.is_multiple_of(60) {
            self.ack_rate = (self.processed - self.processed_then) as f64 / 60.0;
            self.processed_then = self.processed;
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    pub(crate) fn view(&self, now: Time, is_up: bool) -> NodeView {
        let under_way: Time =
            self.pods.iter().filter_map(|pod| pod.work.as_ref()).map(|(_, at)| now - at).sum();
        NodeView {
            is_up,
            replicas: self.replicas(),
            ready: self.pods.iter().filter(|pod| pod.is_ready).count() as u32,
            max: self.spec.max,
            batch: self.spec.batch,
            backlog: (self.waiting + self.held).div_ceil(u64::from(self.spec.batch)),
            unacked: self.held,
            published: self.published,
            delivered: self.delivered,
            processed: self.processed,
            busy_seconds: (self.busy + under_way) as f64 / SECOND as f64,
            ack_rate: self.ack_rate,
            lag: self.oldest(false).map_or(0, |time| now.saturating_sub(time) / SECOND),
            is_synchronous: self.spec.is_synchronous,
            lanes: self.spec.lanes,
            outputs: self.spec.outputs.clone(),
        }
    }
}
