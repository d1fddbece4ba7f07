#![allow(clippy::needless_pass_by_value, reason = "JSON reads best where it is used")]

use serde_json::json;

use super::*;

fn child(kind: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": { "name": "f", "namespace": "n", "ownerReferences": [
            { "kind": "Function", "name": "f", "uid": "u", "controller": true }] },
        "spec": spec,
    })
}

fn one(wanted: Value, live: Value) -> Entry {
    let before = Snapshot::from([(ObjectRef::of(&live), live)]);
    let item = Item { origin: Origin::Component, value: wanted };
    compare(vec![item], &before, Against::Cluster).remove(0)
}

fn fields(entry: &Entry) -> Vec<(String, Effect)> {
    entry.fields.iter().map(|field| (field.difference.path.to_string(), field.effect)).collect()
}

fn set(spec: Value) -> Value {
    child("StatefulSet", spec)
}

#[test]
fn only_template_changes_restart_pods() {
    let template = |image: &str| json!({ "spec": { "containers": [{ "name": "c", "image": image }] } });
    let live = set(json!({ "replicas": 3, "template": template("a"), "revisionHistoryLimit": 10 }));
    let same = one(set(json!({ "replicas": 3, "template": template("a") })), live.clone());
    assert_eq!((same.change, same.verdict), (Change::Unchanged, None));

    let restart = one(set(json!({ "replicas": 2, "template": template("b") })), live.clone());
    assert_eq!(restart.verdict, Some(Effect::Restart));
    let expected =
        [("spec.replicas", Effect::Stay), ("spec.template.spec.containers[c].image", Effect::Restart)];
    assert_eq!(fields(&restart), expected.map(|(path, effect)| (path.to_owned(), effect)));
    assert_eq!(restart.notes, ["3 pods, one at a time"]);

    let stay = one(set(json!({ "replicas": 2, "template": template("a") })), live);
    assert_eq!(stay.verdict, Some(Effect::Stay));
    let none = set(json!({ "replicas": 0, "template": template("a") }));
    let scaled_down = one(set(json!({ "replicas": 0, "template": template("b") })), none);
    assert_eq!(scaled_down.verdict, Some(Effect::Stay));
    assert_eq!(scaled_down.notes, ["no running pods"]);
}

#[test]
fn immutable_fields_keep_the_live_values() {
    let spec = |label: &str, claims: Value| {
        json!({ "selector": { "matchLabels": { "l": label } }, "volumeClaimTemplates": claims,
            "template": { "metadata": { "labels": { "l": label } } } })
    };
    let claim = json!([{ "metadata": { "name": "data" } }]);
    let immutable = one(set(spec("new", json!([]))), set(spec("old", claim.clone())));
    assert_eq!(immutable.verdict, Some(Effect::Immutable));
    let expected = ["spec.selector.matchLabels.l", "spec.volumeClaimTemplates"];
    assert_eq!(fields(&immutable).into_iter().map(|(path, _)| path).collect::<Vec<_>>(), expected);

    let more = one(
        set(spec("l", claim)),
        set(json!({ "selector": { "matchLabels": { "l": "l" } },
        "template": { "metadata": { "labels": { "l": "l" } } } })),
    );
    assert_eq!(fields(&more), [("spec.volumeClaimTemplates".to_owned(), Effect::Immutable)]);
}

#[test]
fn commands_are_compared_by_option() {
    let with = |script: &str| {
        set(json!({ "template": { "spec": { "containers": [
            { "name": "c", "command": ["bash", "-c", script] }] } } }))
    };
    let entry = one(
        with(r#"exec java --jar a.jar --function_details '{"sink":{"topic":"b"}}' --new 1"#),
        with(r#"exec java --jar a.jar --function_details '{"sink":{"topic":"a"}}' --old 1"#),
    );
    let paths: Vec<String> = fields(&entry).into_iter().map(|(path, _)| path).collect();
    let command = "spec.template.spec.containers[c].command";
    let expected = [
        format!("{command}[\"--function_details\"].sink.topic"),
        format!("{command}[\"--new\"]"),
        format!("{command}[\"--old\"]"),
    ];
    assert_eq!(paths, expected);
    assert_eq!(entry.verdict, Some(Effect::Restart));
    let order = one(with("run --a 1 --b 2"), with("run --b 2 --a 1"));
    assert_eq!(fields(&order), [(command.to_owned(), Effect::Restart)]);
}

#[test]
fn objects_of_other_owners_are_foreign() {
    let mut live = child("Service", json!({ "selector": {} }));
    live["metadata"]["ownerReferences"][0]["uid"] = json!("other");
    let wanted = child("Service", json!({ "selector": { "a": "b" } }));
    assert_eq!(one(wanted.clone(), live.clone()).change, Change::New);
    live["metadata"]["ownerReferences"][0]["name"] = json!("g");
    let foreign = one(wanted.clone(), live.clone());
    assert_eq!(foreign.change, Change::Foreign);
    assert!(foreign.notes[0].contains("it is owned by Function \"g\""), "{:?}", foreign.notes);
    live["metadata"]["ownerReferences"] = json!([]);
    assert_eq!(one(wanted, live).change, Change::Foreign);
}

#[test]
fn owned_objects_are_removed_recursively() {
    let object = |kind: &str, name: &str, uid: &str, owner: (&str, &str)| {
        json!({ "kind": kind, "metadata": { "name": name, "namespace": "n", "uid": uid, "ownerReferences": [
            { "kind": "X", "name": "x", "uid": owner.1, "controller": owner.0 == "controller" }] } })
    };
    let live = [
        object("FunctionMesh", "m", "mesh", ("", "")),
        object("Function", "m-old", "old", ("controller", "mesh")),
        object("StatefulSet", "m-old-function", "set", ("controller", "old")),
        object("Function", "other", "other", ("controller", "elsewhere")),
        object("Function", "used", "used", ("owner", "mesh")),
    ];
    let before: Snapshot = live.iter().map(|object| (ObjectRef::of(object), object.clone())).collect();
    let mesh = Item { origin: Origin::User, value: live[0].clone() };
    let entries = compare(vec![mesh], &before, Against::Cluster);
    let gone: Vec<_> =
        entries.iter().filter(|it| it.change == Change::Removed).map(|it| it.id.name.as_str()).collect();
    assert_eq!(gone, ["m-old", "m-old-function"]);
}

#[test]
fn unmanaged_objects_do_not_change() {
    let component = json!({ "kind": "Function", "metadata": { "name": "f", "namespace": "n", "uid": "u",
        "annotations": { labels::MANAGED: "false" } }, "spec": {} });
    let live = set(json!({ "replicas": 1 }));
    let mut stale = child("HorizontalPodAutoscaler", json!({}));
    stale["metadata"]["uid"] = json!("h");
    let all = [component.clone(), live, stale];
    let before: Snapshot = all.iter().map(|object| (ObjectRef::of(object), object.clone())).collect();
    let items = vec![
        Item { origin: Origin::User, value: component },
        Item { origin: Origin::Component, value: set(json!({ "replicas": 2 })) },
    ];
    let entries = compare(items, &before, Against::Cluster);
    let children = entries.iter().skip(1);
    assert!(children.clone().count() == 1 && children.clone().all(|it| it.change == Change::Unchanged));
    assert!(entries[1].notes[0].contains("not managed"), "{entries:?}");
}
