//! The load of a component, measured from its window. What is not known stays unknown.

use std::time::Duration;

use function_mesh_observer::{Cause, Monotonic, Point, Reading, Window};

use crate::component::Component;
use crate::number::float;

/// Time over which rates are averaged.
pub(crate) const RATE_WINDOW: Duration = Duration::from_mins(1);
/// Time over which a pod counts as busy.
const BUSY_WINDOW: Duration = Duration::from_secs(25);
/// The broker is asked for the lag once a minute, so that it may be this old.
const LAG_AGE: Duration = Duration::from_mins(2);
/// Time of redeliveries without an acknowledgement after which the backlog counts as poisoned. The broker renews both rates
/// once a minute.
const POISON_WINDOW: Duration = Duration::from_mins(2);
/// Share of its time from which a pod counts as saturated.
const SATURATED: f64 = 0.95;
/// Work for this many seconds waits behind a saturated component of which nothing else is known.
const WAITING_SECONDS: f64 = 5.0;
/// Work for this many seconds is a backlog, wherever it waits.
const BACKLOG_SECONDS: f64 = 10.0;

/// The load of a component.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is one observation, and they are independent")]
pub struct Load {
    /// Messages published to the inputs, a second.
    pub in_rate: Reading<f64>,
    /// Messages that wait or are being worked on, without delayed ones.
    pub work: Reading<f64>,
    /// Messages delivered and not acknowledged. They are part of the work, and stay with the pods that hold them.
    pub unacked: Reading<u64>,
    /// Messages that no pod has received: only these reach new pods.
    pub undispatched: Reading<f64>,
    /// Age of the oldest message.
    pub lag: Reading<Duration>,
    /// Messages that the pods finish, a second.
    pub throughput: Reading<f64>,
    /// The same of the last rounds alone.
    pub newest_throughput: Reading<f64>,
    /// Share of the pods' time, for a synchronous component.
    pub busy: Reading<f64>,
    /// Whether the pods cannot do more.
    pub is_saturated: Reading<bool>,
    /// Whether messages are delivered again and again, and none is acknowledged.
    pub is_poisoned: bool,
    /// Whether messages wait, at the broker or in the queues of the pods: more than the pods finish soon.
    pub is_backlogged: bool,
    /// Whether the backlog grew over the last minute.
    pub is_growing: bool,
    /// Whether nothing waits or is delayed, arrives, is delivered or is being worked on, and all of this is known.
    pub is_idle: bool,
}

impl Load {
    /// Measures the load at a time.
    pub fn measure(window: &Window, component: &Component, max_age: Duration, now: Monotonic) -> Self {
        // The newest round decides: an older number would hide that the last round was incomplete.
        let last = match window.last() {
            Some(point) if now.since(point.at) <= max_age => Ok(point),
            Some(_) => Err(Cause::Stale),
            None => Err(Cause::NotAsked),
        };
        let of_last = |get: fn(&Point) -> Reading<u64>| match last {
            Ok(point) => get(point),
            Err(cause) => Reading::Unknown(cause),
        };
        let per_entry = component.messages_per_entry.known().filter(|size| size.is_finite());
        let per_entry = per_entry.unwrap_or(1.0).max(1.0);
        let unacked = of_last(|point| point.unacked);
        let work = of_last(|point| point.ready_backlog).map(|entries| float(entries) * per_entry);
        let undispatched = match unacked {
            Reading::Known(unacked) => work.map(|work| (work - float(unacked)).max(0.0)),
            Reading::Unknown(_) => work,
        };
        let throughput = window.mean(now, RATE_WINDOW, |point| point.processed_rate).or(window.mean(
            now,
            RATE_WINDOW,
            |point| point.ack_rate,
        ));
        let newest_throughput = window.mean(now, BUSY_WINDOW, |point| point.processed_rate).or(throughput);
        let mut busy = window.mean(now, BUSY_WINDOW, |point| point.busy);
        if !component.is_synchronous || busy.is_known_and(|busy| busy > 1.05) {
            busy = Reading::Unknown(Cause::NotReported);
        }
        Self {
            in_rate: in_rate(window, per_entry, last, now),
            work,
            unacked,
            undispatched,
            lag: lag(window, work, now),
            throughput,
            newest_throughput,
            busy,
            is_saturated: is_saturated(busy, undispatched, unacked, throughput, component),
            is_poisoned: is_poisoned(window, now),
            is_backlogged: work.zip(newest_throughput).is_known_and(|(work, throughput)| {
                work > f64::from(component.ready) && work > throughput.max(0.0) * BACKLOG_SECONDS
            }),
            is_growing: is_growing(window, now),
            is_idle: last.is_ok_and(|last| is_idle(last, component)),
        }
    }

    /// Whether anything is known to be there to do.
    pub fn has_work(&self) -> bool {
        self.work.is_known_and(|work| work > 0.0) || self.unacked.is_known_and(|unacked| unacked > 0)
    }
}

/// The mean of a minute, or the newest rate if it is higher by more than chance explains: a step counts at once.
fn in_rate(window: &Window, per_entry: f64, last: Result<&Point, Cause>, now: Monotonic) -> Reading<f64> {
    let newest = match last {
        Ok(point) => point.in_rate,
        Err(cause) => return Reading::Unknown(cause),
    };
    let mean = window.mean(now, RATE_WINDOW, |point| point.in_rate);
    mean.zip(newest).map(|(mean, newest)| {
        let chance = 0.25 * mean + 4.0 * (mean * per_entry / 10.0).sqrt();
        if newest > mean + chance { newest } else { mean }
    })
}

fn lag(window: &Window, work: Reading<f64>, now: Monotonic) -> Reading<Duration> {
    match work {
        Reading::Known(work) if work <= 0.0 => Reading::Known(Duration::ZERO),
        Reading::Unknown(cause) => Reading::Unknown(cause),
        Reading::Known(_) => window.newest(now, LAG_AGE, |point| point.lag).map(Duration::from_secs),
    }
}

fn is_saturated(
    busy: Reading<f64>,
    undispatched: Reading<f64>,
    unacked: Reading<u64>,
    throughput: Reading<f64>,
    component: &Component,
) -> Reading<bool> {
    if let Reading::Known(busy) = busy {
        return Reading::Known(busy >= SATURATED);
    }
    let in_service = if unacked.is_known() { 0.0 } else { f64::from(component.ready) };
    undispatched
        .zip(throughput)
        .map(|(waiting, throughput)| waiting > in_service && waiting > throughput.max(0.0) * WAITING_SECONDS)
}

fn is_idle(last: &Point, component: &Component) -> bool {
    let is_zero = |rate: f64| rate <= 0.0;
    // Where the broker does not count them, they are part of the backlog.
    let has_no_unacked = !component.has_unacked() || last.unacked.is_known_and(|unacked| unacked == 0);
    // A broker looks at the time of delayed messages only for a consumer, so that a component which slept meanwhile would not
    // wake for them.
    let has_delayed = last.backlog.is_known_and(|with_delayed| with_delayed > 0);
    last.ready_backlog.is_known_and(|backlog| backlog == 0)
        && !has_delayed
        && has_no_unacked
        && last.in_rate.is_known_and(is_zero)
        && last.out_rate.is_known_and(is_zero)
}

/// Redeliveries without an acknowledgement over the whole time, in every round that reports them.
fn is_poisoned(window: &Window, now: Monotonic) -> bool {
    let mut recent =
        window.points().rev().take_while(|point| now.since(point.at) <= POISON_WINDOW).peekable();
    let is_long = window.points().any(|point| now.since(point.at) >= POISON_WINDOW);
    is_long
        && recent.peek().is_some()
        && recent.all(|point| {
            let has_acks = !point.ack_rate.is_known_and(|rate| rate <= 0.0);
            !has_acks && point.redelivery_rate.is_known_and(|rate| rate > 0.0)
        })
}

fn is_growing(window: &Window, now: Monotonic) -> bool {
    let mut known = window
        .points()
        .rev()
        .take_while(|point| now.since(point.at) <= RATE_WINDOW)
        .filter_map(|point| point.ready_backlog.known());
    let (newest, oldest) = (known.next(), known.last());
    newest.zip(oldest).is_some_and(|(newest, oldest)| newest > oldest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, point, window};
    use function_mesh_observer::Reading::{Known, Unknown};

    const AGE: Duration = Duration::from_mins(1);

    fn measure(points: Vec<Point>, component: &Component) -> Load {
        let now = points.last().map_or(at(0), |point| point.at);
        Load::measure(&window(points), component, AGE, now)
    }

    #[test]
    fn a_step_counts_at_once_and_noise_does_not() {
        let shared = Component::default();
        let rates = |last: f64| {
            let mut points: Vec<_> = (1..7).map(|round| point(round * 10, 0, 20.0)).collect();
            points[5].in_rate = Known(last);
            measure(points, &shared).in_rate.known().unwrap()
        };
        assert!((rates(24.0) - 20.7).abs() < 0.1);
        assert!((rates(200.0) - 200.0).abs() < 0.1);
    }

    #[test]
    fn an_incomplete_round_hides_older_ones() {
        let mut points: Vec<_> = (1..7).map(|round| point(round * 10, 9, 20.0)).collect();
        points[5].ready_backlog = Unknown(Cause::Incomplete);
        let load = measure(points, &Component::default());
        assert_eq!(load.work, Unknown(Cause::Incomplete));
        assert_eq!(load.lag.cause(), Some(Cause::Incomplete));
        assert!(!load.has_work());
    }

    #[test]
    fn entries_become_messages_and_prefetched_ones_stay() {
        let mut only = point(10, 100, 1.0);
        only.unacked = Known(300);
        let component = Component { messages_per_entry: Known(5.0), ..Component::default() };
        let load = measure(vec![only], &component);
        assert_eq!((load.work, load.undispatched), (Known(500.0), Known(200.0)));
    }

    #[test]
    fn delayed_messages_are_no_work_and_keep_a_component_awake() {
        let load = |backlog| {
            let mut only = point(10, 0, 0.0);
            only.backlog = backlog;
            measure(vec![only], &Component::default())
        };
        let delayed = load(Known(3));
        assert_eq!((delayed.has_work(), delayed.is_idle), (false, false));
        assert!(load(Known(0)).is_idle);
        assert!(load(Unknown(Cause::NotReported)).is_idle);
    }

    #[test]
    fn redeliveries_without_acks_are_poison() {
        let points = |acks: f64| {
            let all = (1..16).map(|round| {
                let mut point = point(round * 10, 4, 0.0);
                (point.redelivery_rate, point.ack_rate) = (Known(2.0), Known(acks));
                point
            });
            all.collect::<Vec<_>>()
        };
        let is = |points| measure(points, &Component::default()).is_poisoned;
        assert!(is(points(0.0)));
        assert!(!is(points(0.5)));
        assert!(!is(points(0.0).split_off(8)));
    }

    #[test]
    fn asynchronous_pods_are_saturated_while_messages_wait() {
        let component = Component { is_synchronous: false, ..Component::default() };
        let is = |backlog| measure(vec![point(10, backlog, 10.0)], &component).is_saturated;
        assert_eq!((is(0), is(500)), (Known(false), Known(true)));
    }
}
