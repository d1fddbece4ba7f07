//! Log configuration of the Java runtime.

use function_mesh_api::types::{Log4jConfigFileType, LogFormat, LogLevel, RuntimeLogConfig};

use crate::command::folders::{self, Folder};
use crate::context::Context;
use crate::shell::{Command, Script, ShellWord};

use super::rotation::Rotation;

/// Directory of the configuration.
pub(crate) const DIRECTORY: &str = "/pulsar/conf/java-log/";
const XML: &str = "/pulsar/conf/java-log/java_instance_log4j.xml";
const YAML: &str = "/pulsar/conf/java-log/java_instance_log4j.yaml";

const NAME: &str = "pulsar-functions-kubernetes-instance";
const BOOKKEEPER: &str = "org.apache.pulsar.functions.runtime.shaded.org.apache.bookkeeper";
const CONSOLE_LINE: &str = "%d{ISO8601_OFFSET_DATE_TIME_HHMM} [%t] %-5level %logger{36} - %msg%n";
const FILE_LINE: &str = "%d{yyyy-MMM-dd HH:mm:ss a} [%t] %-5level %logger{36} - %msg%n";
const LOG: &str = "${sys:pulsar.function.log.dir}/${sys:pulsar.function.log.file}";
/// Number of rotated files to keep.
const MAX_FILES: u32 = 5;

/// Path of the configuration, as a word of the start command.
pub(crate) fn word(context: &Context<'_>, config: Option<&RuntimeLogConfig>) -> ShellWord {
    let file = file(config);
    if !context.is_second_edition() || config.is_some_and(|config| config.log_config.is_some()) {
        return file.into();
    }
    Folder::JAVA_LOG_CONFIG.file(file.strip_prefix(DIRECTORY).unwrap_or(file))
}

/// Path of the configuration in its usual folder. XML for all types except YAML.
pub(crate) fn file(config: Option<&RuntimeLogConfig>) -> &'static str {
    match config.and_then(|config| config.java_log4j_config_file_type).unwrap_or_default() {
        Log4jConfigFileType::Yaml => YAML,
        Log4jConfigFileType::Xml | Log4jConfigFileType::Ini => XML,
    }
}

/// Appends the commands that write the log configuration, unless the user has a ConfigMap.
pub(crate) fn prepare(context: &Context<'_>, script: Script, config: Option<&RuntimeLogConfig>) -> Script {
    let has_own = config.is_some_and(|config| config.log_config.is_some());
    let script = match context.is_second_edition() {
        true if has_own => folders::choose(script, &[Folder::LOGS, Folder::GC_LOGS]),
        true => folders::choose(script, &[Folder::JAVA_LOG_CONFIG, Folder::LOGS, Folder::GC_LOGS]),
        false if has_own => script,
        false => script.run(Command::new("mkdir").args(["-p", DIRECTORY])),
    };
    if has_own {
        return script;
    }
    let level = level(config.and_then(|config| config.level));
    let format = config.and_then(|config| config.format).unwrap_or_default();
    let rotation = Rotation::from_config(config, context.logs_to_files());
    let file = file(config);
    let text = if file == YAML { yaml(level, format, rotation) } else { xml(level, format, rotation) };
    script.write(&text, word(context, config))
}

/// The name of a level in Log4j.
pub(crate) fn level(level: Option<LogLevel>) -> &'static str {
    match level {
        Some(LogLevel::Off) => "OFF",
        Some(LogLevel::Trace) => "TRACE",
        Some(LogLevel::Debug) => "DEBUG",
        Some(LogLevel::Warn) => "WARN",
        Some(LogLevel::Error) => "ERROR",
        Some(LogLevel::Fatal) => "FATAL",
        Some(LogLevel::All) => "ALL",
        Some(LogLevel::Info | LogLevel::Panic) | None => "INFO",
    }
}

/// A Log4j cron schedule, or a size in megabytes.
fn trigger(rotation: Rotation) -> Result<&'static str, u32> {
    match rotation {
        Rotation::Daily => Ok("0 0 0 * * ? *"),
        Rotation::Weekly => Ok("0 0 0 ? * 1 *"),
        Rotation::Monthly => Ok("0 0 0 1 * ? *"),
        Rotation::Size(megabytes) => Err(megabytes),
    }
}

fn xml(level: &str, format: LogFormat, rotation: Option<Rotation>) -> String {
    let layout = |line: &str| match format {
        LogFormat::Text => format!("<PatternLayout pattern=\"{line}\"/>"),
        LogFormat::Json => "<JSONLayout complete=\"false\" compact=\"true\" eventEol=\"true\"/>".to_owned(),
    };
    let (mut rolling, mut reference) = (String::new(), "");
    if let Some(rotation) = rotation {
        let policy = match trigger(rotation) {
            Ok(schedule) => format!("<CronTriggeringPolicy schedule=\"{schedule}\"/>"),
            Err(megabytes) => format!("<SizeBasedTriggeringPolicy size=\"{megabytes}MB\"/>"),
        };
        rolling = format!(
            "\n    <RollingRandomAccessFile name=\"Rolling\" fileName=\"{LOG}.log\" \
             filePattern=\"{LOG}.%d{{yyyy-MM-dd-hh-mm}}-%i.log.gz\">\n      {}\n      \
             <Policies>{policy}</Policies>\n      <DefaultRolloverStrategy max=\"{MAX_FILES}\"/>\n    \
             </RollingRandomAccessFile>",
            layout(FILE_LINE),
        );
        reference = "<AppenderRef ref=\"Rolling\"/>";
    }
    format!(
        "<Configuration name=\"{NAME}\" monitorInterval=\"30\">\n  <Properties>\n    \
         <Property name=\"pulsar.log.level\">{level}</Property>\n    \
         <Property name=\"bk.log.level\">{level}</Property>\n  </Properties>\n  <Appenders>\n    \
         <Console name=\"Console\" target=\"SYSTEM_OUT\">\n      {}\n    </Console>{rolling}\n  </Appenders>\n  \
         <Loggers>\n    <Logger name=\"{BOOKKEEPER}\" level=\"${{sys:bk.log.level}}\" additivity=\"false\">\
         <AppenderRef ref=\"Console\"/>{reference}</Logger>\n    <Root level=\"${{sys:pulsar.log.level}}\">\
         <AppenderRef ref=\"Console\"/>{reference}</Root>\n  </Loggers>\n</Configuration>\n",
        layout(CONSOLE_LINE),
    )
}

fn yaml(level: &str, format: LogFormat, rotation: Option<Rotation>) -> String {
    let layout = |line: &str| match format {
        LogFormat::Text => format!("PatternLayout:\n        Pattern: \"{line}\""),
        LogFormat::Json => {
            "JSONLayout:\n        complete: false\n        compact: true\n        eventEol: true".to_owned()
        }
    };
    let policies = match rotation.map(trigger) {
        Some(Ok(schedule)) => format!("CronTriggeringPolicy:\n          schedule: \"{schedule}\""),
        Some(Err(megabytes)) => format!("SizeBasedTriggeringPolicy:\n          size: {megabytes}MB"),
        None => "TimeBasedTriggeringPolicy:\n          interval: 1\n          modulate: true\n        \
                 SizeBasedTriggeringPolicy:\n          size: 10MB"
            .to_owned(),
    };
    let references = "AppenderRef:\n      - ref: Console\n      - ref: Rolling";
    format!(
        "Configuration:\n  name: {NAME}\n  monitorInterval: 30\n  Properties:\n    Property:\n    \
         - name: pulsar.log.level\n      value: {level}\n    - name: bk.log.level\n      value: {level}\n  \
         Appenders:\n    Console:\n      name: Console\n      target: SYSTEM_OUT\n      {}\n    \
         RollingRandomAccessFile:\n      name: Rolling\n      fileName: \"{LOG}.log\"\n      \
         filePattern: \"{LOG}.%d{{yyyy-MM-dd}}-%i.log.gz\"\n      {}\n      Policies:\n        {policies}\n      \
         DefaultRolloverStrategy:\n        max: {MAX_FILES}\n  \
         Loggers:\n    Logger:\n    - name: {BOOKKEEPER}\n      level: \"${{sys:bk.log.level}}\"\n      \
         additivity: false\n      {references}\n    Root:\n      level: \"${{sys:pulsar.log.level}}\"\n      \
         {references}\n",
        layout(CONSOLE_LINE),
        layout(FILE_LINE),
    )
}
