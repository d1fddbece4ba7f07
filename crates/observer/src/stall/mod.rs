//! Judges whether a component makes no progress: messages wait, its pods are ready, and nothing is acknowledged.
//!
//! A pure decision over the samples of a [`Tracker`]. What is unknown is not stalled, and a component whose pods are not
//! ready, or have just become ready, is not judged: its other conditions report that.

mod reason;
mod restart;

use std::time::Duration;

pub use reason::StallReason;
pub use restart::{RestartDecision, RestartLimits, RestartState, decide_restart};

use crate::observation::Workload;
use crate::series::Series;
use crate::{Cause, Monotonic, Reading, Tracker};
use reason::Evidence;

/// Messages of a partition that a pod can hold: twice the receiver queue, as Java's and Python's runners do.
const PREFETCH: u64 = 2_000;
/// How many calls of typical length must fit into the time before a stall.
const CALLS: u32 = 10;

/// When a component counts as stalled.
#[derive(Clone, Copy, Debug)]
pub struct StallPolicy {
    /// Time without an acknowledgement.
    pub stall_after: Duration,
    /// Time from a ready pod to its first message.
    pub start_time: Duration,
    /// Whether the component keeps messages on purpose: it acknowledges by hand, or in windows.
    pub holds_messages: bool,
    /// The length of its window, if messages wait for it.
    pub window: Duration,
}

impl Default for StallPolicy {
    fn default() -> Self {
        Self {
            stall_after: Duration::from_mins(5),
            start_time: Duration::from_secs(30),
            holds_messages: false,
            window: Duration::ZERO,
        }
    }
}

/// A stall.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stall {
    /// Why.
    pub reason: StallReason,
    /// How long nothing has been acknowledged.
    pub duration: Duration,
    /// Topics and partitions without progress.
    pub stalled: usize,
    /// Topics and partitions with waiting messages or without.
    pub total: usize,
    /// Entries that wait there.
    pub backlog: u64,
}

/// Why a component is not judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exemption {
    /// No pods are wanted.
    Suspended,
    /// No pod is ready.
    NotReady,
    /// The pods became ready too recently.
    Starting,
}

/// The judgement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It makes progress, or no messages wait.
    Progressing,
    /// It makes no progress.
    Stalled(Stall),
    /// Not judged.
    Exempt(Exemption),
    /// Too little is known.
    Unknown(Cause),
}

impl Verdict {
    /// The stall, if there is one.
    pub const fn stall(&self) -> Option<&Stall> {
        match self {
            Self::Stalled(stall) => Some(stall),
            _ => None,
        }
    }
}

/// The time without an acknowledgement after which this component counts as stalled: as set, but no less than ten typical
/// calls and two windows.
pub fn effective_stall_after(tracker: &Tracker, policy: &StallPolicy) -> Duration {
    let calls = tracker.typical_call().known().unwrap_or_default().saturating_mul(CALLS);
    policy.stall_after.max(calls).max(policy.window.saturating_mul(2))
}

/// Judges a component.
pub fn detect(tracker: &Tracker, workload: &Workload, policy: &StallPolicy, now: Monotonic) -> Verdict {
    let judged_since = match judged_since(workload, policy) {
        Ok(time) if time <= now => time,
        Ok(_) => return Verdict::Exempt(Exemption::Starting),
        Err(exemption) => return Verdict::Exempt(exemption),
    };
    let after = effective_stall_after(tracker, policy);
    let max_age = tracker.settings.max_age;
    let is_fresh = |at: Monotonic| now.since(at) <= max_age;
    let progress = tracker.series.values().filter_map(|series| series.progress_at).max();
    let mut stalls = Vec::new();
    let mut unknown = None;
    for series in tracker.series.values() {
        if !is_fresh(series.at) {
            unknown = unknown.or(Some(cause_of(tracker, &series.topic)));
            continue;
        }
        match &series.run {
            Reading::Unknown(cause) => unknown = unknown.or(Some(*cause)),
            Reading::Known(None) => {}
            // The partition is missing in the last answer, and others have made progress since it reported.
            Reading::Known(Some(_)) if progress > Some(series.at) => {}
            Reading::Known(Some(run)) => {
                let (required, since) = match partial_delay(tracker, series, workload, after, now) {
                    Some(delay) => (after.max(delay), tracker.resumed_at.unwrap_or_default()),
                    None => (after, Monotonic::default()),
                };
                let duration = series.at.since(run.since.max(judged_since).max(since));
                if duration >= required {
                    let evidence = Evidence::new(tracker, series, run, duration);
                    if let Some(reason) = evidence.reason(policy.holds_messages) {
                        stalls.push((reason, duration, evidence.ready_backlog));
                    }
                }
            }
        }
    }
    if let Some(stall) = summarize(&stalls, tracker.series.len()) {
        return Verdict::Stalled(stall);
    }
    if let Some(duration) = absent_duration(tracker, judged_since, now).filter(|duration| *duration >= after)
    {
        let total = tracker.topics.len();
        let reason = StallReason::NoConsumers;
        return Verdict::Stalled(Stall { reason, duration, stalled: total, total, backlog: 0 });
    }
    let is_stale = |complete_at: Option<Monotonic>| !complete_at.is_some_and(is_fresh);
    let open = tracker.topics.values().find(|topic| is_stale(topic.complete_at));
    let open = open.map(|topic| topic.cause.unwrap_or(Cause::Stale));
    let none = tracker.topics.is_empty().then_some(Cause::NotAsked);
    match open.or(unknown).or(none) {
        Some(cause) => Verdict::Unknown(cause),
        None => Verdict::Progressing,
    }
}

/// Since when a missing acknowledgement counts.
fn judged_since(workload: &Workload, policy: &StallPolicy) -> Result<Monotonic, Exemption> {
    if workload.wanted == 0 {
        return Err(Exemption::Suspended);
    }
    let since = workload.ready_since.filter(|_| workload.ready > 0).ok_or(Exemption::NotReady)?;
    Ok(since.after(policy.start_time))
}

/// How long the subscription has been missing on every topic.
fn absent_duration(tracker: &Tracker, judged_since: Monotonic, now: Monotonic) -> Option<Duration> {
    let last = tracker.window.last()?.at;
    let is_fresh = now.since(last) <= tracker.settings.max_age;
    let since = tracker.absent_since.filter(|_| is_fresh)?;
    Some(last.since(since.max(judged_since)))
}

fn cause_of(tracker: &Tracker, topic: &str) -> Cause {
    tracker.topics.get(topic).and_then(|state| state.cause).unwrap_or(Cause::Stale)
}

/// How long a partition may wait while others make progress; None if none does. A message can be behind all others in
/// the queues of the consumers, which are worked off at the rate of the component.
fn partial_delay(
    tracker: &Tracker,
    stuck: &Series,
    workload: &Workload,
    after: Duration,
    now: Monotonic,
) -> Option<Duration> {
    let is_progressing =
        |series: &Series| series.progress_at.is_some_and(|progress| now.since(progress) <= after);
    let mut others = tracker.series.values().filter(|series| !std::ptr::eq(*series, stuck));
    if !others.any(is_progressing) {
        return None;
    }
    let backlog = tracker.window.newest(now, tracker.settings.max_age, |point| point.ready_backlog);
    let consumers = u64::from(workload.ready).saturating_mul(tracker.series.len() as u64);
    let capacity = PREFETCH.saturating_mul(consumers);
    let queued = backlog.known().map_or(capacity, |backlog| backlog.min(capacity));
    let rate = tracker.window.mean(now, after, |point| point.processed_rate.or(point.out_rate));
    Some(match rate {
        #[allow(clippy::cast_precision_loss, reason = "a queue has few messages")]
        Reading::Known(rate) if rate > 0.0 => {
            Duration::try_from_secs_f64(2.0 * queued as f64 / rate).unwrap_or(Duration::MAX)
        }
        _ => after.saturating_mul(2),
    })
}

/// One stall of all: the reason of most partitions, and of the longest stall among equals.
fn summarize(stalls: &[(StallReason, Duration, u64)], total: usize) -> Option<Stall> {
    let votes = |reason: StallReason| stalls.iter().filter(|(own, ..)| *own == reason).count();
    let (reason, ..) = stalls.iter().max_by_key(|(reason, duration, _)| (votes(*reason), *duration))?;
    let duration = stalls.iter().map(|(_, duration, _)| *duration).max()?;
    let backlog = stalls.iter().map(|(.., backlog)| *backlog).fold(0, u64::saturating_add);
    Some(Stall { reason: *reason, duration, stalled: stalls.len(), total, backlog })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
