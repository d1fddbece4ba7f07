//! The traffic of components as a table.

use std::cmp::Ordering;

use clap::ValueEnum;
use serde::Serialize;

use super::table::{
    Align::{Left, Right},
    Table,
};
use super::{ComponentView, TrafficView, colour_of, text};
use function_mesh_graph::shorten::shorten;

/// Columns of a name; data has all of it.
const NAME: usize = 64;
/// Columns of a state.
const STATE: usize = 40;

/// What `top -o json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopView {
    /// The components, sorted.
    pub components: Vec<ComponentView>,
}

/// The column to sort by. Numbers are sorted from the largest, unknown ones last.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Sort {
    /// Age of the oldest entry that waits
    Lag,
    /// Entries that wait
    Backlog,
    /// Messages published to the input topics, per second
    In,
    /// Messages processed, per second
    Out,
    /// Exceptions within ten minutes
    Exceptions,
    /// Namespace, kind and name
    Name,
}

impl Sort {
    /// The number to sort by.
    #[allow(clippy::cast_precision_loss, reason = "the order of numbers above 2^53 may be off")]
    fn key(self, traffic: &TrafficView) -> Option<f64> {
        match self {
            Self::Lag => traffic.lag_seconds.map(|seconds| seconds as f64),
            Self::Backlog => traffic.backlog.map(|backlog| backlog as f64),
            Self::In => traffic.in_rate,
            Self::Out => traffic.out_rate,
            Self::Exceptions => traffic.exceptions.map(|exceptions| exceptions as f64),
            Self::Name => None,
        }
    }
}

impl TopView {
    /// Sorts components. Equal ones are in the order of namespace, kind and name.
    pub fn new(mut components: Vec<ComponentView>, sort: Sort) -> Self {
        let key = |it: &ComponentView| it.traffic.as_ref().and_then(|traffic| sort.key(traffic));
        components.sort_by(|one, other| {
            let by_number = match (key(one), key(other)) {
                (Some(one), Some(other)) => other.total_cmp(&one),
                (one, other) => other.is_some().cmp(&one.is_some()),
            };
            by_number.then_with(|| by_name(one, other))
        });
        Self { components }
    }

    /// The table, with a column NAMESPACE if `with_namespace`.
    ///
    /// ```text
    /// KIND      NAME          PODS  IN/S  OUT/S  BACKLOG    LAG  EXCEPTIONS  STATE
    /// Function  orders-clean   2/2    45      0     1300  3m20s           0  Stalled: NoConsumers
    /// Source    orders-in      1/1   n/a     45      n/a    n/a           -  Ready
    /// -  unknown
    /// ```
    pub fn text(&self, with_namespace: bool, colour: bool) -> String {
        let mut head = vec![
            ("KIND", Left),
            ("NAME", Left),
            ("PODS", Right),
            ("IN/S", Right),
            ("OUT/S", Right),
            ("BACKLOG", Right),
            ("LAG", Right),
            ("EXCEPTIONS", Right),
            ("STATE", Left),
        ];
        if with_namespace {
            head.insert(0, ("NAMESPACE", Left));
        }
        let mut table = Table::new(&head, head.len() - 1);
        for component in &self.components {
            let mut cells = Vec::new();
            if with_namespace {
                cells.push(shorten(&component.namespace, NAME));
            }
            cells.extend([component.kind.to_owned(), shorten(&component.name, NAME), text::pods(component)]);
            cells.extend(text::numbers(component));
            cells.push(shorten(&component.state(), STATE));
            table.row(cells, colour_of(component.health));
        }
        let mut lines = table.lines(colour);
        lines.extend(text::legend(&self.components, false));
        lines.join("\n") + "\n"
    }
}

fn by_name(one: &ComponentView, other: &ComponentView) -> Ordering {
    (&one.namespace, one.kind, &one.name).cmp(&(&other.namespace, other.kind, &other.name))
}
