//! From readings and verdicts to what the status says. Pure.

use std::time::Duration;

use function_mesh_api::conditions::Reason;
use function_mesh_api::types::{TrafficAccess, TrafficStatus};
use function_mesh_observer::stall::{Exemption, Verdict};
use function_mesh_observer::{Cause, Reading, Traffic, UnixMillis};
use humantime::format_duration;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::board::StallReport;

/// The condition Stalled after a verdict. `before` is the one of which the end has not been seen: a restart of the pods, or of
/// the operator, alone ends no stall.
pub(super) fn stall_report(
    verdict: &Verdict,
    after: Duration,
    cause_text: impl Fn(Cause) -> String,
    before: Option<&StallReport>,
) -> Option<StallReport> {
    let report = |holds, reason, message: String| Some(StallReport { holds, reason, message });
    match verdict {
        Verdict::Progressing if before.is_some_and(|before| before.problem().is_some()) => before.cloned(),
        Verdict::Progressing => {
            report(Some(false), Reason::NotStalled, "messages are acknowledged, or none wait".to_owned())
        }
        Verdict::Stalled(stall) => {
            let part = if stall.stalled < stall.total {
                format!(" on {} of {} topics and partitions", stall.stalled, stall.total)
            } else {
                String::new()
            };
            let (time, advice) =
                (format_duration(Duration::from_secs(after.as_secs())), stall.reason.advice());
            let message = format!("nothing was acknowledged for {time}{part}: {advice}");
            report(Some(true), stall.reason.as_reason(), message)
        }
        Verdict::Exempt(Exemption::Suspended) => {
            report(Some(false), Reason::Suspended, "no pods are wanted".to_owned())
        }
        Verdict::Exempt(Exemption::NotReady | Exemption::Starting) => before.cloned(),
        Verdict::Unknown(cause) => {
            let reason = match cause {
                Cause::Unauthorized | Cause::NoCredentials => Reason::AccessDenied,
                Cause::Failed | Cause::Untrusted => Reason::PulsarUnavailable,
                _ => Reason::TrafficUnknown,
            };
            report(None, reason, cause_text(*cause))
        }
    }
}

/// Why a number is unknown, and what to do, for a cluster at this URL.
pub(super) fn cause_text(cause: Cause, web: &str, access: TrafficAccess) -> String {
    match cause {
        Cause::Unauthorized => {
            let who = match access {
                TrafficAccess::Anonymous => {
                    "without credentials; add the cluster to observer.clusters of the chart"
                }
                TrafficAccess::Token => {
                    "with its token; grant the token's role the permission to consume from the topics"
                }
                TrafficAccess::ClientCertificate => {
                    "with its client certificate; grant its role the permission to consume from the topics"
                }
            };
            format!("Pulsar at {web} denies the operator access {who}")
        }
        Cause::NoCredentials => {
            format!("the operator cannot read its credentials for Pulsar at {web}; its log names the file")
        }
        Cause::Untrusted => format!(
            "the operator does not trust the certificate of Pulsar at {web}; check caSecret and the host name of the \
             cluster in observer.clusters of the chart; the operator's log says why"
        ),
        Cause::Failed => format!("Pulsar at {web} does not answer the operator"),
        other => other.description().to_owned(),
    }
}

/// `status.traffic` of a summary.
pub(super) fn traffic_status(traffic: &Traffic) -> TrafficStatus {
    TrafficStatus {
        backlog: traffic.backlog.known(),
        lag_seconds: traffic.lag_seconds.known(),
        in_rate: traffic.in_rate.known(),
        out_rate: traffic.out_rate.known(),
        exceptions: traffic.exceptions.known(),
        last_acked: traffic.last_acked.known().and_then(time),
        observed_at: traffic.observed_at.known().and_then(time),
        ..TrafficStatus::default()
    }
}

/// The summary that a status was written from: what is worth a write is decided by it after a restart too.
pub(super) fn readings(status: &TrafficStatus) -> Traffic {
    Traffic {
        backlog: Reading::from(status.backlog),
        lag_seconds: Reading::from(status.lag_seconds),
        in_rate: Reading::from(status.in_rate),
        out_rate: Reading::from(status.out_rate),
        exceptions: Reading::from(status.exceptions),
        last_acked: Reading::from(status.last_acked.as_ref().and_then(millis)),
        observed_at: Reading::from(status.observed_at.as_ref().and_then(millis)),
    }
}

/// A time as Kubernetes writes it, in whole seconds.
pub(super) fn time(millis: UnixMillis) -> Option<Time> {
    Timestamp::from_second(i64::try_from(millis.0 / 1000).ok()?).ok().map(Time)
}

pub(super) fn millis(time: &Time) -> Option<UnixMillis> {
    u64::try_from(time.0.as_millisecond()).ok().map(UnixMillis)
}

#[cfg(test)]
mod tests {
    use function_mesh_observer::stall::{Stall, StallReason};

    use super::*;

    const AFTER: Duration = Duration::from_mins(5);

    fn report(verdict: &Verdict, before: Option<&StallReport>) -> Option<StallReport> {
        stall_report(
            verdict,
            AFTER,
            |cause| cause_text(cause, "http://p:8080", TrafficAccess::Anonymous),
            before,
        )
    }

    #[test]
    fn a_stall_says_what_to_do() {
        for reason in StallReason::ALL {
            let stall = Stall { reason, duration: AFTER, stalled: 1, total: 2, backlog: 3 };
            let found = report(&Verdict::Stalled(stall), None).expect("a report");
            assert_eq!((found.holds, found.reason.as_str()), (Some(true), reason.as_str()));
            assert!(
                found.message.starts_with("nothing was acknowledged for 5m on 1 of 2 topics"),
                "{}",
                found.message
            );
            assert_eq!(found.problem(), Some(found.message.as_str()));
        }
    }

    #[test]
    fn unknown_is_neither_stalled_nor_not() {
        for (cause, reason) in [
            (Cause::Unauthorized, Reason::AccessDenied),
            (Cause::Failed, Reason::PulsarUnavailable),
            (Cause::Untrusted, Reason::PulsarUnavailable),
            (Cause::Incomplete, Reason::TrafficUnknown),
        ] {
            let found = report(&Verdict::Unknown(cause), None).expect("a report");
            assert_eq!((found.holds, found.reason, found.problem()), (None, reason, None));
        }
    }

    #[test]
    fn pods_that_start_end_no_stall() {
        let stall =
            Stall { reason: StallReason::NotReceiving, duration: AFTER, stalled: 1, total: 1, backlog: 3 };
        let before = report(&Verdict::Stalled(stall), None);
        let starting = Verdict::Exempt(Exemption::Starting);
        assert_eq!(report(&starting, before.as_ref()), before);
        assert_eq!(report(&starting, None), None);
        let suspended = report(&Verdict::Exempt(Exemption::Suspended), before.as_ref()).expect("a report");
        assert_eq!((suspended.holds, suspended.reason), (Some(false), Reason::Suspended));
    }

    #[test]
    fn a_status_is_read_back() {
        let traffic = Traffic {
            backlog: Reading::Known(1200),
            in_rate: Reading::Known(1.5),
            last_acked: Reading::Known(UnixMillis(1_700_000_000_000)),
            ..Traffic::default()
        };
        assert_eq!(readings(&traffic_status(&traffic)), traffic);
    }
}
