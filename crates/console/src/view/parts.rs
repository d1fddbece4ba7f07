//! The items of the pages. In JSON each field is always present, and null is unknown.

use function_mesh_status::{Health, MeshView, PodsView};
use serde::Serialize;

/// The head of the overview.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OverviewHead {
    /// Whether every kind was listed once.
    pub synced: bool,
    /// Why what is shown may be old or incomplete.
    pub problem: Option<String>,
    /// The namespaces that are watched; empty for all.
    pub namespaces: Vec<String>,
}

/// A mesh in the overview, or the components of a namespace that have none.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshRow {
    /// The mesh; the health is the worst of it and its components, the name `-` for the components without a mesh. Of the
    /// reasons the first, also if it is one of a component.
    #[serde(flatten)]
    pub mesh: MeshView,
    /// Components that sleep.
    pub asleep: usize,
    /// The sum of what is known of the backlogs.
    pub backlog: Option<u64>,
    /// The largest lag that is known, in seconds.
    pub lag_seconds: Option<u64>,
    /// The sum of what is known of the exceptions within ten minutes.
    pub exceptions: Option<u64>,
}

/// The head of the page of a mesh.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshHead {
    /// The mesh; the health is the worst of it and its components, the name `-` for the components without a mesh.
    #[serde(flatten)]
    pub mesh: MeshView,
    /// Whether every kind was listed once.
    pub synced: bool,
    /// Whether the mesh exists. False, once synced: there is none, or it was deleted.
    pub exists: bool,
    /// Number of components, cycles, and isolated components.
    pub notes: Vec<String>,
    /// Size of the graph.
    pub width: i32,
    /// Size of the graph.
    pub height: i32,
    /// Why what is shown may be old or incomplete.
    pub problem: Option<String>,
}

/// A component in a graph.
#[allow(clippy::struct_excessive_bools, reason = "independent fields of JSON")]
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentNode {
    /// Always `component`.
    #[serde(rename = "type")]
    pub type_name: &'static str,
    /// `Function`, `Source` or `Sink`.
    pub kind: &'static str,
    /// Name of the object.
    pub name: String,
    /// Name in the mesh.
    pub label: String,
    /// Runtime and replicas of the spec.
    pub detail: String,
    /// Its place in the order of the flow.
    pub order: usize,
    /// Left edge.
    pub x: i32,
    /// Upper edge.
    pub y: i32,
    /// Width.
    pub width: i32,
    /// Height.
    pub height: i32,
    /// Health.
    pub health: Health,
    /// Phase.
    pub phase: String,
    /// Whether the object exists.
    pub exists: bool,
    /// Pods.
    pub pods: Option<PodsView>,
    /// Messages published to the input topics, per second.
    pub in_rate: Option<f64>,
    /// Messages processed, per second.
    pub out_rate: Option<f64>,
    /// Entries that wait.
    pub backlog: Option<u64>,
    /// Age of the oldest one, in seconds.
    pub lag_seconds: Option<u64>,
    /// Exceptions within ten minutes.
    pub exceptions: Option<u64>,
    /// Whether it has no pods on purpose.
    pub asleep: bool,
    /// Whether messages wait and none is acknowledged.
    pub stalled: bool,
    /// Whether its pods are being changed.
    pub rolling: bool,
    /// What a rollout does, or how it ended if that is not well; null if there is nothing to say.
    pub rollout: Option<&'static str>,
    /// Whether it is part of a cycle.
    pub in_cycle: bool,
    /// The first cause.
    pub reason: Option<String>,
}

/// A topic in a graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicNode {
    /// Always `topic`.
    #[serde(rename = "type")]
    pub type_name: &'static str,
    /// Short name.
    pub label: String,
    /// Full name.
    pub full: String,
    /// Left edge.
    pub x: i32,
    /// Upper edge.
    pub y: i32,
    /// Width.
    pub width: i32,
    /// Height.
    pub height: i32,
    /// `internal`, `input` or `output`.
    pub boundary: &'static str,
    /// Whether it is a topic pattern.
    pub is_pattern: bool,
    /// Whether it is drawn on its line: one producer, one consumer.
    pub is_label: bool,
    /// The purpose of a topic with side output only.
    pub purpose: Option<&'static str>,
    /// Whether it is part of a cycle.
    pub in_cycle: bool,
    /// Messages published, per second. Known if a consumer of the mesh reads this topic alone.
    pub rate: Option<f64>,
}

/// An arrow.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// Always `edge`.
    #[serde(rename = "type")]
    pub type_name: &'static str,
    /// ID of the item it starts from.
    pub from: String,
    /// ID of the item it leads to.
    pub to: String,
    /// `messages`, `dead-letters`, `late-data`, `logs` or `matches`.
    pub flow: &'static str,
    /// Full name of the topic.
    pub topic: String,
    /// What is drawn.
    pub pieces: Vec<Piece>,
    /// Where it ends.
    pub end: (i32, i32),
    /// Whether it leads from right to left.
    pub is_reversed: bool,
    /// Whether it is part of a cycle.
    pub in_cycle: bool,
    /// Entries that wait for the consumer. Null also if it reads several topics: its backlog is their sum.
    pub backlog: Option<u64>,
    /// Age of the oldest one, in seconds.
    pub lag_seconds: Option<u64>,
}

/// A piece of an arrow.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Piece {
    /// Path data of SVG.
    pub d: String,
    /// Whether it has an arrowhead.
    pub tip: bool,
}
