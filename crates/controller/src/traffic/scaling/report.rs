//! From a decision to `status.scaling`, and back to what was learned. Pure.

use function_mesh_api::types::{LearnedRate, LearnedScaling, ScalingStatus};
use function_mesh_observer::UnixMillis;
use function_mesh_scaling::{Decision, Learned, RateSource, ScalePoint};

use super::super::report::time;

/// Sentences of an explanation that a status has.
const MAX_SENTENCES: usize = 50;

/// The status after a decision.
pub(super) fn scaling_status(
    decision: &Decision,
    learned: &Learned,
    decided_at: UnixMillis,
    last_scale: Option<UnixMillis>,
) -> ScalingStatus {
    ScalingStatus {
        desired_replicas: Some(decision.replicas),
        reason: Some(decision.reason.name().to_owned()),
        message: Some(decision.reason.to_string()),
        limited_by: decision.limited_by.map(|limit| limit.description().to_owned()),
        explanation: decision.explain().lines().take(MAX_SENTENCES).map(str::to_owned).collect(),
        decided_at: time(decided_at),
        last_scale_time: last_scale.and_then(time),
        learned: learned_status(learned),
    }
}

/// Whether a decision is worth a write: another number, or a reason that says something else.
pub(super) fn is_other(before: &ScalingStatus, decision: &Decision, learned: &Learned) -> bool {
    let category_before = before.reason.as_deref().map(category);
    let is_first_rate = learned.rate().is_some()
        && before.learned.as_ref().is_none_or(|before| before.rate_per_replica.is_none());
    is_urgent(before, decision) || category_before != Some(category(decision.reason.name())) || is_first_rate
}

/// Whether it is worth one at once: the user looks at what was just changed, or at what sleeps.
pub(super) fn is_urgent(before: &ScalingStatus, decision: &Decision) -> bool {
    const URGENT: [&str; 5] = ["OtherWriter", "Paused", "Suspended", "Asleep", "SleepRefused"];
    let (was, is) = (before.reason.as_deref().map(category), category(decision.reason.name()));
    let is_turn = was != Some(is) && (URGENT.contains(&is) || was.is_some_and(|was| URGENT.contains(&was)));
    let is_other_writer = is == "OtherWriter" && before.message != Some(decision.reason.to_string());
    before.desired_replicas != Some(decision.replicas) || is_turn || is_other_writer
}

/// Reasons between which a steady component goes to and fro count as one.
fn category(reason: &str) -> &str {
    match reason {
        "Settling" | "Stabilizing" => "Steady",
        "Saturated" => "LagAboveObjective",
        "Sleep" => "Asleep",
        other => other,
    }
}

fn learned_status(learned: &Learned) -> Option<LearnedScaling> {
    if *learned == Learned::default() {
        return None;
    }
    let source = match learned.source {
        RateSource::Busy => "Busy",
        RateSource::Saturated => "Saturated",
    };
    Some(LearnedScaling {
        rate_per_replica: learned.rate().map(rounded),
        source: learned.rate().map(|_| source.to_owned()),
        messages: learned.rate().map(|_| learned.calls.round()),
        start_seconds: learned.start_seconds.map(rounded),
        points: learned
            .points
            .iter()
            .map(|point| LearnedRate {
                replicas: point.replicas,
                rate: rounded(point.rate),
                messages: point.calls.round(),
            })
            .collect(),
        plateau: learned.plateau.map(|plateau| plateau.replicas),
    })
}

/// What a status says was learned. A plateau is found again, since it holds only for the load of that time.
pub(super) fn learned(status: Option<&ScalingStatus>) -> Learned {
    let Some(learned) = status.and_then(|status| status.learned.as_ref()) else { return Learned::default() };
    Learned {
        rate_per_replica: learned.rate_per_replica,
        source: match learned.source.as_deref() {
            Some("Saturated") => RateSource::Saturated,
            _ => RateSource::Busy,
        },
        calls: learned.messages.unwrap_or_default(),
        start_seconds: learned.start_seconds,
        points: learned
            .points
            .iter()
            .map(|point| ScalePoint { replicas: point.replicas, rate: point.rate, calls: point.messages })
            .collect(),
        plateau: None,
    }
}

/// Four digits are more than are measured.
fn rounded(number: f64) -> f64 {
    if !number.is_finite() || number == 0.0 {
        return 0.0;
    }
    let unit = 10_f64.powf(number.abs().log10().floor() - 3.0);
    let rounded = (number / unit).round() * unit;
    if rounded.is_finite() { rounded } else { number }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use function_mesh_observer::{Cause, Monotonic, Window};
    use function_mesh_scaling::{Component, History, Hold, Memory, Policy, Reason, decide};

    use super::*;

    fn decision(replicas: u32, reason: Reason) -> Decision {
        let (memory, window) = (Memory::default(), Window::new(4));
        let history = History { window: &window, memory: &memory };
        let now = Monotonic(Duration::from_mins(1));
        let decided = decide(history, &Policy::default(), &Component::default(), now);
        Decision { replicas, reason, ..decided }
    }

    fn status(decision: &Decision) -> ScalingStatus {
        scaling_status(decision, &Learned::default(), UnixMillis(1_000), None)
    }

    #[test]
    fn a_steady_component_is_not_worth_a_write() {
        let steady = status(&decision(3, Reason::Steady));
        for (replicas, reason, expected) in [
            (3, Reason::Steady, (false, false)),
            (3, Reason::Settling, (false, false)),
            (3, Reason::Stabilizing, (false, false)),
            (3, Reason::MissingData(Cause::Failed), (true, false)),
            (4, Reason::ScaleUp, (true, true)),
            (3, Reason::Held(Hold::OtherWriter("kubectl".to_owned())), (true, true)),
        ] {
            let now = decision(replicas, reason);
            let found = (is_other(&steady, &now, &Learned::default()), is_urgent(&steady, &now));
            assert_eq!(found, expected, "{:?}", now.reason);
        }
        let learned = Learned { rate_per_replica: Some(20.0), ..Learned::default() };
        assert!(is_other(&steady, &decision(3, Reason::Steady), &learned));
    }

    #[test]
    fn another_writer_is_named_at_once() {
        let held = |manager: &str| decision(3, Reason::Held(Hold::OtherWriter(manager.to_owned())));
        let before = status(&held("kubectl"));
        assert!(!is_urgent(&before, &held("kubectl")));
        assert!(is_urgent(&before, &held("flux")));
    }

    #[test]
    fn what_was_learned_survives_in_the_status() {
        let points = vec![ScalePoint { replicas: 2, rate: 19.0, calls: 300.0 }];
        let kept = Learned {
            rate_per_replica: Some(20.0 / 3.0),
            source: RateSource::Saturated,
            calls: 500.0,
            start_seconds: Some(12.5),
            points,
            plateau: None,
        };
        let status = scaling_status(&decision(3, Reason::Steady), &kept, UnixMillis(0), None);
        let read = learned(Some(&status));
        assert_eq!(read, Learned { rate_per_replica: read.rate_per_replica, ..kept });
        assert!((read.rate().unwrap_or_default() - 6.667).abs() < 1e-9, "{read:?}");
        assert_eq!(learned(None), Learned::default());
        assert_eq!(learned(Some(&self::status(&decision(3, Reason::Steady)))), Learned::default());
        assert!(status.explanation.iter().any(|line| line.starts_with("What would change it")));
    }
}
