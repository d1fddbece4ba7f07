//! The cases from public reports that the command line decides: each test reads its copy in `public-cases`.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::{Value, json};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// Exit code, standard output and standard error of a command on a file.
fn run(arguments: &[&str], file: &Path) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-mesh"));
    for variable in ["CONFIG_FILE", "GLOBAL_BACKEND_CONFIG", "NAMESPACED_BACKEND_CONFIG"] {
        command.env_remove(variable);
    }
    let output = command.args(arguments).arg("-f").arg(file).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Severity, field and message of each finding.
fn findings(file: &str) -> Vec<(String, String, String)> {
    let (_, out, err) = run(&["validate", "-o", "json"], &path(file));
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let all = report["findings"].as_array().unwrap().iter();
    all.map(|it| (text(it, "severity"), text(it, "field"), text(it, "message"))).collect()
}

/// The only finding, which is of this severity and field.
fn finding(file: &str, severity: &str, field: &str) -> String {
    let found = findings(file);
    let [(is, at, message)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((is.as_str(), at.as_str()), (severity, field), "{message}");
    message.clone()
}

/// The rendered objects, clean-up Jobs included.
fn rendered(file: &str) -> Vec<Value> {
    let (status, out, err) = run(&["render", "--with-cleanup", "-o", "json"], &path(file));
    assert_eq!(status, 0, "{err}");
    let list: Value = serde_json::from_str(&out).unwrap();
    list["items"].as_array().unwrap().clone()
}

fn kinds(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(|object| object["kind"].as_str().unwrap()).collect()
}

fn object<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind).unwrap()
}

fn runner(objects: &[Value]) -> &Value {
    let containers = &object(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"];
    let is_runner = |it: &&Value| it["name"].as_str().unwrap().starts_with("pulsar-");
    containers.as_array().unwrap().iter().find(is_runner).unwrap()
}

#[test]
fn case_00_source_without_least() {
    let file = "public-cases/00-source-without-least.yaml";
    assert_eq!(findings(file), []);
    let objects = rendered(file);
    let autoscaler = &object(&objects, "HorizontalPodAutoscaler")["spec"];
    assert_eq!((&autoscaler["minReplicas"], &autoscaler["maxReplicas"]), (&json!(1), &json!(3)));
    assert_eq!(autoscaler["metrics"].as_array().unwrap().len(), 1);
    let (_, out, _) = run(&["explain", "-o", "json"], &path(file));
    let explained: Value = serde_json::from_str(&out).unwrap();
    let values = explained["components"][0]["values"].as_array().unwrap();
    let least = values.iter().find(|value| value["path"] == "spec.minReplicas").unwrap();
    assert_eq!((&least["value"], &least["origin"]), (&json!(1), &json!("default")), "{least}");
    // Written or not, it is the same.
    let with = std::fs::read_to_string(path(file)).unwrap().replace("spec:\n", "spec:\n  minReplicas: 1\n");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("with.yaml"), with).unwrap();
    let with = folder.path().join("with.yaml");
    let (status, out, err) = run(&["diff", "--against", with.to_str().unwrap()], &path(file));
    assert_eq!(status, 0, "{out}{err}");
}

#[test]
fn case_01_worker_function() {
    let file = "public-cases/01-worker-function.yaml";
    assert!(finding(file, "warning", "spec.imagePullPolicy").contains("without regard to case"));
    let objects = rendered(file);
    // The worker deletes the subscriptions of what it made: its label keeps the clean-up Job away.
    assert_eq!(kinds(&objects), ["StatefulSet", "Service"]);
    assert_eq!(runner(&objects)["imagePullPolicy"], "Always");
    let command = runner(&objects)["command"][2].as_str().unwrap();
    assert!(command.contains("function://shop/orders/enrich@v3"), "{command}");
    assert!(command.contains("/pulsar/lib/*"), "{command}");
    let text = std::fs::read_to_string(path(file)).unwrap();
    let own = text.replace("pulsar-cluster: main, ", "");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("own.yaml"), own).unwrap();
    let (_, out, _) = run(&["render", "--with-cleanup", "-o", "json"], &folder.path().join("own.yaml"));
    assert!(out.contains("\"Job\""), "without the label there is one");
}

#[test]
fn case_07_plain_location() {
    let file = "public-cases/07-plain-location.yaml";
    let message = finding(file, "warning", "spec.functions[0].java.jarLocation");
    assert!(message.contains("storage of Pulsar's function workers"), "{message}");
    let objects = rendered(file);
    let command = runner(&objects)["command"][2].as_str().unwrap();
    assert!(command.contains("functions download --path public/default/one"), "{command}");
}

#[test]
fn case_09_digit_first() {
    let file = "public-cases/09-digit-first.yaml";
    assert_eq!(findings(file), []);
    let objects = rendered(file);
    assert_eq!(object(&objects, "Function")["metadata"]["name"], "login-2fa-check");
    assert_eq!(object(&objects, "StatefulSet")["metadata"]["name"], "login-2fa-check-function");
}

#[test]
fn case_19_resize_in_place() {
    let file = "public-cases/19-resize-in-place.yaml";
    assert_eq!(findings(file), []);
    let objects = rendered(file);
    let policy = &object(&objects, "VerticalPodAutoscaler")["spec"]["updatePolicy"];
    assert_eq!(policy, &json!({ "updateMode": "InPlaceOrRecreate", "minReplicas": 1 }));
    let text = std::fs::read_to_string(path(file)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let auto = folder.path().join("auto.yaml");
    std::fs::write(&auto, text.replace("InPlaceOrRecreate", "Auto")).unwrap();
    let (status, out, err) = run(&["render", "-o", "json"], &auto);
    assert!(status == 0 && out.contains("\"updateMode\": \"Auto\""), "{out}{err}");
}

#[test]
fn case_34_zero_means_off() {
    let file = "public-cases/34-zero-means-off.yaml";
    let message = finding(file, "error", "spec.maxReplicas");
    assert_eq!(message, "must be 1 or more; leave it out for no autoscaler");
}

#[test]
fn case_37_executor_twice() {
    let found = findings("public-cases/37-executor-twice.yaml");
    let [(first, class, executor), (second, place, misplaced)] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((first.as_str(), class.as_str()), ("warning", "spec.className"));
    assert!(executor.contains("would run itself"), "{executor}");
    assert_eq!((second.as_str(), place.as_str()), ("warning", "spec.java.clusterName"));
    assert!(misplaced.ends_with("write it as `spec.clusterName`"), "{misplaced}");
}

/// What the worker service of upstream wrote for each kind stays valid, and renders.
#[test]
fn worker_service_manifests_are_accepted() {
    for (kind, container) in
        [("function", "pulsar-function"), ("source", "pulsar-source"), ("sink", "pulsar-sink")]
    {
        let file = format!("worker-service/{kind}.yaml");
        let message = finding(&file, "warning", "spec.imagePullPolicy");
        assert!(message.contains("without regard to case"), "{message}");
        let objects = rendered(&file);
        assert_eq!(kinds(&objects), ["StatefulSet", "Service", "HorizontalPodAutoscaler"], "{kind}");
        assert_eq!(runner(&objects)["name"], container);
        assert_eq!(runner(&objects)["imagePullPolicy"], "Always");
        let pod = &object(&objects, "StatefulSet")["spec"]["template"];
        assert_eq!(pod["metadata"]["labels"]["pulsar-cluster"], "main");
        assert_eq!(pod["spec"]["serviceAccountName"], "jobs");
        let variables = runner(&objects)["envFrom"].to_string();
        for name in ["main-function-mesh-config", "function-auth-", "function-tls-"] {
            assert!(variables.contains(name), "{kind}: {name} in {variables}");
        }
        let (status, out, err) = run(&["graph"], &path(&file));
        assert!(status == 0, "{out}{err}");
    }
}

/// Files that kubectl reads are read: the later one of equal keys counts, with a warning that names the line.
#[test]
fn duplicate_keys_are_warned_of_with_their_lines() {
    let head = "apiVersion: compute.functionmesh.io/v1alpha1\nkind: Function\nmetadata: {name: twice}\n";
    let yaml = format!(
        "{head}spec:\n  className: First\n  className: Second\n  input: {{topics: [in]}}\n  java: {{jar: f.jar}}\n  \
         pulsar: {{pulsarConfig: p}}\n"
    );
    let json = r#"{"apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "Function", "metadata": {"name": "twice"},
        "spec": {"className": "First", "input": {"topics": ["in"]}, "java": {"jar": "f.jar"},
        "className": "Second", "pulsar": {"pulsarConfig": "p"}}}"#;
    let windows = format!("\u{feff}# a comment\n---\n{yaml}").replace('\n', "\r\n");
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}\n", yaml.trim_end().replace('\n', "\n  "));
    let typed = "apiVersion: compute.functionmesh.io/v1alpha1\nkind: FunctionList\nitems:\n- metadata: {name: twice}\n  \
         spec:\n    className: First\n    className: Second\n    input: {topics: [in]}\n    java: {jar: f.jar}\n    \
         pulsar: {pulsarConfig: p}\n";
    let folder = tempfile::tempdir().unwrap();
    for (name, text, line, ignored) in [
        ("a.yaml", yaml.clone(), 6, 5),
        ("b.json", json.to_owned(), 3, 2),
        ("c.yaml", windows, 8, 7),
        ("d.yaml", list, 9, 8),
        ("e.yaml", typed.to_owned(), 7, 6),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let (status, out, err) = run(&["validate", "-o", "json"], &file);
        assert_eq!(status, 0, "{name}: {out}{err}");
        let report: Value = serde_json::from_str(&out).unwrap();
        let [finding] = report["findings"].as_array().unwrap().as_slice() else { panic!("{name}: {out}") };
        assert_eq!((&finding["line"], &finding["field"]), (&json!(line), &json!("spec.className")), "{name}");
        let message = format!("duplicate key: that on line {ignored} is ignored, as by kubectl");
        assert_eq!(finding["message"], message.as_str(), "{name}");
        for command in [&["render", "-o", "json"][..], &["explain"], &["graph"]] {
            let (status, out, err) = run(command, &file);
            assert_eq!(status, 0, "{name}: {err}");
            assert!(err.contains(&message) && err.contains(&format!(":{line}:")), "{name}: {err}");
            assert!(
                command[0] == "graph" || out.contains("Second") && !out.contains("First"),
                "{name}: {out}"
            );
        }
    }
}

/// A misplaced field is reported with its right place: a parent, a sibling, or another spelling.
#[test]
fn misplaced_fields_are_told_their_place() {
    let head = "apiVersion: compute.functionmesh.io/v1alpha1\nkind: FunctionMesh\nmetadata: {name: m}\nspec:\n  \
         functions:\n  - name: f\n    className: C\n    java: {jar: f.jar}\n    pulsar: {pulsarConfig: p}\n";
    let folder = tempfile::tempdir().unwrap();
    for (more, field, place) in [
        ("    input: {topics: [in], topic: out}\n", "input.topic", "output.topic"),
        ("    input: {topics: [in], subscriptionName: s}\n", "input.subscriptionName", "subscriptionName"),
        ("    input: {topics: [in]}\n    tolerations: []\n", "tolerations", "pod.tolerations"),
        ("    input: {topics: [in]}\n    topicPattern: x\n", "topicPattern", "input.topicPattern"),
    ] {
        let file = folder.path().join("m.yaml");
        std::fs::write(&file, format!("{head}{more}")).unwrap();
        let (status, out, err) = run(&["validate", "-o", "json"], &file);
        assert_eq!(status, 0, "{out}{err}");
        let report: Value = serde_json::from_str(&out).unwrap();
        let field = format!("spec.functions[0].{field}");
        let all = report["findings"].as_array().unwrap();
        let finding = all.iter().find(|finding| finding["field"] == field.as_str());
        let message = finding.map(|finding| finding["message"].as_str().unwrap()).unwrap_or_default();
        let wanted = format!("write it as `spec.functions[0].{place}`");
        // `topic` next to `topics` is a typo.
        let is_slip = field.ends_with("input.topic") && message.ends_with("did you mean `topics`?");
        assert!(message.ends_with(&wanted) || is_slip, "{field}: {message} in {all:?}");
    }
}
