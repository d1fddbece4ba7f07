//! What is kept of a component between decisions: wishes, the last change, and what was learned. Its size is fixed.

use std::collections::VecDeque;
use std::time::Duration;

use function_mesh_observer::{Monotonic, Window};

use crate::component::Component;
use crate::decision::Decision;
use crate::learned::{Learned, Plateau};
use crate::load::Load;
use crate::policy::Policy;

/// Wishes that are kept; each is the largest of a part of the time.
const WISHES: usize = 32;
/// Time after the pods are ready until the effect of a change is judged: rates of the time before are gone by then.
const EFFECT: Duration = Duration::from_secs(35);
/// A change whose pods do not become ready holds up others for this many start times.
const GIVE_UP: u32 = 4;
/// But no less than this.
const GIVE_UP_LEAST: Duration = Duration::from_mins(3);
/// Share of the expected gain below which a step brought nothing.
const EFFECTIVE: f64 = 0.1;

/// A change of the replicas by any field manager.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// When it was seen.
    pub at: Monotonic,
    /// Replicas before.
    pub from: u32,
    /// Replicas after.
    pub to: u32,
    /// When its pods were first seen ready, or gone.
    pub in_effect: Option<Monotonic>,
    /// Demand at the time of the change.
    pub demand: Option<f64>,
    throughput: Option<f64>,
    rate: Option<f64>,
    is_judged: bool,
}

impl Change {
    /// Whether decisions that depend on its effect have to wait.
    pub fn is_settling(&self, start_time: Duration, now: Monotonic) -> bool {
        match self.in_effect {
            // One round shows the new pods.
            Some(since) => now <= since,
            None => now.since(self.at) < start_time.saturating_mul(GIVE_UP).max(GIVE_UP_LEAST),
        }
    }
}

/// The memory of a component.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    learned: Learned,
    /// The largest wish of each part of time, oldest first, with the end of the part.
    wishes: VecDeque<(Monotonic, u32)>,
    recording_since: Option<Monotonic>,
    change: Option<Change>,
    replicas: Option<u32>,
    /// Demand of the last decision, with that of upstream components.
    demand: Option<f64>,
    idle_since: Option<Monotonic>,
    observed_at: Option<Monotonic>,
}

impl Memory {
    /// The memory of a component of which this was learned before.
    pub fn new(learned: Learned) -> Self {
        Self { learned, ..Self::default() }
    }

    /// What was learned, to be kept.
    pub const fn learned(&self) -> &Learned {
        &self.learned
    }

    /// The last change.
    pub const fn change(&self) -> Option<&Change> {
        self.change.as_ref()
    }

    /// Since when nothing at all was there to do, in every round.
    pub const fn idle_since(&self) -> Option<Monotonic> {
        self.idle_since
    }

    /// Takes the last round of the window, before a decision.
    pub fn observe(&mut self, window: &Window, component: &Component, policy: &Policy, now: Monotonic) {
        let load = Load::measure(window, component, policy.max_age, now);
        self.note_change(&load, component, now);
        self.learned.learn_rate(window, &load, component);
        if let Some(start) = component.measured_start {
            self.learned.learn_start(start);
        }
        self.note_effect(&load, component, now);
        self.judge(&load, now);
        if self.learned.plateau.is_some_and(|plateau| !plateau.holds(&load)) {
            self.learned.plateau = None;
        }
        self.note_idle(&load, policy, now);
        self.observed_at = Some(now);
    }

    /// Keeps the wish of a decision, whether or not it is acted on.
    pub fn record(&mut self, decision: &Decision, policy: &Policy, now: Monotonic) {
        self.recording_since.get_or_insert(now);
        // Without a decision the current replicas count as the wish.
        let wish = decision.terms.lasting_wish.unwrap_or(decision.replicas);
        self.demand = decision.terms.demand.known();
        let part = policy.down_window / 24;
        match self.wishes.back_mut() {
            Some((end, largest)) if now <= *end => *largest = wish.max(*largest),
            _ => self.wishes.push_back((now.after(part), wish)),
        }
        if self.wishes.len() > WISHES {
            self.wishes.pop_front();
        }
    }

    /// The largest wish of this time; None if wishes were not recorded for so long.
    pub fn largest_wish(&self, window: Duration, now: Monotonic) -> Option<u32> {
        if now.since(self.recording_since?) < window {
            return None;
        }
        self.wishes.iter().filter(|(end, _)| now.since(*end) <= window).map(|(_, wish)| *wish).max()
    }

    fn note_change(&mut self, load: &Load, component: &Component, now: Monotonic) {
        let before = self.replicas.replace(component.replicas);
        let Some(from) = before.filter(|before| *before != component.replicas) else { return };
        self.change = Some(Change {
            at: now,
            from,
            to: component.replicas,
            in_effect: None,
            demand: self.demand.or(load.in_rate.known()),
            throughput: load.throughput.known(),
            rate: self.learned.rate(),
            is_judged: false,
        });
    }

    fn note_effect(&mut self, load: &Load, component: &Component, now: Monotonic) {
        let Some(change) = self.change.as_mut().filter(|change| change.in_effect.is_none()) else { return };
        let is_up = change.to > change.from;
        let is_done = if is_up { component.ready >= change.to } else { component.ready <= change.to };
        if !is_done {
            return;
        }
        change.in_effect = Some(now);
        change.demand = change.demand.or(load.in_rate.known());
        if is_up && component.measured_start.is_none() && now > change.at {
            self.learned.learn_start(now.since(change.at));
        }
    }

    /// Whether the step brought what was expected of it, while more could have been done.
    fn judge(&mut self, load: &Load, now: Monotonic) {
        let Some(change) = self.change.as_mut() else { return };
        let is_due = change.in_effect.is_some_and(|since| now.since(since) >= EFFECT);
        if change.is_judged || !is_due {
            return;
        }
        change.is_judged = true;
        if change.to <= change.from || change.from == 0 || load.is_poisoned {
            return;
        }
        let measured = (change.throughput, change.rate, load.newest_throughput.known(), load.in_rate.known());
        let (Some(before), Some(rate), Some(after), Some(in_rate)) = measured else { return };
        let expected = f64::from(change.to - change.from) * rate;
        if load.is_backlogged && after - before < EFFECTIVE * expected {
            self.learned.restore_rate(rate, change.to);
            self.learned.plateau = Some(Plateau { replicas: change.to, throughput: after, in_rate });
        }
    }

    /// Whether the effect of the last step is still to be judged.
    pub(crate) fn is_judging(&self, now: Monotonic) -> bool {
        self.change.is_some_and(|change| {
            !change.is_judged
                && change.to > change.from
                && change.from > 0
                && change.in_effect.is_some_and(|since| now.since(since) < EFFECT)
        })
    }

    fn note_idle(&mut self, load: &Load, policy: &Policy, now: Monotonic) {
        let has_gap = self.observed_at.is_none_or(|before| now.since(before) > policy.max_age);
        let begins = self.idle_since.filter(|_| !has_gap).unwrap_or(now);
        self.idle_since = load.is_idle.then_some(begins);
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
