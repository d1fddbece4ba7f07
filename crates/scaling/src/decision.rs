//! A decision with every term that led to it.

use std::fmt;
use std::time::Duration;

use function_mesh_observer::{Cause, Reading};

use crate::component::Hold;
use crate::learned::RateSource;
use crate::load::Load;
use crate::policy::SleepRefusal;

/// Why a decision is what it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The replicas fit the load.
    Steady,
    /// More messages arrive or wait than the replicas can work off in time.
    ScaleUp,
    /// The rate of a replica is unknown and the backlog grows: twice as many.
    Doubling,
    /// Fewer replicas were enough for the whole time that counts.
    ScaleDown,
    /// It sleeps and messages wait.
    Wake,
    /// It sleeps and a topic of its pattern is new.
    WakeNewTopic,
    /// It sleeps and a component before it wakes.
    WakeWithUpstream,
    /// It sleeps.
    Asleep,
    /// Nothing was there to do for the whole time: it falls asleep.
    Sleep,
    /// The replicas were outside of the bounds.
    OutOfBounds,
    /// The last change has not taken effect yet.
    Settling,
    /// Fewer replicas would be enough now, but were not within the time that counts.
    Stabilizing,
    /// Fewer replicas would be enough, but messages are older than the objective.
    LagAboveObjective,
    /// Fewer replicas would be enough, but those that there are have no time left.
    Saturated,
    /// Too little is known.
    MissingData(Cause),
    /// More replicas would be wanted, but the rate of a replica is unknown.
    RateUnknown,
    /// The last step brought less than a tenth of what was expected.
    Ineffective,
    /// Idle, but it must not sleep.
    SleepRefused(SleepRefusal),
    /// Idle, but whether it may sleep is unknown.
    SleepUnknown(Cause),
    /// Idle, but the subscription does not exist on every topic.
    SubscriptionMissing,
    /// The same messages fail again and again: more replicas would not help.
    Poisoned,
    /// The replicas must not be changed.
    Held(Hold),
    /// The mesh has no more replicas to give.
    Budget,
}

impl Reason {
    /// One of each, for documentation and tests.
    pub fn all() -> Vec<Self> {
        vec![
            Self::Steady,
            Self::ScaleUp,
            Self::Doubling,
            Self::ScaleDown,
            Self::Wake,
            Self::WakeNewTopic,
            Self::WakeWithUpstream,
            Self::Asleep,
            Self::Sleep,
            Self::OutOfBounds,
            Self::Settling,
            Self::Stabilizing,
            Self::LagAboveObjective,
            Self::Saturated,
            Self::MissingData(Cause::Failed),
            Self::RateUnknown,
            Self::Ineffective,
            Self::SleepRefused(SleepRefusal::MessagesExpire),
            Self::SleepUnknown(Cause::Failed),
            Self::SubscriptionMissing,
            Self::Poisoned,
            Self::Held(Hold::RollingOut),
            Self::Held(Hold::Paused),
            Self::Held(Hold::Suspended),
            Self::Held(Hold::OtherWriter("kubectl".to_owned())),
            Self::Budget,
        ]
    }

    /// The reason in one word, for a status or an Event.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Steady => "Steady",
            Self::ScaleUp => "ScaleUp",
            Self::Doubling => "Doubling",
            Self::ScaleDown => "ScaleDown",
            Self::Wake => "Wake",
            Self::WakeNewTopic => "WakeNewTopic",
            Self::WakeWithUpstream => "WakeWithUpstream",
            Self::Asleep => "Asleep",
            Self::Sleep => "Sleep",
            Self::OutOfBounds => "OutOfBounds",
            Self::Settling => "Settling",
            Self::Stabilizing => "Stabilizing",
            Self::LagAboveObjective => "LagAboveObjective",
            Self::Saturated => "Saturated",
            Self::MissingData(_) => "MissingData",
            Self::RateUnknown => "RateUnknown",
            Self::Ineffective => "Ineffective",
            Self::SleepRefused(_) => "SleepRefused",
            Self::SleepUnknown(_) => "SleepUnknown",
            Self::SubscriptionMissing => "SubscriptionMissing",
            Self::Poisoned => "Poisoned",
            Self::Held(Hold::RollingOut) => "RollingOut",
            Self::Held(Hold::Paused) => "Paused",
            Self::Held(Hold::Suspended) => "Suspended",
            Self::Held(Hold::OtherWriter(_)) => "OtherWriter",
            Self::Budget => "Budget",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steady => f.write_str("the replicas fit the load"),
            Self::ScaleUp => f.write_str("more messages arrive or wait than the replicas can work off in time"),
            Self::Doubling => f.write_str("the backlog grows and the rate of a replica is unknown: twice as many"),
            Self::ScaleDown => f.write_str("fewer replicas have been enough for the whole time that counts"),
            Self::Wake => f.write_str("messages wait for a component that sleeps"),
            Self::WakeNewTopic => f.write_str("a new topic matches the pattern of a component that sleeps"),
            Self::WakeWithUpstream => f.write_str("a component that produces to it wakes"),
            Self::Asleep => f.write_str("it sleeps until messages wait"),
            Self::Sleep => f.write_str("nothing was there to do for the whole idle time"),
            Self::OutOfBounds => f.write_str("the replicas were outside of minReplicas and maxReplicas"),
            Self::Settling => f.write_str("the last change has not taken effect yet"),
            Self::Stabilizing => f.write_str("fewer replicas are enough now, but were not within the last minutes"),
            Self::LagAboveObjective => f.write_str("messages are older than the objective: no scale-down"),
            Self::Saturated => f.write_str("the pods have no time left: no scale-down"),
            Self::MissingData(cause) => write!(f, "too little is known to scale: {cause}"),
            Self::RateUnknown => f.write_str("the rate of a replica is unknown, and the backlog does not grow"),
            Self::Ineffective => f.write_str(
                "the last step brought less than a tenth of what was expected: a hot key or a slow database limits it",
            ),
            Self::SleepRefused(reason) => write!(f, "idle, but it must not sleep: {reason}"),
            Self::SleepUnknown(cause) => write!(f, "idle, but whether it may sleep is unknown: {cause}"),
            Self::SubscriptionMissing => f.write_str("idle, but its subscription does not exist on every topic"),
            Self::Poisoned => f.write_str("the same messages fail again and again: more replicas would not help"),
            Self::Held(Hold::RollingOut) => f.write_str("a rollout is in progress"),
            Self::Held(Hold::Paused) => f.write_str("rollouts are paused"),
            Self::Held(Hold::Suspended) => f.write_str("it is suspended"),
            Self::Held(Hold::OtherWriter(manager)) => write!(f, "{manager} sets the replicas"),
            Self::Budget => f.write_str("maxTotalReplicas of the mesh is used up"),
        }
    }
}

/// What keeps the replicas from the number that the load asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// `minReplicas`.
    Minimum,
    /// `maxReplicas`.
    Maximum,
    /// The type of the subscription: more replicas would get no messages.
    Subscription,
    /// There are fewer messages than replicas.
    InFlight,
    /// `maxTotalReplicas` of the mesh.
    Budget,
    /// One scale-down leaves a share of the replicas.
    StepDown,
}

impl Limit {
    /// The limit, for people.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Minimum => "minReplicas",
            Self::Maximum => "maxReplicas",
            Self::Subscription => "the subscription: more replicas would get no messages",
            Self::InFlight => "the number of messages: more replicas would get none",
            Self::Budget => "maxTotalReplicas of the mesh",
            Self::StepDown => "the largest step of one scale-down",
        }
    }
}

/// The bounds of a decision.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Bounds {
    /// `minReplicas`.
    pub min: u32,
    /// `maxReplicas`.
    pub max: u32,
    /// Most replicas that get messages, by the subscription.
    pub useful: Option<u32>,
    /// Most replicas that get messages, by their number.
    pub in_flight: Option<u32>,
}

/// Every term of the formula.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The measured load.
    pub load: Load,
    /// Messages a second that upstream components are about to produce.
    pub upstream: Reading<f64>,
    /// The larger of both.
    pub demand: Reading<f64>,
    /// Share of a replica's time that arrivals may take.
    pub utilization: f64,
    /// Time in which the backlog must be worked off.
    pub catch_up: Duration,
    /// Objective of the lag.
    pub objective: Duration,
    /// Time from a change until its pods are ready.
    pub start_time: Duration,
    /// Messages a second of one replica.
    pub rate_per_replica: Option<f64>,
    /// How that was learned.
    pub source: RateSource,
    /// How much of its rate a replica keeps beside others, if it is known.
    pub scalability: Option<f64>,
    /// Capacity for arrivals, in messages a second: demand by utilization.
    pub for_arrivals: Reading<f64>,
    /// Capacity for the backlog: what waits by the catch-up time. What pods hold waits too, as far as they cannot finish it
    /// within half of the objective: arrivals have to go to others.
    pub for_backlog: Reading<f64>,
    /// Capacity for what arrives while pods start, beyond what the ready ones finish.
    pub for_start: Reading<f64>,
    /// The sum of the three.
    pub need: Reading<f64>,
    /// Replicas for it, within the bounds.
    pub wish: Option<u32>,
    /// The same without the capacity that is only needed until pods have started. This one counts for a scale-down.
    pub lasting_wish: Option<u32>,
    /// The largest wish of the time that counts for a scale-down.
    pub largest_wish: Option<u32>,
    /// The bounds.
    pub bounds: Bounds,
    /// Pods that are ready.
    pub ready: u32,
    /// How long it has been idle.
    pub idle_for: Option<Duration>,
}

/// A decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Replicas to set.
    pub replicas: u32,
    /// Replicas that are set.
    pub current: u32,
    /// Why.
    pub reason: Reason,
    /// What keeps it from more or fewer.
    pub limited_by: Option<Limit>,
    /// How it was found.
    pub terms: Terms,
}

impl Decision {
    /// Whether there is something to set.
    pub const fn is_change(&self) -> bool {
        self.replicas != self.current
    }

    /// Messages a second that it takes from its inputs once the decision is in effect, which its successors will see:
    /// what arrives and what it works off, but no more than its replicas can.
    pub fn planned_rate(&self) -> Reading<f64> {
        let terms = &self.terms;
        terms.demand.zip(terms.for_backlog).map(|(demand, backlog)| {
            let rate = demand + backlog;
            let capacity = terms.rate_per_replica.map(|it| it * f64::from(self.replicas));
            capacity.map_or(rate, |capacity| rate.min(capacity))
        })
    }
}
