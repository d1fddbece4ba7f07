//! Explanations of scaling, as printed.

use super::super::tests::*;
use super::super::{component_status, text::text};
use serde_json::json;

use super::*;

#[allow(clippy::needless_pass_by_value, reason = "fixtures read better so")]
fn scaled(scaling: Value, status: Value) -> Value {
    let mut reported = ready(&json!({ "backlog": 300, "inRate": 40.0 }));
    reported["scaling"] = status;
    let mut object = component("Function", "orders-clean", reported);
    object["spec"] = json!({ "scaling": scaling });
    object
}

fn burst() -> Value {
    json!({
        "desiredReplicas": 5, "reason": "ScaleUp", "message": "messages wait longer than the objective",
        "limitedBy": "maxReplicas", "decidedAt": ago(20), "lastScaleTime": ago(400),
        "explanation": ["Messages arrive at 40/s.", "What would change it: a larger maxReplicas."],
        "learned": {
            "ratePerReplica": 19.4, "source": "Busy", "messages": 5000.0, "startSeconds": 12.0,
            "points": [{ "replicas": 4, "rate": 17.5, "messages": 900.0 }], "plateau": 6,
        },
    })
}

fn explained(object: &Value) -> String {
    ScalingView::of(object).map_or_else(|error| error.0, |view| view.text(now()))
}

#[test]
fn every_part_of_a_decision_is_printed() {
    let schedules = json!([
        { "start": "0 8 * * MON-FRI", "duration": "10h", "timeZone": "Europe/Berlin", "minReplicas": 2 },
        { "start": "0 0 * * *", "duration": "1h", "maxReplicas": 3 },
    ]);
    let scaling = json!({ "minReplicas": 0, "maxReplicas": 5, "lag": "30s", "schedules": schedules });
    assert_eq!(
        explained(&scaled(scaling, burst())),
        "\
Function shop/orders-clean, of FunctionMesh orders
  mode       Auto: the operator sets the replicas
  replicas   2 of 2 ready, 5 wanted
  bounds     0 to 5 replicas
  objective  lag 30s, backlog worked off within 30s, 90 % busy, down to the need of 5m; sleeps after 5m without work
  reason     ScaleUp: messages wait longer than the objective
  limited by maxReplicas
  decided    20s ago; the operator last changed the replicas 6m40s ago

Why
  Messages arrive at 40/s.
  What would change it: a larger maxReplicas.

Learned
  A replica finishes 19.4 messages per second, by the share of time that pods were busy, from 5000 messages.
  New pods are ready 12 s after a change of the replicas.
  At 4 replicas, each finishes 17.5 messages per second.
  More than 6 replicas bring nothing.

Schedules, of which the first active one counts
  0 8 * * MON-FRI Europe/Berlin, for 10h: 2 to 5 replicas
  0 0 * * * UTC, for 1h: 0 to 3 replicas
"
    );
}

#[test]
fn a_recommendation_says_that_nobody_follows_it() {
    let scaling = json!({ "mode": "Recommend", "catchUp": "5m", "utilization": 70 });
    let status = json!({ "desiredReplicas": 3, "reason": "RateUnknown", "learned": {} });
    assert_eq!(
        explained(&scaled(scaling, status)),
        "\
Function shop/orders-clean, of FunctionMesh orders
  mode       Recommend: the operator changes nothing
  replicas   2 of 2 ready, 3 recommended
  bounds     1 to 10 replicas
  objective  lag 1m, backlog worked off within 5m, 70 % busy, down to the need of 5m
  reason     RateUnknown
  decided    not yet; the operator has not changed the replicas

Learned
  The rate of a replica is not known yet.
"
    );
}

#[test]
fn without_a_decision_it_says_what_to_do() {
    let mut object = scaled(Value::Null, Value::Null);
    let expected = "function shop/orders-clean has no spec.scaling; set `scaling: {mode: Recommend}`, in FunctionMesh \
                    orders, and the operator says how many replicas it would take";
    assert_eq!(explained(&object), expected);
    object["spec"]["maxReplicas"] = 4.into();
    assert!(
        explained(&object).ends_with("see kubectl describe hpa orders-clean-function"),
        "{}",
        explained(&object)
    );
    let object = scaled(json!({}), Value::Null);
    assert!(explained(&object).contains("about a minute"), "{}", explained(&object));
    let mut object = scaled(json!({}), Value::Null);
    object["status"]["traffic"] = Value::Null;
    assert!(
        explained(&object).contains("--observe (chart: observer.enabled=true)"),
        "{}",
        explained(&object)
    );
    let object = scaled(json!({ "mode": "Dream" }), burst());
    assert!(explained(&object).contains("cannot be decoded: mode: "), "{}", explained(&object));
}

#[test]
fn texts_of_the_cluster_do_not_reach_the_terminal() {
    let mut status = burst();
    status["explanation"] = json!(["one\u{1b}[2J\ntwo"]);
    let shown = explained(&scaled(json!({}), status));
    assert!(
        !shown.contains('\u{1b}') && shown.lines().any(|line| line.contains("two") && line.contains("one")),
        "{shown}"
    );
}

#[test]
fn status_shows_what_is_wanted_only_if_it_is_not_set() {
    let shown = |scaling: Value, desired: u32| {
        let mut status = burst();
        status["desiredReplicas"] = desired.into();
        let view = component_status(&scaled(scaling, status)).expect("a status");
        (text(&view, now(), false), view.components[0].scaling.clone().expect("a decision"))
    };
    let (text, desired) = shown(json!({}), 5);
    assert!(
        text.contains("\n     5 replicas wanted, ScaleUp: messages wait longer than the objective\n"),
        "{text}"
    );
    assert_eq!((desired.mode.as_str(), desired.desired_replicas), ("Auto", Some(5)));
    assert!(!shown(json!({}), 2).0.contains("wanted"));
    let (text, desired) = shown(json!({ "mode": "Recommend" }), 1);
    assert!(text.contains("1 replica recommended, ScaleUp"), "{text}");
    assert_eq!(desired.mode, "Recommend");
}
