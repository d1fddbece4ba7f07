//! An unbroken run of samples in which messages waited and none was acknowledged.

use crate::counter::delta;
use crate::stats::SubscriptionStats;
use crate::{Cause, Monotonic, Reading};

/// A run, with what explains it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Run {
    /// The first sample in which messages waited.
    pub(crate) since: Monotonic,
    /// When the broker last delivered a message.
    pub(crate) consumed_at: Option<Monotonic>,
    /// Whether a rate limit delayed deliveries.
    pub(crate) is_throttled: bool,
    /// Exceptions of the component when the run began.
    pub(crate) exceptions_before: u64,
    /// The last known number of consumers.
    pub(crate) consumers: Reading<u64>,
    /// Whether the limit of unacknowledged messages stops delivery to the subscription or a consumer.
    pub(crate) is_blocked_on_unacked: Reading<bool>,
}

impl Run {
    pub(crate) fn new(at: Monotonic, exceptions: u64, stats: &SubscriptionStats) -> Self {
        let mut run = Self {
            since: at,
            consumed_at: None,
            is_throttled: false,
            exceptions_before: exceptions,
            consumers: Reading::Unknown(Cause::NotAsked),
            is_blocked_on_unacked: Reading::default(),
        };
        run.read(stats);
        run
    }

    /// Another sample without an acknowledgement.
    pub(crate) fn extend(&mut self, at: Monotonic, before: &SubscriptionStats, now: &SubscriptionStats) {
        let delivered = delta(before.out_counter, now.out_counter).is_known_and(|delta| delta > 0);
        if delivered || has_moved(before.last_consumed, now.last_consumed) == Reading::Known(true) {
            self.consumed_at = Some(at);
        }
        let throttled = delta(before.throttled_counter, now.throttled_counter);
        self.is_throttled |= throttled.is_known_and(|delta| delta > 0);
        self.read(now);
    }

    /// Keeps what only some answers contain.
    fn read(&mut self, stats: &SubscriptionStats) {
        self.consumers = stats.consumers.or(self.consumers);
        let of_consumers = stats.consumer_details.iter().map(|it| it.is_blocked_on_unacked);
        let any = Reading::fold(of_consumers, |one, other| one || other);
        self.is_blocked_on_unacked = match (stats.is_blocked_on_unacked, any) {
            (Reading::Known(true), _) | (_, Reading::Known(true)) => Reading::Known(true),
            // Without details, what the last details said remains.
            (_, Reading::Unknown(_)) if self.is_blocked_on_unacked == Reading::Known(true) => {
                self.is_blocked_on_unacked
            }
            (own, any) => own.or(any),
        };
    }
}

/// Whether messages were acknowledged between two samples. Unknown if the broker reports neither timestamp.
///
/// The position of the oldest message moves with expiry too, which is no acknowledgement.
pub(crate) fn has_progress(before: &SubscriptionStats, now: &SubscriptionStats) -> Reading<bool> {
    let acked = has_moved(before.last_acked, now.last_acked);
    let has_expired = delta(before.expired_counter, now.expired_counter).is_known_and(|delta| delta > 0);
    let moved = has_moved(before.last_mark_delete, now.last_mark_delete).map(|moved| moved && !has_expired);
    match (acked, moved) {
        (Reading::Known(acked), Reading::Known(moved)) => Reading::Known(acked || moved),
        (one, other) => one.or(other),
    }
}

/// Whether a timestamp of the broker advanced. It returns to zero when its topic is loaded or its consumers are replaced.
fn has_moved(before: Reading<u64>, now: Reading<u64>) -> Reading<bool> {
    now.zip(before).map(|(now, before)| now > before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reading::Known;
    use crate::stats::ConsumerStats;

    fn stats(acked: u64, mark_delete: u64) -> SubscriptionStats {
        SubscriptionStats {
            last_acked: Known(acked),
            last_mark_delete: Known(mark_delete),
            expired_counter: Known(0),
            ..Default::default()
        }
    }

    #[test]
    fn acknowledgements_are_progress() {
        for (before, now, expected) in [
            (stats(5, 5), stats(6, 5), true),
            (stats(5, 5), stats(5, 6), true),
            (stats(5, 5), stats(5, 5), false),
            // The topic was loaded by another broker.
            (stats(5, 5), stats(0, 0), false),
            (stats(0, 0), stats(4, 0), true),
        ] {
            assert_eq!(has_progress(&before, &now), Known(expected), "{before:?} {now:?}");
        }
    }

    #[test]
    fn expiry_is_no_progress() {
        let expired = SubscriptionStats { expired_counter: Known(3), ..stats(5, 6) };
        assert_eq!(has_progress(&stats(5, 5), &expired), Known(false));
    }

    #[test]
    fn progress_without_timestamps_is_unknown() {
        let unknown = SubscriptionStats::default();
        assert!(!has_progress(&unknown, &unknown).is_known());
        let acked = SubscriptionStats { last_acked: Known(5), ..Default::default() };
        assert_eq!(has_progress(&acked, &acked), Known(false));
    }

    #[test]
    fn details_of_consumers_are_kept() {
        let at = Monotonic::default();
        let mut run = Run::new(at, 0, &stats(0, 0));
        assert!(!run.consumers.is_known());
        let blocked = ConsumerStats { is_blocked_on_unacked: Known(true), ..Default::default() };
        let details =
            SubscriptionStats { consumers: Known(1), consumer_details: vec![blocked], ..stats(0, 0) };
        run.extend(at, &stats(0, 0), &details);
        run.extend(at, &details, &SubscriptionStats { is_blocked_on_unacked: Known(false), ..stats(0, 0) });
        assert_eq!((run.consumers, run.is_blocked_on_unacked), (Known(1), Known(true)));
    }
}
