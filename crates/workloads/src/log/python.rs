//! Log configuration of the Python runtime.

use std::fmt::Write;

use function_mesh_api::is_printable;
use function_mesh_api::types::{LogFormat, LogLevel, RuntimeLogConfig};

use crate::command::folders::{self, Folder};
use crate::context::Context;
use crate::shell::{Command, Script, ShellWord};

use super::rotation::Rotation;

/// Directory of the configuration.
pub(crate) const DIRECTORY: &str = "/pulsar/conf/python-log/";
/// Path of the configuration.
pub(crate) const FILE: &str = "/pulsar/conf/python-log/python_instance_logging.ini";
/// File of the runner that overrides the level.
const RUNNER: &str = "/pulsar/instances/python-instance/log.py";
/// Variable with the folder of the runner.
const RUNNER_DIR: &str = "FM_RUNNER_DIR";
/// Sets the variable: the folder in the image, or a copy of it.
const COPY_RUNNER: &str = "FM_RUNNER_DIR=/pulsar/instances/python-instance && { test -w \"$FM_RUNNER_DIR\" || \
    { FM_RUNNER_DIR=/tmp/function-mesh/python-instance && mkdir -p \"$FM_RUNNER_DIR\" && \
    cp -R /pulsar/instances/python-instance/. \"$FM_RUNNER_DIR\" && chmod -R u+rwX \"$FM_RUNNER_DIR\"; }; }";
const LOGS: &str = "logs/functions";

/// Appends the commands that stop the runner from overriding the level, and that write the log configuration unless the
/// user has a ConfigMap.
pub(crate) fn prepare(context: &Context<'_>, script: Script, config: Option<&RuntimeLogConfig>) -> Script {
    if context.is_second_edition() {
        return prepare_for_any_user(context, script, config);
    }
    let silence = Command::new("sed").arg("-i.bak").args(["s/^  Log.setLevel/#&/", RUNNER]);
    let script = script.run(silence);
    if config.is_some_and(|config| config.log_config.is_some()) {
        return script.run(Command::new("mkdir").args(["-p", LOGS]));
    }
    script.run(Command::new("mkdir").args(["-p", DIRECTORY, LOGS])).write(&text(context, config), FILE)
}

/// As [`prepare`]. Without the right to write to the folder of the runner, a copy of it runs.
fn prepare_for_any_user(context: &Context<'_>, script: Script, config: Option<&RuntimeLogConfig>) -> Script {
    let has_own = config.is_some_and(|config| config.log_config.is_some());
    let used: &[_] = if has_own { &[Folder::LOGS] } else { &[Folder::PYTHON_LOG_CONFIG, Folder::LOGS] };
    let script = folders::choose(script, used);
    let script = script.run(format!("export {}", Folder::LOGS.variable())).run(COPY_RUNNER);
    let log = ShellWord::variable(RUNNER_DIR).then("/log.py");
    let silence = Command::new("sed").arg("-i.bak").arg("s/^  Log.setLevel/#&/").arg(log);
    let script = script.run(silence);
    if has_own { script } else { script.write(&text(context, config), word(context, config)) }
}

/// Path of the runner, as a word of the start command.
pub(crate) fn runner(context: &Context<'_>) -> ShellWord {
    if context.is_second_edition() {
        return ShellWord::variable(RUNNER_DIR).then("/python_instance_main.py");
    }
    "/pulsar/instances/python-instance/python_instance_main.py".into()
}

/// Directory of the log files, as a word of the start command.
pub(crate) fn logs(context: &Context<'_>) -> ShellWord {
    if context.is_second_edition() { Folder::LOGS.file("") } else { LOGS.into() }
}

/// Path of the configuration, as a word of the start command.
pub(crate) fn word(context: &Context<'_>, config: Option<&RuntimeLogConfig>) -> ShellWord {
    if !context.is_second_edition() || config.is_some_and(|config| config.log_config.is_some()) {
        return FILE.into();
    }
    Folder::PYTHON_LOG_CONFIG.file(FILE.strip_prefix(DIRECTORY).unwrap_or(FILE))
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
    let rotation = Rotation::from_config(config, context.logs_to_files());
    let name = context.file_name();
    let file = if context.is_second_edition() {
        // The logging library evaluates it; the start command exports the variable.
        let folder = Folder::LOGS.variable();
        format!("os.environ.get('{folder}','{LOGS}')+{}", literal(&format!("/{name}.log")))
    } else {
        literal(&format!("{LOGS}/{name}.log"))
    };
    let file = rotation.map(|rotation| handler(rotation, &file));
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

/// Name and specific lines of the file handler.
fn handler(rotation: Rotation, file: &str) -> (&'static str, String) {
    const MAX_FILES: u32 = 5;
    let timed = |when: &str, interval: u32| {
        let arguments = format!("args=({file},'{when}',{interval},{MAX_FILES})");
        ("timed_rotating_file_handler", format!("class=handlers.TimedRotatingFileHandler\n{arguments}"))
    };
    match rotation {
        Rotation::Daily => timed("D", 1),
        Rotation::Weekly => timed("W0", 1),
        Rotation::Monthly => timed("D", 30),
        Rotation::Size(megabytes) => {
            let bytes = megabytes * 1024 * 1024;
            let arguments = format!("args=({file},'a',{bytes},{MAX_FILES})");
            ("rotating_file_handler", format!("class=handlers.RotatingFileHandler\n{arguments}"))
        }
    }
}

/// A Python string literal. Percent signs are doubled, since configparser interpolates them. It also splits lines at
/// other characters than line feeds, so all unprintable characters are escaped.
fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for letter in text.chars() {
        match letter {
            '\\' => literal.push_str(r"\\"),
            '\'' => literal.push_str(r"\'"),
            '\n' => literal.push_str(r"\n"),
            '%' => literal.push_str("%%"),
            letter if !is_printable(letter) => {
                _ = write!(literal, "\\U{:08x}", u32::from(letter));
            }
            letter => literal.push(letter),
        }
    }
    literal.push('\'');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_escapes_all_line_breaks() {
        assert_eq!(literal("a'b\\c%d"), r"'a\'b\\c%%d'");
        for end in [
            "\r", "\n", "\r\n", "\u{b}", "\u{c}", "\u{1c}", "\u{1d}", "\u{1e}", "\u{85}", "\u{2028}",
            "\u{2029}",
        ] {
            let literal = literal(&format!("a{end}args=(os.system('x'),)"));
            assert!(literal.chars().all(is_printable), "{literal:?}");
        }
        assert_eq!(literal("a\rb\u{2028}"), r"'a\U0000000db\U00002028'");
    }

    /// Python reads the file with the user's name back.
    #[test]
    fn python_reads_names_with_line_breaks() {
        let name = "a\rb\u{b}\u{c}\u{1c}\u{1d}\u{1e}\u{85}\u{2028}\u{2029}\n'\\%d";
        let file = format!("[h]\nargs=({},)\n", literal(name));
        let program = "import configparser, sys\np = configparser.ConfigParser()\np.read_string(sys.argv[1])\n\
            print(p.sections(), ascii(eval(p['h']['args'])[0]))";
        let Ok(run) = std::process::Command::new("python3").args(["-c", program, &file]).output() else {
            return;
        };
        let read = String::from_utf8_lossy(&run.stdout).into_owned();
        let expected = r#"['h'] "a\rb\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\n'\\%d""#;
        assert_eq!(read.trim(), expected, "{}", String::from_utf8_lossy(&run.stderr));
    }
}
