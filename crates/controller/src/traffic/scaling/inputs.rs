//! From what was observed to what a decision needs. Pure.

use std::time::Duration;

use function_mesh_observer::cluster::{Cluster, Interest};
use function_mesh_observer::parse::NamespacePolicies;
use function_mesh_observer::{Cause, Monotonic, Observation, Reading, Workload};
use function_mesh_scaling::{Component, Hold, SleepPolicy, SleepRefusal};

use super::demand::Work;

/// A message that waits for less than this is read in time by a component that wakes. It bounds a time to live.
const LEAST_TTL_SECONDS: u64 = 3600;

/// What a round found out beside the points of the window.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Facts {
    /// Partitions of all inputs.
    partitions: Reading<u32>,
    /// Messages of an entry, and when consumers were last asked for it.
    per_entry: Reading<f64>,
    asked_consumers: Option<Monotonic>,
    /// Whether the subscription exists on every topic.
    has_subscriptions: Reading<bool>,
    /// Whether all of it is known, and the subscription is missing on a topic.
    is_subscription_missing: bool,
    /// The policies of the inputs' namespaces.
    policies: Reading<NamespacePolicies>,
}

impl Default for Facts {
    fn default() -> Self {
        let none = Cause::NotAsked;
        Self {
            partitions: Reading::Unknown(none),
            per_entry: Reading::Unknown(none),
            asked_consumers: None,
            has_subscriptions: Reading::Unknown(none),
            is_subscription_missing: false,
            policies: Reading::Unknown(none),
        }
    }
}

impl Facts {
    /// The facts after another round. The size of batches is that of the last round in which consumers were asked.
    #[must_use]
    pub(in super::super) fn after(
        &self,
        observation: &Observation,
        cluster: Option<&Cluster>,
        interest: &Interest,
    ) -> Self {
        let not_asked = Reading::Unknown(Cause::NotAsked);
        let has_subscription = has_subscriptions(observation);
        let per_entry = messages_per_entry(observation);
        Self {
            partitions: cluster.map_or(not_asked, |cluster| cluster.input_partitions(interest)),
            per_entry: per_entry.or(self.per_entry),
            asked_consumers: if per_entry.is_known() { Some(observation.at) } else { self.asked_consumers },
            has_subscriptions: Reading::fold(has_subscription.iter().copied(), |one, other| one && other),
            is_subscription_missing: has_subscription.contains(&Reading::Known(false)),
            policies: cluster.map_or(Reading::Unknown(Cause::NotAsked), |cluster| cluster.policies(interest)),
        }
    }

    /// Whether the size of batches is worth asking for: consumers were not asked for so long.
    pub(in super::super) fn needs_consumers(&self, interval: Duration, now: Monotonic) -> bool {
        self.asked_consumers.is_none_or(|at| now.since(at) >= interval)
    }

    fn sleep(&self, work: &Work) -> SleepPolicy {
        if let Some(refusal) = work.refusal {
            return SleepPolicy::Refused(refusal);
        }
        match self.policies {
            Reading::Unknown(cause) => SleepPolicy::Unknown(cause),
            Reading::Known(policies) if policies.subscription_expiration_minutes.is_some() => {
                SleepPolicy::Refused(SleepRefusal::SubscriptionExpires)
            }
            Reading::Known(policies)
                if policies.message_ttl_seconds.is_some_and(|ttl| ttl < LEAST_TTL_SECONDS) =>
            {
                SleepPolicy::Refused(SleepRefusal::MessagesExpire)
            }
            Reading::Known(policies) if policies.stops_producers => {
                SleepPolicy::Refused(SleepRefusal::QuotaStopsProducers)
            }
            Reading::Known(_) => SleepPolicy::Allowed,
        }
    }
}

/// A component at the time of a decision. Its replicas are held if `hold` says so, or the user.
pub(in super::super) fn component(
    work: &Work,
    facts: &Facts,
    workload: &Workload,
    is_rolling_out: bool,
    other_writer: Option<&str>,
    measured_start: Option<Duration>,
) -> Component {
    let hold = if work.is_suspended {
        Some(Hold::Suspended)
    } else if work.is_paused {
        Some(Hold::Paused)
    } else if is_rolling_out {
        Some(Hold::RollingOut)
    } else {
        other_writer.map(|manager| Hold::OtherWriter(manager.to_owned()))
    };
    Component {
        replicas: work.replicas,
        ready: workload.ready,
        subscription: work.subscription,
        partitions: facts.partitions,
        keys: work.wanted.as_ref().and_then(|wanted| wanted.keys),
        messages_per_entry: facts.per_entry,
        is_synchronous: work.is_synchronous,
        has_subscriptions: facts.has_subscriptions,
        sleep: facts.sleep(work),
        has_new_topic: facts.is_subscription_missing,
        hold,
        measured_start,
        ..Component::default()
    }
}

/// For each topic whether all its partitions have the subscription.
fn has_subscriptions(observation: &Observation) -> Vec<Reading<bool>> {
    let of = observation.topics.iter().map(|topic| match &topic.answer {
        Err(cause) => Reading::Unknown(*cause),
        Ok(answer) => {
            let is_missing = answer.parts.iter().any(|part| part.subscription(&topic.subscription).is_none());
            if is_missing {
                Reading::Known(false)
            } else if answer.is_complete() {
                Reading::Known(true)
            } else {
                Reading::Unknown(Cause::Incomplete)
            }
        }
    });
    of.collect()
}

/// The mean size of the batches that consumers got.
#[allow(clippy::cast_precision_loss, reason = "a mean needs no more than 52 bits")]
fn messages_per_entry(observation: &Observation) -> Reading<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for topic in &observation.topics {
        let Ok(answer) = &topic.answer else { continue };
        let stats = answer.parts.iter().filter_map(|part| part.subscription(&topic.subscription));
        for consumer in stats.flat_map(|stats| &stats.consumer_details) {
            if let Reading::Known(size) = consumer.messages_per_entry {
                // Zero before the first message.
                sum += size.max(1) as f64;
                count += 1.0;
            }
        }
    }
    if count > 0.0 { Reading::Known(sum / count) } else { Reading::Unknown(Cause::NotAsked) }
}

#[cfg(test)]
mod tests {
    use function_mesh_observer::{
        ConsumerStats, ServerClock, SubscriptionStats, TopicAnswer, TopicObservation, TopicStats, UnixMillis,
    };

    use super::*;

    fn work() -> Work {
        Work {
            replicas: 2,
            subscription: None,
            is_synchronous: true,
            refusal: None,
            is_suspended: false,
            is_paused: false,
            mesh: None,
            wanted: None,
        }
    }

    fn topic(name: &str, answer: Result<Option<u64>, Cause>) -> TopicObservation {
        let answer = answer.map(|batch| {
            let details = batch.map(|size| ConsumerStats {
                messages_per_entry: Reading::Known(size),
                ..ConsumerStats::default()
            });
            let stats =
                SubscriptionStats { consumer_details: details.into_iter().collect(), ..Default::default() };
            let subscriptions = batch.map(|_| ("s".to_owned(), Box::new(stats))).into_iter().collect();
            let part = TopicStats { topic: name.to_owned(), subscriptions, ..TopicStats::default() };
            TopicAnswer { parts: vec![part], expected: Reading::Known(1) }
        });
        TopicObservation { topic: name.to_owned(), subscription: "s".to_owned(), answer }
    }

    fn facts(before: &Facts, topics: Vec<TopicObservation>) -> Facts {
        let observation = Observation {
            at: Monotonic(Duration::from_mins(1)),
            wall: UnixMillis(0),
            clock: ServerClock::default(),
            topics,
            is_output_blocked: Reading::Known(false),
            pods: Vec::new(),
        };
        let interest =
            Interest { subscription: "s".to_owned(), topics: Vec::new(), patterns: Vec::new(), output: None };
        before.after(&observation, None, &interest)
    }

    #[test]
    fn a_topic_without_the_subscription_is_seen_among_others() {
        let before = Facts::default();
        let all = facts(&before, vec![topic("a", Ok(Some(1))), topic("b", Ok(Some(1)))]);
        assert_eq!((all.has_subscriptions, all.is_subscription_missing), (Reading::Known(true), false));
        let one = facts(&before, vec![topic("a", Ok(Some(1))), topic("b", Ok(None))]);
        assert_eq!((one.has_subscriptions, one.is_subscription_missing), (Reading::Known(false), true));
        let unknown = facts(&before, vec![topic("a", Err(Cause::Failed)), topic("b", Ok(None))]);
        assert_eq!(unknown.has_subscriptions, Reading::Unknown(Cause::Failed));
    }

    #[test]
    fn the_size_of_batches_stays_until_consumers_are_asked_again() {
        let asked = facts(&Facts::default(), vec![topic("a", Ok(Some(4))), topic("b", Ok(Some(8)))]);
        assert_eq!(asked.per_entry, Reading::Known(6.0));
        let later = facts(&asked, vec![topic("a", Ok(None))]);
        assert_eq!(later.per_entry, Reading::Known(6.0));
        let at = |seconds| Monotonic(Duration::from_secs(seconds));
        assert!(!later.needs_consumers(Duration::from_mins(1), at(119)));
        assert!(later.needs_consumers(Duration::from_mins(1), at(120)));
        assert!(Facts::default().needs_consumers(Duration::from_mins(1), at(0)));
    }

    #[test]
    fn policies_that_lose_messages_refuse_sleep() {
        let sleep = |policies| Facts { policies, ..Facts::default() }.sleep(&work());
        let known = |expiration, ttl, stops_producers| {
            sleep(Reading::Known(NamespacePolicies {
                subscription_expiration_minutes: expiration,
                message_ttl_seconds: ttl,
                stops_producers,
            }))
        };
        assert_eq!(known(None, Some(86_400), false), SleepPolicy::Allowed);
        assert_eq!(known(Some(5), None, false), SleepPolicy::Refused(SleepRefusal::SubscriptionExpires));
        assert_eq!(known(None, Some(60), false), SleepPolicy::Refused(SleepRefusal::MessagesExpire));
        assert_eq!(known(None, None, true), SleepPolicy::Refused(SleepRefusal::QuotaStopsProducers));
        let denied = sleep(Reading::Unknown(Cause::Unauthorized));
        assert_eq!(denied, SleepPolicy::Unknown(Cause::Unauthorized));
    }

    #[test]
    fn the_first_hold_counts() {
        let hold = |work: &Work, is_rolling_out, writer| {
            component(work, &Facts::default(), &Workload::default(), is_rolling_out, writer, None).hold
        };
        assert_eq!(hold(&work(), false, None), None);
        assert_eq!(hold(&work(), false, Some("kubectl")), Some(Hold::OtherWriter("kubectl".to_owned())));
        assert_eq!(hold(&work(), true, Some("kubectl")), Some(Hold::RollingOut));
        assert_eq!(hold(&Work { is_paused: true, ..work() }, true, None), Some(Hold::Paused));
        assert_eq!(hold(&Work { is_suspended: true, ..work() }, true, None), Some(Hold::Suspended));
    }
}
