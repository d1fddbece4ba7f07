use std::fmt::Write;

use super::*;
use serde_json::json;

fn value(text: &str) -> Value {
    let loaded = load(text);
    assert!(loaded.error.is_none(), "{:?}", loaded.error);
    loaded.documents[0].to_value()
}

fn error(text: &str) -> String {
    load(text).error.expect("an error").message
}

#[test]
fn aliases_and_merge_keys_are_expanded() {
    let text = "base: &b {a: 1, b: 2}\nlist: [*b]\nmore:\n  <<: *b\n  b: 3\n\"<<\": x\n";
    let want =
        json!({"base": {"a": 1, "b": 2}, "list": [{"a": 1, "b": 2}], "more": {"a": 1, "b": 3}, "<<": "x"});
    assert_eq!(value(text), want);
}

/// The expected values are what kubectl 1.32 makes of the texts (`kubectl create --dry-run=client`).
#[test]
fn maps_are_read_as_by_kubectl() {
    let anchors = "x: &x {p: 1, q: 2}\ny: &y {p: 3, r: 4}\n";
    for (text, wanted, repeated) in [
        ("d: {a: x, b: z, a: w}", json!({"a": "w", "b": "z"}), &["a"][..]),
        ("d: {a: {p: 1}, a: {q: 2}}", json!({"a": {"q": 2}}), &["a"]),
        ("d: {a: {p: 1}, a: }", json!({"a": null}), &["a"]),
        ("d: {a: a, \"a\": b, a: c}", json!({"a": "c"}), &["a", "a"]),
        ("d: {a: b, A: c}", json!({"a": "b", "A": "c"}), &[]),
        (
            "d: {1: a, 1.50: b, yes: c, 017: d, 0x1F: e, \"yes\": f, 1_000: g, 1000: h}",
            json!({"1": "a", "1.5": "b", "1000": "h", "15": "d", "31": "e", "true": "c", "yes": "f"}),
            &["1000"],
        ),
        ("d: {p: 9, <<: *x}", json!({"p": 1, "q": 2}), &["p"]),
        ("d: {<<: *x, p: 9}", json!({"p": 9, "q": 2}), &[]),
        ("d: {<<: [*x, *y]}", json!({"p": 1, "q": 2, "r": 4}), &[]),
        ("d: {<<: *x, <<: *y}", json!({"p": 3, "q": 2, "r": 4}), &[]),
    ] {
        let loaded = load(&format!("{anchors}{text}\n"));
        assert!(loaded.error.is_none(), "{text}: {:?}", loaded.error);
        assert_eq!(loaded.documents[0].to_value()["d"], wanted, "{text}");
        let keys: Vec<_> = loaded.repeated.iter().map(|repeated| repeated.key.as_str()).collect();
        assert_eq!(keys, repeated, "{text}");
    }
}

#[test]
fn line_ends_marks_and_empty_documents_are_read_as_by_kubectl() {
    for (text, count) in [
        ("# only\n---\n# also\n---\na: b\n---\n---\n# end\n", 1),
        ("a: b\r\n---\r\na: c\r\n", 2),
        ("a: b\n---   \na: c\n", 2),
        ("a: b\n--- # comment\na: c\n", 2),
        ("a: b\n...\n---\na: c\n", 2),
        ("null\n---\na: b\n", 1),
        ("a: b\n---\n\u{feff}a: c\n", 2),
    ] {
        let loaded = load(text);
        assert!(loaded.error.is_none(), "{text:?}: {:?}", loaded.error);
        let present = loaded.documents.iter().filter(|document| !document.is_null()).count();
        assert_eq!(present, count, "{text:?}: {:?}", loaded.documents);
        assert!(
            loaded.documents.last().is_some_and(|last| last.is_null() || last.get("a").is_some()),
            "{text:?}"
        );
    }
    let text = "a: |\r\n  one\r\n  two\r\n";
    assert_eq!(value(text), json!({"a": "one\ntwo\n"}));
    assert!(error("x: &a b\n---\nz: *a\n").contains("anchor"));
}

#[test]
fn quotes_and_tags_determine_the_type() {
    assert_eq!(value("[yes, 'yes', !!str 1, !!int '1']"), json!([true, "yes", "1", 1]));
}

#[test]
fn json_escapes_are_parsed() {
    let text = r#"{"a": "\ud83d\ude00\/", "b": [1.5e3, null]}"#;
    assert_eq!(value(text), json!({"a": "😀/", "b": [1500, null]}));
    assert_eq!(load("{\"a\": 1}\n{\"a\": 2}\n").documents.len(), 2);
    // A surrogate is no YAML.
    let loaded =
        load(r#"{"a": "\ud83d\ude00", "b": {"c": [1, {"d": null, "d": -1.5}]}, "a": "x"} {"e": true}"#);
    assert!(loaded.error.is_none(), "{:?}", loaded.error);
    let values: Vec<_> = loaded.documents.iter().map(Node::to_value).collect();
    assert_eq!(values, [json!({"a": "x", "b": {"c": [1, {"d": -1.5}]}}), json!({"e": true})]);
    let keys: Vec<_> = loaded.repeated.iter().map(|repeated| repeated.key.as_str()).collect();
    assert_eq!(keys, ["d", "a"]);
}

#[test]
fn hostile_texts_are_rejected() {
    assert!(error("~: 1\n").contains("null cannot be a key"));
    assert!(error("a: {<<: 1}\n").contains("a merge key requires"));
    assert!(error("a: {<<: [{}, ~]}\n").contains("a merge key requires"));
    assert!(error("[a]: 1\n").contains("cannot be a key"));
    assert!(error("a: &a [*a]").contains("inside of its own anchor"));
    assert!(error(&format!("{}{}", "[".repeat(200), "]".repeat(200))).contains("deep"));
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let one = format!("*a{},", level - 1);
        let _ = writeln!(bomb, "a{level}: &a{level} [{}x]", one.repeat(10));
    }
    assert!(error(&bomb).contains("aliases expand"));
    let mut deep = "a0: &a0 [[[[[[[[[[x]]]]]]]]]]\n".to_owned();
    for level in 1..40 {
        let _ = writeln!(deep, "a{level}: &a{level} [[[[[[[[*a{}]]]]]]]]", level - 1);
    }
    assert!(error(&deep).contains("deep"));
}

#[test]
fn documents_before_a_syntax_error_are_kept() {
    let loaded = load("a: 1\n---\nb: [1\n");
    assert_eq!(loaded.documents.len(), 1);
    assert!(loaded.error.is_some());
}
