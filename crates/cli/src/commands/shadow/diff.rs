//! Compares a function and its shadow: their traffic, and what they wrote.

use std::fmt::Write as _;

use function_mesh_api::printable;
use function_mesh_api::types::ComponentStatus;
use function_mesh_shadow::{Comparison, Difference, function};
use serde::Serialize;
use serde_json::Value;

use super::{Named, real, shadow_of};
use crate::broker::{self, Newest};
use crate::commands::status::{Format, data};
use crate::{Failure, Outcome, Streams};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Web service URL of Pulsar; without it only the traffic that the operator observes is compared. The token in
    /// PULSAR_TOKEN must allow to consume the output topics
    #[arg(long, value_name = "URL")]
    pulsar: Option<String>,

    /// Newest entries to read of each output topic; an entry is a message or a batch
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    entries: u32,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,

    #[command(flatten)]
    named: Named,
}

/// What `diff` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    namespace: String,
    real: Traffic,
    shadow: Traffic,
    /// Absent without --pulsar, and for a function without an output.
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Messages>,
}

/// What the operator observes of one of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Traffic {
    name: String,
    phase: String,
    /// Messages processed per second; null if unknown.
    rate: Option<f64>,
    /// Messages that wait; null if unknown.
    backlog: Option<u64>,
    /// Exceptions within ten minutes; null if unknown.
    exceptions: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Messages {
    /// Entries that were read, of both topics.
    entries: usize,
    /// Entries that cannot be compared: encrypted, or parts of large messages.
    unreadable: usize,
    #[serde(flatten)]
    comparison: Comparison,
}

impl Traffic {
    fn of(object: &Value) -> Self {
        let status: ComponentStatus =
            serde_json::from_value(object.get("status").cloned().unwrap_or_default()).unwrap_or_default();
        let traffic = status.traffic.unwrap_or_default();
        Self {
            name: object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            phase: format!("{:?}", status.phase),
            rate: traffic.out_rate,
            backlog: traffic.backlog,
            exceptions: traffic.exceptions,
        }
    }
}

pub(super) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let (cluster, id) = args.named.open()?;
    let object = real(&cluster, &id)?;
    let (_, shadow) = shadow_of(&cluster, &id)?;
    let topics = function::output_of(&object).zip(function::output_of(&shadow));
    let messages = match (&args.pulsar, topics) {
        (Some(url), Some((ours, theirs))) => {
            let most = usize::try_from(args.entries).unwrap_or(usize::MAX);
            // The shadow first: what it answered, the function has had more time for.
            let mut found = broker::newest_outputs(url, broker::token(), &[theirs, ours], most)?.into_iter();
            let (theirs, ours) = (found.next(), found.next());
            ours.zip(theirs).map(|(ours, theirs)| Messages::of(ours, theirs))
        }
        _ => None,
    };
    let view =
        View { namespace: id.namespace, real: Traffic::of(&object), shadow: Traffic::of(&shadow), messages };
    let text = match args.output {
        Format::Text => text(&view),
        format => data(&view, format)?,
    };
    streams.out.write_all(text.as_bytes())?;
    Ok(match view.messages {
        Some(Messages { comparison, .. }) if comparison.compared == 0 => Outcome::Failed,
        Some(Messages { comparison, .. }) if !comparison.is_equal() => Outcome::Changed,
        _ => Outcome::Success,
    })
}

impl Messages {
    fn of(real: Newest, shadow: Newest) -> Self {
        Self {
            entries: real.entries + shadow.entries,
            unreadable: real.unreadable + shadow.unreadable,
            comparison: Comparison::of(real.side, shadow.side),
        }
    }
}

fn text(view: &View) -> String {
    let View { real, shadow, .. } = view;
    let mut out = String::new();
    let number = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
    let rate = |traffic: &Traffic| number(traffic.rate.map(|rate| format!("{rate:.1}/s")));
    let count = |value: Option<u64>| number(value.map(|value| value.to_string()));
    let rows = [
        ["", "function", "shadow"].map(str::to_owned),
        ["name".to_owned(), real.name.clone(), shadow.name.clone()],
        ["phase".to_owned(), real.phase.clone(), shadow.phase.clone()],
        ["processed".to_owned(), rate(real), rate(shadow)],
        ["backlog".to_owned(), count(real.backlog), count(shadow.backlog)],
        ["exceptions".to_owned(), count(real.exceptions), count(shadow.exceptions)],
    ];
    let width = rows.iter().map(|[_, real, _]| real.chars().count()).max().unwrap_or_default();
    for [label, real, shadow] in &rows {
        let _ = writeln!(out, "{label:<12}{:<width$}  {}", printable(real), printable(shadow));
    }
    if let Some(messages) = &view.messages {
        out.push('\n');
        out.push_str(&result(messages));
    }
    out
}

fn result(Messages { entries, unreadable, comparison }: &Messages) -> String {
    let Comparison { compared, equal, different, only_real, only_shadow, unnamed, differences } = comparison;
    let mut out = String::new();
    if *compared == 0 {
        let _ = writeln!(out, "Nothing to compare yet: no input that both answered, in {entries} entries.");
    } else {
        let _ = writeln!(out, "{equal} of {compared} inputs have the same result.");
    }
    let notes = [
        (*different, "have different results"),
        (
            *only_real,
            "have a result of the function only: the shadow dropped them, failed, or still works on them",
        ),
        (*only_shadow, "have a result of the shadow only"),
        (*unnamed, "results do not name their input, and are not compared"),
        (*unreadable, "entries are encrypted or parts of a message, and are not compared"),
    ];
    for (count, what) in notes.into_iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(out, "{count} {what}.");
    }
    for Difference { input, real, shadow } in differences {
        let _ = writeln!(out, "\ninput {input}");
        for (side, results) in [("function", real), ("shadow", shadow)] {
            let text = if results.is_empty() { "nothing".to_owned() } else { results.join(" and ") };
            let _ = writeln!(out, "  {side:<10}{text}");
        }
    }
    let listed = differences.len();
    let all = different + only_real + only_shadow;
    if all > listed {
        let _ = writeln!(out, "\n{} more differ.", all - listed);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(name: &str, exceptions: Option<u64>) -> Traffic {
        Traffic {
            name: name.to_owned(),
            phase: "Ready".to_owned(),
            rate: Some(2.0),
            backlog: None,
            exceptions,
        }
    }

    #[test]
    fn the_report_says_what_differs_and_what_is_unknown() {
        let difference = Difference {
            input: "persistent://a/b/in 7:9".to_owned(),
            real: vec![r#""12""#.to_owned()],
            shadow: Vec::new(),
        };
        let comparison = Comparison {
            compared: 3,
            equal: 2,
            only_real: 1,
            unnamed: 4,
            differences: vec![difference],
            ..Comparison::default()
        };
        let view = View {
            namespace: "shop".to_owned(),
            real: traffic("clean", Some(0)),
            shadow: traffic("clean-shadow", None),
            messages: Some(Messages { entries: 7, unreadable: 0, comparison }),
        };
        let expected = "            function  shadow
name        clean     clean-shadow
phase       Ready     Ready
processed   2.0/s     2.0/s
backlog     unknown   unknown
exceptions  0         unknown

2 of 3 inputs have the same result.
1 have a result of the function only: the shadow dropped them, failed, or still works on them.
4 results do not name their input, and are not compared.

input persistent://a/b/in 7:9
  function  \"12\"
  shadow    nothing
";
        assert_eq!(text(&view), expected);
        let none = Messages { entries: 0, unreadable: 0, comparison: Comparison::default() };
        assert!(result(&none).starts_with("Nothing to compare yet"));
    }
}
