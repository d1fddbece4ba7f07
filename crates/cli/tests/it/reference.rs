//! The reference of fields is current and complete.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use assert_cmd::Command;
use serde_json::Value;

fn reference() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| kubectl_mesh::crd_reference().unwrap());
    &TEXT
}

/// The section of a heading.
fn part<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let rest = &text[start + 1..];
    let end = rest[1..].find("\n##").map_or(rest.len(), |at| at + 1);
    &rest[..end]
}

#[test]
fn reference_in_docs_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference.md");
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == reference(),
        "docs/reference.md is stale; run `cargo run -p kubectl-mesh -- crds -o markdown --dir docs`"
    );
}

#[test]
fn printed_and_written_references_match() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-mesh"));
        let output = command.arg("crds").args(arguments).assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    run(&["-o", "markdown", "--dir", dir.path().to_str().unwrap()]);
    let written = std::fs::read_to_string(dir.path().join("reference.md")).unwrap();
    assert_eq!(written, run(&["-o", "markdown"]));
    assert_eq!(written, reference());
}

#[test]
fn internal_links_resolve() {
    let text = reference();
    let headings: BTreeSet<_> = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-"))
        .collect();
    let links: BTreeSet<_> =
        text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect();
    assert!(links.len() > 40, "{links:?}");
    assert_eq!(links.difference(&headings).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// Every field of every spec and status is in the section of its type.
#[test]
fn reference_has_every_field() {
    let text = reference();
    for crd in function_mesh_api::crd::all().unwrap() {
        let crd = serde_json::to_value(crd).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        let own = part(text, &format!("## {kind}"));
        for half in ["spec", "status"] {
            let row = own.lines().find(|line| line.starts_with(&format!("| `{half}`"))).unwrap();
            let type_name = row.split('[').nth(1).unwrap().split(']').next().unwrap();
            let table = part(text, &format!("### {type_name}"));
            for field in schema["properties"][half]["properties"].as_object().into_iter().flatten() {
                assert!(table.contains(&format!("\n| `{}` |", field.0)), "{kind}: {half}.{}", field.0);
            }
        }
        let rules = schema["x-kubernetes-validations"].as_array().map_or(&[][..], Vec::as_slice);
        for message in rules.iter().filter_map(|rule: &Value| rule["message"].as_str()) {
            let message = message.trim_start_matches("metadata.name: ");
            assert!(text.contains(message), "{kind}: {message}");
        }
    }
}

#[test]
fn fields_have_type_bounds_and_default() {
    let text = reference();
    for (heading, row) in [
        ("### JavaRuntime", "| `jar` | string | **required** | Path of the JAR"),
        ("### FunctionSpec", "| `minReplicas` | integer: at least 0 | `1` | "),
        ("### FunctionSpec", "| `tenant` | string | `public` | Pulsar tenant. |"),
        ("### FunctionSpec", "| `pod` | [PodPolicy](#podpolicy) |  | "),
        ("### RuntimeLogConfig", "| `format` | string: one of `json`, `text` | `text` | "),
        ("### OAuth2Config", "| `issuerUrl` | string: not empty | **required** | "),
        ("### PodPolicy", "| `volumes` | list of [Volume](https://kubernetes.io/docs/"),
    ] {
        let part = part(text, heading);
        assert!(part.contains(&format!("\n{row}")), "{row}\n{part}");
    }
}
