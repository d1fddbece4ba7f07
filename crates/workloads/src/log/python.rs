//! Log configuration of the Python runner.

use function_mesh_api::types::{LogFormat, LogLevel, RuntimeLogConfig};

use crate::context::Context;
use crate::shell::{Command, Script};

use super::rotation::Rotation;

/// Folder of the configuration.
pub(crate) const FOLDER: &str = "/pulsar/conf/python-log/";
/// The configuration.
pub(crate) const FILE: &str = "/pulsar/conf/python-log/python_instance_logging.ini";
/// Code of the runner that would set the level again.
const RUNNER: &str = "/pulsar/instances/python-instance/log.py";
const LOGS: &str = "logs/functions";

/// Makes the runner heed its log configuration, and writes one where the user has none of their own.
pub(crate) fn prepare(context: &Context<'_>, script: Script, config: Option<&RuntimeLogConfig>) -> Script {
    let silence = Command::new("sed").arg("-i.bak").args(["s/^  Log.setLevel/#&/", RUNNER]);
    let script = script.run(silence);
    if config.is_some_and(|config| config.log_config.is_some()) {
        return script.run(Command::new("mkdir").args(["-p", LOGS]));
    }
    script.run(Command::new("mkdir").args(["-p", FOLDER, LOGS])).write(&text(context, config), FILE)
}

fn level(level: Option<LogLevel>) -> &'static str {
    match level {
        Some(LogLevel::Debug) => "DEBUG",
        Some(LogLevel::Warn) => "WARNING",
        Some(LogLevel::Error) => "ERROR",
        Some(LogLevel::Fatal) => "CRITICAL",
        Some(LogLevel::Info | LogLevel::Off | LogLevel::Trace | LogLevel::All | LogLevel::Panic) | None => {
            "INFO"
        }
    }
}

fn text(context: &Context<'_>, config: Option<&RuntimeLogConfig>) -> String {
    let level = level(config.and_then(|config| config.level));
    let rotation = Rotation::of(config, context.logs_to_files());
    let file =
        rotation.map(|rotation| handler(rotation, &literal(&format!("{LOGS}/{}.log", context.file_name()))));
    let handlers: Vec<_> =
        ["stream_handler"].into_iter().chain(file.as_ref().map(|(name, _)| *name)).collect();
    let handlers = handlers.join(",");
    let formatter = match config.and_then(|config| config.format).unwrap_or_default() {
        LogFormat::Text => {
            "format=[%(asctime)s] [%(levelname)s] %(filename)s:%(lineno)d %(message)s\ndatefmt=%Y-%m-%d %H:%M:%S %z"
        }
        LogFormat::Json => "class=pythonjsonlogger.jsonlogger.JsonFormatter\nformat=%(message)s",
    };
    let mut text = format!(
        "[loggers]\nkeys=root\n\n[handlers]\nkeys={handlers}\n\n[formatters]\nkeys=formatter\n\n\
         [logger_root]\nlevel={level}\nhandlers={handlers}\n\n\
         [formatter_formatter]\n{formatter}\n\n\
         [handler_stream_handler]\nclass=StreamHandler\nlevel={level}\nformatter=formatter\nargs=(sys.stdout,)\n"
    );
    if let Some((name, lines)) = file {
        text.extend(["\n[handler_", name, "]\nlevel=", level, "\nformatter=formatter\n", &lines, "\n"]);
    }
    text
}

/// Name and particular lines of the handler that writes the file.
fn handler(rotation: Rotation, file: &str) -> (&'static str, String) {
    const KEPT: u32 = 5;
    let timed = |when: &str, interval: u32| {
        let arguments = format!("args=({file},'{when}',{interval},{KEPT})");
        ("timed_rotating_file_handler", format!("class=handlers.TimedRotatingFileHandler\n{arguments}"))
    };
    match rotation {
        Rotation::Daily => timed("D", 1),
        Rotation::Weekly => timed("W0", 1),
        Rotation::Monthly => timed("D", 30),
        Rotation::Size(megabytes) => {
            let bytes = megabytes * 1024 * 1024;
            let arguments = format!("args=({file},'a',{bytes},{KEPT})");
            ("rotating_file_handler", format!("class=handlers.RotatingFileHandler\n{arguments}"))
        }
    }
}

/// A text as Python reads it. Percent signs are doubled: the file's reader replaces single ones.
fn literal(text: &str) -> String {
    let text = text.replace('\\', r"\\").replace('\'', r"\'").replace('\n', r"\n").replace('%', "%%");
    format!("'{text}'")
}
