//! What people see: text of the cluster and of manifests cannot steer the terminal or hide in it (S15).

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::fmt::Write;

use clap::Parser;
use function_mesh_api::is_printable;
use kubectl_mesh::{Cli, Streams};

/// What would steer a terminal, forge a line, turn text or hide.
const HOSTILE: [&str; 12] = [
    "\u{1b}]0;pwned\u{7}",
    "\u{1b}[2J\u{1b}[8m",
    "\u{1b}]52;c;Y3VybCBldmlsfHNo\u{7}",
    "\r",
    "\u{8}\u{8}",
    "\u{7f}",
    "\u{9b}2J",
    "\u{85}",
    "\u{202e}",
    "\u{2066}\u{2069}",
    "\u{200b}\u{e0041}",
    "\u{2028}\u{2029}",
];

/// A manifest in YAML or JSON, which may hold these letters by their numbers, with a text in every kind of place.
fn manifest(text: &str, class: &str) -> String {
    let text: String = text.encode_utf16().fold(String::new(), |mut all, unit| {
        let _ = write!(all, "\\u{unit:04x}");
        all
    });
    format!(
        r#"{{"apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "Function",
        "metadata": {{"name": "f", "namespace": "a", "annotations": {{"a.b/{text}": "x{text}"}}}},
        "spec": {{"className": "{class}{text}", "java": {{"jar": "/x{text}.jar"}}, "logTopic": "a{text}b",
            "input": {{"topics": ["a{text}"], "typeClassName": "x{text}", "sourceSpecs": {{"t{text}": {{}}}}}},
            "output": {{"topic": "b{text}"}}, "funcConfig": {{"k{text}": "v{class}{text}"}}, "odd{text}": 1,
            "secretsMap": {{"S{text}": {{"path": "p{text}", "key": "k"}}}}, "pulsar": {{"pulsarConfig": "c"}},
            "pod": {{"annotations": {{"a.b/c": "{class}{text}"}}, "env": [{{"name": "E{text}", "value": "{class}{text}"}}]}}}}}}"#
    )
}

fn run(arguments: &[&str]) -> String {
    let cli = Cli::try_parse_from([&["kubectl-mesh"], arguments].concat()).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    kubectl_mesh::run(&cli, &mut Streams { out: &mut out, err: &mut err, colour: true });
    String::from_utf8([out, err].concat()).unwrap()
}

/// A text without the colours that the program itself puts in.
fn without_colours(text: &str) -> String {
    let mut rest = text;
    let mut plain = String::new();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        let end = after.find('m').unwrap_or_default();
        let codes = &after[..end];
        let is_colour =
            !codes.is_empty() && codes.chars().all(|letter| letter.is_ascii_digit() || letter == ';');
        assert!(is_colour && codes != "8", "{after:?}");
        rest = &after[end + 1..];
    }
    plain + rest
}

#[test]
fn s15_nothing_that_steers_a_terminal_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let [new, old] = ["new.json", "old.json"].map(|name| folder.path().join(name));
    let (file, older) = (new.to_str().unwrap(), old.to_str().unwrap());
    let mut shown = 0;
    for hostile in HOSTILE {
        std::fs::write(&new, manifest(hostile, "New")).unwrap();
        std::fs::write(&old, manifest(hostile, "Old")).unwrap();
        for arguments in [
            &["explain", "-f", file, "--all"][..],
            &["diff", "-f", file, "--against", older, "--all"],
            &["validate", "-f", file],
            &["graph", "-f", file],
            &["graph", "-f", file, "-o", "svg"],
            &["graph", "-f", file, "-o", "dot"],
            &["graph", "-f", file, "-o", "mermaid"],
        ] {
            let text = without_colours(&run(arguments));
            let odd = text.chars().find(|letter| !is_printable(*letter) && !matches!(letter, '\n' | '\t'));
            assert_eq!(odd, None, "{arguments:?} with {hostile:?}: {text:?}");
            shown += text.matches('\u{fffd}').count();
        }
    }
    assert!(shown > 200, "{shown}");
}

/// Nobody can tell what in a configuration is a secret; elsewhere names tell.
#[test]
fn s15_configuration_is_hidden_in_a_difference_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let [new, old] = ["new.json", "old.json"].map(|name| folder.path().join(name));
    for (file, value) in [(&new, "first-value"), (&old, "other-value")] {
        let manifest = serde_json::json!({
            "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "Sink", "metadata": { "name": "s" },
            "spec": {
                "className": "C", "java": { "jar": "/c.jar" }, "pulsar": { "pulsarConfig": "p" },
                "input": { "topics": ["t"], "typeClassName": "[B" },
                "sinkConfig": { "url": format!("url-of-{value}") },
                "pod": {
                    "env": [{ "name": "DB_PASSWORD", "value": format!("password-of-{value}") }],
                    "annotations": { "team": format!("team-of-{value}") },
                },
            },
        });
        std::fs::write(file, manifest.to_string()).unwrap();
    }
    let diff = |more: &[&str]| {
        let arguments = ["diff", "-f", new.to_str().unwrap(), "--against", old.to_str().unwrap()];
        without_colours(&run(&[&arguments[..], more].concat()))
    };
    for format in [&[][..], &["-o", "json"], &["-o", "yaml"]] {
        let safe = diff(format);
        assert!(safe.contains("sinkConfig") && safe.contains("team-of-first-value"), "{safe}");
        assert!(!safe.contains("url-of") && !safe.contains("password-of"), "{safe}");
        let asked = diff(&[format, &["--show-values"]].concat());
        assert!(asked.contains("url-of-first-value") && asked.contains("url-of-other-value"), "{asked}");
        assert!(!asked.contains("password-of"), "{asked}");
    }
    let hints: Vec<_> =
        diff(&[]).lines().filter(|line| line.contains("--show-values")).map(str::to_owned).collect();
    assert!(!hints.is_empty(), "nothing says how to see it");
    assert!(!diff(&["--show-values"]).contains("--show-values"), "it is asked for already");
}

/// Errors quote what is wrong.
#[test]
fn s15_errors_show_nothing_that_steers_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.yaml");
    let path = file.to_str().unwrap();
    for hostile in HOSTILE {
        let json = manifest(hostile, "C");
        let wrong = json.replace(r#""logTopic": "#, r#""replicas": "#);
        let raw = format!(
            "kind: Function\napiVersion: compute.functionmesh.io/v1alpha1\nmetadata: {{name: 'f{hostile}'}}\nspec: ["
        );
        for text in [wrong, raw] {
            std::fs::write(&file, text).unwrap();
            for command in ["explain", "diff", "validate", "render", "graph"] {
                let more: &[&str] = if command == "diff" { &["--against", path] } else { &[] };
                let text = without_colours(&run(&[&[command, "-f", path], more].concat()));
                assert!(!text.is_empty(), "{command}");
                let odd =
                    text.chars().find(|letter| !is_printable(*letter) && !matches!(letter, '\n' | '\t'));
                assert_eq!(odd, None, "{command} with {hostile:?}: {text:?}");
            }
        }
    }
}
