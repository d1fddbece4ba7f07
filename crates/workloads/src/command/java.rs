//! Command of the Java runtime.

use function_mesh_api::quantity;
use function_mesh_api::types::{JavaRuntime, LogLevel};

use crate::context::Context;
use crate::log;
use crate::shell::{Command, Script, ShellWord};

use super::folders::Folder;
use super::shared;

const INSTANCE: &str = "/pulsar/instances/java-instance.jar";
const MAIN: &str = "org.apache.pulsar.functions.instance.JavaInstanceMain";
const SECRETS: &str = "org.apache.pulsar.functions.secretsprovider.EnvironmentBasedSecretsProvider";
/// JARs that Log4j needs for YAML; their names contain versions.
const YAML: [&str; 2] = [
    "/pulsar/lib/com.fasterxml.jackson.dataformat-jackson-dataformat-yaml-*.jar",
    "/pulsar/lib/org.yaml-snakeyaml-*.jar",
];

pub(super) fn script(context: &Context<'_>, script: Script, java: &JavaRuntime, jar: &str) -> Script {
    let config = java.log.as_ref();
    let script = log::java::prepare(context, script, config);
    let (log_dir, gc_log) = if context.is_second_edition() {
        let gc_log = ShellWord::from("-Xlog:gc*:file=").then(Folder::GC_LOGS.file("gc.log"));
        (Folder::LOGS.file(""), gc_log.then(":time,level,tags:filecount=5,filesize=10M"))
    } else {
        let gc_log = "-Xlog:gc*:file=/pulsar/logs/gc.log:time,level,tags:filecount=5,filesize=10M";
        ("logs/functions".into(), gc_log.into())
    };
    let command = Command::new("java")
        .option("-cp", class_path(java))
        .arg("-Dpulsar.functions.instance.classpath=/pulsar/lib/*")
        .arg(ShellWord::from("-Dlog4j.configurationFile=").then(log::java::word(context, config)))
        .arg(ShellWord::from("-Dpulsar.function.log.dir=").then(log_dir))
        .arg(
            ShellWord::from(format!("-Dpulsar.function.log.file={}-", context.file_name()))
                .then(super::shard_id()),
        )
        .arg("-Dpulsar.allocator.exit_on_oom=true")
        .args(config.and_then(|config| config.level).into_iter().flat_map(levels))
        .arg("-XX:MaxRAMPercentage=70")
        .args(direct_memory(context).map(|size| format!("-XX:MaxDirectMemorySize={size}")))
        .arg("-XX:+UseG1GC")
        .arg("-XX:+HeapDumpOnOutOfMemoryError")
        .arg("-XX:HeapDumpPath=/pulsar/tmp/heapdump-%p.hprof")
        .arg("-XX:+ExitOnOutOfMemoryError")
        .arg(gc_log)
        .args(java.java_opts.iter().flatten().filter_map(|option| options(option)))
        .arg(or(java.entry_class.as_deref(), MAIN))
        .option("--jar", jar);
    let command = shared::arguments(context, command);
    let function = context.view.function();
    let command = match function {
        Some(function) if function.source_config.is_some() || function.sink_config.is_some() => {
            command.option("--connectors_directory", "/pulsar/connectors")
        }
        Some(_) | None => command,
    };
    let mut command = shared::state(context, shared::secrets(context, command, SECRETS));
    if let Some(provider) = state_provider(context) {
        command = command.option("--state_storage_impl_class", provider);
    }
    if let Some(requests) = function.and_then(|function| function.max_pending_async_requests) {
        command = command.option("--pending_async_requests", requests.to_string());
    }
    script.exec(&command)
}

/// JVM options are shell syntax: they can contain variables and several options. Line breaks, which YAML easily adds,
/// would end the command.
fn options(text: &str) -> Option<ShellWord> {
    let text = text.replace(['\n', '\r'], " ");
    Some(text.trim()).filter(|text| !text.is_empty()).map(ShellWord::syntax)
}

fn or<'a>(value: Option<&'a str>, default: &'a str) -> &'a str {
    value.filter(|text| !text.is_empty()).unwrap_or(default)
}

fn class_path(java: &JavaRuntime) -> ShellWord {
    let path = ShellWord::from(or(java.instance_path.as_deref(), INSTANCE));
    let path = YAML.into_iter().fold(path, |path, jar| path.then(":").then(ShellWord::glob(jar)));
    match java.extra_dependencies_dir.as_deref().filter(|folder| !folder.is_empty()) {
        Some(folder) => path.then(format!(":{folder}/*")),
        None => path,
    }
}

fn levels(level: LogLevel) -> [String; 2] {
    let level = log::java::level(Some(level));
    [format!("-Dpulsar.log.level={level}"), format!("-Dbk.log.level={level}")]
}

fn state_provider<'a>(context: &Context<'a>) -> Option<&'a str> {
    shared::state_store(context)?;
    let provider = context.common.stateful_config?.pulsar.as_ref()?.java_provider.as_ref()?;
    Some(&provider.class_name)
}

/// Direct memory: a fifth of the memory limit. Without a limit the JVM decides.
fn direct_memory(context: &Context<'_>) -> Option<String> {
    let limit = context.common.resources?.limits.as_ref()?.get("memory").and_then(quantity::bytes)?;
    let mut size = limit / 5;
    if size <= 0 {
        return None;
    }
    let mut suffixes = ["k", "M", "G", "T"].into_iter();
    let mut suffix = "";
    while size % 1000 == 0
        && let Some(next) = suffixes.next()
    {
        size /= 1000;
        suffix = next;
    }
    Some(format!("{size}{suffix}"))
}

#[cfg(test)]
mod tests {
    use crate::Settings;
    use crate::testing::{function, run, script, sink};
    use serde_json::json;

    fn java(spec: serde_json::Value) -> String {
        script(&function(spec), &Settings::default())
    }

    #[test]
    fn direct_memory_is_a_fifth_of_the_limit() {
        let size = |limit: &str| {
            let script = java(
                json!({ "resources": { "requests": { "memory": "1" }, "limits": { "memory": limit } } }),
            );
            script.split(' ').find_map(|word| Some(word.strip_prefix("-XX:MaxDirectMemorySize=")?.to_owned()))
        };
        for (limit, expected) in [
            ("1.1G", "220M"),
            ("1Gi", "214748364"),
            ("2G", "400M"),
            ("5k", "1k"),
            ("5T", "1T"),
            ("50G", "10G"),
        ] {
            assert_eq!(size(limit).as_deref(), Some(expected), "{limit}");
        }
        assert_eq!(size("4"), None);
    }

    #[test]
    fn jvm_options_are_shell_syntax_on_one_line() {
        let script = java(json!({ "java": { "javaOpts": ["-Da=$X -Db=b\n", "", "\n"] } }));
        assert!(
            script.contains(" -Da=$X -Db=b org.apache.pulsar.functions.instance.JavaInstanceMain "),
            "{script}"
        );
    }

    #[test]
    fn optional_arguments_are_in_order() {
        let script = java(json!({
            "java": { "log": { "level": "panic" } }, "sinkConfig": {}, "maxPendingAsyncRequests": 7,
            "secretsMap": { "s": { "path": "p", "key": "k" } },
            "statefulConfig": { "pulsar": { "serviceUrl": "bk://b:4181", "javaProvider": { "className": "P" } } },
        }));
        assert!(script.contains(" -Dpulsar.log.level=INFO -Dbk.log.level=INFO "), "{script}");
        let tail = "--connectors_directory /pulsar/connectors --secrets_provider \
                    org.apache.pulsar.functions.secretsprovider.EnvironmentBasedSecretsProvider \
                    --state_storage_serviceurl bk://b:4181 --state_storage_impl_class P --pending_async_requests 7";
        assert!(script.ends_with(tail), "{script}");
        let sink = crate::testing::script(&sink(json!({})), &Settings::default());
        assert!(sink.ends_with("--use_tls false"), "{sink}");
    }

    #[test]
    fn class_path_is_one_argument() {
        let script =
            java(json!({ "java": { "extraDependenciesDir": "my deps", "instancePath": "/opt/i.jar" } }));
        let path = script.split(" -cp ").nth(1).and_then(|rest| rest.split(" '-D").next()).unwrap();
        let shown = run("bash", &format!("printf '[%s]' {path}"), &[]);
        assert!(shown.starts_with("[/opt/i.jar:/pulsar/lib/"), "{shown}");
        assert!(shown.ends_with(":my deps/*]"), "{shown}");
    }
}
