//! Start commands of another user than the image's: they write only where that user may.

use std::fs;

use function_mesh_api::{Function, Sink};
use function_mesh_workloads::{Backends, Settings};
use serde_json::{Value, json};

use crate::common;
use crate::common::sandbox::{Call, Sandbox};

/// Runs the start command of a component as a user, and returns the calls of programs.
fn start(kind: &str, spec: &Value, (user, group): (u32, u32)) -> (Sandbox, Vec<Call>) {
    let (object, settings) = (common::object(kind, spec), Settings::default());
    let mut rendered = match kind {
        "Sink" => common::rendered(&common::valid::<Sink>(object), Backends::default(), &settings),
        _ => common::rendered(&common::valid::<Function>(object), Backends::default(), &settings),
    };
    let stateful_set = rendered.remove(0);
    let mut sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("pulsar/conf")).expect("a directory");
    fs::create_dir_all(sandbox.path("pulsar/logs")).expect("a directory");
    sandbox.run_as(user, group);
    let container = format!("pulsar-{}", kind.to_lowercase());
    let calls = sandbox.run(&common::command(&stateful_set, &container), &[]);
    (sandbox, calls)
}

fn function(runtime: &str, file: &str, log: &Value) -> Value {
    json!({
        "className": "C", "input": { "topics": ["in"] }, "pulsar": { "pulsarConfig": "p" },
        runtime: { file: format!("/pulsar/{file}"), "log": log },
    })
}

fn option<'a>(call: &'a Call, prefix: &str) -> &'a str {
    call.args.iter().find_map(|arg| arg.strip_prefix(prefix)).expect(prefix)
}

#[test]
fn runners_start_without_writable_image() {
    let logs = json!({ "rotatePolicy": "SizedPolicyWith10MB" });
    let other = (20000, 20000);
    let (sandbox, calls) = start("Function", &function("java", "jar", &logs), other);
    let root = sandbox.path("").to_str().expect("a path").trim_end_matches('/').to_owned();
    let [java] = calls.as_slice() else { panic!("{calls:?}") };
    let config = option(java, "-Dlog4j.configurationFile=");
    assert_eq!(config, format!("{root}/tmp/function-mesh/conf/java_instance_log4j.xml"));
    assert!(fs::read_to_string(config).expect("a file").contains("<Configuration"));
    assert_eq!(option(java, "-Dpulsar.function.log.dir="), format!("{root}/tmp/function-mesh/logs"));
    assert!(option(java, "-Xlog:gc*:file=").starts_with(&format!("{root}/tmp/function-mesh/gc/gc.log:")));

    let (sandbox, calls) = start("Function", &function("python", "py", &logs), other);
    let root = sandbox.path("").to_str().expect("a path").trim_end_matches('/').to_owned();
    let [python] = calls.as_slice() else { panic!("{calls:?}") };
    let runner = format!("{root}/tmp/function-mesh/python-instance");
    assert_eq!(python.args[0], format!("{runner}/python_instance_main.py"));
    assert!(fs::read_to_string(format!("{runner}/log.py")).expect("a file").contains("#  Log.setLevel"));
    assert_eq!(python.value("--logging_directory"), format!("{root}/tmp/function-mesh/logs"));
    let config = fs::read_to_string(python.value("--logging_config_file")).expect("a file");
    assert!(config.contains("args=(os.environ.get('FM_LOG_DIR','logs/functions')+'/f.log',"), "{config}");
}

/// As OpenShift's: a random user, whose group is the one that images give their folders to.
#[test]
fn random_user_of_group_0_writes_to_the_image() {
    let (sandbox, calls) = start("Function", &function("java", "jar", &json!({})), (1_000_680_000, 0));
    let [java] = calls.as_slice() else { panic!("{calls:?}") };
    let config = sandbox.path("pulsar/conf/java-log/java_instance_log4j.xml");
    assert_eq!(option(java, "-Dlog4j.configurationFile="), config.to_str().expect("a path"));
    assert_eq!(option(java, "-Dpulsar.function.log.dir="), "logs/functions");
}

/// The sidecar reads the log files in its volume, so they stay there whichever other folders are writable.
#[test]
fn logs_of_a_sidecar_stay_in_its_volume() {
    let spec = json!({
        "className": "C", "input": { "topics": ["in"] }, "pulsar": { "pulsarConfig": "p" }, "logTopic": "logs",
        "sinkConfig": {}, "java": { "jar": "/pulsar/s.nar" },
    });
    let (_, calls) = start("Sink", &spec, (1_000_680_000, 0));
    assert_eq!(option(&calls[0], "-Dpulsar.function.log.dir="), "logs/functions");
}
