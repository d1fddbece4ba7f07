//! Tests of the tracker: completeness, rates, lag, and what is kept.

use super::*;
use crate::Reading::{Known, Unknown};
use crate::stats::{PodStats, TopicAnswer};
use crate::{PodObservation, ServerClock};

fn at(second: u64) -> Monotonic {
    Monotonic(Duration::from_secs(second))
}

fn part(name: &str, incoming: u64, backlog: u64) -> TopicStats {
    let stats = SubscriptionStats {
        backlog: Known(backlog),
        backlog_no_delayed: Known(backlog),
        out_counter: Known(incoming),
        last_acked: Known(incoming),
        ..Default::default()
    };
    TopicStats {
        topic: name.into(),
        in_counter: Known(incoming),
        subscriptions: BTreeMap::from([("s".into(), Box::new(stats))]),
        ..TopicStats::default()
    }
}

fn topic(name: &str, answer: Result<TopicAnswer, Cause>) -> TopicObservation {
    TopicObservation { topic: name.into(), subscription: "s".into(), answer }
}

#[allow(clippy::unnecessary_wraps, reason = "the type of an observation")]
fn answer(parts: Vec<TopicStats>, expected: usize) -> Result<TopicAnswer, Cause> {
    Ok(TopicAnswer { parts, expected: Known(expected) })
}

fn observation(second: u64, topics: Vec<TopicObservation>) -> Observation {
    Observation {
        at: at(second),
        wall: UnixMillis(second * 1000),
        clock: ServerClock::default(),
        topics,
        is_output_blocked: Unknown(Cause::NotAsked),
        pods: Vec::new(),
    }
}

fn tracker(rounds: Vec<Observation>) -> Tracker {
    let mut tracker = Tracker::new(TrackerSettings::default());
    for round in rounds {
        tracker.observe(&round, &Workload::default());
    }
    tracker
}

#[test]
fn topics_are_summed() {
    let round = |second, incoming| {
        let parts = vec![part("a-partition-0", incoming, 2), part("a-partition-1", 3 * incoming, 5)];
        observation(second, vec![topic("a", answer(parts, 2)), topic("b", answer(vec![part("b", 7, 1)], 1))])
    };
    let tracker = tracker(vec![round(0, 0), round(10, 10)]);
    let point = tracker.window().last().unwrap();
    assert_eq!((point.backlog, point.in_rate), (Known(8), Known(4.0)));
    assert!(!point.unacked.is_known() && !point.ack_rate.is_known());
}

#[test]
fn a_missing_partition_makes_sums_unknown() {
    let round = observation(0, vec![topic("a", answer(vec![part("a-partition-0", 0, 2)], 2))]);
    let point = *tracker(vec![round]).window().last().unwrap();
    assert_eq!(point.backlog, Unknown(Cause::Incomplete));
    assert_eq!(point.lag, Unknown(Cause::NotReported));
    let failed = observation(
        0,
        vec![topic("b", answer(vec![part("b", 0, 0)], 1)), topic("a", Err(Cause::Unauthorized))],
    );
    assert_eq!(tracker(vec![failed]).window().last().unwrap().backlog, Unknown(Cause::Unauthorized));
    assert_eq!(
        tracker(vec![observation(0, Vec::new())]).window().last().unwrap().backlog,
        Unknown(Cause::NotAsked)
    );
}

#[test]
fn a_missing_subscription_is_not_an_empty_backlog() {
    let empty = TopicStats { topic: "a".into(), in_counter: Known(9), ..TopicStats::default() };
    let round = |second| observation(second, vec![topic("a", answer(vec![empty.clone()], 1))]);
    let tracker = tracker(vec![round(5), round(15)]);
    assert_eq!(tracker.window().last().unwrap().backlog, Unknown(Cause::NoSubscription));
    assert_eq!(tracker.absent_since, Some(at(5)));
}

#[test]
fn a_topic_that_is_recreated_begins_again() {
    let mut tracker = tracker(vec![
        observation(0, vec![topic("a", answer(vec![part("a", 100, 4)], 1))]),
        observation(10, vec![topic("a", Err(Cause::NotFound))]),
    ]);
    assert!(tracker.series.is_empty());
    tracker
        .observe(&observation(20, vec![topic("a", answer(vec![part("a", 1, 1)], 1))]), &Workload::default());
    let point = tracker.window().last().unwrap();
    assert_eq!((point.backlog, point.in_rate), (Known(1), Unknown(Cause::TooFewSamples)));
    // A pattern that no longer matches.
    tracker.observe(&observation(30, Vec::new()), &Workload::default());
    assert!(tracker.series.is_empty() && tracker.topics.is_empty());
}

#[test]
fn rounds_in_the_past_are_ignored() {
    let round =
        |second, backlog| observation(second, vec![topic("a", answer(vec![part("a", 0, backlog)], 1))]);
    let tracker = tracker(vec![round(10, 1), round(10, 2), round(5, 3)]);
    assert_eq!(tracker.window().points().count(), 1);
    assert_eq!(tracker.window().last().unwrap().backlog, Known(1));
}

#[test]
fn lag_is_measured_on_the_clock_of_the_broker() {
    let mut delayed = part("a", 0, 3);
    delayed.subscriptions.get_mut("s").unwrap().earliest_publish = Known(3_600_000);
    let mut round = observation(100, vec![topic("a", answer(vec![delayed], 1))]);
    // The broker is an hour ahead.
    round.clock = ServerClock::measure(UnixMillis(3_700_000), round.wall, round.wall);
    let point = *tracker(vec![round]).window().last().unwrap();
    assert!(point.lag.is_known_and(|lag| (99..=101).contains(&lag)), "{:?}", point.lag);
    let idle = observation(100, vec![topic("a", answer(vec![part("a", 0, 0)], 1))]);
    assert_eq!(tracker(vec![idle]).window().last().unwrap().lag, Known(0));
}

#[test]
fn the_last_acknowledgement_survives_a_reload() {
    let round = |second, acked| observation(second, vec![topic("a", answer(vec![part("a", acked, 1)], 1))]);
    let tracker = tracker(vec![round(0, 500), round(10, 0)]);
    assert_eq!(tracker.window().last().unwrap().last_acked, Known(UnixMillis(500)));
}

/// The operator's clock is an hour ahead for a while, as the answers of the broker show.
#[test]
fn the_last_acknowledgement_returns_with_the_clock() {
    let hour = 3_600_000;
    let round = |second: u64, acked, ahead: u64| {
        let mut round = observation(second, vec![topic("a", answer(vec![part("a", acked, 1)], 1))]);
        round.wall = UnixMillis(round.wall.0 + ahead);
        round.clock = ServerClock::measure(UnixMillis(second * 1_000), round.wall, round.wall);
        round
    };
    let acked = |rounds: &[(u64, u64, u64)]| {
        let rounds = rounds.iter().map(|(second, acked, ahead)| round(*second, *acked, *ahead));
        tracker(rounds.collect()).window().last().unwrap().last_acked.known().unwrap().0
    };
    assert!(acked(&[(10, 5_000, hour)]).abs_diff(hour + 5_000) < 1_000);
    assert_eq!(acked(&[(10, 5_000, hour), (20, 5_000, 0)]), 5_000);
    assert_eq!(acked(&[(10, 5_000, hour), (20, 15_000, 0)]), 15_000);
    // The noise of the measurement is no acknowledgement.
    assert_eq!(acked(&[(10, 5_000, 3_000), (20, 5_000, 4_000)]), acked(&[(10, 5_000, 3_000)]));
}

#[test]
fn pods_are_summed_and_calls_measured() {
    let pod = |second, ordinal, exceptions, sum, count| PodObservation {
        ordinal,
        at: Monotonic(Duration::from_secs(second)),
        stats: Ok(PodStats {
            exceptions: Known(exceptions),
            processed: Known(count),
            latency_sum: Known(sum),
            latency_count: Known(count),
            ..Default::default()
        }),
    };
    let mut first = observation(0, Vec::new());
    first.pods = vec![pod(0, 0, 1, 0.0, 0), pod(0, 1, 5, 0.0, 0)];
    let mut second = observation(10, Vec::new());
    second.pods = vec![pod(10, 0, 3, 5000.0, 2), pod(10, 1, 5, 1000.0, 1)];
    let mut third = observation(20, Vec::new());
    let failed =
        PodObservation { ordinal: 1, at: Monotonic(Duration::from_secs(20)), stats: Err(Cause::Failed) };
    third.pods = vec![pod(20, 0, 4, 5000.0, 2), failed];
    let tracker = tracker(vec![first, second, third]);
    let points: Vec<_> = tracker.window().points().collect();
    assert_eq!(points[1].exceptions, Known(2));
    let is_about =
        |reading: Reading<f64>, expected: f64| reading.is_known_and(|it| (it - expected).abs() < 1e-9);
    assert!(is_about(points[1].processed_rate, 0.3) && is_about(points[1].busy, 0.3), "{points:?}");
    assert_eq!(points[2].exceptions, Unknown(Cause::Failed));
    assert_eq!(tracker.exceptions, Known(3));
    assert_eq!(tracker.longest_call(), Known(Duration::from_millis(2500)));
    assert_eq!(tracker.typical_call(), Known(Duration::from_secs(2)));
}
