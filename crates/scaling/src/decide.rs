//! The decision: a pure function of what was observed, what was learned, and what the user wants.

use std::time::Duration;

use function_mesh_observer::{Cause, Monotonic, Reading, Window};

use crate::component::Component;
use crate::decision::{Bounds, Decision, Limit, Reason, Terms};
use crate::load::{Load, RATE_WINDOW};
use crate::memory::Memory;
use crate::number::{ceil, float, seconds};
use crate::policy::{Policy, SleepPolicy};

/// Messages that arrive within this time count as in flight.
const IN_FLIGHT_SECONDS: f64 = 10.0;
/// Growth of the demand since the last change that does not wait for the effect of that change.
const DEMAND_GROWTH: f64 = 1.1;

/// What was observed and kept of a component.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    /// The points of the observer.
    pub window: &'a Window,
    /// Wishes, changes, and what was learned.
    pub memory: &'a Memory,
}

/// Decides how many replicas a component should have.
pub fn decide(history: History<'_>, policy: &Policy, component: &Component, now: Monotonic) -> Decision {
    Inputs::new(history, policy, component, now).decide()
}

struct Inputs<'a> {
    memory: &'a Memory,
    policy: &'a Policy,
    component: &'a Component,
    now: Monotonic,
    terms: Terms,
    /// Replicas for the upper utilization, without bounds: more than there are means that load has risen.
    pressing: Option<u32>,
    limited_by: Option<Limit>,
}

impl<'a> Inputs<'a> {
    fn new(history: History<'a>, policy: &'a Policy, component: &'a Component, now: Monotonic) -> Self {
        let History { window, memory } = history;
        let load = Load::measure(window, component, policy.max_age, now);
        let mut inputs = Self {
            memory,
            policy,
            component,
            now,
            terms: terms(load, memory, policy, component, now),
            pressing: None,
            limited_by: None,
        };
        inputs.wish();
        inputs
    }

    /// Replicas for the need, within the bounds.
    fn wish(&mut self) {
        let terms = &self.terms;
        let (Some(need), Some(demand)) = (terms.need.known(), terms.demand.known()) else { return };
        let pressing = need - demand / terms.utilization + demand / self.policy.upper_utilization();
        let lasting = need - terms.for_start.known().unwrap_or_default();
        let learned = self.memory.learned();
        let replicas = |need: f64| match need {
            none if none <= 0.0 => Some(0),
            need => learned.replicas_for(need, self.component.replicas).map(ceil),
        };
        let (wish, lasting) = (replicas(need), replicas(lasting));
        self.pressing = replicas(pressing);
        self.terms.lasting_wish = lasting.map(|lasting| bound(lasting, &self.terms.bounds).0);
        let Some(wish) = wish else { return };
        let (bounded, limit) = bound(wish, &self.terms.bounds);
        self.limited_by = limit;
        self.terms.wish = Some(bounded);
    }

    fn decide(mut self) -> Decision {
        let current = self.component.replicas;
        let (min, max) = (self.policy.min_replicas, self.policy.max());
        let (mut replicas, mut reason) = self.choose();
        if !matches!(reason, Reason::Held(_)) && !(min..=max).contains(&replicas) {
            replicas = replicas.clamp(min, max);
            reason = if (min..=max).contains(&current) { reason } else { Reason::OutOfBounds };
        }
        if replicas == 0 {
            self.limited_by = None;
        }
        Decision { replicas, current, reason, limited_by: self.limited_by, terms: self.terms }
    }

    fn choose(&mut self) -> (u32, Reason) {
        let current = self.component.replicas;
        if let Some(hold) = &self.component.hold {
            return (current, Reason::Held(hold.clone()));
        }
        if current == 0 {
            return self.choose_asleep();
        }
        if let Some(cause) = self.missing() {
            return (current, Reason::MissingData(cause));
        }
        if let Some(decided) = self.choose_idle() {
            return decided;
        }
        let Some(wish) = self.terms.wish else { return self.choose_without_rate() };
        let is_pressing = self.pressing.is_some_and(|pressing| pressing > current);
        if wish > current && is_pressing {
            return self.choose_up(wish);
        }
        if wish < current {
            return self.choose_down(wish);
        }
        let reason = if self.terms.load.is_poisoned { Reason::Poisoned } else { Reason::Steady };
        (current, reason)
    }

    /// Why nothing can be decided.
    fn missing(&self) -> Option<Cause> {
        self.terms.load.in_rate.cause().or(self.terms.load.work.cause())
    }

    fn choose_asleep(&self) -> (u32, Reason) {
        let awake = self.terms.wish.unwrap_or(1).max(1);
        if self.terms.load.has_work() {
            return (awake, Reason::Wake);
        }
        if self.component.has_new_topic {
            return (1, Reason::WakeNewTopic);
        }
        match self.terms.load.work.cause() {
            Some(cause) => (0, Reason::MissingData(cause)),
            None => (0, Reason::Asleep),
        }
    }

    /// Decides for a component that has been idle for long enough.
    fn choose_idle(&self) -> Option<(u32, Reason)> {
        let idle_for = self.terms.idle_for?;
        let is_wanted = self.policy.min_replicas == 0 && idle_for >= self.policy.idle_after;
        // A component that has just been started for something gets its time.
        let is_recent = self.memory.change().is_some_and(|change| {
            change.to > change.from && self.now.since(change.at) < self.policy.idle_after
        });
        let is_expected = self.component.upstream.is_known_and(|rate| rate > 0.0);
        if !is_wanted
            || is_recent
            || is_expected
            || self.component.has_new_topic
            || self.terms.load.has_work()
        {
            return None;
        }
        let refusal = match (self.component.has_subscriptions, self.component.sleep) {
            (Reading::Known(true), SleepPolicy::Allowed) => return Some((0, Reason::Sleep)),
            (_, SleepPolicy::Refused(refusal)) => Reason::SleepRefused(refusal),
            (Reading::Known(false), _) => Reason::SubscriptionMissing,
            (Reading::Unknown(cause), _) | (_, SleepPolicy::Unknown(cause)) => Reason::SleepUnknown(cause),
        };
        // It may still need fewer than it has.
        let current = self.component.replicas;
        (current <= self.policy.min_replicas.max(1)).then_some((current, refusal))
    }

    fn choose_without_rate(&mut self) -> (u32, Reason) {
        let current = self.component.replicas;
        let load = &self.terms.load;
        if load.is_poisoned {
            return (current, Reason::Poisoned);
        }
        if self.is_settling() {
            return (current, Reason::Settling);
        }
        let is_waiting = load.undispatched.is_known_and(|waiting| waiting > 0.0);
        if !load.is_growing || !is_waiting {
            return (current, Reason::RateUnknown);
        }
        if self.memory.learned().plateau.is_some() {
            return (current, Reason::Ineffective);
        }
        let (bounded, limit) = bound(current.saturating_mul(2), &self.terms.bounds);
        self.limited_by = limit;
        // The bounds may be below what there is: a scale-down has other conditions.
        if bounded > current { (bounded, Reason::Doubling) } else { (current, Reason::Steady) }
    }

    fn choose_up(&self, wish: u32) -> (u32, Reason) {
        let current = self.component.replicas;
        if self.memory.learned().plateau.is_some() {
            return (current, Reason::Ineffective);
        }
        let is_new_demand = self.memory.change().is_none_or(|change| {
            change.demand.zip(self.terms.demand.known()).is_some_and(|(then, now)| now > then * DEMAND_GROWTH)
        });
        let is_waiting = self.is_settling() || self.memory.is_judging(self.now);
        if is_waiting && !is_new_demand {
            return (current, Reason::Settling);
        }
        (wish, Reason::ScaleUp)
    }

    fn choose_down(&mut self, wish: u32) -> (u32, Reason) {
        let current = self.component.replicas;
        let load = &self.terms.load;
        if !load.is_poisoned
            && let Some(reason) = self.reason_against_down()
        {
            return (current, reason);
        }
        // Rates are means over a minute, and contain the time before the last change.
        let is_recent = self.memory.change().is_some_and(|change| self.now.since(change.at) < RATE_WINDOW);
        if is_recent || self.is_settling() {
            return (current, Reason::Settling);
        }
        let Some(largest) = self.terms.largest_wish.map(|largest| largest.max(wish)) else {
            return (current, Reason::Stabilizing);
        };
        if largest >= current {
            return (current, Reason::Stabilizing);
        }
        let factor =
            if self.policy.down_factor.is_finite() { self.policy.down_factor.clamp(0.0, 1.0) } else { 0.4 };
        let least = ceil(f64::from(current) * factor).max(1);
        if least > largest {
            self.limited_by = Some(Limit::StepDown);
        }
        let replicas = largest.max(least).min(current);
        (replicas, if replicas < current { Reason::ScaleDown } else { Reason::Steady })
    }

    /// What speaks against fewer replicas: it is too late already, or the pods have no time left, or either is unknown.
    fn reason_against_down(&self) -> Option<Reason> {
        let load = &self.terms.load;
        let estimated = load.work.zip(load.throughput).and_then(|(work, throughput)| {
            Reading::from(Duration::try_from_secs_f64(work / throughput.max(0.001)).ok())
        });
        match load.lag.or(estimated) {
            Reading::Unknown(cause) => return Some(Reason::MissingData(cause)),
            Reading::Known(lag) if lag > self.policy.lag => return Some(Reason::LagAboveObjective),
            Reading::Known(_) => {}
        }
        match load.is_saturated {
            Reading::Unknown(cause) => Some(Reason::MissingData(cause)),
            Reading::Known(true) => Some(Reason::Saturated),
            Reading::Known(false) => None,
        }
    }

    fn is_settling(&self) -> bool {
        let start = self.terms.start_time;
        self.memory.change().is_some_and(|change| change.is_settling(start, self.now))
    }
}

/// The terms of the formula, without the wish.
fn terms(load: Load, memory: &Memory, policy: &Policy, component: &Component, now: Monotonic) -> Terms {
    let learned = memory.learned();
    let demand = match component.upstream {
        Reading::Known(upstream) if upstream.is_finite() => load.in_rate.map(|own| own.max(upstream)),
        _ => load.in_rate,
    };
    let start_time = learned.start_time();
    let utilization = policy.utilization();
    let catch_up = seconds(policy.catch_up);
    let for_arrivals = demand.map(|demand| demand / utilization);
    // Failing messages stay in the backlog, and no number of replicas works them off.
    let for_backlog = if load.is_poisoned {
        Reading::Known(0.0)
    } else {
        load.undispatched.map(|waiting| waiting / catch_up)
    };
    let capacity = learned.rate().map_or(0.0, |rate| rate * f64::from(component.ready));
    let for_start = demand.map(|demand| (demand - capacity).max(0.0) * start_time.as_secs_f64() / catch_up);
    let need = Reading::<f64>::sum([for_arrivals, for_backlog, for_start]);
    Terms {
        load,
        upstream: component.upstream,
        demand,
        utilization,
        catch_up: policy.catch_up,
        objective: policy.lag,
        start_time,
        rate_per_replica: learned.rate(),
        source: learned.source,
        scalability: learned.scalability(),
        for_arrivals,
        for_backlog,
        for_start,
        need,
        wish: None,
        lasting_wish: None,
        largest_wish: memory.largest_wish(policy.down_window, now),
        bounds: bounds(&load, demand, policy, component),
        ready: component.ready,
        idle_for: memory.idle_since().filter(|_| load.is_idle).map(|since| now.since(since)),
    }
}

fn bounds(load: &Load, demand: Reading<f64>, policy: &Policy, component: &Component) -> Bounds {
    let unacked = if component.has_unacked() { load.unacked.map(float) } else { Reading::Known(0.0) };
    let in_flight = load
        .work
        .zip(unacked)
        .zip(demand)
        .map(|((work, unacked), demand)| ceil(work + unacked + demand * IN_FLIGHT_SECONDS));
    Bounds {
        min: policy.min_replicas,
        max: policy.max(),
        useful: component.useful_replicas(),
        in_flight: in_flight.known(),
    }
}

/// The nearest number within the bounds, and the bound that it is at. Only the conditions for sleep allow zero.
fn bound(wish: u32, bounds: &Bounds) -> (u32, Option<Limit>) {
    let upper = [
        (Some(bounds.max), Limit::Maximum),
        (bounds.useful, Limit::Subscription),
        (bounds.in_flight, Limit::InFlight),
    ];
    let lowest =
        upper.into_iter().filter_map(|(bound, limit)| Some((bound?.max(1), limit))).min_by_key(|it| it.0);
    let (mut replicas, mut limit) = (wish.max(1), None);
    if let Some((bound, name)) = lowest.filter(|(bound, _)| *bound < replicas) {
        (replicas, limit) = (bound, Some(name));
    }
    if replicas < bounds.min {
        (replicas, limit) = (bounds.min, Some(Limit::Minimum));
    }
    (replicas, limit)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
