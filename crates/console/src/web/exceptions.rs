//! The last exceptions in the logs of a component's pods, grouped by what they say. Reading them needs the permission for logs.
//!
//! Neither the status of a component nor the metrics of its pods have the text of an exception; the metrics only count them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Extension, Path, State};
use function_mesh_api::printable;
use serde::Serialize;

use super::App;
use super::access::Permissions;
use super::error::ApiError;
use super::logs::{Problem, Wanted, read_pods};

/// Lines from the end of each log.
const LINES: i64 = 2000;
/// Exceptions of the answer.
const SHOWN: usize = 10;
/// Lines that are shown of an exception.
const LINES_SHOWN: usize = 40;
/// Letters of a line.
const LINE: usize = 500;

/// The newest exceptions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Found {
    exceptions: Vec<Exception>,
    /// Whether there are more pods than those whose logs were read.
    is_cut: bool,
    problems: Vec<Problem>,
}

/// Exceptions that say the same.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct Exception {
    /// What it says: the line with its class and message.
    title: String,
    /// How often it is in the logs.
    count: usize,
    /// Time of the newest one.
    time: String,
    /// Pod of the newest one.
    pod: String,
    /// The newest one.
    lines: Vec<String>,
}

pub(super) async fn exceptions(
    State(app): State<App>,
    Extension(permissions): Extension<Permissions>,
    Path(path): Path<(String, String, String)>,
) -> Result<Json<Found>, ApiError> {
    let ways = [Wanted::last(LINES, false), Wanted::last(LINES, true)];
    let texts = read_pods(&app, &permissions, path, &ways).await?;
    let found = texts.found.iter().flat_map(|(pod, text)| blocks(pod, text));
    Ok(Json(Found { exceptions: grouped(found), is_cut: texts.is_cut, problems: texts.problems }))
}

/// The newest exceptions, those with one title together.
fn grouped(found: impl Iterator<Item = Exception>) -> Vec<Exception> {
    let mut groups = BTreeMap::<String, Exception>::new();
    for exception in found {
        match groups.get_mut(&exception.title) {
            Some(group) => {
                let count = group.count + exception.count;
                if exception.time >= group.time {
                    *group = exception;
                }
                group.count = count;
            }
            None => _ = groups.insert(exception.title.clone(), exception),
        }
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by(|one, other| other.time.cmp(&one.time));
    groups.truncate(SHOWN);
    groups
}

/// The exceptions of a log whose lines begin with a time.
fn blocks(pod: &str, log: &str) -> Vec<Exception> {
    let lines: Vec<(&str, &str)> =
        log.lines().map(|line| line.split_once(' ').unwrap_or((line, ""))).collect();
    let text = |place: usize| lines.get(place).map(|(_, text)| *text);
    let mut found = Vec::new();
    let mut place = 0;
    while place < lines.len() {
        let Some((title, end)) = block(place, &text) else {
            place += 1;
            continue;
        };
        let shown = (place..end).take(LINES_SHOWN).filter_map(text).map(shown).collect();
        found.push(Exception {
            title: text(title).map(shown_title).unwrap_or_default(),
            count: 1,
            time: lines.get(place).map(|(time, _)| printable(time).into_owned()).unwrap_or_default(),
            pod: pod.to_owned(),
            lines: shown,
        });
        place = end.max(place + 1);
    }
    found
}

/// The place of the title, and of the first line after an exception that begins here.
fn block<'a>(begin: usize, text: &impl Fn(usize) -> Option<&'a str>) -> Option<(usize, usize)> {
    let first = text(begin)?;
    let end_of = |from: usize, is_part: fn(&str) -> bool| {
        let mut end = from;
        while text(end).is_some_and(is_part) {
            end += 1;
        }
        end
    };
    if first.contains("Traceback (most recent call last):") {
        let last = end_of(begin + 1, |line| line.is_empty() || is_indented(line));
        // The exception is the first line that is not indented.
        return Some(if text(last).is_some() { (last, last + 1) } else { (begin, last) });
    }
    if first.starts_with("panic: ") || first.starts_with("fatal error: ") {
        return Some((begin, end_of(begin + 1, is_of_goroutine)));
    }
    if !is_frame(first) && text(begin + 1).is_some_and(is_frame) {
        return Some((begin, end_of(begin + 1, is_of_stack)));
    }
    None
}

fn is_indented(line: &str) -> bool {
    line.starts_with([' ', '\t'])
}

/// A frame of a stack trace of Java.
fn is_frame(line: &str) -> bool {
    is_indented(line) && line.trim_start().starts_with("at ")
}

fn is_of_stack(line: &str) -> bool {
    is_indented(line) || line.starts_with("Caused by: ")
}

fn is_of_goroutine(line: &str) -> bool {
    let begins = ["goroutine ", "created by ", "[signal ", "exit status "];
    line.is_empty()
        || is_indented(line)
        || line.ends_with(')')
        || begins.iter().any(|it| line.starts_with(it))
}

fn shown(line: &str) -> String {
    printable(&line.replace('\t', "    ")).chars().take(LINE).collect()
}

fn shown_title(line: &str) -> String {
    shown(line.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> String {
        let line = |(second, line): (usize, &&str)| format!("2026-01-01T00:00:{second:02}.5Z {line}\n");
        lines.iter().enumerate().map(line).collect()
    }

    #[test]
    fn exceptions_of_each_runtime_are_found() {
        let java = log(&[
            "INFO started",
            "java.lang.IllegalStateException: no \u{1b}[31mstock",
            "\tat shop.Clean.process(Clean.java:7)",
            "\tat java.base/java.lang.Thread.run(Thread.java:840)",
            "Caused by: java.io.IOException: closed",
            "\tat shop.Store.read(Store.java:9)",
            "\t... 2 more",
            "INFO next message",
        ]);
        let found = blocks("p-0", &java);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].title, "java.lang.IllegalStateException: no \u{fffd}[31mstock");
        assert_eq!((found[0].lines.len(), found[0].time.as_str()), (6, "2026-01-01T00:00:01.5Z"));
        assert_eq!(found[0].lines[1], "    at shop.Clean.process(Clean.java:7)");

        let python = log(&[
            "[ERROR] python_instance.py: Exception while executing user method",
            "Traceback (most recent call last):",
            "  File \"/x.py\", line 3, in process",
            "    return 1 / 0",
            "ZeroDivisionError: division by zero",
            "INFO next message",
        ]);
        let found = blocks("p-0", &python);
        assert_eq!((found.len(), found[0].title.as_str()), (1, "ZeroDivisionError: division by zero"));
        assert_eq!(found[0].lines.len(), 4);

        let go =
            log(&["panic: no stock", "", "goroutine 1 [running]:", "main.main()", "\t/x.go:5", "INFO up"]);
        let found = blocks("p-0", &go);
        assert_eq!((found.len(), found[0].title.as_str(), found[0].lines.len()), (1, "panic: no stock", 5));
        for quiet in ["", "t", "t INFO started\nt  in front", "t Traceback"] {
            assert!(blocks("p", quiet).len() <= 1, "{quiet}");
        }
        assert!(blocks("p", &log(&["INFO", "INFO", "ERROR without a trace"])).is_empty());
        assert_eq!(blocks("p", &log(&["Traceback (most recent call last):"])).len(), 1);
    }

    #[test]
    fn the_newest_are_shown_by_title_and_bounded() {
        let exception = |pod: &str, title: usize, time: usize| Exception {
            title: title.to_string(),
            count: 1,
            time: format!("{time:04}"),
            pod: pod.to_owned(),
            lines: vec![pod.to_owned()],
        };
        let many = (0..30)
            .map(|n| exception("p-0", n % 15, n))
            .chain([exception("p-1", 3, 99), exception("p-2", 3, 7)]);
        let found = grouped(many);
        assert_eq!(found.len(), SHOWN);
        assert_eq!((found[0].title.as_str(), found[0].count, found[0].pod.as_str()), ("3", 4, "p-1"));
        let long = format!("t x{}\nt \tat x\n{}", "x".repeat(9000), "t \tat y\n".repeat(9000));
        let found = blocks("p", &long);
        assert_eq!((found.len(), found[0].title.len(), found[0].lines.len()), (1, LINE, LINES_SHOWN));
    }
}
