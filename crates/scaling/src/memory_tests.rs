//! Tests of the memory: wishes, idle time, start times, and steps without gain.

use super::*;
use crate::decide::{History, decide};
use crate::testing::{at, point, steady, window};
use function_mesh_observer::Reading::{Known, Unknown};
use function_mesh_observer::{Cause, Point};

fn run(
    memory: &mut Memory,
    points: &mut Vec<Point>,
    rounds: u64,
    component: &Component,
    edit: impl Fn(&mut Point),
) {
    let policy = Policy::default();
    for _ in 0..rounds {
        let second = points.last().map_or(0, |point| point.at.0.as_secs()) + 10;
        let mut next = point(second, 0, 0.0);
        next.ready = component.ready;
        edit(&mut next);
        points.push(next);
        let window = window(points.clone());
        memory.observe(&window, component, &policy, at(second));
        let history = History { window: &window, memory };
        let decision = decide(history, &policy, component, at(second));
        memory.record(&decision, &policy, at(second));
    }
}

#[test]
fn wishes_are_bounded_and_need_the_whole_time() {
    let (mut memory, mut points) = (Memory::default(), Vec::new());
    let component = Component::default();
    let minutes = Duration::from_mins(5);
    run(&mut memory, &mut points, 30, &component, |_| {});
    assert_eq!(memory.largest_wish(minutes, at(300)), None);
    run(&mut memory, &mut points, 200, &component, |_| {});
    assert_eq!(memory.largest_wish(minutes, at(2300)), Some(1));
    assert!(memory.wishes.len() <= WISHES);
}

#[test]
fn idle_time_ends_with_work_a_gap_or_anything_unknown() {
    let component = Component::default();
    for (name, edit) in [
        ("work", (|point: &mut Point| point.ready_backlog = Known(1)) as fn(&mut Point)),
        ("unacked", |point| point.unacked = Known(1)),
        ("arrivals", |point| point.in_rate = Known(0.1)),
        ("deliveries", |point| point.out_rate = Known(0.1)),
        ("backlog unknown", |point| point.ready_backlog = Unknown(Cause::Incomplete)),
        ("unacked unknown", |point| point.unacked = Unknown(Cause::Failed)),
        ("arrivals unknown", |point| point.in_rate = Unknown(Cause::CounterReset)),
    ] {
        let (mut memory, mut points) = (Memory::default(), Vec::new());
        run(&mut memory, &mut points, 5, &component, |_| {});
        assert_eq!(memory.idle_since(), Some(at(10)));
        run(&mut memory, &mut points, 1, &component, edit);
        assert_eq!(memory.idle_since(), None, "{name}");
        run(&mut memory, &mut points, 2, &component, |_| {});
        assert_eq!(memory.idle_since(), Some(at(70)), "{name}");
    }
    let (mut memory, policy) = (Memory::default(), Policy::default());
    memory.observe(&steady(1, 0, 0.0), &component, &policy, at(10));
    memory.observe(&window(vec![point(500, 0, 0.0)]), &component, &policy, at(500));
    assert_eq!(memory.idle_since(), Some(at(500)));
}

#[test]
fn unacked_of_failover_is_part_of_the_backlog() {
    let subscription = Some(function_mesh_observer::SubscriptionType::Failover);
    let component = Component { subscription, ..Component::default() };
    let (mut memory, mut points) = (Memory::default(), Vec::new());
    run(&mut memory, &mut points, 2, &component, |point| point.unacked = Unknown(Cause::NotReported));
    assert_eq!(memory.idle_since(), Some(at(10)));
}

#[test]
fn start_time_is_measured_from_the_change_to_ready_pods() {
    let (mut memory, mut points) = (Memory::default(), Vec::new());
    run(&mut memory, &mut points, 2, &Component::default(), |_| {});
    let starting = Component { replicas: 3, ready: 1, ..Component::default() };
    run(&mut memory, &mut points, 2, &starting, |_| {});
    assert!(memory.change().unwrap().is_settling(Duration::from_secs(30), at(40)));
    run(&mut memory, &mut points, 1, &Component { ready: 3, ..starting }, |_| {});
    assert_eq!(memory.learned().start_time(), Duration::from_secs(20));
    assert_eq!(memory.change().unwrap().in_effect, Some(at(50)));
}

#[test]
fn a_change_that_never_takes_effect_is_given_up() {
    let change = Change {
        at: at(0),
        from: 1,
        to: 2,
        in_effect: None,
        demand: None,
        throughput: None,
        rate: None,
        is_judged: false,
    };
    let start = Duration::from_secs(10);
    assert!(change.is_settling(start, at(179)));
    assert!(!change.is_settling(start, at(180)));
}

fn saturated(rate: f64) -> impl Fn(&mut Point) {
    move |point| {
        point.ready_backlog = Known(5_000);
        point.in_rate = Known(60.0);
        point.processed_rate = Known(rate);
        point.busy = Known(1.0);
    }
}

#[test]
fn a_step_without_gain_is_a_plateau_until_the_load_changes() {
    let (mut memory, mut points) = (Memory::default(), Vec::new());
    run(&mut memory, &mut points, 6, &Component::default(), saturated(20.0));
    let more = Component { replicas: 4, ready: 4, ..Component::default() };
    run(&mut memory, &mut points, 7, &more, saturated(21.0));
    assert_eq!(memory.learned().plateau.map(|plateau| plateau.replicas), Some(4));
    let mut other = memory.clone();
    run(&mut other, &mut points.clone(), 8, &more, |point| {
        saturated(21.0)(point);
        point.in_rate = Known(200.0);
    });
    assert_eq!(other.learned().plateau, None);
    run(&mut memory, &mut points, 1, &more, |point| point.processed_rate = Known(21.0));
    assert_eq!(memory.learned().plateau, None);
}

#[test]
fn a_step_with_gain_is_none() {
    let (mut memory, mut points) = (Memory::default(), Vec::new());
    run(&mut memory, &mut points, 6, &Component::default(), saturated(20.0));
    let more = Component { replicas: 4, ready: 4, ..Component::default() };
    run(&mut memory, &mut points, 7, &more, saturated(60.0));
    assert_eq!(memory.learned().plateau, None);
}
