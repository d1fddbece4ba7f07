//! Tests of the decision by tables of short histories. The simulator covers long ones.

use super::*;
use crate::Reading::Known;
use crate::observation::{Observation, TopicObservation};
use crate::stats::{SubscriptionStats, SubscriptionType, TopicAnswer, TopicStats};
use crate::{ServerClock, TrackerSettings, UnixMillis};

type History<'a> = &'a dyn Fn(u64) -> SubscriptionStats;

const MINUTE: Duration = Duration::from_mins(1);

fn at(second: u64) -> Monotonic {
    Monotonic(Duration::from_secs(second))
}

/// A partition at one time.
fn part(name: &str, stats: SubscriptionStats) -> TopicStats {
    TopicStats {
        topic: name.into(),
        subscriptions: [("s".into(), Box::new(stats))].into(),
        ..TopicStats::default()
    }
}

/// Messages wait, and nothing is acknowledged.
fn stuck(backlog: u64) -> SubscriptionStats {
    SubscriptionStats {
        backlog: Known(backlog),
        backlog_no_delayed: Known(backlog),
        unacked: Known(1),
        out_counter: Known(7),
        last_acked: Known(5),
        last_consumed: Known(5),
        last_mark_delete: Known(5),
        kind: Some(SubscriptionType::Shared),
        ..Default::default()
    }
}

fn acking(second: u64) -> SubscriptionStats {
    SubscriptionStats { last_acked: Known(1_000 + second), out_counter: Known(second), ..stuck(9) }
}

fn workload() -> Workload {
    Workload { wanted: 1, ready: 1, ready_since: Some(at(0)) }
}

/// Ten minutes of a history, by second; None for a round without an answer. Returns the judgement at its end.
fn judge(seconds: u64, policy: &StallPolicy, history: impl Fn(u64) -> Option<Vec<TopicStats>>) -> Verdict {
    let tracker = track(seconds, history);
    detect(&tracker, &workload(), policy, at(seconds))
}

fn track(seconds: u64, history: impl Fn(u64) -> Option<Vec<TopicStats>>) -> Tracker {
    let mut tracker = Tracker::new(TrackerSettings::default());
    for second in (0..=seconds).step_by(10) {
        let answer = match history(second) {
            Some(parts) => Ok(TopicAnswer { expected: Known(parts.len()), parts }),
            None => Err(Cause::Failed),
        };
        let topic = TopicObservation { topic: "a".into(), subscription: "s".into(), answer };
        let observation = Observation {
            at: at(second),
            wall: UnixMillis(second * 1000),
            clock: ServerClock::default(),
            topics: vec![topic],
            is_output_blocked: Reading::Unknown(Cause::NotAsked),
            pods: Vec::new(),
        };
        tracker.observe(&observation, &workload());
    }
    tracker
}

fn reason(verdict: &Verdict) -> Option<StallReason> {
    verdict.stall().map(|stall| stall.reason)
}

#[test]
fn a_backlog_without_acknowledgement_is_a_stall_after_the_time() {
    let policy = StallPolicy::default();
    let history = |_| Some(vec![part("a", stuck(9))]);
    assert_eq!(judge(320, &policy, history), Verdict::Progressing);
    let verdict = judge(330, &policy, history);
    let stall = verdict.stall().expect("a stall");
    assert_eq!((stall.reason, stall.duration), (StallReason::NotReceiving, 5 * MINUTE));
    assert_eq!((stall.stalled, stall.total, stall.backlog), (1, 1, 9));
}

#[test]
fn progress_and_an_empty_backlog_are_no_stall() {
    let policy = StallPolicy::default();
    assert_eq!(judge(900, &policy, |second| Some(vec![part("a", acking(second))])), Verdict::Progressing);
    assert_eq!(judge(900, &policy, |_| Some(vec![part("a", stuck(0))])), Verdict::Progressing);
    let expired = |second| SubscriptionStats {
        last_mark_delete: Known(second),
        expired_counter: Known(second),
        ..stuck(9)
    };
    assert!(judge(900, &policy, |second| Some(vec![part("a", expired(second))])).stall().is_some());
}

#[test]
fn what_is_unknown_is_not_stalled() {
    let policy = StallPolicy::default();
    let failing = |second| (second < 400).then(|| vec![part("a", stuck(9))]);
    assert!(judge(400, &policy, failing).stall().is_some());
    assert_eq!(judge(460, &policy, failing), Verdict::Unknown(Cause::Failed));
    let back = |second| (!(100..=200).contains(&second)).then(|| vec![part("a", stuck(9))]);
    assert_eq!(judge(500, &policy, back), Verdict::Progressing);
    assert!(judge(510, &policy, back).stall().is_some());
    let silent =
        |_| Some(vec![part("a", SubscriptionStats { backlog_no_delayed: Known(9), ..Default::default() })]);
    assert_eq!(judge(900, &policy, silent), Verdict::Unknown(Cause::NotReported));
    assert_eq!(
        detect(&Tracker::new(TrackerSettings::default()), &workload(), &policy, at(900)),
        Verdict::Unknown(Cause::NotAsked)
    );
}

#[test]
fn pods_that_are_not_ready_are_not_judged() {
    let tracker = track(900, |_| Some(vec![part("a", stuck(9))]));
    let policy = StallPolicy::default();
    for (wanted, ready, since, expected) in [
        (0, 0, None, Exemption::Suspended),
        (1, 0, Some(at(0)), Exemption::NotReady),
        (1, 1, None, Exemption::NotReady),
        (1, 1, Some(at(890)), Exemption::Starting),
    ] {
        let workload = Workload { wanted, ready, ready_since: since };
        assert_eq!(detect(&tracker, &workload, &policy, at(900)), Verdict::Exempt(expected));
    }
    let restarted = Workload { wanted: 1, ready: 1, ready_since: Some(at(600)) };
    assert_eq!(detect(&tracker, &restarted, &policy, at(900)), Verdict::Progressing);
}

#[test]
fn reasons_follow_from_evidence() {
    let consumed = |second| SubscriptionStats { last_consumed: Known(second), ..stuck(9) };
    let table: [(&str, StallReason, History<'_>); 7] = [
        ("none connected", StallReason::NoConsumers, &|_| SubscriptionStats {
            consumers: Known(0),
            ..stuck(9)
        }),
        ("at the limit", StallReason::BlockedOnUnacked, &|_| SubscriptionStats {
            is_blocked_on_unacked: Known(true),
            ..stuck(9)
        }),
        ("redelivered", StallReason::ReceivingNotAcking, &consumed),
        ("all delivered", StallReason::ReceivingNotAcking, &|_| SubscriptionStats {
            unacked: Known(9),
            ..stuck(9)
        }),
        ("prefetched only", StallReason::NotReceiving, &|second| consumed(second.min(40))),
        ("draining", StallReason::KeySharedDraining, &|_| SubscriptionStats {
            kind: Some(SubscriptionType::KeyShared),
            draining_hashes: Known(3),
            ..stuck(9)
        }),
        ("throttled", StallReason::DispatchThrottled, &|second| SubscriptionStats {
            throttled_counter: Known(second),
            ..stuck(9)
        }),
    ];
    for (name, expected, history) in table {
        let verdict = judge(400, &StallPolicy::default(), |second| Some(vec![part("a", history(second))]));
        assert_eq!(reason(&verdict), Some(expected), "{name}");
    }
}

#[test]
fn a_component_that_keeps_messages_is_stalled_only_when_it_takes_none() {
    let policy = StallPolicy { holds_messages: true, ..StallPolicy::default() };
    let held = |_| Some(vec![part("a", SubscriptionStats { unacked: Known(9), ..stuck(9) })]);
    assert_eq!(judge(900, &policy, held), Verdict::Progressing);
    assert_eq!(
        reason(&judge(900, &policy, |_| Some(vec![part("a", stuck(9))]))),
        Some(StallReason::NotReceiving)
    );
    let windowed = StallPolicy { window: 10 * MINUTE, ..StallPolicy::default() };
    assert_eq!(judge(1200, &windowed, |_| Some(vec![part("a", stuck(9))])), Verdict::Progressing);
}

#[test]
fn one_partition_of_many_stalls_after_the_queues_are_worked_off() {
    // Nine messages at one a second are worked off long before five minutes.
    let one = |second| Some(vec![part("a-partition-0", acking(second)), part("a-partition-1", stuck(9))]);
    let verdict = judge(400, &StallPolicy::default(), one);
    let stall = verdict.stall().expect("a stall");
    assert_eq!((stall.stalled, stall.total), (1, 2));
    // Four thousand messages take an hour, and the rate is no exact measure.
    let busy = |second| {
        let other = SubscriptionStats { backlog_no_delayed: Known(90_000), ..acking(second) };
        Some(vec![part("a-partition-0", other), part("a-partition-1", stuck(9))])
    };
    assert_eq!(judge(3_600, &StallPolicy::default(), busy), Verdict::Progressing);
    assert!(judge(8_400, &StallPolicy::default(), busy).stall().is_some());
}

#[test]
fn a_partition_that_is_missing_is_not_stalled_while_others_recover() {
    let recovered = |second: u64| {
        if second < 400 {
            return Some(vec![part("a-partition-0", stuck(9)), part("a-partition-1", stuck(9))]);
        }
        Some(vec![part("a-partition-0", acking(second))])
    };
    assert!(judge(390, &StallPolicy::default(), recovered).stall().is_some());
    assert_eq!(judge(400, &StallPolicy::default(), recovered), Verdict::Progressing);
}

#[test]
fn a_component_that_resumes_gets_time_for_all_partitions() {
    let resumed = |second: u64| {
        let first = if second < 400 { stuck(9) } else { acking(second) };
        Some(vec![part("a-partition-0", first), part("a-partition-1", stuck(9))])
    };
    assert_eq!(judge(690, &StallPolicy::default(), resumed), Verdict::Progressing);
    assert!(judge(710, &StallPolicy::default(), resumed).stall().is_some());
}

#[test]
fn a_subscription_that_is_missing_is_a_stall() {
    let none = |_| Some(vec![TopicStats { topic: "a".into(), ..TopicStats::default() }]);
    assert!(matches!(judge(320, &StallPolicy::default(), none), Verdict::Unknown(Cause::NoSubscription)));
    assert_eq!(reason(&judge(330, &StallPolicy::default(), none)), Some(StallReason::NoConsumers));
}

#[test]
fn every_reason_has_a_name_and_advice() {
    for reason in StallReason::ALL {
        assert_eq!(reason.to_string(), reason.as_str());
        assert!(reason.advice().len() > 40, "{reason}");
    }
}
