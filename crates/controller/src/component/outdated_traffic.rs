//! Says in `status.traffic` why its numbers are not updated: they stay as last observed, since pods and spec may not fit
//! together.

use function_mesh_api::types::TrafficStatus;

use super::status::Outcome;
use crate::traffic::TrafficState;

const WHILE_WAITING: &str = "as of observedAt: not updated while the component waits, see status.message";
const WHILE_FAILING: &str = "as of observedAt: not updated while the reconcile fails, see status.message";
const WHILE_DELETED: &str = "as of observedAt: not observed while the component is deleted";

/// Sets the message of outdated numbers, and removes it before the first report that replaces them.
pub(super) fn mark(traffic: Option<&mut TrafficStatus>, outcome: &Outcome) {
    let Some(traffic) = traffic else { return };
    let why = match outcome {
        Outcome::Applied(seen) => {
            if seen.traffic == TrafficState::Pending {
                traffic.message.take_if(|message| [WHILE_WAITING, WHILE_FAILING].contains(&message.as_str()));
            }
            return;
        }
        Outcome::Waiting(_) => WHILE_WAITING,
        Outcome::Failed(_) => WHILE_FAILING,
        Outcome::Deleting(_) => WHILE_DELETED,
    };
    traffic.message = Some(why.to_owned());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use function_mesh_api::validate::Violations;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::super::status::{Applied, Observation, status_of};
    use super::*;
    use crate::error::Error;
    use crate::traffic::TrafficReport;

    #[test]
    fn numbers_that_are_not_updated_say_so() {
        let applied = |traffic| {
            let seen = Observation::of(Applied::of(Arc::default(), Vec::new()), (None, None));
            Outcome::Applied(Box::new(Observation { traffic, ..seen }))
        };
        let traffic = TrafficStatus { backlog: Some(7), ..TrafficStatus::default() };
        let report = TrafficReport { traffic: traffic.clone(), ..TrafficReport::default() };
        let reported = applied(TrafficState::Reported(Box::new(report)));
        let time = Time(jiff::Timestamp::UNIX_EPOCH);
        let before = status_of(None, Some(1), &reported, &time);
        for (outcome, why) in [
            (Outcome::Failed(Error::Invalid(Violations(Vec::new()))), WHILE_FAILING),
            (Outcome::Waiting("pods".to_owned()), WHILE_WAITING),
            (Outcome::Deleting("pods".to_owned()), WHILE_DELETED),
        ] {
            let failing = status_of(Some(&before), Some(1), &outcome, &time);
            let expected = TrafficStatus { message: Some(why.to_owned()), ..traffic.clone() };
            assert_eq!(failing.traffic, Some(expected));
            assert_eq!(status_of(None, Some(1), &outcome, &time).traffic, None, "it was not observed");
            let later = status_of(Some(&failing), Some(1), &reported, &time);
            assert_eq!(later.traffic.as_ref(), Some(&traffic));
        }
        let outcome = Outcome::Failed(Error::Invalid(Violations(Vec::new())));
        let failing = status_of(Some(&before), Some(1), &outcome, &time);
        let restarted = status_of(Some(&failing), Some(1), &applied(TrafficState::Pending), &time);
        assert_eq!(restarted.traffic, Some(traffic));
    }
}
