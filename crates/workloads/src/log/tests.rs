#![allow(clippy::needless_pass_by_value, reason = "JSON reads best where it is used")]

use serde_json::{Value, json};

use crate::Settings;
use crate::testing::{bare_function, function, run, script, sink};

/// The file that a script writes before it starts the runner.
fn written(script: &str) -> String {
    let print = script.split(" && ").find(|command| command.starts_with("printf ")).expect("a file");
    let (print, _) = print.rsplit_once(" > ").expect("a redirection");
    run("sh", print, &[])
}

fn java(log: Value) -> String {
    written(&script(&function(json!({ "java": { "log": log } })), &Settings::default()))
}

fn python(log: Value) -> String {
    let function = bare_function(json!({ "name": "a'b%", "python": { "py": "f.py", "log": log } }));
    written(&script(&function, &Settings::default()))
}

/// Whether all elements are closed, in order.
fn is_balanced(xml: &str) -> bool {
    let mut open = Vec::new();
    for tag in xml.split('<').skip(1).filter_map(|rest| rest.split_once('>').map(|(tag, _)| tag)) {
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return false;
            }
        } else if !tag.ends_with('/') {
            open.extend(tag.split([' ', '>']).next());
        }
    }
    open.is_empty()
}

#[test]
fn java_xml_has_a_file_only_with_rotation() {
    let plain = java(json!({ "level": "debug" }));
    assert!(is_balanced(&plain), "{plain}");
    assert!(plain.contains(r#"<Property name="pulsar.log.level">DEBUG</Property>"#), "{plain}");
    assert!(!plain.contains("Rolling"), "{plain}");

    let rolling = java(json!({ "format": "json", "rotatePolicy": "TimedPolicyWithWeekly" }));
    assert!(is_balanced(&rolling), "{rolling}");
    assert!(rolling.contains(r#"<CronTriggeringPolicy schedule="0 0 0 ? * 1 *"/>"#), "{rolling}");
    assert!(rolling.contains("JSONLayout") && !rolling.contains("PatternLayout"), "{rolling}");
    assert!(rolling.contains(r#"fileName="${sys:pulsar.function.log.dir}/"#), "{rolling}");
}

#[test]
fn java_yaml() {
    for (log, policy) in [
        (json!({}), "TimeBasedTriggeringPolicy"),
        (json!({ "rotatePolicy": "TimedPolicyWithDaily", "format": "json" }), "CronTriggeringPolicy"),
        (json!({ "rotatePolicy": "SizedPolicyWith50MB" }), "SizeBasedTriggeringPolicy"),
    ] {
        let mut log = log;
        log["javaLog4JConfigFileType"] = json!("yaml");
        let text = java(log);
        let config: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let config = &config["Configuration"];
        assert_eq!(config["monitorInterval"], 30);
        assert!(config["Appenders"]["RollingRandomAccessFile"]["Policies"][policy].is_object(), "{text}");
        assert_eq!(config["Loggers"]["Root"]["AppenderRef"][1]["ref"], "Rolling");
    }
}

#[test]
fn java_file_matches_the_option() {
    let script = |kind: &str| {
        let log = json!({ "javaLog4JConfigFileType": kind });
        script(&function(json!({ "java": { "log": log } })), &Settings::default())
    };
    for (kind, file) in [("xml", "log4j.xml"), ("yaml", "log4j.yaml"), ("ini", "log4j.xml")] {
        let script = script(kind);
        let path = format!("\"${{FM_CONF_DIR}}\"/java_instance_{file} ");
        assert!(script.contains(&format!(" > {path}&& exec java ")), "{script}");
        let pointer = format!("-Dlog4j.configurationFile={path}");
        assert!(script.contains(&pointer), "{script}");
    }
}

#[test]
fn sidecar_files_are_rotated() {
    let text = written(&script(&sink(json!({ "logTopic": "logs" })), &Settings::default()));
    assert!(text.contains(r#"<SizeBasedTriggeringPolicy size="10MB"/>"#), "{text}");
}

#[test]
fn python_configuration() {
    let plain = python(json!({ "level": "fatal" }));
    assert!(plain.contains("[logger_root]\nlevel=CRITICAL\nhandlers=stream_handler\n"), "{plain}");
    assert!(
        plain.contains("format=[%(asctime)s] [%(levelname)s] %(filename)s:%(lineno)d %(message)s"),
        "{plain}"
    );

    let sized = python(json!({ "rotatePolicy": "SizedPolicyWith50MB", "format": "json" }));
    assert!(sized.contains("handlers=stream_handler,rotating_file_handler\n"), "{sized}");
    assert!(sized.contains(r"+'/a\'b_.log','a',52428800,5)"), "{sized}");
    assert!(sized.contains("class=pythonjsonlogger.jsonlogger.JsonFormatter"), "{sized}");

    for (policy, arguments) in [
        ("TimedPolicyWithDaily", "'D',1,5)"),
        ("TimedPolicyWithWeekly", "'W0',1,5)"),
        ("TimedPolicyWithMonthly", "'D',30,5)"),
    ] {
        let timed = python(json!({ "rotatePolicy": policy }));
        assert!(timed.contains("class=handlers.TimedRotatingFileHandler\n"), "{timed}");
        assert!(timed.contains(arguments), "{timed}");
    }
}

#[test]
fn user_configuration_is_not_overwritten() {
    let own = json!({ "logConfig": { "name": "c", "key": "k" }, "level": "debug" });
    let java = script(&function(json!({ "java": { "log": own } })), &Settings::default());
    assert!(!java.contains("printf"), "{java}");
    assert!(java.contains(" -Dpulsar.log.level=DEBUG "), "{java}");
    let python =
        script(&bare_function(json!({ "python": { "py": "f.py", "log": own } })), &Settings::default());
    assert!(!python.contains("printf"), "{python}");
    assert!(python.contains(r#"sed -i.bak 's/^  Log.setLevel/#&/' "${FM_RUNNER_DIR}"/log.py"#), "{python}");
}
