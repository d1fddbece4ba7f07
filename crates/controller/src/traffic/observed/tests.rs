//! Rounds of a component, with answers of a cluster.

use function_mesh_api::{Component as _, Function};
use function_mesh_observer::cluster::{Wanted, parse};
use function_mesh_observer::parse::ParseLimits;
use function_mesh_observer::requests::{Outcome, PlanLimits, RequestKey};
use function_mesh_testkit::fixtures;
use serde_json::json;

use super::*;

const WEB: &str = "http://pulsar:8080";

/// Answers all requests that are due, with a subscription that has a backlog of seven.
fn answer(cluster: &mut Cluster, observed: &Observed, workload: &Workload, now: Monotonic) {
    let interest = &observed.demand.interest;
    let (limits, mut wanted) = (PlanLimits::default(), Wanted::default());
    wanted.add(interest);
    for _ in 0..3 {
        let target = cluster.target(interest, observed.demand.work.activity(workload), false, false, false);
        for request in cluster.begin(&[target], &limits, 8, now) {
            let body = match request.key {
                RequestKey::Partitions { .. } => r#"{"partitions": 0}"#.to_owned(),
                _ => json!({
                    "msgInCounter": now.0.as_secs(),
                    "subscriptions": { "public/default/f": {
                        "msgBacklog": 7, "msgBacklogNoDelayed": 7, "msgDelayed": 0, "unackedMessages": 0,
                        "msgOutCounter": now.0.as_secs(), "lastAckedTimestamp": now.0.as_millis(),
                    } },
                })
                .to_string(),
            };
            let parsed =
                parse(&request, body.as_bytes(), &ParseLimits::default(), &wanted).expect("an answer");
            cluster.apply(&request, Outcome::Answered, Ok(parsed), None, &limits, now);
        }
    }
}

/// The backlogs and rates that are written in this many seconds.
fn written(workload: &Workload, seconds: u64) -> Vec<(Option<u64>, Option<f64>)> {
    let second = |count: u64| Monotonic(Duration::from_secs(count));
    let function = Function::with_spec("f", fixtures::java_function("f"));
    let of = ("uid", "namespace", "f");
    let mut observed = Observed::new(
        of,
        (0, 0),
        Demand::of(&function, Intervals::default().start_time),
        None,
        second(1_000),
        UnixMillis(0),
    );
    observed.set_place(
        Ok(Place { web: WebUrl::parse(WEB).expect("a URL"), access: Access::Anonymous }),
        second(1_000),
    );
    let mut cluster = Cluster::new(WEB, Vec::new());
    let mut written = Vec::new();
    for count in 0..seconds {
        let (now, wall) = (second(1_000 + count), UnixMillis(count * 1_000));
        answer(&mut cluster, &observed, workload, now);
        let Some(at) = observed.is_due(Some(&cluster), workload, &Intervals::default(), now) else {
            continue;
        };
        let report = observed.round(
            Some(&cluster),
            workload,
            (at, wall),
            &Intervals::default(),
            &WriteLimits::default(),
        );
        written.extend(report.map(|report| (report.traffic.backlog, report.traffic.in_rate)));
    }
    written
}

#[test]
fn a_steady_component_is_written_once() {
    let ready = Workload { wanted: 1, ready: 1, ready_since: Some(Monotonic::default()) };
    assert_eq!(written(&ready, 900), [(Some(7), Some(1.0))]);
}

/// Pods that have just started are not judged, and nothing but time ends that.
#[test]
fn a_missing_config_map_is_reported_once_pods_have_started() {
    let second = |count: u64| Monotonic(Duration::from_secs(1_000 + count));
    let function = Function::with_spec("f", fixtures::java_function("f"));
    let of = ("uid", "namespace", "f");
    let mut observed = Observed::new(
        of,
        (0, 0),
        Demand::of(&function, Intervals::default().start_time),
        None,
        second(0),
        UnixMillis(0),
    );
    observed.set_place(Err("ConfigMap pulsar not found".to_owned()), second(0));
    let workload = Workload { wanted: 1, ready: 1, ready_since: Some(second(5)) };
    let reported = (0..60).find(|count| {
        let now = second(*count);
        let Some(at) = observed.is_due(None, &workload, &Intervals::default(), now) else { return false };
        let report = observed.round(
            None,
            &workload,
            (at, UnixMillis(0)),
            &Intervals::default(),
            &WriteLimits::default(),
        );
        let stall = report.and_then(|report| report.stall);
        stall.is_some_and(|stall| stall.holds.is_none() && stall.message == "ConfigMap pulsar not found")
    });
    assert_eq!(reported, Some(40));
}

#[test]
fn a_suspended_component_is_written_once() {
    assert_eq!(written(&Workload::default(), 3_600), [(Some(7), Some(1.0))]);
}
