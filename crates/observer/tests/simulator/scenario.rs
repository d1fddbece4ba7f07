//! Scenarios: load, the function's behaviour, and faults with their times.

use std::time::Duration;

use function_mesh_observer::stall::StallReason;

/// What the function does wrong, or what happens to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The call does not return.
    Blocks,
    /// It takes messages and acknowledges none.
    NeverAcks,
    /// Every call raises an exception, and the message is redelivered a minute later.
    Raises,
    /// The thread of a sink ends: the client prefetches, and nothing takes the messages.
    ThreadEnds,
    /// The quota of the output topic stops its producer.
    OutputHeld,
    /// The client cannot connect.
    NotConnected,
    /// The broker delivers nothing of one partition.
    PartitionStuck,
    /// Only the first pod blocks.
    OnePodBlocks,
    /// The broker does not answer, and messages flow.
    BrokerAway,
    /// Some partitions do not report in this time.
    PartialPartitions,
}

impl Fault {
    /// Whether the component makes no progress.
    pub const fn is_stall(self) -> bool {
        !matches!(self, Self::BrokerAway | Self::PartialPartitions | Self::OnePodBlocks)
    }
}

/// Seconds between two faults and how long each lasts.
#[derive(Clone, Copy, Debug)]
pub struct Every {
    pub period: u64,
    pub length: u64,
}

impl Every {
    pub const fn is_now(self, second: u64) -> bool {
        second >= self.period && second % self.period < self.length
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// Messages published in a second.
    pub load: fn(u64, &mut fastrand::Rng) -> u64,
    /// Duration of a call.
    pub call: Duration,
    pub partitions: usize,
    pub pods: usize,
    pub type_name: &'static str,
    /// Share of messages with the same key, which one pod gets, in percent.
    pub hot_key: u32,
    /// Seconds by which some messages are delayed.
    pub delay: u64,
    pub faults: &'static [(Fault, Every)],
    /// Seconds between two loads of the topic by another broker.
    pub unload_every: Option<u64>,
    /// How far the broker's clock is ahead, in seconds.
    pub skew: u64,
    /// Whether the samples come from the metrics of the broker.
    pub is_by_metrics: bool,
    /// The reasons that fit.
    pub reasons: &'static [StallReason],
}

const HOURLY: Every = Every { period: 5_400, length: 1_800 };

const BASE: Scenario = Scenario {
    name: "",
    load: |_, _| 5,
    call: Duration::from_millis(50),
    partitions: 1,
    pods: 1,
    type_name: "Shared",
    hot_key: 0,
    delay: 0,
    faults: &[],
    unload_every: None,
    skew: 0,
    is_by_metrics: false,
    reasons: &[],
};

/// Ten minutes of load, then as long none.
fn bursts(second: u64, _: &mut fastrand::Rng) -> u64 {
    if second % 1_200 < 600 { 15 } else { 0 }
}

/// A message now and then: hours without one, and several within a minute.
fn rare(_: u64, rng: &mut fastrand::Rng) -> u64 {
    u64::from(rng.u32(..2_000) == 0)
}

const STUCK: &[StallReason] = &[StallReason::NotReceiving, StallReason::ReceivingNotAcking];

pub const ALL: &[Scenario] = &[
    Scenario { name: "constant load", ..BASE },
    Scenario { name: "bursts", load: bursts, pods: 3, partitions: 4, ..BASE },
    Scenario { name: "idle", load: |_, _| 0, ..BASE },
    Scenario { name: "a message now and then", load: rare, ..BASE },
    Scenario { name: "overload, backlog grows", load: |_, _| 12, call: Duration::from_millis(100), ..BASE },
    Scenario {
        name: "slow calls of 100 s",
        load: |second, _| u64::from(second % 90 == 0),
        call: Duration::from_secs(100),
        ..BASE
    },
    Scenario {
        name: "delayed messages",
        load: |second, _| u64::from(second % 30 == 0),
        delay: 3_000,
        ..BASE
    },
    Scenario {
        name: "hot key, Key_Shared",
        load: |_, _| 4,
        call: Duration::from_millis(400),
        pods: 3,
        type_name: "Key_Shared",
        hot_key: 90,
        ..BASE
    },
    Scenario {
        name: "Failover, many partitions",
        load: |_, rng| rng.u64(..8),
        partitions: 8,
        pods: 2,
        type_name: "Failover",
        ..BASE
    },
    Scenario { name: "topic is moved every 7 min", unload_every: Some(420), partitions: 2, pods: 2, ..BASE },
    Scenario {
        name: "broker away",
        faults: &[(Fault::BrokerAway, Every { period: 3_000, length: 1_200 })],
        load: bursts,
        ..BASE
    },
    Scenario {
        name: "partial partitions",
        faults: &[(Fault::PartialPartitions, Every { period: 700, length: 350 })],
        partitions: 4,
        load: bursts,
        ..BASE
    },
    Scenario {
        name: "one pod of three blocks",
        faults: &[(Fault::OnePodBlocks, HOURLY)],
        load: |_, _| 20,
        pods: 3,
        ..BASE
    },
    Scenario { name: "blocks", faults: &[(Fault::Blocks, HOURLY)], reasons: STUCK, ..BASE },
    Scenario {
        name: "blocks, Failover, 4 partitions",
        faults: &[(Fault::Blocks, HOURLY)],
        partitions: 4,
        pods: 2,
        type_name: "Failover",
        reasons: STUCK,
        ..BASE
    },
    Scenario {
        name: "blocks, metrics, clock 1 h ahead",
        faults: &[(Fault::Blocks, HOURLY)],
        partitions: 2,
        is_by_metrics: true,
        skew: 3_600,
        reasons: STUCK,
        ..BASE
    },
    Scenario {
        name: "blocks while partitions are missing",
        faults: &[(Fault::Blocks, HOURLY), (Fault::PartialPartitions, Every { period: 90, length: 40 })],
        partitions: 4,
        reasons: STUCK,
        ..BASE
    },
    Scenario {
        name: "blocks, topic is moved every 7 min",
        faults: &[(Fault::Blocks, HOURLY)],
        unload_every: Some(420),
        reasons: STUCK,
        ..BASE
    },
    Scenario {
        name: "blocks, a message now and then",
        faults: &[(Fault::Blocks, Every { period: 14_400, length: 9_000 })],
        load: |second, _| u64::from(second % 400 == 0),
        reasons: STUCK,
        ..BASE
    },
    Scenario {
        name: "never acknowledges",
        faults: &[(Fault::NeverAcks, HOURLY)],
        load: |_, _| 20,
        call: Duration::from_millis(10),
        reasons: &[StallReason::ReceivingNotAcking, StallReason::BlockedOnUnacked],
        ..BASE
    },
    Scenario {
        name: "always raises",
        faults: &[(Fault::Raises, HOURLY)],
        load: |_, _| 1,
        reasons: &[StallReason::Failing],
        ..BASE
    },
    Scenario {
        name: "thread of a Java sink ends",
        faults: &[(Fault::ThreadEnds, HOURLY)],
        load: bursts,
        reasons: STUCK,
        ..BASE
    },
    Scenario {
        name: "quota holds producers",
        faults: &[(Fault::OutputHeld, HOURLY)],
        partitions: 2,
        reasons: &[StallReason::OutputBlocked],
        ..BASE
    },
    Scenario {
        name: "one partition of four is stuck",
        faults: &[(Fault::PartitionStuck, HOURLY)],
        partitions: 4,
        reasons: &[StallReason::NotReceiving],
        ..BASE
    },
    Scenario {
        name: "client cannot connect",
        faults: &[(Fault::NotConnected, HOURLY)],
        reasons: &[StallReason::NoConsumers],
        ..BASE
    },
];
