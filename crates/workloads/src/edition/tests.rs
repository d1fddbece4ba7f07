#![allow(clippy::needless_pass_by_value, reason = "JSON reads best where it is used")]

use serde_json::{Value, json};

use super::*;
use crate::testing::function;
use crate::{Backends, Settings, render, render_edition, render_live};

/// The edition of the template that is rendered for a component with this live StatefulSet.
fn rendered(spec: Value, live: &StatefulSet) -> &'static str {
    let workload = render_live(&function(spec), Backends::default(), &Settings::default(), Some(live));
    Edition::of(&workload.stateful_set).as_str()
}

/// The StatefulSet that an earlier release wrote, with defaults of the API server.
fn written(spec: Value, edition: Edition) -> StatefulSet {
    let workload = render_edition(&function(spec), Backends::default(), &Settings::default(), edition);
    let mut set = serde_json::to_value(workload.stateful_set).unwrap();
    set["spec"]["revisionHistoryLimit"] = json!(10);
    set["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
    set["spec"]["template"]["spec"]["containers"][0]["terminationMessagePath"] =
        json!("/dev/termination-log");
    serde_json::from_value(set).unwrap()
}

fn without_annotations(mut set: StatefulSet) -> StatefulSet {
    set.metadata.annotations = None;
    set
}

#[test]
fn new_stateful_sets_have_the_newest_edition() {
    let set = render(&function(json!({})), Backends::default(), &Settings::default()).stateful_set;
    assert_eq!(Edition::of(&set), Edition::NEWEST);
    assert_eq!(Edition::of(&StatefulSet::default()), Edition::First);
}

#[test]
fn live_template_keeps_its_edition() {
    let labelled = || json!({ "pod": { "labels": { "a": "b" } } });
    for (before, after, kept) in [
        (json!({}), json!({}), true),
        (labelled(), labelled(), true),
        // No part of the template.
        (json!({}), json!({ "replicas": 3, "maxReplicas": 5, "cleanupSubscription": false }), true),
        (json!({}), json!({ "image": "new" }), false),
        (json!({}), json!({ "funcConfig": { "k": "v" } }), false),
        (json!({}), labelled(), false),
        // The hash shows a field that is no longer rendered.
        (labelled(), json!({}), false),
    ] {
        let live = written(before, Edition::First);
        assert_eq!(rendered(after.clone(), &live), if kept { "1" } else { "2" }, "{after}");
    }
}

#[test]
fn template_without_annotations_is_compared_by_value() {
    let live = |spec| without_annotations(written(spec, Edition::First));
    assert_eq!(rendered(json!({}), &live(json!({}))), "1");
    assert_eq!(rendered(json!({ "image": "new" }), &live(json!({}))), "2");
    // Of upstream: another selector, whose labels its pods have.
    let mut upstream = live(json!({}));
    let spec = upstream.spec.as_mut().unwrap();
    let labels = [("app".to_owned(), "other".to_owned())];
    spec.selector.match_labels = Some(labels.clone().into());
    spec.template.metadata.as_mut().unwrap().labels.as_mut().unwrap().extend(labels);
    assert_eq!(rendered(json!({}), &upstream), "1");
    // Another client edited the template, so the pods restart anyway.
    let mut drifted = live(json!({}));
    drifted.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].image = Some("x".to_owned());
    assert_eq!(rendered(json!({}), &drifted), "2");
}

#[test]
fn newest_or_unknown_edition_stays_the_newest() {
    let mut live = written(json!({}), Edition::Second);
    assert_eq!(rendered(json!({}), &live), "2");
    let annotations = live.metadata.annotations.as_mut().unwrap();
    annotations.insert(labels::TEMPLATE_EDITION.to_owned(), "9".to_owned());
    assert_eq!(rendered(json!({}), &live), "2");
}

/// Objects outside of the template do not depend on its edition.
#[test]
fn editions_differ_in_the_template_alone() {
    let function = function(json!({ "maxReplicas": 5 }));
    let [mut first, mut second] = [Edition::First, Edition::Second]
        .map(|edition| render_edition(&function, Backends::default(), &Settings::default(), edition));
    for workload in [&mut first, &mut second] {
        workload.stateful_set.metadata.annotations = None;
        workload.stateful_set.spec.as_mut().unwrap().template = PodTemplateSpec::default();
    }
    assert_eq!(first, second);
}
