//! Limits of the plan: intervals, and requests for each broker and namespace.

use std::time::Duration;

/// Limits of the plan.
#[derive(Clone, Copy, Debug)]
pub struct PlanLimits {
    /// Interval of statistics of a component with pods.
    pub awake: Duration,
    /// Interval of statistics of a component without pods that messages wake.
    pub asleep: Duration,
    /// Interval of statistics of a suspended component.
    pub suspended: Duration,
    /// Interval of everything that changes rarely: partitions, quotas, the topics of a namespace, and the lag.
    pub slow: Duration,
    /// Requests under way to a broker.
    pub in_flight_per_broker: usize,
    /// Requests under way for a namespace.
    pub in_flight_per_namespace: usize,
    /// Requests begun in a second at a broker.
    pub per_second: usize,
    /// Number of topics of a cluster from which the metrics of its brokers replace requests for each topic.
    pub metrics_from: usize,
    /// First and longest delay after a failure.
    pub backoff: (Duration, Duration),
    /// First and longest delay after a denied request.
    pub denied_backoff: (Duration, Duration),
}

impl Default for PlanLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            awake: seconds(10),
            asleep: seconds(4),
            suspended: seconds(30),
            slow: seconds(60),
            in_flight_per_broker: 16,
            in_flight_per_namespace: 8,
            per_second: 50,
            metrics_from: 200,
            backoff: (seconds(5), seconds(300)),
            denied_backoff: (seconds(60), seconds(600)),
        }
    }
}
