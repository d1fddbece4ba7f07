//! Standard conditions of components and meshes.

use function_mesh_api::conditions::{ConditionType, Reason};
use function_mesh_kube::events::printable_message;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::traffic::StallReport;

/// Longest message of a condition, in bytes; the API takes 32 KiB.
const MAX_MESSAGE_LEN: usize = 2048;

/// A condition without its history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ConditionSpec {
    /// What is judged.
    pub(crate) type_: ConditionType,
    /// Whether it holds; None for unknown.
    pub(crate) holds: Option<bool>,
    /// Why.
    pub(crate) reason: Reason,
    /// The same for people.
    pub(crate) message: String,
}

impl ConditionSpec {
    /// A condition.
    pub(crate) fn new(type_: ConditionType, holds: bool, reason: Reason, message: &str) -> Self {
        Self { type_, holds: Some(holds), reason, message: message.to_owned() }
    }

    /// The condition Stalled.
    pub(crate) fn stalled(report: &StallReport) -> Self {
        let StallReport { holds, reason, message } = report.clone();
        Self { type_: ConditionType::Stalled, holds, reason, message }
    }
}

/// Fields in a message about rewritten ones; the rest are counted.
const MAX_FIELDS: usize = 3;

/// A message about the fields that admission changes whenever they are applied.
pub(crate) fn rewritten_message(fields: &[String]) -> String {
    let named = fields.iter().take(MAX_FIELDS).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = fields.len().saturating_sub(MAX_FIELDS);
    let more = if more == 0 { String::new() } else { format!(" and {more} more fields") };
    format!("a mutating webhook or policy rewrites {named}{more}")
}

/// The conditions with the time of their last transition, which moves only when the status changes, and never back.
pub(crate) fn with_history(
    specs: impl IntoIterator<Item = ConditionSpec>,
    before: &[Condition],
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    let condition = |spec: ConditionSpec| {
        let status = match spec.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let earlier = before.iter().find(|earlier| earlier.type_ == spec.type_.as_str());
        let since = match earlier {
            Some(earlier) if earlier.status == status => &earlier.last_transition_time,
            Some(earlier) => now.max(&earlier.last_transition_time),
            None => now,
        };
        Condition {
            type_: spec.type_.to_string(),
            status: status.to_owned(),
            reason: spec.reason.to_string(),
            message: printable_message(&spec.message, MAX_MESSAGE_LEN),
            observed_generation: generation,
            last_transition_time: since.clone(),
        }
    };
    specs.into_iter().map(condition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewritten_message_counts_the_rest() {
        let fields = |count: usize| (0..count).map(|n| format!("f{n}")).collect::<Vec<_>>();
        assert_eq!(rewritten_message(&fields(2)), "a mutating webhook or policy rewrites f0, f1");
        let many = "a mutating webhook or policy rewrites f0, f1, f2 and 2 more fields";
        assert_eq!(rewritten_message(&fields(5)), many);
    }

    fn ready(holds: bool, before: &[Condition], seconds: i64) -> Condition {
        let spec = ConditionSpec::new(ConditionType::Ready, holds, Reason::PodsReady, "m");
        let now = Time(jiff::Timestamp::from_second(seconds).expect("a time"));
        with_history([spec], before, Some(1), &now).remove(0)
    }

    #[test]
    fn the_time_moves_with_the_status_and_never_back() {
        let first = ready(true, &[], 10);
        assert_eq!(ready(true, std::slice::from_ref(&first), 20), first);
        let turned = ready(false, std::slice::from_ref(&first), 20);
        assert!(turned.last_transition_time > first.last_transition_time);
        // The clock was set back.
        assert_eq!(
            ready(false, std::slice::from_ref(&first), 5).last_transition_time,
            first.last_transition_time
        );
    }
}
