//! Output to terminals: text from clusters and manifests cannot contain control sequences or invisible text (S15).

use std::fmt::Write;

use clap::Parser;
use function_mesh_api::is_printable;
use kubectl_mesh::{Cli, Streams};

/// Control sequences, line breaks, bidirectional and invisible characters.
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

/// A manifest with an escaped text in every kind of field.
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
    kubectl_mesh::run(&cli, &mut Streams { out: &mut out, err: &mut err, colour: true, terminal: true });
    String::from_utf8([out, err].concat()).unwrap()
}

/// A text without the colours of the program.
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
fn s15_output_has_no_control_sequences() {
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

/// Secrets in a configuration cannot be recognised by name, elsewhere they can.
#[test]
fn s15_diff_redacts_configuration_by_default() {
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
        let redacted = diff(format);
        assert!(redacted.contains("sinkConfig") && redacted.contains("team-of-first-value"), "{redacted}");
        assert!(!redacted.contains("url-of") && !redacted.contains("password-of"), "{redacted}");
        let shown = diff(&[format, &["--show-values"]].concat());
        assert!(shown.contains("url-of-first-value") && shown.contains("url-of-other-value"), "{shown}");
        assert!(!shown.contains("password-of"), "{shown}");
    }
    let hints: Vec<_> =
        diff(&[]).lines().filter(|line| line.contains("--show-values")).map(str::to_owned).collect();
    assert!(!hints.is_empty(), "no hint at --show-values");
    assert!(!diff(&["--show-values"]).contains("--show-values"), "a hint although it is set");
}

/// Errors quote invalid values.
#[test]
fn s15_errors_have_no_control_sequences() {
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
