//! Who consumes the subscription of a component, on all topics. Pure.

use function_mesh_observer::{Cause, Observation, Reading, SubscriptionStats, TopicObservation};
use function_mesh_rollout::recreate::Subscription;

/// Consumers and unacknowledged messages.
type Use = (u64, u64);

/// Consumers and unacknowledged messages of all topics.
pub(super) fn of(observation: &Observation) -> Subscription {
    if observation.topics.is_empty() {
        return Subscription::NotObserved;
    }
    let add = |one: Use, other: Use| (one.0.saturating_add(other.0), one.1.saturating_add(other.1));
    match Reading::fold(observation.topics.iter().map(of_topic), add) {
        Reading::Known((consumers, unacked)) => Subscription::Known { consumers, unacked },
        Reading::Unknown(cause) => Subscription::Unknown(cause.description()),
    }
}

fn of_topic(topic: &TopicObservation) -> Reading<Use> {
    match &topic.answer {
        // A topic that does not exist has no consumers.
        Err(Cause::NotFound) => Reading::Known((0, 0)),
        Err(cause) => Reading::Unknown(*cause),
        Ok(answer) if !answer.is_complete() => Reading::Unknown(Cause::Incomplete),
        Ok(answer) => {
            let of_part =
                |stats: Option<&SubscriptionStats>| stats.map_or(Reading::Known((0, 0)), of_subscription);
            let parts = answer.parts.iter().map(|part| of_part(part.subscription(&topic.subscription)));
            Reading::fold(parts, |one, other| (one.0.saturating_add(other.0), one.1.saturating_add(other.1)))
        }
    }
}

/// The broker counts unacknowledged messages of some types only; without consumers there are none.
fn of_subscription(stats: &SubscriptionStats) -> Reading<Use> {
    stats.consumers.map(|consumers| (consumers, stats.counted_unacked().known().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use function_mesh_observer::{Monotonic, ServerClock, TopicAnswer, TopicStats, UnixMillis};

    use super::*;

    fn topic(answer: Result<&[Option<SubscriptionStats>], Cause>) -> TopicObservation {
        let answer = answer.map(|parts| {
            let part = |stats: &Option<SubscriptionStats>| {
                let subscriptions =
                    stats.iter().map(|stats| ("s".to_owned(), Box::new(stats.clone()))).collect();
                TopicStats { subscriptions, ..TopicStats::default() }
            };
            TopicAnswer { parts: parts.iter().map(part).collect(), expected: Reading::Known(2) }
        });
        TopicObservation { topic: "t".to_owned(), subscription: "s".to_owned(), answer }
    }

    fn found(topics: Vec<TopicObservation>) -> Subscription {
        of(&Observation {
            at: Monotonic(Duration::ZERO),
            wall: UnixMillis(0),
            clock: ServerClock::default(),
            topics,
            is_output_blocked: Reading::Known(false),
            pods: Vec::new(),
        })
    }

    #[test]
    fn it_is_the_sum_of_all_partitions_and_topics() {
        let stats = |consumers, unacked| {
            let (consumers, unacked) = (Reading::Known(consumers), Reading::Known(unacked));
            Some(SubscriptionStats { consumers, unacked, ..SubscriptionStats::default() })
        };
        let known = |consumers, unacked| Subscription::Known { consumers, unacked };
        let two = || topic(Ok(&[stats(1, 3), stats(2, 4)]));
        assert_eq!(found(vec![two(), two()]), known(6, 14));
        // It was never created on a partition, and not on a topic that does not exist.
        let partly = topic(Ok(&[stats(1, 0), None]));
        assert_eq!(found(vec![partly, topic(Err(Cause::NotFound))]), known(1, 0));
        assert_eq!(found(Vec::new()), Subscription::NotObserved);
    }

    #[test]
    fn what_one_topic_does_not_tell_is_unknown() {
        let stats = Some(SubscriptionStats { consumers: Reading::Known(0), ..SubscriptionStats::default() });
        let good = || topic(Ok(&[stats.clone(), stats.clone()]));
        assert_eq!(found(vec![good()]), Subscription::Known { consumers: 0, unacked: 0 });
        let not_listed = Some(SubscriptionStats::default());
        for (other, cause) in [
            (topic(Err(Cause::Failed)), Cause::Failed),
            (topic(Ok(std::slice::from_ref(&stats))), Cause::Incomplete),
            (topic(Ok(&[stats.clone(), not_listed])), Cause::NotReported),
        ] {
            assert_eq!(found(vec![good(), other]), Subscription::Unknown(cause.description()));
        }
    }
}
