//! What one round of requests found out about a component.

use crate::stats::{PodStats, TopicAnswer, TopicStats};
use crate::{Cause, Monotonic, Reading, ServerClock, UnixMillis};

/// One round of a component.
#[derive(Clone, Debug)]
pub struct Observation {
    /// When, on the operator's monotonic clock.
    pub at: Monotonic,
    /// When, on the operator's wall clock.
    pub wall: UnixMillis,
    /// The clock of the brokers.
    pub clock: ServerClock,
    /// Every input topic, with what was found out. For a pattern, every topic that matches.
    pub topics: Vec<TopicObservation>,
    /// Whether a backlog quota of the output topic stops producers, see [`is_output_blocked`].
    pub is_output_blocked: Reading<bool>,
    /// Every pod that was asked.
    pub pods: Vec<PodObservation>,
}

/// A topic of a component.
#[derive(Clone, Debug)]
pub struct TopicObservation {
    /// Full name, without the number of a partition unless the component consumes one partition.
    pub topic: String,
    /// The component's subscription.
    pub subscription: String,
    /// The answer, or why there is none.
    pub answer: Result<TopicAnswer, Cause>,
}

/// A pod of a component.
#[derive(Clone, Debug)]
pub struct PodObservation {
    /// Ordinal of the pod in its StatefulSet.
    pub ordinal: u64,
    /// When it was asked, on the operator's monotonic clock. Pods are asked less often than topics: the same sample may be in
    /// several rounds.
    pub at: Monotonic,
    /// Its counters, or why there are none.
    pub stats: Result<PodStats, Cause>,
}

/// What the controller knows about the pods of a component.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Workload {
    /// Wanted pods.
    pub wanted: u32,
    /// Ready pods.
    pub ready: u32,
    /// Since when at least one pod has been ready without a break, with the current spec.
    pub ready_since: Option<Monotonic>,
}

/// Whether the output topic stops its producers: a part of it exceeds a quota, and the policy does not delete messages.
/// The broker's default policy stops producers, so that an unknown policy counts as one that does.
pub fn is_output_blocked(
    output: &Result<TopicAnswer, Cause>,
    stops_producers: Reading<bool>,
) -> Reading<bool> {
    let answer = match output {
        Ok(answer) => answer,
        Err(cause) => return Reading::Unknown(*cause),
    };
    if stops_producers == Reading::Known(false) {
        return Reading::Known(false);
    }
    let is_over =
        Reading::fold(answer.parts.iter().map(TopicStats::is_over_quota), |one, other| one || other);
    let some_part_is = answer.parts.iter().any(|part| part.is_over_quota() == Reading::Known(true));
    if some_part_is { Reading::Known(true) } else { is_over }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(size: u64) -> TopicStats {
        TopicStats {
            backlog_size: Reading::Known(size),
            quota_size: Reading::Known(10),
            ..TopicStats::default()
        }
    }

    #[test]
    fn one_partition_over_quota_blocks_the_output() {
        let answer = |sizes: &[u64]| {
            let parts: Vec<_> = sizes.iter().map(|size| part(*size)).collect();
            Ok(TopicAnswer { expected: Reading::Known(parts.len()), parts })
        };
        let unknown = Reading::default();
        assert_eq!(is_output_blocked(&answer(&[1, 10]), unknown), Reading::Known(true));
        assert_eq!(is_output_blocked(&answer(&[1, 9]), Reading::Known(true)), Reading::Known(false));
        assert_eq!(is_output_blocked(&answer(&[1, 10]), Reading::Known(false)), Reading::Known(false));
        assert!(!is_output_blocked(&answer(&[]), unknown).is_known());
        assert_eq!(is_output_blocked(&Err(Cause::Failed), unknown), Reading::Unknown(Cause::Failed));
    }
}
