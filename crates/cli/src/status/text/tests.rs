//! Trees and tables.

use serde_json::{Value, json};

use super::super::tests::*;
use super::super::*;
use super::text;

#[test]
fn healthy_mesh_is_a_tree_along_the_flow() {
    let components = [
        component("Function", "orders-clean", ready(&flowing())),
        component("Sink", "orders-out", ready(&flowing())),
        component("Source", "orders-in", ready(&producing())),
    ];
    let (view, text) = shown(&components);
    assert_eq!(view.health, Health::Healthy);
    assert_eq!(
        text,
        "\
FunctionMesh shop/orders: Ready for 12m, 3/3 components ready
│  HEALTH   COMPONENT              PODS  PHASE  IN/S  OUT/S  BACKLOG  LAG
├─ healthy  source/orders-in        2/2  Ready   n/a     45      n/a  n/a
├─ healthy  function/orders-clean   2/2  Ready    45   44.6        0   0s
└─ healthy  sink/orders-out         2/2  Ready    45   44.6        0   0s
"
    );
}

#[test]
fn causes_are_below_each_component() {
    let mut stalled = ready(&json!({
        "backlog": 1300, "lagSeconds": 200, "inRate": 45.0, "outRate": 0.0, "exceptions": 7, "observedAt": ago(20),
    }));
    let message = "no consumer is connected, though 2 pods are ready";
    stalled["standardConditions"] = json!([condition("Stalled", "True", "NoConsumers", message)]);
    let mut unknown = json!({
        "phase": "Degraded", "message": "pod orders-out-sink-0: exit code 1", "replicas": 1,
        "traffic": { "backlog": 3, "message": "403 of topic good", "observedAt": ago(310) },
    });
    unknown["standardConditions"] =
        json!([condition("Stalled", "Unknown", "AccessDenied", "Pulsar answers 403")]);
    let components = [
        component("Function", "orders-clean", stalled),
        component("Sink", "orders-out", unknown),
        component("Source", "orders-in", json!({ "phase": "Suspended" })),
    ];
    let cause = "sink out: pod orders-out-sink-0: exit code 1";
    let conditions = [
        condition("Ready", "False", "ComponentsDegraded", cause),
        condition("Stalled", "True", "NoConsumers", "function clean"),
        condition("Degraded", "True", "ComponentsDegraded", cause),
    ];
    let view = mesh_status(&mesh(&pipe(), &conditions), &components);
    assert_eq!(view.health, Health::Degraded);
    assert_eq!(
        text(&view, now(), false),
        "\
FunctionMesh shop/orders: Degraded for 12m, 2/3 components ready
│    sink out: pod orders-out-sink-0: exit code 1
│    stalled, NoConsumers: function clean
│  HEALTH    COMPONENT              PODS  PHASE      IN/S  OUT/S  BACKLOG    LAG  EXCEPTIONS
├─ healthy   source/orders-in        0/0  Suspended   n/a      -      n/a    n/a           -
├─ stalled   function/orders-clean   2/2  Ready        45      0     1300  3m20s           7
│    stalled, NoConsumers: no consumer is connected, though 2 pods are ready
└─ degraded  sink/orders-out         0/1  Degraded      -      -        3      -           -
     pod orders-out-sink-0: exit code 1
     unknown whether stalled, AccessDenied: Pulsar answers 403
     403 of topic good
-  unknown
"
    );
}

#[test]
fn a_sleeping_component_is_healthy_and_says_what_wakes_it() {
    let message = "scaled to zero, since there is nothing to do; a message wakes it";
    let asleep = json!({ "phase": "Asleep", "message": message, "traffic": { "backlog": 0, "inRate": 0.0 } });
    let view = component_status(&component("Function", "orders-clean", asleep)).unwrap();
    assert_eq!(view.health, Health::Healthy);
    assert_eq!(
        text(&view, now(), false),
        "\
Function shop/orders-clean, of FunctionMesh orders
│  HEALTH   COMPONENT              PODS  PHASE   IN/S  OUT/S  BACKLOG  LAG
└─ healthy  function/orders-clean   0/0  Asleep     0      -        0    -
     scaled to zero, since there is nothing to do; a message wakes it
-  unknown
"
    );
}

#[test]
fn missing_and_surplus_components_and_missing_statuses_are_shown() {
    let mut foreign = component("Sink", "orders-out", ready(&flowing()));
    foreign["metadata"]["ownerReferences"][0]["uid"] = "u2".into();
    let components = [
        component("Source", "orders-in", Value::Null),
        foreign,
        component("Function", "orders-gone", json!({ "phase": "Ready", "replicas": 1, "readyReplicas": 1 })),
    ];
    let mut object = mesh(&pipe(), &[]);
    object["status"] = Value::Null;
    let view = mesh_status(&object, &components);
    assert_eq!(view.health, Health::NotReady);
    assert_eq!(
        text(&view, now(), false),
        "\
FunctionMesh shop/orders: Pending, 0/3 components ready
│    no status yet: is the operator running, and does it watch this namespace?
│  HEALTH     COMPONENT              PODS  PHASE    IN/S  OUT/S  BACKLOG  LAG
├─ not ready  source/orders-in          -  Pending   n/a      -      n/a  n/a
│    no status yet: is the operator running, and does it watch this namespace?
├─ not ready  function/orders-clean     -  Missing     -      -        -    -
│    the object does not exist yet: the operator creates it
├─ not ready  sink/orders-out           -  Missing     -      -        -    -
│    the object exists, and this mesh does not own it: rename the component, or delete the object
└─ not ready  function/orders-gone    1/1  Ready       -      -        -    -
     not in the spec of the mesh: the operator deletes it
-  unknown
No traffic: the operator does not observe Pulsar, or has not yet.
"
    );
    let empty = mesh_status(&mesh(&json!({}), &[]), &[]);
    assert!(
        text(&empty, now(), false).starts_with("FunctionMesh shop/orders: Pending, 0/0 components ready\n")
    );
}

#[test]
fn age_of_an_observation_is_no_matter() {
    // The operator writes when numbers change, so that those of a steady component are right for hours.
    let shown = |observed: Value| {
        let mut traffic = flowing();
        traffic["observedAt"] = observed;
        let view = component_status(&component("Sink", "orders-out", ready(&traffic))).unwrap();
        let text = text(&view, now(), false);
        text + &TopView::new(view.components, Sort::Lag).text(false, false)
    };
    let fresh = shown(ago(1).into());
    assert_eq!(shown(ago(3000).into()), fresh);
    assert_eq!(shown(Value::Null), fresh);
}

#[test]
fn restarts_by_on_stall_are_below_the_component() {
    for (restarts, last, expected) in [
        (json!(2), ago(240).into(), "\n     2 pods restarted in a row by onStall, the last one 4m ago\n"),
        (json!(1), ago(75).into(), "\n     1 pod restarted by onStall 1m15s ago\n"),
        (json!(3), Value::Null, "\n     3 pods restarted in a row by onStall\n"),
        (json!(0), ago(240).into(), ""),
        (Value::Null, ago(240).into(), ""),
    ] {
        let mut traffic = flowing();
        traffic["restarts"] = restarts.clone();
        traffic["lastRestart"] = last;
        let view = component_status(&component("Sink", "orders-out", ready(&traffic))).unwrap();
        assert_eq!(json!(view.components[0].traffic.as_ref().unwrap().restarts), restarts);
        assert!(view.components[0].reasons.is_empty(), "a time would be a change in each round of --watch");
        let text = text(&view, now(), false);
        assert!(text.contains(expected) && text.contains("onStall") != expected.is_empty(), "{text}");
    }
}

#[test]
fn footer_needs_that_nothing_is_observed() {
    let with = |traffic: Value, stalled: Option<&str>| {
        let mut status = ready(&traffic);
        let conditions = stalled.map(|status| condition("Stalled", status, "AccessDenied", "m"));
        status["standardConditions"] = conditions.into_iter().collect();
        component("Sink", "orders-out", status)
    };
    let suspended = component("Source", "orders-in", json!({ "phase": "Suspended" }));
    for (other, has_footer) in [
        (with(Value::Null, None), true),
        (with(flowing(), None), false),
        (with(Value::Null, Some("False")), false),
        (with(Value::Null, Some("Unknown")), false),
    ] {
        let objects = [suspended.clone(), other];
        let top = TopView::new(components(&objects), Sort::Lag).text(false, false);
        for text in [shown(&objects).1, top] {
            assert_eq!(text.contains("does not observe Pulsar"), has_footer, "{text}");
        }
    }
    // What does not exist has nothing that could be observed.
    assert!(!shown(&[]).1.contains("does not observe Pulsar"));
}

#[test]
fn one_component_has_its_own_title() {
    let object = component("Sink", "orders-out", ready(&flowing()));
    let view = component_status(&object).unwrap();
    let expected = "\
Sink shop/orders-out, of FunctionMesh orders
│  HEALTH   COMPONENT        PODS  PHASE  IN/S  OUT/S  BACKLOG  LAG
└─ healthy  sink/orders-out   2/2  Ready    45   44.6        0   0s
";
    assert_eq!(text(&view, now(), false), expected);
    assert_eq!(component_status(&json!({ "kind": "Pod" })), None);
}

#[test]
fn words_carry_the_health_and_colours_are_added() {
    let (view, plain) = shown(&[component("Sink", "orders-out", ready(&flowing()))]);
    let coloured = text(&view, now(), true);
    assert!(
        !plain.contains('\u{1b}') && coloured.contains("\u{1b}[33mnot ready\u{1b}[0m  source/"),
        "{coloured}"
    );
    let mut stripped = coloured;
    for code in ["32", "33", "0"] {
        stripped = stripped.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(stripped, plain);
}

#[test]
fn top_sorts_and_puts_unknown_numbers_last() {
    let with = |name: &str, lag: Value, backlog: u64, exceptions: u64| {
        let traffic = json!({ "lagSeconds": lag, "backlog": backlog, "exceptions": exceptions, "inRate": 1.0,
            "outRate": 1.0, "observedAt": ago(1) });
        component("Function", name, ready(&traffic))
    };
    let mut stalled = with("b", json!(200), 1, 0);
    let condition = condition("Stalled", "True", "NoConsumers", "m");
    stalled["status"]["standardConditions"] = json!([condition]);
    let objects = [
        with("a", Value::Null, 9, 0),
        stalled,
        with("c", json!(4000), 0, 3),
        component("Source", "d", Value::Null),
    ];
    let names = |sort| {
        let view = TopView::new(components(&objects), sort);
        view.components.iter().map(|it| it.name.clone()).collect::<String>()
    };
    for (sort, expected) in [
        (Sort::Lag, "cbad"),
        (Sort::Backlog, "abcd"),
        (Sort::In, "abcd"),
        (Sort::Exceptions, "cabd"),
        (Sort::Name, "abcd"),
    ] {
        assert_eq!(names(sort), expected, "{sort:?}");
    }
    assert_eq!(
        TopView::new(components(&objects), Sort::Lag).text(true, false),
        "\
NAMESPACE  KIND      NAME  PODS  IN/S  OUT/S  BACKLOG    LAG  EXCEPTIONS  STATE
shop       Function  c      2/2     1      1        0   1h6m           3  Ready
shop       Function  b      2/2     1      1        1  3m20s           0  Stalled: NoConsumers
shop       Function  a      2/2     1      1        9      -           0  Ready
shop       Source    d        -   n/a      -      n/a    n/a           -  Pending
-  unknown
"
    );
}
