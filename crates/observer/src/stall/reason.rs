//! Why a component is stalled, and what to do about each reason.

use std::fmt;
use std::time::Duration;

use function_mesh_api::conditions::Reason;

use crate::run::Run;
use crate::series::Series;
use crate::stats::SubscriptionType;
use crate::{Reading, Tracker};

/// The reason of the condition `Stalled`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum StallReason {
    /// No consumer is connected, though pods are ready.
    NoConsumers,
    /// The limit of unacknowledged messages stops delivery.
    BlockedOnUnacked,
    /// Messages are delivered and none is acknowledged.
    ReceivingNotAcking,
    /// Messages wait, and the consumers take none.
    NotReceiving,
    /// Keys wait until another consumer acknowledges their messages.
    KeySharedDraining,
    /// The backlog quota of the output topic stops producers.
    OutputBlocked,
    /// A rate limit of the broker delays every delivery.
    DispatchThrottled,
    /// Every message raises an exception.
    Failing,
}

impl StallReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::NoConsumers,
        Self::BlockedOnUnacked,
        Self::ReceivingNotAcking,
        Self::NotReceiving,
        Self::KeySharedDraining,
        Self::OutputBlocked,
        Self::DispatchThrottled,
        Self::Failing,
    ];

    /// The reason of the condition and of the Event.
    pub const fn as_reason(self) -> Reason {
        match self {
            Self::NoConsumers => Reason::NoConsumers,
            Self::BlockedOnUnacked => Reason::BlockedOnUnacked,
            Self::ReceivingNotAcking => Reason::ReceivingNotAcking,
            Self::NotReceiving => Reason::NotReceiving,
            Self::KeySharedDraining => Reason::KeySharedDraining,
            Self::OutputBlocked => Reason::OutputBlocked,
            Self::DispatchThrottled => Reason::DispatchThrottled,
            Self::Failing => Reason::Failing,
        }
    }

    /// The name in a condition, an Event or a metric.
    pub const fn as_str(self) -> &'static str {
        self.as_reason().as_str()
    }

    /// What happens and what to do, in the words of a condition's message.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::NoConsumers => {
                "no consumer is connected: check the pod's log for errors of the Pulsar client, and the service URL, \
                 credentials and TLS settings of spec.pulsar"
            }
            Self::BlockedOnUnacked => {
                "the limit of unacknowledged messages stops delivery: find out why the function does not acknowledge, \
                 then restart the pod that has the messages"
            }
            Self::ReceivingNotAcking => {
                "messages are delivered and none is acknowledged: look for a poison message or a call that does not \
                 return in the pod's log, and set maxMessageRetry with deadLetterTopic to move such messages aside"
            }
            Self::NotReceiving => {
                "messages wait and the consumers take none: the function blocks, or a thread of the runner ended; take \
                 a thread dump, then restart the pod"
            }
            Self::KeySharedDraining => {
                "keys wait for another consumer to acknowledge: restart the pod that has unacknowledged messages, and \
                 scale Key_Shared components rarely"
            }
            Self::OutputBlocked => {
                "the backlog quota of the output topic stops producers: consume or clear its backlog, or raise the quota"
            }
            Self::DispatchThrottled => {
                "a dispatch rate limit delays every delivery: raise the limit of the subscription, topic or broker"
            }
            Self::Failing => {
                "every message raises an exception: see the pod's log, and set maxMessageRetry with deadLetterTopic to \
                 move such messages aside"
            }
        }
    }

    /// Whether a restart of a pod can help.
    pub const fn is_helped_by_restart(self) -> bool {
        matches!(
            self,
            Self::NoConsumers
                | Self::BlockedOnUnacked
                | Self::ReceivingNotAcking
                | Self::NotReceiving
                | Self::KeySharedDraining
        )
    }
}

impl fmt::Display for StallReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known about a partition without progress.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a finding of its own kind")]
pub(super) struct Evidence {
    consumers: Reading<u64>,
    is_blocked_on_unacked: Reading<bool>,
    is_draining: bool,
    is_output_blocked: Reading<bool>,
    is_throttled: bool,
    /// Exceptions since the last acknowledgement.
    exceptions: u64,
    has_consumed_lately: bool,
    is_all_delivered: bool,
    pub(super) ready_backlog: u64,
}

impl Evidence {
    pub(super) fn new(tracker: &Tracker, series: &Series, run: &Run, duration: Duration) -> Self {
        let stats = &series.stats;
        let ready_backlog = stats.ready_backlog().known().unwrap_or_default();
        let exceptions = tracker.exceptions.known().unwrap_or_default();
        // What was prefetched after the last acknowledgement is no sign of a consumer that receives.
        let lately = |time| series.at.since(time) * 2 < duration;
        Self {
            consumers: run.consumers,
            is_blocked_on_unacked: run.is_blocked_on_unacked,
            is_draining: stats.kind.is_none_or(|kind| kind == SubscriptionType::KeyShared)
                && stats.draining_hashes.is_known_and(|hashes| hashes > 0),
            is_output_blocked: tracker.is_output_blocked,
            is_throttled: run.is_throttled,
            exceptions: exceptions.saturating_sub(run.exceptions_before),
            has_consumed_lately: run.consumed_at.is_some_and(lately),
            // Entries against messages: a batch counts once and has at least one message.
            is_all_delivered: stats.counted_unacked().is_known_and(|unacked| unacked >= ready_backlog),
            ready_backlog,
        }
    }

    /// Whether exceptions keep coming, or every message that waits has raised one: a runner may keep such messages
    /// without an acknowledgement of any kind.
    const fn is_failing(&self) -> bool {
        let has_all_raised = self.is_all_delivered && self.exceptions >= self.ready_backlog;
        self.exceptions > 0 && (self.has_consumed_lately || has_all_raised)
    }

    /// The reason, from the outside in. None for a component that keeps messages on purpose and takes more.
    pub(super) fn reason(&self, holds_messages: bool) -> Option<StallReason> {
        let is_true = |reading: Reading<bool>| reading == Reading::Known(true);
        Some(if self.consumers == Reading::Known(0) {
            StallReason::NoConsumers
        } else if is_true(self.is_output_blocked) {
            StallReason::OutputBlocked
        } else if self.is_failing() {
            StallReason::Failing
        } else if is_true(self.is_blocked_on_unacked) {
            StallReason::BlockedOnUnacked
        } else if self.is_draining {
            StallReason::KeySharedDraining
        } else if self.has_consumed_lately || self.is_all_delivered {
            if holds_messages {
                return None;
            }
            StallReason::ReceivingNotAcking
        } else if self.is_throttled {
            StallReason::DispatchThrottled
        } else {
            StallReason::NotReceiving
        })
    }
}
