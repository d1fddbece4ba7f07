//! What a process remembers of a rollout: since when there was no progress, and since when all pods are ready.
//!
//! Time is measured by a monotonic clock. The wall clock counts once, when a rollout is seen for the first time, for
//! instance after a restart of the operator; a jump of it later has no effect.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::analysis::Figures;
use crate::record::whole_second;
use crate::window::{Sample, Window};
use crate::{Observation, Policy};

/// How long a pod must block its own repair until it is deleted: a StatefulSet that can replaces it at once.
pub const STUCK_AFTER: Duration = Duration::from_secs(10);
/// Most pods of a component that are deleted in an hour.
pub const MAX_DELETIONS_PER_HOUR: usize = 10;
const HOUR: Duration = Duration::from_hours(1);
/// How long a process observes a rollout at least until it finds that it has failed.
const LEAST_SIGHT: Duration = Duration::from_secs(30);

/// The time, by two clocks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Moment {
    /// The wall clock, which may jump.
    pub wall: Timestamp,
    /// A clock that never goes back, from any beginning.
    pub monotonic: Duration,
}

/// Counts of pods of a revision. Each only counts at its maximum, so that a pod that starts again and again is no progress.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Reached {
    created: usize,
    started: usize,
    ready: usize,
}

impl Reached {
    fn of(seen: &Observation) -> Self {
        let count = |is: fn(&crate::Pod) -> bool| seen.updated().filter(|pod| is(pod)).count();
        Self {
            created: count(|_| true),
            started: count(|pod| pod.has_started),
            ready: count(|pod| pod.is_ready),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            created: self.created.max(other.created),
            started: self.started.max(other.started),
            ready: self.ready.max(other.ready),
        }
    }
}

/// A time that has passed.
#[derive(Clone, Copy, Debug, Default)]
struct Elapsed {
    before: Duration,
    from: Duration,
}

impl Elapsed {
    /// The time from now on, after this time before.
    fn new(before: Duration, now: Moment) -> Self {
        Self { before, from: now.monotonic }
    }

    fn at(self, now: Moment) -> Duration {
        self.before.saturating_add(now.monotonic.saturating_sub(self.from))
    }
}

/// The memory of a component.
#[derive(Debug, Default)]
pub struct Memory {
    revision: Option<String>,
    /// Whether the revision was rolled out before the process saw it.
    is_settled: bool,
    reached: Reached,
    progress: Elapsed,
    ready: Option<Elapsed>,
    /// The step of a canary, and since when its pods are ready.
    step: Option<usize>,
    step_ready: Option<Elapsed>,
    /// The step of the figures, and the figures.
    counted_step: Option<usize>,
    window: Window,
    /// Since when pods block their own repair, by UID.
    stuck: BTreeMap<String, Duration>,
    /// Since when pods of the canary have messages of which none is processed.
    holding: Option<Elapsed>,
    /// Time since pods were deleted, each within an hour.
    deleted: Vec<Elapsed>,
}

impl Memory {
    /// Takes an observation.
    pub fn observe(&mut self, seen: &Observation, policy: &Policy, now: Moment) {
        let reached = Reached::of(seen);
        let is_first = self.revision.is_none();
        if is_first {
            // Another process deleted these.
            let elapsed = |at: &Timestamp| Elapsed::new(past(Some(*at), now), now);
            self.deleted = seen.deletions.iter().map(elapsed).collect();
        }
        if self.revision.as_deref() != Some(&*seen.revision) {
            self.revision = Some(seen.revision.clone());
            self.is_settled = is_first && seen.was_settled;
            self.reached = reached;
            let before = if is_first { first_sight(seen, policy, now) } else { Duration::ZERO };
            self.progress = Elapsed::new(before, now);
            self.ready = None;
        } else if self.reached.max(reached) != self.reached {
            self.reached = self.reached.max(reached);
            self.progress = Elapsed::new(Duration::ZERO, now);
        }
        if seen.is_ready && seen.is_current {
            self.ready.get_or_insert_with(|| {
                let before = if is_first { ready_before(seen, now) } else { Duration::ZERO };
                Elapsed::new(before, now)
            });
        } else {
            self.ready = None;
        }
        self.observe_step(seen, is_first, now);
        let stuck: Vec<_> = seen.stuck().map(|pod| pod.uid.clone()).collect();
        self.stuck.retain(|uid, _| stuck.contains(uid));
        for uid in stuck {
            self.stuck.entry(uid).or_insert(now.monotonic);
        }
        self.deleted.retain(|deleted| deleted.at(now) < HOUR);
    }

    /// Takes figures of the pods of a canary. Returns those of the new version, and of the others.
    pub fn count(&mut self, step: usize, samples: &[Sample], now: Moment) -> (Figures, Option<Figures>) {
        if self.counted_step.replace(step).is_some_and(|before| before != step) {
            self.window.begin();
        }
        self.window.observe(samples);
        let figures = self.window.figures();
        self.holding = figures.0.holds().then(|| self.holding.unwrap_or(Elapsed::new(Duration::ZERO, now)));
        figures
    }

    fn observe_step(&mut self, seen: &Observation, is_first: bool, now: Moment) {
        let Some(canary) = &seen.canary else {
            (self.step, self.step_ready, self.counted_step, self.holding) = (None, None, None, None);
            self.window = Window::default();
            return;
        };
        if self.step.replace(canary.step) != Some(canary.step) {
            self.step_ready = None;
        }
        if !seen.is_step_ready() {
            self.step_ready = None;
            return;
        }
        // Pods that wait for the next step make no progress.
        self.progress = Elapsed::new(Duration::ZERO, now);
        self.step_ready.get_or_insert_with(|| {
            let most = canary.duration.saturating_sub(LEAST_SIGHT.min(canary.duration / 2));
            let before = if is_first { step_ready_before(seen, now).min(most) } else { Duration::ZERO };
            Elapsed::new(before, now)
        });
    }

    /// Counts a pod that the caller deletes. Returns when pods were deleted within an hour, for its record.
    pub fn count_deletion(&mut self, now: Moment) -> Vec<Timestamp> {
        self.deleted.push(Elapsed::new(Duration::ZERO, now));
        let time =
            |deleted: &Elapsed| whole_second(now.wall.checked_sub(deleted.at(now)).unwrap_or(now.wall));
        self.deleted.iter().map(time).collect()
    }

    /// Whether the revision was rolled out before the process saw it.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Time without progress.
    pub(crate) fn without_progress(&self, now: Moment) -> Duration {
        self.progress.at(now)
    }

    /// Time for which all pods have been ready.
    pub(crate) fn ready_for(&self, now: Moment) -> Option<Duration> {
        self.ready.map(|ready| ready.at(now))
    }

    /// Time for which the pods of a canary's step have been ready.
    pub(crate) fn step_ready_for(&self, now: Moment) -> Option<Duration> {
        self.step_ready.map(|ready| ready.at(now))
    }

    /// Time for which the pods of a canary have had messages of which none is processed.
    pub(crate) fn holding_for(&self, now: Moment) -> Duration {
        self.holding.map(|holding| holding.at(now)).unwrap_or_default()
    }

    /// How much longer a pod may block its own repair; zero for one that must be deleted.
    pub(crate) fn until_stuck(&self, uid: &str, now: Moment) -> Duration {
        let since = self.stuck.get(uid).copied().unwrap_or(now.monotonic);
        STUCK_AFTER.saturating_sub(now.monotonic.saturating_sub(since))
    }

    /// When another pod may be deleted: at once, or after this time.
    pub(crate) fn until_deletion(&self, now: Moment) -> Duration {
        if self.deleted.len() < MAX_DELETIONS_PER_HOUR {
            return Duration::ZERO;
        }
        let oldest = self.deleted.iter().map(|deleted| deleted.at(now)).max().unwrap_or_default();
        HOUR.saturating_sub(oldest)
    }
}

/// Time without progress before a process sees a rollout for the first time.
fn first_sight(seen: &Observation, policy: &Policy, now: Moment) -> Duration {
    if seen.was_failed {
        return policy.progress_deadline;
    }
    let signs = seen.updated().filter_map(|pod| pod.ready_since);
    let last = signs.chain(seen.since).max();
    let most = policy.progress_deadline.saturating_sub(LEAST_SIGHT.min(policy.progress_deadline / 2));
    past(last, now).min(most)
}

/// Time for which all pods were ready before a process sees them for the first time.
fn ready_before(seen: &Observation, now: Moment) -> Duration {
    let since = seen.updated().map(|pod| pod.ready_since).collect::<Option<Vec<_>>>();
    past(since.and_then(|since| since.into_iter().max()), now)
}

/// Time for which the pods of a step were ready before a process sees them for the first time.
fn step_ready_before(seen: &Observation, now: Moment) -> Duration {
    let ready = seen.updated().filter(|pod| pod.is_ready).map(|pod| pod.ready_since);
    let since = ready.collect::<Option<Vec<_>>>().and_then(|since| since.into_iter().max());
    past(since.map(|since| seen.since.map_or(since, |began| began.max(since))), now)
}

/// Time since then; none if that is unknown or in the future.
fn past(since: Option<Timestamp>, now: Moment) -> Duration {
    let past = since.map(|since| now.wall.duration_since(since));
    past.and_then(|past| Duration::try_from(past).ok()).unwrap_or_default()
}
