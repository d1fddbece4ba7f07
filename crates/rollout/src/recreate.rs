//! `strategy: Recreate`: stop, drain, start. No pod of a new template starts before every pod of the old one is gone.
//!
//! ```text
//! Stop ──> Wait(Pods) ──> Wait(Subscription) ──> Apply ──> first pod ready
//! ```
//!
//! The decision follows from what is observed and from the [`Record`] that the StatefulSet carries as an annotation, so that
//! the operator can be killed between any two writes. The replicas to return to follow from the spec: users and autoscalers
//! scale the component, and a stop scales its StatefulSet.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long the start waits for the subscription while it is unknown whether something still consumes it.
pub const UNKNOWN_LIMIT: Duration = Duration::from_mins(1);

/// When the steps of the last stop and start happened. Times are those of the operator.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Record {
    /// The StatefulSet was scaled to zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// No pod was left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone_at: Option<Timestamp>,
    /// The StatefulSet got its replicas back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// The first pod was ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
}

/// What is observed of a component.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Whether the StatefulSet has the wanted pod template.
    pub has_wanted_template: bool,
    /// Replicas of the StatefulSet.
    pub replicas: i32,
    /// Replicas that it should have.
    pub wanted: i32,
    /// Pods that exist, terminating ones included.
    pub pods: Pods,
    /// Whether a pod is ready.
    pub is_ready: bool,
    /// Who consumes the subscription.
    pub subscription: Subscription,
    /// The record of the StatefulSet.
    pub record: Record,
    /// The time.
    pub now: Timestamp,
}

/// The pods of a StatefulSet without replicas.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Pods {
    /// There is none.
    None,
    /// These exist.
    Exist(Vec<String>),
    /// The StatefulSet controller has not reported yet.
    #[default]
    Unknown,
}

/// The subscription of a component without pods.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Subscription {
    /// The component has none, or the operator does not observe Pulsar: there is nothing to wait for.
    #[default]
    NotObserved,
    /// It has this many consumers and unacknowledged messages.
    Known {
        /// Consumers.
        consumers: u64,
        /// Messages delivered and not acknowledged, where the broker counts them.
        unacked: u64,
    },
    /// Nothing was learned of it since the last pod is gone, for this cause.
    Unknown(&'static str),
}

/// What to do next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Scale the StatefulSet to zero and change nothing else.
    Stop(Record),
    /// Write nothing but the record, if it differs.
    Wait(Wait, Record),
    /// Apply the StatefulSet as it is wanted, with this record.
    Apply(Record),
}

/// What a stopped component waits for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wait {
    /// These pods still exist; unknown ones without names.
    Pods(Vec<String>),
    /// The subscription has consumers or unacknowledged messages.
    Subscription {
        /// Consumers.
        consumers: u64,
        /// Unacknowledged messages.
        unacked: u64,
    },
    /// Whether something consumes the subscription is unknown, for this cause; it starts at this time regardless.
    Unknown(&'static str, Timestamp),
}

impl Record {
    /// A stop at this time.
    fn stopped(now: Timestamp) -> Self {
        Self { stopped_at: Some(now), ..Self::default() }
    }

    /// Whether the component is stopped and has yet to be started.
    pub const fn is_stopped(&self) -> bool {
        self.stopped_at.is_some() && self.started_at.is_none()
    }

    /// Whether it was started and no pod has been ready.
    pub const fn is_starting(&self) -> bool {
        self.started_at.is_some() && self.ready_at.is_none()
    }

    /// Time without a pod: from the last one gone to the first one ready.
    pub fn gap(&self) -> Option<SignedDuration> {
        Some(self.ready_at?.duration_since(self.gone_at?).max(SignedDuration::ZERO))
    }

    /// Time from the stop to the first pod that is ready.
    pub fn total(&self) -> Option<SignedDuration> {
        Some(self.ready_at?.duration_since(self.stopped_at?).max(SignedDuration::ZERO))
    }
}

/// Decides the next step of a component that changes with `strategy: Recreate`.
pub fn decide(observed: &Observed) -> Step {
    let Observed { record, now, .. } = observed;
    if observed.replicas > 0 {
        return if observed.has_wanted_template {
            Step::Apply(running(record, observed.is_ready, *now))
        } else {
            Step::Stop(Record::stopped(*now))
        };
    }
    if observed.wanted == 0 {
        // Suspended or asleep: there is no pod to start, and no gap to measure.
        return Step::Apply(if record.is_stopped() { Record::default() } else { record.clone() });
    }
    match &observed.pods {
        Pods::None => {}
        Pods::Exist(names) => return Step::Wait(Wait::Pods(names.clone()), record.clone()),
        Pods::Unknown => return Step::Wait(Wait::Pods(Vec::new()), record.clone()),
    }
    if !record.is_stopped() {
        return Step::Apply(record.clone());
    }
    // A time ahead of the clock would hold the start for longer than its limit.
    let gone_at = record.gone_at.map_or(*now, |at| at.min(*now));
    let gone = Record { gone_at: Some(gone_at), ..record.clone() };
    let start = || Step::Apply(Record { started_at: Some(*now), ..gone.clone() });
    match observed.subscription {
        Subscription::NotObserved | Subscription::Known { consumers: 0, unacked: 0 } => start(),
        Subscription::Known { consumers, unacked } => {
            Step::Wait(Wait::Subscription { consumers, unacked }, gone)
        }
        Subscription::Unknown(cause) => {
            let until = limit(gone_at);
            if *now >= until { start() } else { Step::Wait(Wait::Unknown(cause, until), gone) }
        }
    }
}

/// The record of a component whose StatefulSet has replicas and the wanted template.
fn running(record: &Record, is_ready: bool, now: Timestamp) -> Record {
    if record.is_stopped() {
        // Another client scaled the StatefulSet.
        Record::default()
    } else if record.is_starting() && is_ready {
        Record { ready_at: Some(now), ..record.clone() }
    } else {
        record.clone()
    }
}

/// The time until which an unknown subscription is waited for.
fn limit(gone_at: Timestamp) -> Timestamp {
    gone_at.checked_add(UNKNOWN_LIMIT).unwrap_or(Timestamp::MAX)
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods(names) if names.is_empty() => {
                f.write_str("waiting for the StatefulSet controller to stop the pods")
            }
            Self::Pods(names) => {
                let (first, more) = (names.first().map_or("", String::as_str), names.len() - 1);
                let noun = if more == 0 { "pod" } else { "pods" };
                write!(f, "waiting for {noun} {first}")?;
                if more > 0 {
                    write!(f, " and {more} more")?;
                }
                f.write_str(" to terminate")
            }
            Self::Subscription { consumers: 0, unacked } => {
                write!(f, "waiting until the subscription has no unacknowledged message, of {unacked}")
            }
            Self::Subscription { consumers, .. } => write!(
                f,
                "waiting until nothing consumes the subscription: consumers: {consumers}, and no pod is left; \
                 disconnect them, or set rollout.strategy to RollingUpdate to start now"
            ),
            Self::Unknown(cause, until) => write!(
                f,
                "waiting for Pulsar to report who consumes the subscription, which is unknown: {cause}; starting at {until} \
                 regardless"
            ),
        }
    }
}

#[cfg(test)]
#[path = "recreate_tests.rs"]
mod tests;
