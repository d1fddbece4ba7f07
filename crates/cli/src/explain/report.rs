//! Prints the sources of values as text or as data.

use std::io::{self, Write};

use function_mesh_api::printable;
use function_mesh_workloads::diff::{Path, Step};
use function_mesh_workloads::redact;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::{Cause, Effective, Origin};
use crate::operator::OperatorSettings;
use crate::screen;

/// Longest value on a line.
const VALUE: usize = 44;
/// Widest column of paths; longer ones overflow.
const PATH: usize = 60;

/// A component and the sources of its values.
pub(crate) struct Explained<'a> {
    /// Kind and name of the component and of its mesh.
    pub(crate) title: String,
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) values: Vec<Effective>,
    /// The documents of the layers.
    pub(crate) sources: Sources<'a>,
}

/// The documents of the layers.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sources<'a> {
    pub(crate) component: Option<&'a crate::input::Document>,
    pub(crate) namespaced: Option<&'a crate::input::Document>,
    pub(crate) global: Option<&'a crate::input::Document>,
}

impl Sources<'_> {
    fn of(&self, origin: Origin) -> Option<&crate::input::Document> {
        match origin {
            Origin::Component => self.component,
            Origin::Namespaced => self.namespaced,
            Origin::Global => self.global,
            Origin::Operator => None,
        }
    }

    /// File and line of a field; None for objects of a cluster.
    fn location(&self, cause: &Cause) -> Option<(String, usize)> {
        let document =
            self.of(cause.origin).filter(|document| !document.source.name.starts_with("<cluster>"))?;
        let (line, _) = document.source.position(document.node.locate(&cause.field).start);
        Some((document.source.name.clone(), line))
    }

    fn describe(&self, cause: &Cause) -> String {
        let layer = match cause.origin {
            Origin::Component => String::new(),
            Origin::Namespaced => "BackendConfig of the namespace, ".to_owned(),
            Origin::Global => "global BackendConfig, ".to_owned(),
            Origin::Operator => "operator's ".to_owned(),
        };
        let derived = if cause.is_equal || cause.origin == Origin::Operator { "" } else { "derived from " };
        let location =
            self.location(cause).map(|(file, line)| format!(" ({file}:{line})")).unwrap_or_default();
        let default = if cause.is_default && cause.is_equal { ", same as the default" } else { "" };
        format!("{derived}{layer}{}{location}{default}", cause.field)
    }
}

/// The name of an origin in data and on the command line.
pub(crate) const fn name(origin: Option<Origin>) -> &'static str {
    match origin {
        Some(Origin::Component) => "component",
        Some(Origin::Namespaced) => "namespace",
        Some(Origin::Global) => "cluster",
        Some(Origin::Operator) => "operator",
        None => "default",
    }
}

/// The report as text. Siblings share a heading. Without `all`, identifying labels and constant words of commands are
/// only counted.
pub(crate) fn text(
    out: &mut dyn Write,
    explained: &[Explained<'_>],
    colour: bool,
    all: bool,
) -> io::Result<()> {
    let bold = |text: &str| screen::painted(text, "1", colour);
    for (index, component) in explained.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{}", bold(&component.title))?;
        let shown: Vec<&Effective> =
            component.values.iter().filter(|value| all || !is_boilerplate(value)).collect();
        let rows = rows(&shown, &component.sources);
        let widest = |column: fn(&Row) -> &str, most: usize| {
            let widths = rows.iter().map(|row| column(row).width()).filter(|width| *width <= most);
            widths.max().unwrap_or_default()
        };
        let (paths, values) = (widest(|row| &row.path, PATH), widest(|row| &row.value, VALUE));
        let mut above = ("", None);
        for row in &rows {
            if row.kind != above.0 {
                writeln!(out, "  {}", bold(row.kind))?;
            }
            if let Some(heading) = row.heading.as_ref().filter(|_| above != (row.kind, row.heading.as_ref()))
            {
                screen::line(out, &format!("    {heading}"))?;
            }
            above = (row.kind, row.heading.as_ref());
            let pad = |text: &str, width: usize| " ".repeat(width.saturating_sub(text.width()));
            let (path, value, cause) = (&row.path, &row.value, &row.cause);
            let (paths, values) = (pad(path, paths), pad(value, values));
            screen::line(out, &format!("    {path}{paths}  {value}{values}  {cause}"))?;
        }
        let omitted = component.values.len() - shown.len();
        if omitted > 0 {
            writeln!(out, "  {omitted} more labels, names and words of commands; --all shows them")?;
        }
    }
    Ok(())
}

/// A line of the report.
struct Row {
    kind: &'static str,
    /// The path of the parent, which siblings share.
    heading: Option<String>,
    path: String,
    value: String,
    cause: String,
}

fn rows(shown: &[&Effective], sources: &Sources<'_>) -> Vec<Row> {
    let parent = |effective: &Effective| {
        let steps = effective.path.0.split_last().map(|(_, parents)| parents.to_vec()).unwrap_or_default();
        (effective.kind, Path(steps))
    };
    let parents: Vec<_> = shown.iter().map(|effective| parent(effective)).collect();
    let row = |(index, effective): (usize, &&Effective)| {
        let own = parents.get(index);
        let is_grouped = [index.checked_sub(1), Some(index + 1)]
            .into_iter()
            .flatten()
            .any(|neighbour| parents.get(neighbour) == own)
            || effective.path.to_string().width() > PATH;
        let last = effective.path.0.last().filter(|_| is_grouped);
        let cause = match effective.causes.as_slice() {
            [] => "built in".to_owned(),
            [only] => sources.describe(only),
            [first, rest @ ..] => format!("{}, and {} more", sources.describe(first), rest.len()),
        };
        Row {
            kind: effective.kind,
            heading: own.filter(|_| is_grouped).map(|(_, path)| path.to_string()),
            path: match last {
                Some(Step::Field(name)) => format!("  {name}"),
                Some(step) => format!("  {}", Path(vec![step.clone()])),
                None => effective.path.to_string(),
            },
            value: printable(&display(effective)).into_owned(),
            cause,
        }
    };
    shown.iter().enumerate().map(row).collect()
}

/// Identifying labels and names, and constant words of a command.
fn is_boilerplate(effective: &Effective) -> bool {
    let has = |name: &str| effective.path.0.iter().any(|step| matches!(step, Step::Field(it) if it == name));
    let is_identity = |cause: &Cause| {
        cause.field.starts_with("metadata.name")
            || (cause.field.starts_with("spec.") && cause.field.ends_with("].name"))
    };
    let is_label = ["labels", "matchLabels", "selector"].into_iter().any(has);
    // Repeated words have a number.
    let is_itself = |name: &str| {
        let word = effective.value.as_str().unwrap_or_default();
        name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
    };
    let is_word =
        has("command") && matches!(effective.path.0.last(), Some(Step::Field(name)) if is_itself(name));
    let is_name = matches!(effective.path.0.as_slice(), [.., Step::Item(item), Step::Field(field)]
        if field == "name" && effective.value == item.as_str());
    (is_label && effective.causes.iter().all(is_identity))
        || (is_word && effective.causes.is_empty())
        || is_name
}

/// The report as data.
pub(crate) fn data(all: &[Explained<'_>], operator: &OperatorSettings) -> Value {
    let components: Vec<Value> = all
        .iter()
        .map(|component| {
            let values: Vec<Value> = component
                .values
                .iter()
                .map(|effective| {
                    let cause = |cause: &Cause| {
                        let location = component.sources.location(cause);
                        json!({
                            "origin": name(Some(cause.origin)),
                            "field": cause.field,
                            "file": location.as_ref().map(|(file, _)| file),
                            "line": location.as_ref().map(|(_, line)| line),
                            "equal": cause.is_equal,
                            "sameAsDefault": cause.is_default,
                        })
                    };
                    json!({
                        "kind": effective.kind,
                        "path": effective.path.to_string(),
                        "value": redact::value_at(&effective.path, &effective.value),
                        "origin": name(effective.causes.first().map(|cause| cause.origin)),
                        "causes": effective.causes.iter().map(cause).collect::<Vec<_>>(),
                    })
                })
                .collect();
            json!({
                "kind": component.kind,
                "namespace": component.namespace,
                "name": component.name,
                "values": values,
            })
        })
        .collect();
    json!({ "settings": operator.data(), "components": components })
}

/// A value on one line, without secrets.
fn display(effective: &Effective) -> String {
    let text = match redact::value_at(&effective.path, &effective.value) {
        Value::String(text) if !text.is_empty() && text.trim() == text && !text.contains('\n') => text,
        value => value.to_string(),
    };
    if text.chars().count() <= VALUE {
        return text;
    }
    let start: String = text.chars().take(VALUE - 1).collect();
    format!("{start}…")
}
