//! Repeats a status: redraws a terminal, or prints it again when something has changed.

use std::time::Duration;

use jiff::Timestamp;

use super::status::{Format, data};
use crate::screen::{self, Size};
use crate::status::StatusView;
use crate::status::text::text;
use crate::{Failure, Outcome, Streams};

/// Time between two rounds.
const INTERVAL: Duration = Duration::from_secs(2);

/// Shows a status until the output or the first round fails. A later round that fails is shown, and repeated.
pub(super) fn watch(
    read: impl Fn() -> Result<StatusView, Failure>,
    sleep: impl Fn(Duration),
    format: Format,
    streams: &mut Streams<'_>,
) -> Result<Outcome, Failure> {
    let (colour, redraws) = (streams.colour, streams.terminal);
    let mut watch = Watch { format, colour, redraws, size: screen::size, last: None, error: None };
    loop {
        let result = read();
        let now = Timestamp::now();
        let (out, err) = match result {
            Ok(view) => (watch.view(view, now)?, None),
            Err(failure) if watch.last.is_none() => return Err(failure),
            Err(failure) => watch.failure(&failure.to_string(), now),
        };
        streams.out.write_all(out.unwrap_or_default().as_bytes())?;
        streams.out.flush()?;
        if let Some(error) = err {
            screen::lines(streams.err, &error)?;
            streams.err.flush()?;
        }
        sleep(INTERVAL);
    }
}

/// What was shown last.
struct Watch {
    format: Format,
    colour: bool,
    /// Whether the output is a terminal.
    redraws: bool,
    /// The size of the terminal, which can change; None if unknown.
    size: fn() -> Option<Size>,
    last: Option<StatusView>,
    error: Option<String>,
}

impl Watch {
    /// The output of a round; None if nothing has changed.
    fn view(&mut self, view: StatusView, now: Timestamp) -> Result<Option<String>, Failure> {
        let is_first = self.last.is_none();
        let is_new = self.last.as_ref().is_none_or(|last| last.without_times() != view.without_times());
        let had_error = self.error.take().is_some();
        self.last = Some(view);
        let Some(view) = &self.last else { return Ok(None) };
        if self.redraws && self.format == Format::Text {
            return Ok(Some(self.redrawn(now, is_first)));
        }
        if !is_new && !had_error {
            return Ok(None);
        }
        Ok(Some(match self.format {
            Format::Text => {
                let gap = if is_first { "" } else { "\n" };
                format!("{gap}{}\n{}", time(now), text(view, now, self.colour))
            }
            Format::Json => data(view, self.format)?,
            Format::Yaml => format!("---\n{}", data(view, self.format)?),
        }))
    }

    /// The output of a round that failed, and its error if that is a new one.
    fn failure(&mut self, error: &str, now: Timestamp) -> (Option<String>, Option<String>) {
        let error = format!("error: {error}; trying again");
        let is_new = self.error.as_ref() != Some(&error);
        self.error = Some(error.clone());
        if self.redraws && self.format == Format::Text {
            return (Some(self.redrawn(now, false)), None);
        }
        (None, is_new.then_some(error))
    }

    /// The time, as much of the status as there is room for, and the error.
    fn redrawn(&self, now: Timestamp, is_first: bool) -> String {
        let mut view = self.last.as_ref().map(|view| text(view, now, self.colour)).unwrap_or_default();
        let error = self.error.as_ref().map(|error| screen::painted(error, "31", self.colour) + "\n");
        let error = error.unwrap_or_default();
        let seconds = INTERVAL.as_secs();
        let head = format!("{}, every {seconds} seconds; Ctrl-C ends\n\n", time(now));
        if let Some(size) = (self.size)() {
            // The cursor stays below the last line.
            let used = size.rows_of(&head) + size.rows_of(&error) + 1;
            view = size.cut(&view, used, |count| {
                let lines = if count == 1 { "line" } else { "lines" };
                format!("… {count} more {lines}; kubectl mesh status without --watch shows all")
            });
        }
        screen::redrawn(&format!("{head}{view}{error}"), is_first)
    }
}

/// A time in whole seconds.
fn time(now: Timestamp) -> String {
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::status::component_status;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn view(backlog: u64, observed: i64) -> StatusView {
        let object = json!({
            "kind": "Sink", "metadata": { "namespace": "shop", "name": "db", "generation": 1 },
            "status": {
                "phase": "Ready", "observedGeneration": 1, "replicas": 1, "readyReplicas": 1,
                "traffic": { "backlog": backlog, "observedAt": at(observed).to_string() },
            },
        });
        component_status(&object).unwrap()
    }

    fn new(format: Format, redraws: bool) -> Watch {
        Watch { format, colour: false, redraws, size: || None, last: None, error: None }
    }

    #[test]
    fn output_to_a_file_is_what_changes() {
        let mut watch = new(Format::Text, false);
        let first = watch.view(view(5, 1000), at(1000)).unwrap().unwrap();
        assert!(first.starts_with("1970-01-01T00:16:40Z\nSink shop/db\n"), "{first}");
        // A newer observation of the same numbers is no change.
        assert_eq!(watch.view(view(5, 1030), at(1030)).unwrap(), None);
        let second = watch.view(view(6, 1032), at(1032)).unwrap().unwrap();
        assert!(second.starts_with("\n1970-01-01T00:17:12Z\n"), "{second}");

        let error = "error: x; trying again".to_owned();
        assert_eq!(watch.failure("x", at(1034)), (None, Some(error)));
        assert_eq!(watch.failure("x", at(1036)), (None, None));
        assert!(watch.view(view(6, 1032), at(1038)).unwrap().is_some(), "an end of errors is a change");
        assert_eq!(watch.view(view(6, 1032), at(1040)).unwrap(), None);
    }

    #[test]
    fn data_is_printed_when_it_changes_on_a_terminal_too() {
        let mut watch = new(Format::Json, true);
        let first = watch.view(view(5, 1000), at(1000)).unwrap().unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&first).unwrap()["health"], "Healthy");
        assert_eq!(watch.view(view(5, 1000), at(1002)).unwrap(), None);
        let mut watch = new(Format::Yaml, true);
        assert!(watch.view(view(5, 1000), at(1000)).unwrap().unwrap().starts_with("---\ncomponents:\n"));
    }

    #[test]
    fn terminals_are_redrawn_in_each_round() {
        let mut watch = new(Format::Text, true);
        let first = watch.view(view(5, 1000), at(1000)).unwrap().unwrap();
        assert!(first.starts_with("\u{1b}[2J\u{1b}[H1970-01-01T00:16:40Z, every 2 seconds"), "{first:?}");
        let second = watch.view(view(5, 1000), at(1002)).unwrap().unwrap();
        assert!(second.starts_with("\u{1b}[H1970") && second.ends_with("\u{1b}[J"), "{second:?}");
        let (failed, error) = watch.failure("x\u{1b}[2J", at(1004));
        let failed = failed.unwrap();
        assert!(
            failed.contains("Sink shop/db") && failed.contains("error: x\u{fffd}[2J; trying"),
            "{failed:?}"
        );
        assert_eq!(error, None);
    }

    #[test]
    fn status_is_cut_to_the_terminal() {
        let mut watch = new(Format::Text, true);
        watch.size = || Some(Size { rows: 7, columns: 80 });
        let shown = |text: String| text.matches("\u{1b}[K\n").count();
        let whole = "└─ healthy";
        let first = watch.view(view(5, 1000), at(1000)).unwrap().unwrap();
        assert_eq!((shown(first.clone()), first.contains(whole)), (6, true), "{first:?}");

        let (failed, _) = watch.failure("x", at(1002));
        let failed = failed.unwrap();
        let more = "… 2 more lines; kubectl mesh status without --watch shows all\u{1b}[K\nerror: x; trying again\u{1b}";
        assert!(failed.contains(more) && !failed.contains(whole), "{failed:?}");
        assert_eq!(shown(failed), 6);

        // A larger window shows the whole again, one that is too small the end of all parts.
        watch.size = || Some(Size { rows: 8, columns: 80 });
        assert!(watch.failure("x", at(1004)).0.unwrap().contains(whole));
        watch.size = || Some(Size { rows: 1, columns: 1 });
        assert!(watch.failure("x", at(1006)).0.unwrap().contains("… 4 more lines"));
    }
}
