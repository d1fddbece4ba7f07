//! Times of the observer, apart from the limits of its requests to Pulsar.

use std::time::Duration;

/// How long the observer waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    /// Time between two looks at what is due.
    pub tick: Duration,
    /// How long a new component may be unknown before its status says so: the ConfigMap, the number of partitions and the
    /// statistics are asked one after another.
    pub grace: Duration,
    /// How long pods may take from ready to their first message, before the component is judged.
    pub start_time: Duration,
    /// Time between two rounds without a new answer.
    pub idle_round: Duration,
    /// The same without ready pods, and how old an answer may be then: Pulsar is asked about a suspended component every 30
    /// seconds.
    pub idle_round_without_pods: Duration,
    /// The same without a cluster that answers: the reason is reported once the component is judged.
    pub round_without_cluster: Duration,
    /// Time between two reads of a ConfigMap.
    pub config_map: Duration,
    /// Time between two reads of a ConfigMap after one that failed.
    pub config_map_retry: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        let (seconds, minutes) = (Duration::from_secs, Duration::from_mins);
        Self {
            tick: seconds(1),
            grace: seconds(30),
            start_time: seconds(30),
            idle_round: minutes(1),
            idle_round_without_pods: minutes(2),
            round_without_cluster: seconds(10),
            config_map: minutes(5),
            config_map_retry: seconds(15),
        }
    }
}
