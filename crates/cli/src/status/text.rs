//! The status as text: a tree with a line for each component, and the causes below it.

use jiff::Timestamp;

use super::number::{self, NONE, UNKNOWN};
use super::table::{
    Align::{Left, Right},
    Table,
};
use super::{ComponentView, MeshView, StatusView, TrafficView, colour_of};
use crate::screen::painted;
use function_mesh_graph::shorten::shorten;

/// Columns of a name; data has all of it.
const NAME: usize = 64;
/// Columns of a word from the cluster, such as a phase.
const WORD: usize = 24;

/// The status as text. Ages are those at `now`; colours are added to words, never instead of them.
///
/// ```text
/// FunctionMesh shop/orders: Stalled for 12m, 2/2 components ready
/// │  HEALTH   COMPONENT              PODS  PHASE  IN/S  OUT/S  BACKLOG    LAG
/// ├─ healthy  source/orders-in        1/1  Ready   n/a     45      n/a    n/a
/// └─ stalled  function/orders-clean   2/2  Ready    45      0     1300  3m20s
///      stalled, NoConsumers: no consumer is connected
/// ```
pub fn text(view: &StatusView, now: Timestamp, colour: bool) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    match (&view.mesh, view.components.first()) {
        (Some(mesh), _) => {
            line(&title(mesh, now, colour));
            let rest = if view.components.is_empty() { "   " } else { "│  " };
            mesh.reasons.iter().for_each(|reason| line(&format!("{rest}  {}", number::message(reason))));
        }
        (None, Some(component)) => {
            let mesh = component.mesh.as_deref();
            let mesh = mesh.map(|mesh| format!(", of FunctionMesh {}", shorten(mesh, NAME)));
            let name = shorten(&component.name, NAME);
            let namespace = shorten(&component.namespace, NAME);
            line(&format!("{} {namespace}/{name}{}", component.kind, mesh.unwrap_or_default()));
        }
        (None, None) => {}
    }
    let has_exceptions = view.components.iter().any(|component| {
        component.traffic.as_ref().is_some_and(|traffic| traffic.exceptions.is_some_and(|count| count > 0))
    });
    let head = [
        ("HEALTH", Left),
        ("COMPONENT", Left),
        ("PODS", Right),
        ("PHASE", Left),
        ("IN/S", Right),
        ("OUT/S", Right),
        ("BACKLOG", Right),
        ("LAG", Right),
        ("EXCEPTIONS", Right),
    ];
    let mut table = Table::new(&head, 0);
    for component in &view.components {
        let mut cells = vec![
            component.health.as_str().to_owned(),
            format!("{}/{}", component.kind.to_lowercase(), shorten(&component.name, NAME)),
            pods(component),
            shorten(&component.phase, WORD),
        ];
        cells.extend(numbers(component));
        table.row(cells, colour_of(component.health));
    }
    if !has_exceptions {
        table.drop_last_column();
    }
    let mut rows = table.lines(colour).into_iter();
    if let Some(head) = rows.next().filter(|_| !view.components.is_empty()) {
        line(&format!("│  {head}"));
    }
    let last = view.components.len().saturating_sub(1);
    for (index, (component, row)) in view.components.iter().zip(rows).enumerate() {
        let (branch, below) = if index == last { ("└─", " ") } else { ("├─", "│") };
        line(&format!("{branch} {row}"));
        for reason in component.reasons.iter().cloned().chain(restarts(component, now)) {
            line(&format!("{below}    {}", number::message(&reason)));
        }
    }
    for text in legend(&view.components, !has_exceptions) {
        line(&text);
    }
    out
}

fn title(mesh: &MeshView, now: Timestamp, colour: bool) -> String {
    let MeshView { namespace, name, health, state, since, ready, wanted, .. } = mesh;
    let since = since.as_ref().map(|since| format!(" for {}", number::duration(number::age(since, now))));
    let (namespace, name) = (shorten(namespace, NAME), shorten(name, NAME));
    let state = painted(state, colour_of(*health), colour);
    format!(
        "FunctionMesh {namespace}/{name}: {state}{}, {ready}/{wanted} components ready",
        since.unwrap_or_default()
    )
}

/// How many pods the operator has restarted since the component is stalled. It depends on the time, so that it is no
/// reason of the view.
fn restarts(component: &ComponentView, now: Timestamp) -> Option<String> {
    let TrafficView { restarts, last_restart, .. } = component.traffic.as_ref()?;
    let count = restarts.filter(|count| *count > 0)?;
    let (what, last) = match count {
        1 => ("1 pod restarted by onStall".to_owned(), ""),
        count => (format!("{count} pods restarted in a row by onStall"), ", the last one"),
    };
    let ago = |at| format!("{last} {} ago", number::duration(number::age(at, now)));
    Some(what + &last_restart.as_ref().map(ago).unwrap_or_default())
}

/// Ready and desired pods.
pub(super) fn pods(component: &ComponentView) -> String {
    component.pods.map_or(UNKNOWN.to_owned(), |pods| format!("{}/{}", pods.ready, pods.wanted))
}

/// In, out, backlog, lag and exceptions as text. A source has no input.
pub(super) fn numbers(component: &ComponentView) -> [String; 5] {
    let traffic = component.traffic.as_ref();
    let no_input = if component.kind == "Source" { NONE } else { UNKNOWN };
    let number = |number: Option<String>, absent: &str| number.unwrap_or_else(|| absent.to_owned());
    let get = |number: fn(&TrafficView) -> Option<String>| traffic.and_then(number);
    let lag = |seconds| number::duration(std::time::Duration::from_secs(seconds));
    [
        number(get(|traffic| traffic.in_rate.map(number::rate)), no_input),
        number(get(|traffic| traffic.out_rate.map(number::rate)), UNKNOWN),
        number(get(|traffic| traffic.backlog.map(|backlog| backlog.to_string())), no_input),
        number(traffic.and_then(|traffic| traffic.lag_seconds).map(lag), no_input),
        number(get(|traffic| traffic.exceptions.map(|count| count.to_string())), UNKNOWN),
    ]
}

/// What the signs mean that are there.
pub(super) fn legend(components: &[ComponentView], without_exceptions: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let is_unknown = |component: &ComponentView| {
        let numbers = numbers(component);
        let shown = numbers.iter().take(numbers.len() - usize::from(without_exceptions));
        pods(component) == UNKNOWN || shown.into_iter().any(|number| number == UNKNOWN)
    };
    if components.iter().any(is_unknown) {
        lines.push(format!("{UNKNOWN}  unknown"));
    }
    // One that is suspended or new has none either, even if the operator observes.
    let is_observed = |it: &ComponentView| it.traffic.is_some() || it.stalled.is_some();
    if components.iter().any(|it| it.exists) && !components.iter().any(is_observed) {
        lines.push("No traffic: the operator does not observe Pulsar, or has not yet.".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests;
