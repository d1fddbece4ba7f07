//! Tests of the decision: each rule, alone.

use super::*;
use crate::component::Hold;
use crate::learned::{Learned, Plateau};
use crate::policy::SleepRefusal;
use crate::testing::{at, point, steady, window};
use function_mesh_observer::Reading::{Known, Unknown};
use function_mesh_observer::{Point, SubscriptionType};

/// A memory of a component with this rate, that has recorded wishes of one for ten minutes.
fn memory(rate: Option<f64>) -> Memory {
    let learned = Learned { rate_per_replica: rate, calls: 1000.0, ..Learned::default() };
    let mut memory = Memory::new(learned);
    let (component, policy) = (Component::default(), policy());
    for round in 1..=60 {
        let window = steady(round, 0, 0.0);
        memory.observe(&window, &component, &policy, at(round * 10));
        let history = History { window: &window, memory: &memory };
        let decision = decide(history, &policy, &component, at(round * 10));
        memory.record(&decision, &policy, at(round * 10));
    }
    memory
}

fn policy() -> Policy {
    Policy { min_replicas: 0, max_replicas: 50, utilization: 0.8, ..Policy::default() }
}

fn allowed() -> Component {
    Component { sleep: SleepPolicy::Allowed, has_subscriptions: Known(true), ..Component::default() }
}

fn with(memory: &Memory, window: &Window, component: &Component) -> Decision {
    decide(History { window, memory }, &policy(), component, window.last().map_or(at(0), |last| last.at))
}

fn loaded(backlog: u64, rate: f64, edit: impl Fn(&mut Point)) -> Window {
    window(
        (61..=66)
            .map(|round| {
                let mut next = point(round * 10, backlog, rate);
                edit(&mut next);
                next
            })
            .collect(),
    )
}

#[test]
fn the_formula_has_three_terms() {
    let decision = with(&memory(Some(20.0)), &loaded(1200, 80.0, |_| {}), &Component::default());
    let terms = &decision.terms;
    assert_eq!(
        (terms.for_arrivals, terms.for_backlog, terms.for_start),
        (Known(100.0), Known(20.0), Known(30.0))
    );
    assert_eq!((decision.replicas, decision.reason), (8, Reason::ScaleUp));
}

#[test]
fn subscriptions_and_messages_limit_replicas() {
    let failover = |partitions| Component {
        subscription: Some(SubscriptionType::Failover),
        partitions,
        ..Component::default()
    };
    let busy = loaded(5000, 200.0, |_| {});
    let memory = memory(Some(20.0));
    let three = with(&memory, &busy, &failover(Known(3)));
    assert_eq!((three.replicas, three.limited_by), (3, Some(Limit::Subscription)));
    let unknown = with(&memory, &busy, &failover(Unknown(Cause::Failed)));
    assert!(unknown.replicas > 3);
    let slow = Memory::new(Learned { rate_per_replica: Some(0.001), ..Learned::default() });
    let four = with(&slow, &loaded(4, 0.0, |_| {}), &Component::default());
    assert_eq!((four.replicas, four.limited_by), (4, Some(Limit::InFlight)));
}

#[test]
fn unknown_rate_doubles_only_while_the_backlog_grows() {
    let component = Component { replicas: 3, ready: 3, is_synchronous: false, ..Component::default() };
    let mut unknown = Memory::default();
    unknown.observe(&loaded(10, 5.0, |_| {}), &component, &policy(), at(660));
    let growing = loaded(0, 50.0, |point| point.ready_backlog = Known(point.at.0.as_secs()));
    assert_eq!(with(&unknown, &growing, &component).replicas, 6);
    let steady = with(&unknown, &loaded(90, 50.0, |_| {}), &component);
    assert_eq!((steady.replicas, steady.reason), (3, Reason::RateUnknown));
}

#[test]
fn missing_data_holds_the_replicas() {
    let component = Component { replicas: 9, ready: 9, ..Component::default() };
    for edit in [
        (|point: &mut Point| point.ready_backlog = Unknown(Cause::Incomplete)) as fn(&mut Point),
        |point| point.in_rate = Unknown(Cause::Incomplete),
        |point| {
            point.busy = Unknown(Cause::Incomplete);
            point.processed_rate = Unknown(Cause::Incomplete);
            point.ack_rate = Unknown(Cause::Incomplete);
        },
    ] {
        let decision = with(&memory(Some(20.0)), &loaded(1, 10.0, edit), &component);
        assert_eq!((decision.replicas, decision.reason), (9, Reason::MissingData(Cause::Incomplete)));
    }
    let later = decide(
        History { window: &loaded(1, 10.0, |_| {}), memory: &memory(Some(20.0)) },
        &policy(),
        &component,
        at(9000),
    );
    assert_eq!((later.replicas, later.reason), (9, Reason::MissingData(Cause::Stale)));
}

#[test]
fn scale_down_waits_for_lag_and_saturation_and_goes_by_steps() {
    let component = Component { replicas: 20, ready: 20, ..Component::default() };
    let down = |edit: fn(&mut Point)| with(&memory(Some(20.0)), &loaded(20, 40.0, edit), &component);
    let calm = down(|point| point.busy = Known(0.1));
    assert_eq!((calm.replicas, calm.limited_by), (8, Some(Limit::StepDown)));
    let late = down(|point| (point.busy, point.lag) = (Known(0.1), Known(61)));
    assert_eq!((late.replicas, late.reason), (20, Reason::LagAboveObjective));
    let full = down(|point| point.busy = Known(0.99));
    assert_eq!((full.replicas, full.reason), (20, Reason::Saturated));
}

#[test]
fn scale_down_needs_five_minutes_of_wishes() {
    let component = Component { replicas: 4, ready: 4, ..Component::default() };
    let fresh = Memory::new(Learned { rate_per_replica: Some(20.0), ..Learned::default() });
    let calm = loaded(0, 10.0, |point| point.busy = Known(0.1));
    assert_eq!(with(&fresh, &calm, &component).reason, Reason::Stabilizing);
    assert_eq!(with(&memory(Some(20.0)), &calm, &component).reason, Reason::ScaleDown);
}

#[test]
fn sleep_needs_permission_and_subscriptions() {
    let idle = loaded(0, 0.0, |_| {});
    let sleep = |component: Component| {
        let decision = with(&memory(Some(20.0)), &idle, &component);
        (decision.replicas, decision.reason)
    };
    assert_eq!(sleep(allowed()), (0, Reason::Sleep));
    let refused = SleepPolicy::Refused(SleepRefusal::SubscriptionExpires);
    assert_eq!(
        sleep(Component { sleep: refused, ..allowed() }),
        (1, Reason::SleepRefused(SleepRefusal::SubscriptionExpires))
    );
    let unknown = SleepPolicy::Unknown(Cause::Unauthorized);
    assert_eq!(
        sleep(Component { sleep: unknown, ..allowed() }),
        (1, Reason::SleepUnknown(Cause::Unauthorized))
    );
    assert_eq!(
        sleep(Component { has_subscriptions: Known(false), ..allowed() }),
        (1, Reason::SubscriptionMissing)
    );
    assert_eq!(sleep(Component { has_new_topic: true, ..allowed() }).0, 1);
    assert_eq!(sleep(Component { upstream: Known(5.0), ..allowed() }).0, 1);
    assert_eq!(with(&Memory::default(), &idle, &allowed()).replicas, 1);
}

#[test]
fn sleepers_wake_for_work_and_new_topics_at_the_learned_rate() {
    let asleep = Component { replicas: 0, ready: 0, ..allowed() };
    let wake = |backlog, component: &Component| {
        let decision = with(&memory(Some(20.0)), &loaded(backlog, 0.0, |_| {}), component);
        (decision.replicas, decision.reason)
    };
    assert_eq!(wake(0, &asleep), (0, Reason::Asleep));
    assert_eq!(wake(1, &asleep), (1, Reason::Wake));
    assert_eq!(wake(6000, &asleep), (5, Reason::Wake));
    assert_eq!(wake(0, &Component { has_new_topic: true, ..asleep.clone() }), (1, Reason::WakeNewTopic));
    let unknown = loaded(0, 0.0, |point| point.ready_backlog = Unknown(Cause::Failed));
    assert_eq!(with(&memory(None), &unknown, &asleep).reason, Reason::MissingData(Cause::Failed));
}

#[test]
fn holds_freeze_the_replicas() {
    for hold in [Hold::RollingOut, Hold::Paused, Hold::Suspended, Hold::OtherWriter("kubectl".to_owned())] {
        let component = Component { replicas: 77, hold: Some(hold.clone()), ..allowed() };
        let decision = with(&memory(Some(20.0)), &loaded(9000, 200.0, |_| {}), &component);
        assert_eq!((decision.replicas, decision.reason), (77, Reason::Held(hold)));
    }
}

#[test]
fn poisoned_messages_do_not_look_like_load() {
    let poisoned = window(
        (50..=66)
            .map(|round| {
                let mut next = point(round * 10, 400, 0.0);
                (next.ack_rate, next.redelivery_rate, next.out_rate) = (Known(0.0), Known(30.0), Known(30.0));
                next.lag = Known(600);
                next
            })
            .collect(),
    );
    let one = with(&memory(Some(1.0)), &poisoned, &allowed());
    assert_eq!((one.replicas, one.reason), (1, Reason::Poisoned));
    let five = Component { replicas: 5, ready: 5, ..allowed() };
    assert_eq!(with(&memory(Some(1.0)), &poisoned, &five).replicas, 2);
}

#[test]
fn a_plateau_stops_scaling_up() {
    let plateau = Some(Plateau { replicas: 4, throughput: 80.0, in_rate: 200.0 });
    let learned = Learned { rate_per_replica: Some(20.0), plateau, ..Learned::default() };
    let component = Component { replicas: 4, ready: 4, ..allowed() };
    let decision = with(&Memory::new(learned), &loaded(9000, 200.0, |_| {}), &component);
    assert_eq!((decision.replicas, decision.reason), (4, Reason::Ineffective));
}

#[test]
fn backlog_waits_for_the_last_change_and_new_demand_does_not() {
    let mut memory = memory(Some(20.0));
    let calm = loaded(0, 10.0, |_| {});
    let starting = Component { replicas: 2, ready: 1, ..allowed() };
    let before = with(&memory, &calm, &allowed());
    memory.record(&before, &policy(), at(660));
    memory.observe(&calm, &starting, &policy(), at(660));
    let backlog = with(&memory, &loaded(9000, 10.0, |_| {}), &starting);
    assert_eq!((backlog.replicas, backlog.reason), (2, Reason::Settling));
    assert_eq!(with(&memory, &loaded(9000, 100.0, |_| {}), &starting).reason, Reason::ScaleUp);
}

#[test]
fn upstream_demand_raises_and_never_lowers() {
    let memory = memory(Some(20.0));
    let busy = loaded(0, 80.0, |_| {});
    let own = with(&memory, &busy, &allowed()).replicas;
    let raised = Component { upstream: Known(300.0), ..allowed() };
    assert!(with(&memory, &busy, &raised).replicas > own);
    let lowered = Component { upstream: Known(1.0), ..allowed() };
    assert_eq!(with(&memory, &busy, &lowered).replicas, own);
}

#[test]
fn bounds_of_the_user_are_enforced_at_once() {
    let many = Component { replicas: 80, ready: 80, ..allowed() };
    let decision = with(&memory(Some(20.0)), &loaded(0, 10.0, |_| {}), &many);
    assert!(decision.replicas <= 50);
    let unknown = loaded(0, 10.0, |point| point.ready_backlog = Unknown(Cause::Failed));
    let decision = with(&memory(Some(20.0)), &unknown, &many);
    assert_eq!((decision.replicas, decision.reason), (50, Reason::OutOfBounds));
}
