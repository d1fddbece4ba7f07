//! The generated log configurations, loaded by Log4j of the Pulsar distribution and by Python's logging library. A real
//! shell runs the rendered commands that write them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use function_mesh_api::Function;
use function_mesh_workloads::{Backends, Settings};
use serde_json::{Value, json};

use crate::common;
use crate::common::sandbox::{Call, Sandbox};

const LEVELS: [Option<&str>; 10] = [
    None,
    Some("off"),
    Some("trace"),
    Some("debug"),
    Some("info"),
    Some("warn"),
    Some("error"),
    Some("fatal"),
    Some("all"),
    Some("panic"),
];
const ROTATIONS: [Option<&str>; 7] = [
    None,
    Some("TimedPolicyWithDaily"),
    Some("TimedPolicyWithWeekly"),
    Some("TimedPolicyWithMonthly"),
    Some("SizedPolicyWith10MB"),
    Some("SizedPolicyWith50MB"),
    Some("SizedPolicyWith100MB"),
];
const FORMATS: [Option<&str>; 2] = [None, Some("json")];
/// Names of functions, which are part of the log file name.
const NAMES: [&str; 3] =
    ["plain", "it's \"mine\" & <b> ünï; 50% %d", "back\\slash `x` $(A) ${env:HOME} a/b 'q'"];
/// The function name in a file name.
fn file_name(name: &str) -> String {
    name.replace(['/', '%', '$'], "_")
}

/// The logged message.
const MESSAGE: &str = "it's \"quoted\" & more";

/// Log settings of a function.
#[derive(Clone, Copy, Debug)]
struct Case {
    level: Option<&'static str>,
    format: Option<&'static str>,
    rotation: Option<&'static str>,
    kind: Option<&'static str>,
    name: &'static str,
    has_sidecar: bool,
}

/// All combinations of settings, with alternating names.
fn cases(kinds: &[Option<&'static str>]) -> Vec<Case> {
    let mut names = NAMES.into_iter().cycle();
    let mut cases = Vec::new();
    for level in LEVELS {
        for format in FORMATS {
            for rotation in ROTATIONS {
                for kind in kinds.iter().copied() {
                    let name = names.next().unwrap_or_default();
                    cases.push(Case { level, format, rotation, kind, name, has_sidecar: false });
                }
            }
        }
    }
    for kind in kinds.iter().copied() {
        let case =
            Case { level: None, format: None, rotation: None, kind, name: NAMES[1], has_sidecar: true };
        cases.extend([case, Case { rotation: ROTATIONS[1], ..case }]);
    }
    cases
}

/// Runs the command of a function with log settings, and returns the call of its runner.
fn start(case: &Case, runtime: &str, file: &str) -> (Sandbox, Call) {
    let mut log = json!({});
    let settings = [
        ("level", case.level),
        ("format", case.format),
        ("rotatePolicy", case.rotation),
        ("javaLog4JConfigFileType", case.kind),
    ];
    for (field, value) in settings {
        if let Some(value) = value {
            log[field] = json!(value);
        }
    }
    let mut spec = json!({
        "name": case.name, "className": "C", "input": { "topics": ["in"] }, "pulsar": { "pulsarConfig": "p" },
        runtime: { file: format!("/pulsar/{file}"), "log": log },
    });
    if case.has_sidecar {
        spec["logTopic"] = json!("logs");
        spec["logTopicAgent"] = json!("sidecar");
    }
    let function = common::valid::<Function>(common::object("Function", &spec));
    let stateful_set = common::rendered(&function, Backends::default(), &Settings::default()).remove(0);
    let sandbox = Sandbox::new();
    let mut calls = sandbox.run(&common::command(&stateful_set, "pulsar-function"), &[("A", "put in")]);
    assert_eq!(calls.len(), 1, "{calls:?}");
    (sandbox, calls.remove(0))
}

/// Runs a program that loads all cases, and returns its answers.
fn load(command: &mut Command, cases: &[Value]) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a directory");
    let (given, answers) = (folder.path().join("given"), folder.path().join("answers"));
    fs::write(&given, Value::from(cases).to_string()).expect("a file");
    let output = command.arg(&given).arg(&answers).output().expect("a program");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(errors.lines().find(|line| line.contains("WARN") || line.contains("ERROR")), None, "{errors}");
    let answers: Vec<Value> = serde_json::from_slice(&fs::read(&answers).expect("answers")).expect("JSON");
    assert_eq!(answers.len(), cases.len());
    answers
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn beside(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/log_configuration").join(file)
}

/// The JARs that Log4j needs, from the Pulsar distribution.
fn class_path() -> String {
    let output = Command::new(root().join("hack/pulsar/dist")).output().expect("the distribution");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let home = String::from_utf8(output.stdout).expect("a path");
    let wanted = [
        "log4j-api-",
        "log4j-core-",
        "jackson-annotations-",
        "jackson-core-",
        "jackson-databind-",
        "dataformat-yaml-",
        "yaml-snakeyaml-",
    ];
    let jars = fs::read_dir(Path::new(home.trim()).join("lib")).expect("jars");
    let jars = jars.map(|jar| jar.expect("a jar").path().display().to_string());
    let jars: Vec<_> = jars.filter(|jar| wanted.iter().any(|part| jar.contains(part))).collect();
    assert_eq!(jars.len(), wanted.len(), "{jars:?}");
    jars.join(":")
}

/// The configuration file and the system properties of the runner.
fn properties(sandbox: &Sandbox, call: &Call) -> (String, Value) {
    let mut all = serde_json::Map::new();
    for (name, value) in call.args.iter().filter_map(|arg| arg.strip_prefix("-D")?.split_once('=')) {
        all.insert(name.to_owned(), json!(value));
    }
    let folder = sandbox.path("pulsar").join(all["pulsar.function.log.dir"].as_str().expect("a directory"));
    all.insert("pulsar.function.log.dir".to_owned(), json!(folder));
    let file = all.remove("log4j.configurationFile").expect("a file");
    (file.as_str().expect("a path").to_owned(), Value::Object(all))
}

fn java_policies(case: &Case) -> Option<Vec<&'static str>> {
    let policies = match case.rotation {
        Some("TimedPolicyWithDaily") => vec!["cron 0 0 0 * * ? *"],
        Some("TimedPolicyWithWeekly") => vec!["cron 0 0 0 ? * 1 *"],
        Some("TimedPolicyWithMonthly") => vec!["cron 0 0 0 1 * ? *"],
        Some("SizedPolicyWith50MB") => vec!["size 52428800"],
        Some("SizedPolicyWith100MB") => vec!["size 104857600"],
        Some(_) => vec!["size 10485760"],
        None if case.has_sidecar => vec!["size 10485760"],
        None if case.kind == Some("yaml") => vec!["TimeBasedTriggeringPolicy", "size 10485760"],
        None => return None,
    };
    Some(policies)
}

#[test]
fn log4j_loads_every_configuration() {
    let cases = cases(&[None, Some("yaml")]);
    let mut more = cases.clone();
    more.push(Case { kind: Some("ini"), ..cases[3] });
    more.push(Case { kind: Some("xml"), format: Some("text"), ..cases[3] });
    let cases = more;
    let started: Vec<_> = cases.iter().map(|case| start(case, "java", "jar")).collect();
    let given: Vec<_> = started
        .iter()
        .map(|(sandbox, call)| {
            let (file, properties) = properties(sandbox, call);
            json!({ "file": file, "properties": properties })
        })
        .collect();
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-Dsun.jnu.encoding=UTF-8", "-cp"])
        .env("LC_ALL", "C.UTF-8");
    let answers = load(java.arg(class_path()).arg(beside("Load.java")), &given);
    for ((case, (sandbox, _)), answer) in cases.iter().zip(&started).zip(&answers) {
        assert_eq!(answer["problems"], json!([]), "{case:?} {answer}");
        assert_eq!(answer["name"], "pulsar-functions-kubernetes-instance", "{case:?}");
        let level = match case.level {
            None | Some("panic") => "INFO".to_owned(),
            Some(level) => level.to_uppercase(),
        };
        assert_eq!(answer["level"], level, "{case:?}");
        let layout = if case.format == Some("json") { "JsonLayout" } else { "PatternLayout" };
        let console = json!({ "type": "ConsoleAppender", "layout": layout });
        let mut expected = json!({ "Console": console });
        let file = sandbox.path("pulsar/logs/functions").join(format!("{}-0.log", file_name(case.name)));
        if let Some(policies) = java_policies(case) {
            expected["Rolling"] = json!({
                "type": "RollingRandomAccessFileAppender", "layout": layout, "policies": policies, "file": file, "kept": 5,
            });
            let text = fs::read_to_string(&file).expect("a log file");
            assert!(level == "OFF" || is_logged(case, &text), "{case:?} {text}");
        }
        assert_eq!(answer["appenders"], expected, "{case:?}");
        let references: Vec<_> = expected.as_object().expect("appenders").keys().cloned().collect();
        assert_eq!(answer["references"], json!(references), "{case:?}");
    }
}

/// Whether a file contains the message, in the configured format.
fn is_logged(case: &Case, text: &str) -> bool {
    if case.format != Some("json") {
        return text.contains(MESSAGE);
    }
    let line: Value = serde_json::from_str(text.lines().next().unwrap_or_default()).expect("JSON");
    line["message"] == MESSAGE
}

/// A cached Python environment with the package that the JSON format needs.
fn python() -> PathBuf {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = given("FUNCTION_MESH_CACHE").unwrap_or_else(|| {
        let caches = given("XDG_CACHE_HOME").unwrap_or_else(|| given("HOME").expect("a home").join(".cache"));
        caches.join("function-mesh")
    });
    let home = cache.join("python-json-logger");
    let python = home.join("bin/python");
    if !home.join("ready").exists() {
        fs::create_dir_all(&cache).expect("a cache");
        let run = |command: &mut Command| {
            let output = command.output().expect("Python");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "python-json-logger==2.0.7"]));
        fs::write(home.join("ready"), "").expect("a mark");
    }
    python
}

fn python_handler(case: &Case, file: &Path) -> Option<Value> {
    let timed = |when: &str, interval: u32| json!({ "type": "TimedRotatingFileHandler", "when": when, "interval": interval * 86_400, "baseFilename": file });
    let sized = |megabytes: u32| json!({ "type": "RotatingFileHandler", "maxBytes": megabytes << 20, "baseFilename": file });
    Some(match case.rotation {
        Some("TimedPolicyWithDaily") => timed("D", 1),
        Some("TimedPolicyWithWeekly") => timed("W0", 7),
        Some("TimedPolicyWithMonthly") => timed("D", 30),
        Some("SizedPolicyWith10MB") => sized(10),
        Some("SizedPolicyWith50MB") => sized(50),
        Some(_) => sized(100),
        None if case.has_sidecar => sized(10),
        None => return None,
    })
}

#[test]
fn python_loads_every_configuration() {
    let cases = cases(&[None]);
    let started: Vec<_> = cases.iter().map(|case| start(case, "python", "py")).collect();
    let given: Vec<_> = started
        .iter()
        .map(|(sandbox, call)| {
            json!({ "file": call.value("--logging_config_file"), "folder": sandbox.path("pulsar") })
        })
        .collect();
    let answers =
        load(Command::new(python()).args(["-X", "utf8", "-W", "error"]).arg(beside("load.py")), &given);
    for ((case, (sandbox, _)), answer) in cases.iter().zip(&started).zip(&answers) {
        let level = match case.level {
            Some("debug") => "DEBUG",
            Some("warn") => "WARNING",
            Some("error") => "ERROR",
            Some("fatal") => "CRITICAL",
            _ => "INFO",
        };
        assert_eq!(answer["level"], level, "{case:?}");
        let formatter = if case.format == Some("json") { "JsonFormatter" } else { "Formatter" };
        let mut expected = vec![json!({ "type": "StreamHandler" })];
        let file = sandbox.path("pulsar/logs/functions").join(format!("{}.log", file_name(case.name)));
        if let Some(mut handler) = python_handler(case, &file) {
            handler["backupCount"] = json!(5);
            expected.push(handler);
            let text = fs::read_to_string(&file).expect("a log file");
            assert!(is_logged(case, &text), "{case:?} {text}");
        }
        for handler in &mut expected {
            handler["level"] = json!(level);
            handler["formatter"] = json!(formatter);
        }
        assert_eq!(answer["handlers"], json!(expected), "{case:?}");
    }
}

#[test]
fn runner_does_not_override_the_level() {
    let (sandbox, _) = start(&cases(&[None])[0], "python", "py");
    let runner = fs::read_to_string(sandbox.path("pulsar/instances/python-instance/log.py")).expect("a file");
    assert!(runner.contains("\n#  Log.setLevel(1)"), "{runner}");
}
