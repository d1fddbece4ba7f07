//! Arbitrary histories: bounds hold, nothing sleeps with work, missing data never scales down, and a constant load is left
//! alone.

#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::time::Duration;

use function_mesh_observer::{Cause, Monotonic, Point, Reading, SubscriptionType, UnixMillis, Window};
use function_mesh_scaling::{
    Component, Decision, Flow, Graph, History, Hold, Learned, Member, Memory, Policy, Reason, SleepPolicy,
    decide,
};
use proptest::prelude::*;

fn at(second: u64) -> Monotonic {
    Monotonic(Duration::from_secs(second))
}

fn reading<T: std::fmt::Debug + Clone + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Reading<T>> {
    prop_oneof![
        6 => value.prop_map(Reading::Known),
        1 => Just(Reading::Unknown(Cause::Incomplete)),
    ]
}

fn rate() -> impl Strategy<Value = f64> {
    prop_oneof![2 => Just(0.0), 5 => 0.0..2_000.0_f64, 1 => Just(1e12)]
}

prop_compose! {
    fn point()(
        backlog in reading(prop_oneof![2 => Just(0_u64), 5 => 0..50_000_u64, 1 => Just(u64::MAX)]),
        unacked in reading(prop_oneof![1 => Just(0_u64), 1 => 0..9_000_u64]),
        in_rate in reading(rate()),
        out_rate in reading(rate()),
        ack_rate in reading(rate()),
        redelivery_rate in reading(prop_oneof![4 => Just(0.0), 1 => rate()]),
        lag in reading(0..900_u64),
        ready in 0..20_u32,
        busy in reading(prop_oneof![4 => 0.0..1.0_f64, 1 => 0.0..9.0_f64]),
        processed_rate in reading(rate()),
    ) -> Point {
        Point {
            at: at(0), wall: UnixMillis(0), backlog, ready_backlog: backlog, unacked, in_rate, out_rate, ack_rate,
            redelivery_rate, lag, ready, processed_rate, busy, exceptions: Reading::Known(0),
            last_acked: Reading::default(),
        }
    }
}

/// Nothing to do, and all of it known.
fn idle() -> Point {
    let (none, zero) = (Reading::Known(0), Reading::Known(0.0));
    Point {
        at: at(0),
        wall: UnixMillis(0),
        backlog: none,
        ready_backlog: none,
        unacked: none,
        in_rate: zero,
        out_rate: zero,
        ack_rate: zero,
        redelivery_rate: zero,
        lag: none,
        ready: 1,
        processed_rate: zero,
        busy: zero,
        exceptions: none,
        last_acked: Reading::default(),
    }
}

/// A component that may sleep.
fn sleepy() -> Component {
    Component { sleep: SleepPolicy::Allowed, has_subscriptions: Reading::Known(true), ..Component::default() }
}

prop_compose! {
    fn component()(
        replicas in 0..60_u32,
        ready in 0..60_u32,
        kind in 0..5_usize,
        partitions in reading(0..9_u32),
        keys in prop::option::of(0..9_u32),
        per_entry in reading(prop_oneof![1.0..50.0_f64, Just(f64::NAN), Just(-4.0)]),
        is_synchronous in any::<bool>(),
        has_subscriptions in reading(any::<bool>()),
        sleep in 0..4_usize,
        has_new_topic in prop::bool::weighted(0.1),
        upstream in reading(prop_oneof![4 => rate(), 1 => Just(f64::NAN)]),
        is_held in prop::bool::weighted(0.1),
    ) -> Component {
        use SubscriptionType::{Exclusive, Failover, KeyShared, Shared};
        Component {
            replicas, ready, partitions, keys, is_synchronous, has_subscriptions, has_new_topic, upstream,
            subscription: [Some(Exclusive), Some(Failover), Some(KeyShared), Some(Shared), None][kind],
            messages_per_entry: per_entry,
            sleep: if sleep == 0 { SleepPolicy::Unknown(Cause::Failed) } else { SleepPolicy::Allowed },
            hold: is_held.then_some(Hold::Paused),
            measured_start: None,
        }
    }
}

prop_compose! {
    fn policy()(
        min_replicas in 0..4_u32, max_replicas in 0..40_u32, utilization in prop_oneof![0.0..1.5_f64, Just(f64::NAN)],
        idle in 0..90_u64,
    ) -> Policy {
        let idle_after = Duration::from_secs(idle);
        Policy { min_replicas, max_replicas, utilization, idle_after, ..Policy::default() }
    }
}

/// A component that was observed and decided for a while, as a caller does.
#[derive(Clone, Debug)]
struct Case {
    points: Vec<Point>,
    component: Component,
    policy: Policy,
    learned: Option<f64>,
}

impl Case {
    fn memory(&self) -> Memory {
        Memory::new(Learned { rate_per_replica: self.learned, calls: 500.0, ..Learned::default() })
    }

    /// Runs all rounds but the last, then takes the last point with an edit, and decides.
    fn decide(&self, edit: impl Fn(&mut Point)) -> Decision {
        let mut memory = self.memory();
        let mut window = Window::new(64);
        let rounds = self.points.len() as u64;
        for (round, point) in (1..).zip(&self.points[..self.points.len() - 1]) {
            window.push(Point { at: at(round * 10), ..*point });
            memory.observe(&window, &self.component, &self.policy, at(round * 10));
            let decision = self.decide_now(&window, &memory, round * 10);
            memory.record(&decision, &self.policy, at(round * 10));
        }
        let mut last = Point { at: at(rounds * 10), ..self.points[self.points.len() - 1] };
        edit(&mut last);
        window.push(last);
        // Not observed: what is learned from the edited point is another matter.
        self.decide_now(&window, &memory, rounds * 10)
    }

    fn decide_now(&self, window: &Window, memory: &Memory, second: u64) -> Decision {
        decide(History { window, memory }, &self.policy, &self.component, at(second))
    }
}

prop_compose! {
    fn case()(
        points in prop::collection::vec(point(), 1..50),
        component in component(),
        policy in policy(),
        learned in prop::option::of(prop_oneof![0.01..500.0_f64, Just(f64::NAN), Just(0.0)]),
    ) -> Case {
        Case { points, component, policy, learned }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replicas_stay_within_bounds(case in case()) {
        let decision = case.decide(|_| {});
        let (min, max) = (case.policy.min_replicas, case.policy.max_replicas.max(case.policy.min_replicas));
        if case.component.hold.is_some() {
            prop_assert_eq!(decision.replicas, case.component.replicas);
        } else {
            prop_assert!((min..=max).contains(&decision.replicas), "{decision:?}");
        }
        if let Some(useful) = case.component.useful_replicas()
            && decision.replicas > case.component.replicas
        {
            prop_assert!(decision.replicas <= useful.max(min), "{decision:?}");
        }
    }

    #[test]
    fn nothing_sleeps_with_work_or_with_anything_unknown(case in case()) {
        let decision = case.decide(|_| {});
        prop_assume!(case.component.replicas > 0 && case.component.hold.is_none());
        if decision.replicas == 0 && case.policy.max_replicas > 0 {
            let last = case.points.last().unwrap();
            prop_assert_eq!(&decision.reason, &Reason::Sleep);
            prop_assert_eq!(last.ready_backlog, Reading::Known(0));
            prop_assert_eq!(last.in_rate, Reading::Known(0.0));
            prop_assert_eq!(last.out_rate, Reading::Known(0.0));
            let counts_unacked =
                !matches!(case.component.subscription, Some(SubscriptionType::Exclusive | SubscriptionType::Failover));
            prop_assert!(!counts_unacked || last.unacked == Reading::Known(0));
            prop_assert_eq!(case.component.sleep, SleepPolicy::Allowed);
            prop_assert_eq!(case.component.has_subscriptions, Reading::Known(true));
        }
    }

    #[test]
    fn one_thing_that_is_not_idle_keeps_it_awake(what in 0..12_usize, rounds in 10..40_usize, age in 0..6_usize) {
        let unknown = Cause::Incomplete;
        let mut case = Case { points: vec![idle(); rounds], component: sleepy(), policy: Policy::default(), learned: Some(20.0) };
        (case.policy.min_replicas, case.policy.idle_after) = (0, Duration::from_mins(1));
        let point = &mut case.points[rounds - 1 - age];
        match what {
            0 => {}
            1 => point.ready_backlog = Reading::Known(1),
            2 => point.unacked = Reading::Known(1),
            3 => point.in_rate = Reading::Known(0.01),
            4 => point.out_rate = Reading::Known(0.01),
            5 => point.ready_backlog = Reading::Unknown(unknown),
            6 => point.unacked = Reading::Unknown(unknown),
            7 => point.in_rate = Reading::Unknown(unknown),
            8 => point.out_rate = Reading::Unknown(unknown),
            9 => case.component.sleep = SleepPolicy::Unknown(unknown),
            10 => case.component.has_subscriptions = Reading::Known(false),
            _ => case.component.has_new_topic = true,
        }
        let decision = case.decide(|_| {});
        prop_assert_eq!(decision.replicas == 0, what == 0, "{:?}", decision.reason);
    }

    #[test]
    fn work_wakes(case in case(), backlog in 1..9_000_u64) {
        let mut case = case;
        (case.component.replicas, case.component.hold) = (0, None);
        case.policy.max_replicas = case.policy.max_replicas.max(1);
        let decision = case.decide(|point| point.ready_backlog = Reading::Known(backlog));
        prop_assert!(decision.replicas > 0, "{decision:?}");
    }

    #[test]
    fn more_backlog_never_means_fewer_replicas(case in case(), backlog in 0..40_000_u64, more in 1..40_000_u64) {
        let with = |backlog| case.decide(|point| point.ready_backlog = Reading::Known(backlog)).replicas;
        let (less, more) = (with(backlog), with(backlog + more));
        prop_assert!(less <= more, "{less} > {more}");
    }

    #[test]
    fn missing_data_never_scales_down(case in case(), what in 0..4_usize) {
        let unknown = Cause::Incomplete;
        let decision = case.decide(|point| match what {
            0 => point.ready_backlog = Reading::Unknown(unknown),
            1 => point.in_rate = Reading::Unknown(unknown),
            2 => point.unacked = Reading::Unknown(unknown),
            _ => {
                point.ready_backlog = Reading::Unknown(unknown);
                point.in_rate = Reading::Unknown(unknown);
            }
        });
        let max = case.policy.max_replicas.max(case.policy.min_replicas);
        if what != 2 {
            prop_assert!(decision.replicas >= case.component.replicas.min(max), "{decision:?}");
        }
        prop_assert!(decision.replicas > 0 || case.component.replicas == 0 || max == 0
            || what == 2 && matches!(case.component.subscription, Some(SubscriptionType::Exclusive | SubscriptionType::Failover)));
    }

    #[test]
    fn decisions_are_deterministic_and_can_be_explained(case in case()) {
        let decision = case.decide(|_| {});
        let again = case.decide(|_| {});
        prop_assert_eq!(format!("{decision:?}"), format!("{again:?}"));
        prop_assert!(decision.explain().lines().count() >= 8);
    }

    #[test]
    fn a_mesh_gives_one_decision_each_and_keeps_its_budget(
        cases in prop::collection::vec(case(), 1..6),
        flows in prop::collection::vec((0..7_usize, 0..7_usize, reading(0.0..3.0_f64)), 0..12),
        budget in 0..60_u32,
    ) {
        let windows: Vec<_> = cases.iter().map(|case| {
            let mut window = Window::new(64);
            for (round, point) in (1..).zip(&case.points) {
                window.push(Point { at: at(round * 10), ..*point });
            }
            window
        }).collect();
        let memories: Vec<_> = cases.iter().map(Case::memory).collect();
        let members: Vec<_> = cases.iter().zip(windows.iter().zip(&memories)).map(|(case, (window, memory))| Member {
            history: History { window, memory },
            policy: case.policy,
            component: case.component.clone(),
            messages_from_outside: Reading::Unknown(Cause::NotAsked),
        }).collect();
        let flows = flows.into_iter().map(|(from, to, ratio)| Flow { from, to, ratio }).collect();
        let graph = Graph::new(members.len(), flows);
        let now = at(300);
        let free = graph.decide(&members, None, now);
        let shared = graph.decide(&members, Some(budget), now);
        prop_assert_eq!(free.len(), members.len());
        let total = |decisions: &[Decision]| decisions.iter().map(|it| u64::from(it.replicas)).sum::<u64>();
        prop_assert!(total(&shared) <= total(&free));
        for (free, shared) in free.iter().zip(&shared) {
            prop_assert!(shared.replicas > 0 || free.replicas == 0, "{shared:?}");
        }
    }
}

/// A component as a fluid, without prefetch: what arrives, what its pods finish, and pods that start.
struct Fluid {
    rate: f64,
    backlog: f64,
    pods: Vec<u64>,
    start: u64,
}

impl Fluid {
    fn step(&mut self, second: u64, arrivals: f64) -> Point {
        let ready = self.pods.iter().filter(|since| **since <= second).count() as u32;
        let capacity = self.rate * f64::from(ready);
        let waiting = self.backlog + arrivals * 10.0;
        let done = waiting.min(capacity * 10.0);
        self.backlog = waiting - done;
        let lag = if capacity > 0.0 { self.backlog / capacity } else { 600.0 };
        Point {
            at: at(second),
            wall: UnixMillis(second * 1000),
            backlog: Reading::Known(self.backlog as u64),
            ready_backlog: Reading::Known(self.backlog as u64),
            unacked: Reading::Known(0),
            in_rate: Reading::Known(arrivals),
            out_rate: Reading::Known(done / 10.0),
            ack_rate: Reading::Known(done / 10.0),
            redelivery_rate: Reading::Known(0.0),
            lag: Reading::Known(lag as u64),
            ready,
            processed_rate: Reading::Known(done / 10.0),
            busy: if capacity > 0.0 { Reading::Known(done / 10.0 / capacity) } else { Reading::default() },
            exceptions: Reading::Known(0),
            last_acked: Reading::default(),
        }
    }

    fn scale(&mut self, replicas: usize, second: u64) {
        while self.pods.len() < replicas {
            self.pods.push(second + self.start);
        }
        self.pods.truncate(replicas);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_constant_load_is_left_alone(
        arrivals in 1.0..600.0_f64, rate in 5.0..60.0_f64, start in 5..60_u64, first in 1..20_usize,
        is_synchronous in any::<bool>(), seed in any::<u64>(),
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut fluid = Fluid { rate, backlog: 0.0, pods: vec![0; first], start };
        let policy = Policy { max_replicas: 200, ..Policy::default() };
        let (mut window, mut memory) = (Window::new(64), Memory::default());
        let mut changes = Vec::new();
        for round in 1..=720 {
            let second = round * 10;
            let point = fluid.step(second, arrivals * (0.95 + 0.1 * rng.f64()));
            window.push(point);
            let component =
                Component { replicas: fluid.pods.len() as u32, ready: point.ready, is_synchronous, ..Component::default() };
            memory.observe(&window, &component, &policy, at(second));
            let decision = decide(History { window: &window, memory: &memory }, &policy, &component, at(second));
            memory.record(&decision, &policy, at(second));
            if decision.is_change() {
                changes.push((second, decision.replicas));
            }
            fluid.scale(decision.replicas as usize, second);
        }
        let late = changes.iter().filter(|(second, _)| *second > 3600).count();
        prop_assert!(late <= 1, "{changes:?}");
        if is_synchronous {
            prop_assert!(fluid.backlog < arrivals * 60.0, "{} {changes:?}", fluid.backlog);
        }
    }
}
