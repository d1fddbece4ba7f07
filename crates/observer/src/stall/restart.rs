//! `spec.onStall: Restart`: which pod may be restarted, and when.
//!
//! One pod at a time, the one with the most unacknowledged messages. The delay doubles from five minutes to an hour, and
//! after three restarts without success it stops. A pod is never restarted within the longest call seen so far.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Stall, StallReason};
use crate::{Monotonic, Reading};

/// Limits of restarts.
#[derive(Clone, Copy, Debug)]
pub struct RestartLimits {
    /// Delay before the second restart; it doubles with each further one.
    pub first_delay: Duration,
    /// Maximum delay.
    pub max_delay: Duration,
    /// Maximum number of restarts in a row.
    pub max_restarts: u32,
    /// Time without a stall after which the count begins again.
    pub forget_after: Duration,
}

impl Default for RestartLimits {
    fn default() -> Self {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        Self { first_delay: minutes(5), max_delay: minutes(60), max_restarts: 3, forget_after: minutes(60) }
    }
}

/// What was restarted so far. The controller keeps it in the component's status.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RestartState {
    /// Restarts in a row.
    pub restarts: u32,
    /// The last restart.
    pub last: Option<Monotonic>,
    /// When the component was last stalled.
    pub stalled_at: Option<Monotonic>,
}

impl RestartState {
    /// The state after a judgement, and after the restart that followed from it.
    #[must_use]
    pub fn after(
        self,
        is_stalled: bool,
        has_restarted: bool,
        now: Monotonic,
        limits: &RestartLimits,
    ) -> Self {
        let ended = self.stalled_at.max(self.last);
        let is_over = ended.is_some_and(|time| now.since(time) >= limits.forget_after);
        let mut next = if !is_stalled && is_over { Self::default() } else { self };
        if is_stalled {
            next.stalled_at = Some(now);
        }
        if has_restarted {
            next.restarts = next.restarts.saturating_add(1);
            next.last = Some(now);
        }
        next
    }
}

/// What to do about a stall.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RestartDecision {
    /// Delete the pod with this ordinal.
    Restart {
        /// The ordinal.
        ordinal: u64,
    },
    /// Wait until then.
    Wait {
        /// The next time to decide.
        until: Monotonic,
    },
    /// The restarts did not help: leave it to a person.
    Exhausted,
    /// A restart does not help against this reason.
    NotHelpful,
    /// It is unknown which of the pods has the messages.
    PodUnknown,
}

/// Decides about a restart. `unacked` has the unacknowledged messages by ordinal, `ready` the ordinals of ready pods.
pub fn decide_restart(
    stall: &Stall,
    state: &RestartState,
    unacked: &BTreeMap<u64, u64>,
    ready: &[u64],
    longest_call: Reading<Duration>,
    limits: &RestartLimits,
    now: Monotonic,
) -> RestartDecision {
    if !stall.reason.is_helped_by_restart() {
        return RestartDecision::NotHelpful;
    }
    if state.restarts >= limits.max_restarts {
        return RestartDecision::Exhausted;
    }
    let delay = state.restarts.checked_sub(1).map_or(Duration::ZERO, |doublings| {
        let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
        limits.first_delay.saturating_mul(factor).min(limits.max_delay)
    });
    let after_last = state.last.map_or(now, |last| last.after(delay));
    // The call that blocks may be as long as the longest one so far.
    let longest = longest_call.known().unwrap_or_default();
    let after_call = now.after(longest.saturating_sub(stall.duration));
    let until = after_last.max(after_call);
    if until > now {
        return RestartDecision::Wait { until };
    }
    match pod(stall.reason, unacked, ready) {
        Some(ordinal) => RestartDecision::Restart { ordinal },
        None => RestartDecision::PodUnknown,
    }
}

/// The ready pod with the most unacknowledged messages.
fn pod(reason: StallReason, unacked: &BTreeMap<u64, u64>, ready: &[u64]) -> Option<u64> {
    if let [only] = ready {
        return Some(*only);
    }
    // No pod has a consumer, so that each is as good as any.
    if reason == StallReason::NoConsumers {
        return ready.iter().min().copied();
    }
    let count = |ordinal: &u64| unacked.get(ordinal).copied().unwrap_or_default();
    let most = ready.iter().copied().max_by_key(|ordinal| (count(ordinal), std::cmp::Reverse(*ordinal)));
    most.filter(|ordinal| count(ordinal) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn stall(reason: StallReason, minutes: u32) -> Stall {
        Stall { reason, duration: minutes * MINUTE, stalled: 1, total: 1, backlog: 1 }
    }

    fn minute(count: u32) -> Monotonic {
        Monotonic(count * MINUTE)
    }

    fn decide(
        stall: &Stall,
        state: &RestartState,
        longest: Reading<Duration>,
        now: Monotonic,
    ) -> RestartDecision {
        let unacked = BTreeMap::from([(0, 3), (1, 900), (2, 900), (7, 5000)]);
        decide_restart(stall, state, &unacked, &[0, 1, 2], longest, &RestartLimits::default(), now)
    }

    #[test]
    fn the_ready_pod_with_most_unacked_messages_is_restarted() {
        let stall = stall(StallReason::NotReceiving, 5);
        let decision = decide(&stall, &RestartState::default(), Reading::default(), minute(5));
        assert_eq!(decision, RestartDecision::Restart { ordinal: 1 });
        assert_eq!(pod(stall.reason, &BTreeMap::new(), &[0, 1]), None);
        assert_eq!(pod(stall.reason, &BTreeMap::new(), &[4]), Some(4));
        assert_eq!(pod(StallReason::NoConsumers, &BTreeMap::new(), &[3, 2]), Some(2));
        assert_eq!(pod(StallReason::NoConsumers, &BTreeMap::new(), &[]), None);
    }

    #[test]
    fn restarts_are_limited_and_delayed() {
        let stall = stall(StallReason::BlockedOnUnacked, 30);
        let limits = RestartLimits::default();
        let mut state = RestartState::default();
        let mut restarts = Vec::new();
        for count in 0..300 {
            let now = minute(count);
            let has_restarted =
                matches!(decide(&stall, &state, Reading::default(), now), RestartDecision::Restart { .. });
            if has_restarted {
                restarts.push(count);
            }
            state = state.after(true, has_restarted, now, &limits);
        }
        assert_eq!(restarts, [0, 5, 15]);
        assert_eq!(decide(&stall, &state, Reading::default(), minute(300)), RestartDecision::Exhausted);
        // An hour without a stall.
        assert_eq!(state.after(false, false, minute(340), &limits), state);
        assert_eq!(state.after(false, false, minute(360), &limits), RestartState::default());
    }

    #[test]
    fn a_long_call_is_not_interrupted() {
        let longest = Reading::Known(20 * MINUTE);
        let state = RestartState::default();
        let decision = decide(&stall(StallReason::NotReceiving, 6), &state, longest, minute(100));
        assert_eq!(decision, RestartDecision::Wait { until: minute(114) });
        let decision = decide(&stall(StallReason::NotReceiving, 20), &state, longest, minute(100));
        assert!(matches!(decision, RestartDecision::Restart { .. }));
    }

    #[test]
    fn restarts_are_for_reasons_that_they_help_against() {
        for reason in [StallReason::OutputBlocked, StallReason::Failing, StallReason::DispatchThrottled] {
            let decision =
                decide(&stall(reason, 60), &RestartState::default(), Reading::default(), minute(60));
            assert_eq!(decision, RestartDecision::NotHelpful);
        }
    }
}
