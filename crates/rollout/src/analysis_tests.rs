//! Tests of the judgement: a table, and random traces.

use super::*;
use crate::window::{Counters, Sample, Window};

fn figures(received: u64, exceptions: u64) -> Figures {
    Figures {
        pods: 1,
        known: 1,
        received,
        processed: received.saturating_sub(exceptions),
        exceptions,
        latency_ms: Some(received.saturating_mul(20)),
        calls: Some(received),
        ..Figures::default()
    }
}

/// The first word of a verdict.
fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Success => "success",
        Verdict::Failure(_) => "failure",
        Verdict::Inconclusive(_) => "inconclusive",
    }
}

#[test]
fn verdicts_follow_from_figures() {
    let limits = Limits::default();
    let quiet = Some(figures(1000, 0));
    let noisy = Some(figures(1000, 300));
    for (canary, before, expected, why) in [
        (figures(200, 0), quiet, "success", "equal"),
        (figures(200, 8), quiet, "success", "below the limit"),
        (figures(200, 60), quiet, "failure", "30 % raise"),
        (figures(10, 10), quiet, "failure", "every message raises"),
        (figures(200, 60), noisy, "success", "the version before raises as often"),
        (figures(200, 15), quiet, "inconclusive", "above the limit, perhaps at random"),
        (figures(99, 0), quiet, "inconclusive", "too few messages"),
        (figures(0, 0), quiet, "inconclusive", "no messages"),
        (Figures { known: 0, ..figures(200, 0) }, quiet, "inconclusive", "a pod does not answer"),
        (Figures { known: 1, pods: 2, ..figures(200, 0) }, quiet, "inconclusive", "one of two"),
        (Figures { known: 8, pods: 50, ..figures(200, 0) }, quiet, "success", "enough of many"),
        (Figures { known: 0, pods: 0, ..figures(200, 0) }, quiet, "inconclusive", "no pods"),
        (figures(200, 0), None, "success", "no exceptions are no more than before"),
        (figures(200, 60), None, "inconclusive", "nothing to compare with"),
        (figures(200, 60), Some(figures(0, 0)), "inconclusive", "the others got nothing"),
        (figures(200, 60), Some(figures(3, 0)), "inconclusive", "the others got little"),
        (figures(160, 64), Some(figures(55, 2)), "inconclusive", "the others were lucky, perhaps"),
        (figures(1, 1), quiet, "inconclusive", "the first message raises"),
        (Figures { restarts: 1, ..figures(0, 0) }, None, "failure", "a restart"),
        (Figures { processed: 0, ..figures(200, 0) }, quiet, "failure", "nothing is processed"),
        (Figures { processed: 0, ..figures(200, 0) }, None, "inconclusive", "nothing, perhaps as before"),
        (Figures { processed: 0, ..figures(9, 0) }, quiet, "inconclusive", "too few to say so"),
        (figures(200, 900), quiet, "failure", "more exceptions than messages"),
        (figures(u64::MAX, u64::MAX), quiet, "failure", "large numbers"),
    ] {
        let found = judge(&canary, before.as_ref(), &limits, true);
        assert_eq!(word(&found), expected, "{why}: {found:?}");
    }
    let verdict = judge(&figures(200, 60), quiet.as_ref(), &limits, false);
    let text = "60 exceptions in 200 messages (30%), which is more than 5% above the version before: 0 exceptions in 1000 \
                messages (0%)";
    assert_eq!(verdict, Verdict::Failure(text.to_owned()));
    // A message that takes its time is no failure before the step ends.
    let first = Figures { processed: 0, ..figures(200, 0) };
    assert_eq!(judge(&first, quiet.as_ref(), &limits, false), Verdict::Success);
}

#[test]
fn pods_that_process_nothing_while_the_others_work_hang() {
    let limits = Limits::default();
    let idle = |received| Figures { processed: 0, ..figures(received, 0) };
    let two = |processed| Figures { pods: 2, processed, ..figures(processed, 0) };
    for (canary, others, expected) in [
        (idle(1), Some(two(200)), true),
        (idle(1), Some(two(199)), false),
        (idle(0), Some(two(900)), false),
        (figures(1, 0), Some(two(900)), false),
        (idle(1), None, false),
        (idle(1), Some(Figures::default()), false),
    ] {
        let found = hangs(&canary, others.as_ref(), &limits);
        assert_eq!(found.is_some(), expected, "{found:?}");
    }
}

#[test]
fn pods_hang_that_hold_messages_for_much_longer_than_a_call_took() {
    let idle = Figures { processed: 0, ..figures(2, 0) };
    let before = Figures { latency_ms: Some(400_000), calls: Some(200), ..figures(200, 0) };
    let seconds = Duration::from_secs;
    for (canary, before, held, expected) in [
        (idle, Some(before), seconds(30), true),
        (idle, Some(before), seconds(29), false),
        // Ten calls of four seconds take longer than half a step.
        (idle, Some(Figures { latency_ms: Some(800_000), ..before }), seconds(39), false),
        (idle, Some(Figures { latency_ms: Some(800_000), ..before }), seconds(40), true),
        (idle, Some(Figures { processed: MIN_MESSAGES - 1, ..before }), seconds(900), false),
        (idle, Some(Figures { latency_ms: None, ..before }), seconds(900), false),
        (idle, Some(Figures { calls: Some(0), ..before }), seconds(900), false),
        (idle, None, seconds(900), false),
        (Figures { processed: 1, ..idle }, Some(before), seconds(900), false),
        (figures(0, 0), Some(before), seconds(900), false),
    ] {
        let found = holds_too_long(&canary, before.as_ref(), &Limits::default(), (held, seconds(60)));
        assert_eq!(found.is_some(), expected, "{found:?} {before:?} {held:?}");
    }
}

#[test]
fn time_of_calls_is_judged_with_a_limit_alone() {
    let limits = |max| Limits { max_latency_ms: max, ..Limits::default() };
    let silent = Figures { latency_ms: None, calls: None, ..figures(200, 0) };
    let few = Figures { latency_ms: Some(90_000), calls: Some(3), ..figures(200, 0) };
    for (canary, max, expected) in [
        (figures(200, 0), None, "success"),
        (silent, None, "success"),
        (figures(200, 0), Some(20), "success"),
        (figures(200, 0), Some(19), "failure"),
        (silent, Some(20), "inconclusive"),
        (few, Some(20), "inconclusive"),
    ] {
        let found = judge(&canary, None, &limits(max), true);
        assert_eq!(word(&found), expected, "{max:?} {found:?}");
    }
}

#[test]
fn limits_have_defaults_and_odd_ones_are_harmless() {
    let limits = |json| Limits::of(Some(&serde_json::from_value(json).expect("an analysis")));
    assert_eq!(limits(serde_json::json!({})), Limits::default());
    assert_eq!(Limits::default().max_exceptions, 50_000);
    let odd = limits(serde_json::json!({ "maxExceptionRatio": 7.5, "maxRestarts": -1, "minMessages": -5 }));
    assert_eq!((odd.max_exceptions, odd.max_restarts, odd.min_messages), (MILLION, 0, MIN_MESSAGES));
}

#[test]
fn texts_for_a_status_change_seldom() {
    let text = |received| figures(received, 0).coarse_text();
    assert_eq!((text(342).as_str(), text(399)), ("300 messages, 0 exceptions", text(300)));
    assert_eq!(coarse(u64::MAX), 10_000_000_000_000_000_000);
    assert_eq!((percent(0.05), percent(0.302), percent(0.0)), ("5%".into(), "30.2%".into(), "0%".into()));
}

/// Pseudo-random numbers, the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below.max(1)
    }

    fn is(&mut self, per_mille: u64) -> bool {
        self.next(1000) < per_mille
    }
}

/// A component with a canary: pods, load and how often a message raises.
struct World {
    random: Random,
    counters: Vec<Counters>,
    restarts: Vec<u32>,
    canaries: usize,
    load: u64,
    raises: [u64; 2],
}

impl World {
    /// Messages until the next look, in bursts of up to three that share their fate. Pods sometimes do not answer.
    fn look(&mut self) -> Vec<Sample> {
        let mut samples = Vec::new();
        for index in 0..self.counters.len() {
            let is_canary = index < self.canaries;
            let per_mille = self.raises[usize::from(is_canary)];
            let mut left = self.random.next(2 * self.load + 1);
            let Counters { received, processed, exceptions, .. } = &mut self.counters[index];
            while left > 0 {
                let burst = (1 + self.random.next(3)).min(left);
                left -= burst;
                *received = received.map(|it| it + burst);
                let counter = if self.random.is(per_mille) { &mut *exceptions } else { &mut *processed };
                *counter = counter.map(|it| it + burst);
            }
            // A process of the version before restarts, and counts from zero.
            if !is_canary && self.random.is(5) {
                self.counters[index] = zero();
                self.restarts[index] += 1;
            }
            let counters = (!self.random.is(30)).then(|| self.counters[index]);
            let restarts = self.restarts[index];
            samples.push(Sample { uid: format!("{index}"), is_canary, restarts, counters });
        }
        samples
    }
}

fn zero() -> Counters {
    let zero = Some(0);
    Counters { received: zero, processed: zero, exceptions: zero, latency_ms: None, calls: None }
}

/// Looks until the first failure, or until the end. Returns the look of the failure, and the last verdict.
fn trace(seed: u64, raises: [u64; 2], load: u64, looks: u64) -> (Option<u64>, Verdict) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let canaries = 1 + usize::try_from(random.next(2)).expect("a number");
    let others = usize::try_from(random.next(4)).expect("a number");
    let (counters, restarts) = (vec![zero(); canaries + others], vec![0; canaries + others]);
    let mut world = World { random, counters, restarts, canaries, load, raises };
    // Without others, what the version before did is known from earlier.
    let earlier = Figures { processed: 1, ..figures(2000, 2 * raises[0]) };
    let (mut window, limits) = (Window::default(), Limits::default());
    let mut last = Verdict::Inconclusive(String::new());
    for look in 0..looks {
        window.observe(&world.look());
        let (canary, others) = window.figures();
        let before = others.filter(|it| it.received > 0).unwrap_or(earlier);
        last = judge(&canary, Some(&before), &limits, look + 1 == looks);
        if let Verdict::Failure(_) = last {
            return (Some(look), last);
        }
    }
    (None, last)
}

#[test]
fn equal_versions_raise_no_alarm_in_a_thousand_traces() {
    let mut passed = 0;
    for seed in 1..=1000 {
        let per_mille = seed * 7 % 500;
        let (alarm, last) = trace(seed, [per_mille; 2], 1 + seed % 40, 40);
        assert_eq!(alarm, None, "seed {seed}: {last:?}");
        passed += u32::from(last == Verdict::Success);
    }
    // Others have too little traffic, or a pod does not answer in the end.
    assert!(passed > 700, "{passed} of 1000 pass");
}

#[test]
fn a_version_that_raises_more_is_stopped() {
    for seed in 1..=1000 {
        for (before, now) in [(0, 300), (10, 310), (200, 600)] {
            let (alarm, last) = trace(seed, [before, now], 10, 60);
            assert!(alarm.is_some(), "seed {seed}, {before} to {now}: {last:?}");
        }
    }
}
