//! A canary: some pods get a new version first, on the same subscription, and what they do is compared with the others.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_with::skip_serializing_none;

use super::parse_duration;
use super::schema;

/// A canary: a change of the pods goes to some of them first, and to all of them once what they do is known to be good. It
/// needs the operator to observe Pulsar.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["steps"]))]
pub struct Canary {
    /// Steps, at least 1 and at most 10. After the last one all pods get the new version, and its analysis continues for the
    /// duration of the last step.
    #[schemars(length(min = 1, max = 10))]
    pub steps: Vec<CanaryStep>,
    /// What the new version may do.
    pub analysis: Option<CanaryAnalysis>,
}

/// A step of a canary.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["duration", "replicas"]))]
pub struct CanaryStep {
    /// Pods with the new version: a number such as `1`, or a percentage of the replicas such as `25%`, rounded up to at least
    /// one pod.
    #[schemars(schema_with = "schema::int_or_string")]
    pub replicas: IntOrString,
    /// Time for which these pods must be ready before the next step: a duration such as `2m`, from 10 seconds to a day.
    #[schemars(schema_with = "schema::string")]
    pub duration: String,
}

/// What the new version of a canary may do, and how much must be known of it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CanaryAnalysis {
    /// Exceptions for each received message, above those of the pods with the version before: from 0 to 1. Defaults to 0.05.
    #[serde(default, serialize_with = "whole_as_integer")]
    #[schemars(range(min = 0, max = 1))]
    pub max_exception_ratio: Option<f64>,
    /// Restarts of the containers of pods with the new version, together. Defaults to 0.
    #[schemars(range(min = 0))]
    pub max_restarts: Option<i32>,
    /// Mean time of a call of the function, in milliseconds. Without it the time is not judged. Sources and sinks do not report
    /// it.
    #[schemars(range(min = 1))]
    pub max_latency_ms: Option<i64>,
    /// Messages that the pods with the new version must have received, together. With fewer the analysis is inconclusive.
    /// Defaults to 100.
    #[schemars(range(min = 1))]
    pub min_messages: Option<i64>,
    /// What happens at the end of a step whose analysis is inconclusive. Defaults to `Wait`.
    pub on_inconclusive: Option<OnInconclusive>,
}

/// What happens at the end of a step whose analysis is inconclusive.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum OnInconclusive {
    /// The operator waits until the analysis is conclusive, or a person promotes the canary.
    #[default]
    Wait,
    /// The next step begins, as if the analysis had found nothing.
    Promote,
    /// The canary fails. It needs `onFailure: RollBack`.
    RollBack,
}

/// The canary of the last change.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStatus {
    /// State of the canary.
    pub state: CanaryState,
    /// Number of the step, from 1. The one after those of the spec has all pods.
    pub step: Option<i32>,
    /// Steps in total, that with all pods included.
    pub of: Option<i32>,
    /// Pods that have the new version in this step.
    pub replicas: Option<i32>,
    /// Revision of the StatefulSet that is tried.
    pub revision: Option<String>,
    /// What the pods with the new version did, or what is waited for.
    pub message: Option<String>,
    /// Since when it is in this state and step.
    pub since: Option<Time>,
}

/// State of a canary.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum CanaryState {
    /// The pods of the step get the new version.
    #[default]
    Progressing,
    /// The pods of the step are ready, and observed for its duration.
    Analyzing,
    /// The step has ended, and too little is known for a judgement.
    Inconclusive,
    /// The new version did what it may not do. No other pod gets it.
    Failed,
    /// All pods have the new version, and it is good or a person promoted it.
    Promoted,
    /// The change is no canary: it went to all pods, as without one.
    Skipped,
}

/// Least and most duration of a step.
pub const CANARY_STEP_RANGE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_hours(24));
/// Most steps.
pub const CANARY_MAX_STEPS: usize = 10;
/// Default of `analysis.maxExceptionRatio`.
pub const MAX_EXCEPTION_RATIO: f64 = 0.05;
/// Default of `analysis.minMessages`.
pub const MIN_MESSAGES: u64 = 100;

/// What `replicas` of a step says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StepReplicas {
    /// This many pods.
    Number(u32),
    /// This percentage of the replicas.
    Percent(u32),
}

impl StepReplicas {
    /// Pods of this many replicas: at least one, if there is one.
    pub fn of(self, replicas: u32) -> u32 {
        let wanted = match self {
            Self::Number(number) => number,
            Self::Percent(percent) => {
                let pods = (u64::from(replicas) * u64::from(percent)).div_ceil(100);
                u32::try_from(pods).unwrap_or(u32::MAX)
            }
        };
        wanted.max(1).min(replicas)
    }
}

impl CanaryStep {
    /// Its pods; None if the text is neither a number nor a percentage.
    pub fn replicas(&self) -> Option<StepReplicas> {
        match &self.replicas {
            IntOrString::Int(number) => {
                u32::try_from(*number).ok().filter(|it| *it > 0).map(StepReplicas::Number)
            }
            IntOrString::String(text) => {
                let digits = text.strip_suffix('%')?;
                let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                let percent = digits.parse::<u32>().ok().filter(|it| is_number && (1..=100).contains(it))?;
                Some(StepReplicas::Percent(percent))
            }
        }
    }

    /// Its duration.
    pub fn duration(&self) -> Duration {
        let (least, most) = CANARY_STEP_RANGE;
        parse_duration(&self.duration).unwrap_or(least).clamp(least, most)
    }
}

/// A whole number without a fraction, as the API server writes it: otherwise it would look changed.
#[allow(clippy::cast_possible_truncation, reason = "it is exact for the range of the field")]
#[allow(clippy::ref_option, reason = "serde passes a reference to the field")]
fn whole_as_integer<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            serializer.serialize_i64(*number as i64)
        }
        Some(number) => serializer.serialize_f64(*number),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::*;

    fn step(replicas: &Value) -> Option<StepReplicas> {
        from_value::<CanaryStep>(json!({ "replicas": replicas, "duration": "2m" })).ok()?.replicas()
    }

    #[test]
    fn pods_of_a_step_are_a_number_or_a_percentage() {
        for (text, replicas, expected) in [
            (json!(1), 4, Some(1)),
            (json!(9), 4, Some(4)),
            (json!(1), 0, Some(0)),
            (json!("25%"), 4, Some(1)),
            (json!("25%"), 5, Some(2)),
            (json!("1%"), 3, Some(1)),
            (json!("100%"), u32::MAX, Some(u32::MAX)),
            (json!(0), 4, None),
            (json!(-1), 4, None),
            (json!("0%"), 4, None),
            (json!("101%"), 4, None),
            (json!("+5%"), 4, None),
            (json!("2"), 4, None),
            (json!("%"), 4, None),
            (json!(1.5), 4, None),
        ] {
            assert_eq!(step(&text).map(|it| it.of(replicas)), expected, "{text}");
        }
    }

    #[test]
    fn a_whole_ratio_is_written_as_the_api_server_does() {
        for ratio in [json!(0), json!(1), json!(0.05)] {
            let found: CanaryAnalysis =
                from_value(json!({ "maxExceptionRatio": ratio })).expect("an analysis");
            assert_eq!(to_value(&found).expect("JSON"), json!({ "maxExceptionRatio": ratio }));
        }
        assert_eq!(to_value(CanaryAnalysis::default()).expect("JSON"), json!({}));
    }
}
