//! The binary: exit codes, output and error messages.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn mesh(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-mesh"));
    command.args(arguments);
    // Remove settings from the environment of the test run.
    for variable in
        ["CONFIG_FILE", "GLOBAL_BACKEND_CONFIG", "NAMESPACED_BACKEND_CONFIG", "ENABLE_INIT_CONTAINERS"]
    {
        command.env_remove(variable);
    }
    command
}

fn on(arguments: &[&str], file: &str) -> Command {
    let mut command = mesh(arguments);
    command.arg("-f").arg(fixture(file));
    command
}

/// The standard output of a command that exits with this code.
fn printed(command: &mut Command, status: i32) -> String {
    let output = command.assert().code(status).get_output().clone();
    String::from_utf8(output.stdout).unwrap()
}

/// The standard error of a command that exits with this code.
fn error(command: &mut Command, status: i32) -> String {
    let output = command.assert().code(status).get_output().clone();
    String::from_utf8(output.stderr).unwrap()
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    let name = |item: &Value| {
        format!("{}/{}", item["kind"].as_str().unwrap(), item["metadata"]["name"].as_str().unwrap())
    };
    items.iter().map(name).collect()
}

#[test]
fn render_prints_components_before_children() {
    let json = printed(&mut on(&["render", "-o", "json"], "pipe.yaml"), 0);
    let list: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(list["kind"], "List");
    assert_eq!(
        names(&list)[..6],
        [
            "Function/pipe-clean",
            "StatefulSet/pipe-clean-function",
            "Service/pipe-clean-function-headless",
            "Function/pipe-count",
            "StatefulSet/pipe-count-function",
            "Service/pipe-count-function-headless",
        ]
    );
    assert!(list["items"].as_array().unwrap().iter().all(|item| item["metadata"]["namespace"] == "shop"));

    let yaml = printed(&mut on(&["render"], "pipe.yaml"), 0);
    let same: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(same, list);
}

#[test]
fn render_reads_lists_from_standard_input() {
    let text = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "Function", "metadata": {"name": "one"},
         "spec": {"className": "a.B", "input": {"topics": ["in"]}, "maxReplicas": 3, "cleanupSubscription": true,
                  "java": {"jar": "a.jar"}, "pulsar": {"pulsarConfig": "p"}},
         "status": {"nonsense": 1}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other"}}]}"#;
    let mut command = mesh(&["render", "-f", "-", "-n", "team", "-o", "json", "--with-cleanup"]);
    let list: Value = serde_json::from_str(&printed(command.write_stdin(text), 0)).unwrap();
    assert_eq!(
        names(&list),
        [
            "StatefulSet/one-function",
            "Service/one-function-headless",
            "HorizontalPodAutoscaler/one-function",
            "Job/one-function-cleanup",
        ]
    );
    assert_eq!(list["items"][0]["metadata"]["namespace"], "team");
}

#[test]
fn render_rejects_invalid_objects() {
    let message = error(&mut on(&["render"], "faulty.yaml"), 1);
    assert!(message.contains("spec.functions[0].maxMessageRetry"), "{message}");
    assert!(message.contains("faulty.yaml:8: Function typed: spec.autoAck"), "{message}");
}

#[test]
fn unreadable_input_exits_with_2() {
    assert!(error(&mut mesh(&["render", "-f", "no/such/file"]), 2).contains("no/such/file"));
    assert!(error(&mut mesh(&["graph", "-f", "https://example.org/x"]), 2).contains("offline"));
    assert!(error(&mut mesh(&["render"]), 2).contains("--filename"));
    assert!(error(mesh(&["render", "-f", "-"]).write_stdin("a: [1"), 2).contains("<stdin>:1:"));
    assert!(error(mesh(&["graph", "-f", "-"]).write_stdin(""), 2).contains("nothing to draw"));
}

#[test]
fn validate_accepts_valid_manifests() {
    let text = printed(&mut on(&["validate"], "pipe.yaml"), 0);
    assert_eq!(text, "1 object: 0 errors, 0 warnings\n");
    printed(&mut on(&["validate", "--strict"], "pipe.yaml"), 0);
}

#[test]
fn validate_locates_every_error() {
    let text = printed(&mut on(&["validate"], "faulty.yaml"), 1);
    for (message, place, line) in [
        ("error: spec.replicas: must be an integer", ":6:13", "  replicas: three"),
        (
            "warning: spec.clasName: unknown field, dropped by the API server; did you mean `className`?",
            ":7:3",
            "  clasName:",
        ),
        ("error: spec.autoAck: must be true or false, got a string; remove the quotes", ":8:12", "autoAck"),
        ("quote it: \"yes\"", ":9:13", "logTopic: yes"),
        ("error: spec.input.topics: must be a list, got a string; use [words]", ":11:13", "topics: words"),
        ("must be one of atleast_once, atmost_once, effectively_once, manual", ":12:24", "once"),
        ("error: spec.secretsMap[\"db\"].path: must be a string", ":15:16", "db: {path: 5}"),
        ("error: spec.functions[0].maxMessageRetry: must be 1 or more", ":23:7", "- name: echo"),
        ("receiverQueueSize: must be 0 or more", ":25:97", "input: {topics: [in]"),
        ("error: spec.functions[0].output.topic: \"in\" is also an input topic", ":27:16", "topic: in"),
        ("warning: spec.functions[1]: no topic connects \"alone\"", ":31:7", "- name: alone"),
    ] {
        let found = text.split("\n\n").find(|part| part.contains(message));
        let found = found.unwrap_or_else(|| panic!("{message} is missing in\n{text}"));
        assert!(found.contains(&format!("faulty.yaml{place}")), "{found}");
        assert!(found.contains(line) && found.contains('^'), "{found}");
    }
    assert!(!text.contains("goes"), "free-form configuration is not validated:\n{text}");
    assert!(text.ends_with("2 objects, 1 of other kinds ignored: 10 errors, 3 warnings\n"), "{text}");
}

#[test]
fn validate_prints_json() {
    let json = printed(&mut on(&["validate", "-o", "json"], "faulty.yaml"), 1);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["objects"], 2);
    let first = &report["findings"][0];
    assert_eq!((&first["field"], &first["severity"]), (&"spec.replicas".into(), &"error".into()));
    assert_eq!((&first["line"], &first["column"]), (&6.into(), &13.into()));
}

#[test]
fn validate_continues_after_unreadable_files() {
    let mut command = on(&["validate", "-f", "no/such/file"], "faulty.yaml");
    let text = printed(&mut command, 2);
    assert!(text.contains("failed to read no/such/file") && text.contains("spec.replicas"), "{text}");
}

#[test]
fn validate_checks_type_meta_and_duplicates() {
    let check = |text: &str, status| printed(mesh(&["validate", "-f", "-"]).write_stdin(text), status);
    assert!(check("kind: X", 1).contains("apiVersion: apiVersion is required"));
    assert!(
        check("apiVersion: compute.functionmesh.io/v1alpha1\nkind: Funktion", 1).contains("unknown kind")
    );
    assert!(check("apiVersion: compute.functionmesh.io/v1\nkind: Sink", 1).contains("v1alpha1"));
    assert!(check("apiVersion: compute.functionmesh.com/v1alpha1\nkind: Sink", 0).contains("did you mean"));
    assert!(check("- 1\n- 2", 1).contains("apiVersion"));
    let twice =
        "apiVersion: compute.functionmesh.io/v1alpha1\nkind: BackendConfig\nmetadata: {name: b}\n---\n";
    assert!(check(&twice.repeat(2), 0).contains("duplicate of BackendConfig b at <stdin>:1"));
}

/// The pipeline with replacements, through standard input.
fn changed(arguments: &[&str], changes: &[(&str, &str)]) -> Command {
    let text = std::fs::read_to_string(fixture("pipe.yaml")).unwrap();
    let text = changes.iter().fold(text, |text, (old, new)| {
        assert!(text.contains(old), "{old}");
        text.replace(old, new)
    });
    let mut command = mesh(arguments);
    command.args(["-f", "-", "--against"]).arg(fixture("pipe.yaml")).write_stdin(text);
    command
}

#[test]
fn diff_shows_changes_and_restarts() {
    let same = printed(&mut changed(&["diff"], &[]), 0);
    assert_eq!(same, "0 new, 0 changed, 0 removed, 16 unchanged; pods of 0 StatefulSets restart\n");
    let all = printed(&mut changed(&["diff", "--all"], &[]), 0);
    assert!(all.contains("= StatefulSet shop/pipe-clean-function unchanged\n"), "{all}");

    let changes = [
        ("functions/clean.jar", "functions/clean-2.jar"),
        ("replicas: 2", "replicas: 5"),
        ("- name: spell", "- name: orthography"),
        ("{ table: counts }", "{ table: counts, dbPassword: sesame }"),
    ];
    let text = printed(&mut changed(&["diff"], &changes), 1);
    for expected in [
        "~ StatefulSet shop/pipe-clean-function changed: pods restart\n    \
         spec.template.spec.containers[pulsar-function].command[\"--jar\"]\n      \
         - functions/clean.jar\n      + functions/clean-2.jar\n",
        "~ StatefulSet shop/pipe-count-function changed: pods stay\n    \
         spec.replicas\n      - 2\n      + 5\n",
        "+ StatefulSet shop/pipe-orthography-function new: pods start\n",
        "- StatefulSet shop/pipe-spell-function removed: pods terminate\n",
        "    spec.sinkConfig.dbPassword\n      + (hidden)\n",
        "3 new, 7 changed, 3 removed, 6 unchanged; pods of 2 StatefulSets restart\n",
    ] {
        assert!(text.contains(expected), "{expected}\nis missing in\n{text}");
    }
    assert!(!text.contains("sesame"), "{text}");

    let json = printed(&mut changed(&["diff", "-o", "json"], &changes), 1);
    assert!(!json.contains("sesame"), "{json}");
    let report: Value = serde_json::from_str(&json).unwrap();
    let restarts = report["objects"].as_array().unwrap().iter().filter(|it| it["verdict"] == "pods restart");
    assert_eq!(restarts.count(), 2);
    let yaml = printed(&mut changed(&["diff", "-o", "yaml"], &changes), 1);
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), report);
}

#[test]
fn diff_locates_invalid_input() {
    let message = error(&mut changed(&["diff"], &[("replicas: 2", "replicas: two")]), 2);
    assert!(message.contains("<stdin>:30:17") && message.contains("must be an integer"), "{message}");
    let message = error(&mut changed(&["diff", "--against", "cluster"], &[]), 2);
    assert!(message.contains("either `cluster` or files"), "{message}");
    let mut command = mesh(&["diff", "-f", "-", "--against"]);
    assert!(error(command.arg(fixture("faulty.yaml")).write_stdin(""), 2).contains("faulty.yaml:8"));
    let none = mesh(&["diff", "-f", "-", "--kubeconfig", "no/such"])
        .write_stdin("")
        .assert()
        .code(2)
        .get_output()
        .clone();
    assert!(!none.stderr.is_empty());
}

#[test]
fn explain_shows_file_and_line() {
    let text = printed(&mut on(&["explain", "clean"], "pipe.yaml"), 0);
    assert!(text.starts_with("Function shop/pipe-clean, of FunctionMesh pipe\n"), "{text}");
    let line = text.lines().find(|line| line.contains("      className ")).unwrap();
    assert!(line.contains("org.example.Clean") && line.contains("spec.functions[0].className ("), "{line}");
    assert!(line.ends_with("pipe.yaml:18)"), "{line}");
    let tenant = text.lines().find(|line| line.contains("      tenant ")).unwrap();
    assert!(tenant.ends_with("  built in"), "{tenant}");
}

#[test]
fn explain_finds_every_layer() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let backend = write(
        "backend.yaml",
        "apiVersion: compute.functionmesh.io/v1alpha1\nkind: BackendConfig\nmetadata: {name: backend-config, namespace: shop}\n\
         spec:\n  env: {REGION: north}\n---\napiVersion: compute.functionmesh.io/v1alpha1\nkind: BackendConfig\n\
         metadata: {name: all, namespace: default}\nspec:\n  env: {REGION: anywhere, API_TOKEN: sesame}\n",
    );
    let settings = write("operator.yaml", "runnerImages: {java: own:1}\n");
    let mut command =
        on(&["explain", "function/pipe-clean", "-o", "json", "--global-backend-config", "all"], "pipe.yaml");
    let json = printed(command.arg("-f").arg(backend).arg("--config-file").arg(settings), 0);
    assert!(!json.contains("sesame"), "{json}");
    let report: Value = serde_json::from_str(&json).unwrap();
    let values = report["components"][0]["values"].as_array().unwrap();
    let container = "spec.template.spec.containers[pulsar-function]";
    for (path, origin, line) in [
        ("env[REGION].value", "namespace", Some(5)),
        ("env[API_TOKEN].value", "cluster", Some(11)),
        ("image", "operator", None),
        ("imagePullPolicy", "default", None),
        ("command[\"--jar\"]", "component", Some(26)),
    ] {
        let path = format!("{container}.{path}");
        let value =
            values.iter().find(|it| it["path"] == path.as_str()).unwrap_or_else(|| panic!("no {path}"));
        assert_eq!(value["origin"], origin, "{path}");
        assert_eq!(value["causes"][0]["line"].as_u64(), line, "{path}");
    }
}

#[test]
fn explain_filters_and_suggests() {
    let only = |arguments: &[&str]| {
        let mut all = vec!["explain", "clean"];
        all.extend(arguments);
        printed(&mut on(&all, "pipe.yaml"), 0)
    };
    assert_eq!(only(&["--path", "spec.tenant"]).lines().count(), 3);
    let default = only(&["--from", "default"]);
    assert!(default.contains("built in") && !default.contains("pipe.yaml"), "{default}");
    let message = error(&mut on(&["explain", "clean", "--path", "spec.tenent"], "pipe.yaml"), 2);
    assert!(message.contains("did you mean spec.tenant?"), "{message}");
    let message = error(&mut on(&["explain", "none"], "pipe.yaml"), 2);
    assert!(message.contains("available: function/pipe-clean, function/pipe-count"), "{message}");
    let message = error(&mut on(&["explain", "typed"], "faulty.yaml"), 1);
    assert!(message.contains("faulty.yaml:8:12"), "{message}");
}

#[test]
fn graph_supports_every_format() {
    let text = printed(&mut on(&["graph"], "pipe.yaml"), 0);
    assert_eq!(text, include_str!("../fixtures/pipe.txt"), "\n{text}");
    assert!(printed(&mut on(&["graph", "-o", "mermaid"], "loop.yaml"), 0).starts_with("flowchart LR\n"));
    assert!(printed(&mut on(&["graph", "-o", "dot"], "loop.yaml"), 0).starts_with("digraph mesh {\n"));
    let svg = printed(&mut on(&["graph", "-o", "svg"], "loop.yaml"), 0);
    let xml = roxmltree::Document::parse(&svg).unwrap();
    assert_eq!(
        xml.root_element().children().find(|node| node.has_tag_name("title")).unwrap().text(),
        Some("FunctionMesh default/loop")
    );
}

#[test]
fn graph_draws_standalone_components_together() {
    let text = "{apiVersion: compute.functionmesh.io/v1alpha1, kind: Source, metadata: {name: in}, spec: {output: {topic: t}}}\n---\n\
        {apiVersion: compute.functionmesh.io/v1alpha1, kind: Sink, metadata: {name: out}, spec: {input: {topics: [t]}}}\n";
    let shown = printed(mesh(&["graph", "-f", "-", "-o", "mermaid"]).write_stdin(text), 0);
    assert!(shown.contains("g0n0 -->|\"t\"| g0n1"), "{shown}");
}

#[test]
fn crds_in_deploy_are_current() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    let files = kubectl_mesh::crd_files().unwrap();
    for (name, text) in &files {
        let kept = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        assert!(
            kept == *text,
            "deploy/crds/{name} is stale; run `cargo run -p kubectl-mesh -- crds --dir deploy/crds`"
        );
    }
    let kept = std::fs::read_dir(dir).unwrap().count();
    assert_eq!(kept, files.len(), "deploy/crds has extra files");
}

#[test]
fn crds_print_documents_or_a_list() {
    let yaml = printed(&mut mesh(&["crds"]), 0);
    let json: Value = serde_json::from_str(&printed(&mut mesh(&["crds", "-o", "json"]), 0)).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
    assert_eq!(json["items"].as_array(), Some(&documents));
}

#[test]
fn broken_pipe_is_no_error() {
    use std::process::{Command, Stdio};
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-mesh"));
    let mut child = command.arg("crds").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_command_has_examples() {
    for command in ["render", "validate", "diff", "explain", "graph", "crds"] {
        let help = printed(&mut mesh(&[command, "--help"]), 0);
        assert!(help.contains("Examples:\n  kubectl mesh"), "{help}");
    }
}
