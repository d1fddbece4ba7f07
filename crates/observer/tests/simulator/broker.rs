//! A model of a broker's topic with one subscription: counters, deliveries, acknowledgements, and its answers as text.

use std::collections::VecDeque;
use std::fmt::Write as _;

pub const TOPIC: &str = "persistent://public/default/in";
pub const SUBSCRIPTION: &str = "public/default/f";

/// A message: when it was published, on the broker's clock in milliseconds, and when it can be delivered again.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    pub published: u64,
    pub deliverable: u64,
}

/// A partition.
#[derive(Clone, Debug, Default)]
pub struct Partition {
    pub queue: VecDeque<Message>,
    /// Messages whose time has not come, in the order of their time.
    pub delayed: VecDeque<Message>,
    /// Delivered and not acknowledged.
    pub unacked: usize,
    pub in_counter: u64,
    pub out_counter: u64,
    pub last_acked: u64,
    pub last_consumed: u64,
    pub last_mark_delete: u64,
    /// Second of the last acknowledgement: the truth, which no answer contains.
    pub true_ack: u64,
    /// Since which second messages have waited without a break.
    pub waiting_since: Option<u64>,
}

/// A pod's consumer.
#[derive(Clone, Debug, Default)]
pub struct Consumer {
    /// Delivered and not acknowledged: partition and message.
    pub delivered: VecDeque<(usize, Message)>,
    /// Their number by partition.
    pub by_partition: Vec<usize>,
    /// How many of them the function has taken and keeps.
    pub kept: usize,
}

/// The topic and its consumers.
#[derive(Clone, Debug)]
pub struct Broker {
    pub partitions: Vec<Partition>,
    pub consumers: Vec<Consumer>,
    pub is_connected: bool,
    pub is_output_full: bool,
    pub is_partition_stuck: bool,
    /// How far the broker's clock is ahead, in seconds.
    pub skew: u64,
    pub type_name: &'static str,
    pub max_unacked: usize,
    pub receiver_queue: usize,
}

impl Broker {
    /// Milliseconds of the broker's clock.
    pub fn clock(&self, second: u64) -> u64 {
        (second + self.skew) * 1000
    }

    pub fn publish(&mut self, partition: usize, second: u64, deliverable: u64) {
        let message = Message { published: self.clock(second), deliverable };
        let partition = &mut self.partitions[partition];
        partition.in_counter += 1;
        if deliverable > second {
            partition.delayed.push_back(message);
        } else {
            partition.queue.push_back(message);
        }
    }

    /// Delivers to consumers with free permits, in turn.
    pub fn deliver(&mut self, second: u64) {
        for partition in &mut self.partitions {
            while let Some(message) = partition.delayed.pop_front_if(|it| it.deliverable <= second) {
                partition.queue.push_back(message);
            }
        }
        if !self.is_connected {
            return;
        }
        let now = self.clock(second);
        for number in 0..self.consumers.len() {
            for partition in 0..self.partitions.len() {
                // Each consumer of an ordered subscription has its partitions.
                if self.type_name == "Failover" && partition % self.consumers.len() != number {
                    continue;
                }
                while !(partition == 0 && self.is_partition_stuck) && self.has_permits(number, partition) {
                    let Some(message) = self.partitions[partition].queue.pop_front() else { break };
                    self.consumers[number].delivered.push_back((partition, message));
                    self.consumers[number].by_partition[partition] += 1;
                    self.partitions[partition].unacked += 1;
                    self.partitions[partition].out_counter += 1;
                    self.partitions[partition].last_consumed = now;
                }
            }
        }
    }

    /// The client has a queue for each partition.
    fn has_permits(&self, consumer: usize, partition: usize) -> bool {
        let consumer = &self.consumers[consumer];
        let queued = consumer.by_partition.get(partition).copied().unwrap_or_default();
        consumer.delivered.len() < self.max_unacked
            && queued.saturating_sub(consumer.kept) < self.receiver_queue
    }

    pub fn ack(&mut self, partition: usize, second: u64) {
        let now = self.clock(second);
        let partition = &mut self.partitions[partition];
        partition.unacked -= 1;
        partition.last_acked = now;
        partition.last_mark_delete = now;
        partition.true_ack = second;
    }

    /// Another broker loads the topic: counters begin again, and what was not acknowledged is delivered again.
    pub fn unload(&mut self) {
        self.disconnect();
        for partition in &mut self.partitions {
            partition.in_counter = 0;
            partition.out_counter = 0;
            partition.last_acked = 0;
            partition.last_consumed = 0;
            partition.last_mark_delete = 0;
        }
    }

    /// The consumers end, and what they have returns to the queue.
    pub fn disconnect(&mut self) {
        for consumer in &mut self.consumers {
            while let Some((partition, message)) = consumer.delivered.pop_back() {
                self.partitions[partition].queue.push_front(message);
                self.partitions[partition].unacked -= 1;
            }
            consumer.kept = 0;
            consumer.by_partition.fill(0);
        }
    }

    /// Keeps the truth about waiting messages.
    pub fn note_waiting(&mut self, second: u64) {
        for number in 0..self.partitions.len() {
            let (ready, _, _) = self.counts(number);
            let partition = &mut self.partitions[number];
            partition.waiting_since = if ready > 0 { partition.waiting_since.or(Some(second)) } else { None };
        }
    }

    /// How long no message of a partition was acknowledged, though some wait: the longest of all.
    pub fn true_stall(&self, second: u64) -> u64 {
        let stall = |partition: &Partition| {
            partition.waiting_since.map_or(0, |since| second - since.max(partition.true_ack))
        };
        self.partitions.iter().map(stall).max().unwrap_or_default()
    }

    /// Backlog without delayed messages, delayed messages, and unacknowledged ones.
    fn counts(&self, partition: usize) -> (usize, usize, usize) {
        let Partition { queue, delayed, unacked, .. } = &self.partitions[partition];
        (queue.len() + unacked, delayed.len(), *unacked)
    }

    fn oldest(&self, partition: usize) -> u64 {
        let Partition { queue, delayed, .. } = &self.partitions[partition];
        let queued = queue.iter().chain(delayed).map(|message| message.published);
        let delivered = self.consumers.iter().flat_map(|consumer| &consumer.delivered);
        let delivered = delivered.filter(|(own, _)| *own == partition).map(|(_, message)| message.published);
        queued.chain(delivered).min().unwrap_or_default()
    }

    /// The answer of `/partitioned-stats`, without these partitions.
    pub fn stats(&self, has_consumers: bool, has_earliest: bool, missing: &[usize]) -> String {
        let mut parts = Vec::new();
        for number in (0..self.partitions.len()).filter(|number| !missing.contains(number)) {
            let partition = &self.partitions[number];
            let (ready, delayed, unacked) = self.counts(number);
            // The broker counts them for shared subscriptions only.
            let unacked = if self.type_name == "Failover" { 0 } else { unacked };
            let earliest = if has_earliest { self.oldest(number) } else { 0 };
            let consumers =
                if has_consumers && self.is_connected { self.consumer_list(number) } else { String::new() };
            parts.push(format!(
                r#""{TOPIC}-partition-{number}":{{"msgInCounter":{},"backlogSize":10,"subscriptions":{{
                "{SUBSCRIPTION}":{{"msgBacklog":{},"msgBacklogNoDelayed":{ready},"msgDelayed":{delayed},
                "backlogSize":-1,"unackedMessages":{unacked},"blockedSubscriptionOnUnackedMsgs":false,
                "msgOutCounter":{},"messageAckRate":0.0,"lastAckedTimestamp":{},"lastConsumedTimestamp":{},
                "lastMarkDeleteAdvancedTimestamp":{},"totalMsgExpired":0,"type":"{}",
                "earliestMsgPublishTimeInBacklog":{earliest},"consumers":[{consumers}]}}}}}}"#,
                partition.in_counter,
                ready + delayed,
                partition.out_counter,
                partition.last_acked,
                partition.last_consumed,
                partition.last_mark_delete,
                self.type_name,
            ));
        }
        if parts.is_empty() {
            // Every partition failed: zeros under the topic's own name.
            parts.push(format!(r#""{TOPIC}":{{"msgInCounter":0,"subscriptions":{{}}}}"#));
        }
        format!(
            r#"{{"msgInCounter":7,"subscriptions":{{}},"metadata":{{"partitions":{}}},"partitions":{{{}}}}}"#,
            self.partitions.len(),
            parts.join(",")
        )
    }

    fn consumer_list(&self, partition: usize) -> String {
        let consumers = self.consumers.iter().enumerate().map(|(instance, consumer)| {
            let unacked = consumer.delivered.iter().filter(|(own, _)| *own == partition).count();
            format!(
                r#"{{"unackedMessages":{unacked},"blockedConsumerOnUnackedMsgs":{},"availablePermits":0,
                "metadata":{{"instance_id":"{instance}"}}}}"#,
                consumer.delivered.len() >= self.max_unacked
            )
        });
        consumers.collect::<Vec<_>>().join(",")
    }

    /// The metrics of the broker.
    pub fn metrics(&self, missing: &[usize]) -> String {
        let mut text = String::from("# TYPE pulsar_subscription_back_log gauge\n");
        for number in (0..self.partitions.len()).filter(|number| !missing.contains(number)) {
            let partition = &self.partitions[number];
            let (ready, delayed, unacked) = self.counts(number);
            let topic =
                format!("cluster=\"c\",namespace=\"public/default\",topic=\"{TOPIC}-partition-{number}\"");
            let _ = writeln!(text, "pulsar_in_messages_total{{{topic}}} {}", partition.in_counter);
            for (name, value) in [
                ("pulsar_subscription_back_log", (ready + delayed) as u64),
                ("pulsar_subscription_back_log_no_delayed", ready as u64),
                ("pulsar_subscription_delayed", delayed as u64),
                ("pulsar_subscription_unacked_messages", unacked as u64),
                ("pulsar_subscription_blocked_on_unacked_messages", 0),
                ("pulsar_out_messages_total", partition.out_counter),
                ("pulsar_subscription_last_acked_timestamp", partition.last_acked),
                ("pulsar_subscription_last_consumed_timestamp", partition.last_consumed),
                ("pulsar_subscription_last_mark_delete_advanced_timestamp", partition.last_mark_delete),
                (
                    "pulsar_subscription_consumers_count",
                    if self.is_connected { self.consumers.len() as u64 } else { 0 },
                ),
            ] {
                let _ = writeln!(text, "{name}{{{topic},subscription=\"{SUBSCRIPTION}\"}} {value}.0");
            }
        }
        text
    }

    /// The answer of `/stats` for the output topic, which has a quota of 100 bytes.
    pub fn output(&self) -> String {
        let size = if self.is_output_full { 120 } else { 20 };
        format!(r#"{{"backlogSize":{size},"backlogQuotaLimitSize":100,"backlogQuotaLimitTime":-1}}"#)
    }
}
