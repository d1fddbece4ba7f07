//! The layout of the graph of a mesh. It depends on the spec alone, so that numbers move nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use function_mesh_api::{FunctionMeshSpec, Role};
use function_mesh_graph::shorten::{columns, shorten};
use function_mesh_graph::{Arrow, Boundary, Drawing, Flow, Frame, Gaps, Graph, Kind, Vertex};
use serde_json::Value;

use super::parts::Piece;
use crate::store::MeshKey;
use crate::visible::Kinds;

/// Gaps between layers: backlog and lag are written where a line ends at a component.
const GAPS: Gaps = Gaps { components: 88, topics: 36 };
/// Longest names without elision; the full name is in the tooltip.
pub(super) const LONGEST_NAME: usize = 32;

/// A graph with coordinates.
#[derive(Debug)]
pub struct LaidOut {
    /// Components, topics and arrows.
    pub graph: Graph,
    /// Which components read which topics.
    pub readers: Readers,
    /// The rectangle of each vertex.
    pub frames: Vec<Frame>,
    /// The line of each arrow.
    pub lines: Vec<Drawn>,
    /// Width.
    pub width: i32,
    /// Height.
    pub height: i32,
}

/// The line of an arrow.
#[derive(Clone, Debug, Default)]
pub struct Drawn {
    /// Its pieces.
    pub pieces: Vec<Piece>,
    /// Where it ends.
    pub end: (i32, i32),
    /// Whether it leads from right to left.
    pub is_reversed: bool,
}

/// A component that is in no spec.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Surplus {
    /// Its role.
    pub role: Role,
    /// Its name.
    pub name: String,
}

impl LaidOut {
    /// Lays out the components of a spec, and others beside them.
    pub fn new(spec: &FunctionMeshSpec, surplus: &[Surplus]) -> Self {
        let mut graph = Graph::of("", spec);
        for Surplus { role, name } in surplus {
            graph.vertices.push(Vertex {
                kind: Kind::Component { role: *role, detail: String::new() },
                label: name.clone(),
                full: format!("{role} {name}"),
                in_cycle: false,
                is_label: false,
                rate: None,
            });
        }
        let (frames, lines, width, height) = {
            let drawing = Drawing::new(&graph, size, GAPS);
            let mut lines = vec![Drawn::default(); graph.arrows.len()];
            for line in drawing.lines() {
                let Some(drawn) = lines.get_mut(line.arrow) else { continue };
                drawn.pieces.push(Piece { d: line.path, tip: line.has_tip });
                let is_last = leads_to(&graph, line.arrow, &drawing.frames(), line.end);
                if is_last || drawn.pieces.len() == 1 {
                    (drawn.end, drawn.is_reversed) = (line.end, line.is_reversed);
                }
            }
            (drawing.frames(), lines, drawing.width, drawing.height)
        };
        let readers = Readers::of(&graph);
        Self { graph, readers, frames, lines, width, height }
    }
}

/// Components that read one topic alone: its numbers are theirs.
#[derive(Debug, Default)]
pub struct Readers {
    /// The topic of each component that reads one; None if it reads several.
    topics: HashMap<usize, Option<usize>>,
    /// The components that read each topic.
    components: HashMap<usize, Vec<usize>>,
}

impl Readers {
    fn of(graph: &Graph) -> Self {
        let is_topic = |place: usize| {
            graph.vertices.get(place).is_some_and(|vertex| matches!(vertex.kind, Kind::Topic { .. }))
        };
        let mut readers = Self::default();
        for Arrow { from, to, .. } in graph.arrows.iter().filter(|it| is_topic(it.from) && !is_topic(it.to)) {
            readers.topics.entry(*to).and_modify(|topic| *topic = None).or_insert(Some(*from));
            readers.components.entry(*from).or_default().push(*to);
        }
        readers
    }

    /// Whether a component reads this topic and no other.
    pub fn reads_only(&self, component: usize, topic: usize) -> bool {
        self.topics.get(&component) == Some(&Some(topic))
    }

    /// The components that read this topic and no other.
    pub fn only_readers(&self, topic: usize) -> impl Iterator<Item = usize> {
        let readers = self.components.get(&topic).into_iter().flatten().copied();
        readers.filter(move |reader| self.reads_only(*reader, topic))
    }
}

/// Whether this is where an arrow reaches its box.
fn leads_to(graph: &Graph, arrow: usize, frames: &[Frame], (x, y): (i32, i32)) -> bool {
    let target = graph.arrows.get(arrow).and_then(|Arrow { to, .. }| frames.get(*to));
    target.is_some_and(|frame| {
        (frame.x..=frame.x + frame.width).contains(&x) && (frame.y..=frame.y + frame.height).contains(&y)
    })
}

/// Width and height of a vertex, with room for numbers.
fn size(vertex: &Vertex) -> (i32, i32) {
    let name = columns(&shorten(&vertex.label, LONGEST_NAME));
    match &vertex.kind {
        Kind::Component { detail, .. } => {
            let caption = columns(&shorten(detail, LONGEST_NAME)) + 11;
            ((name * 9).max(caption * 7).max(132) + 40, 72)
        }
        Kind::Topic { boundary, purpose, .. } => {
            // The rate is below the name, after where the topic comes from.
            let is_plain = *boundary == Boundary::Internal && purpose.is_none();
            let least = if is_plain { 60 } else { 104 };
            ((name * 15 / 2).max(least) + 24, if vertex.is_label { 34 } else { 40 })
        }
    }
}

/// The name of a flow in JSON.
pub(super) const fn flow_name(flow: Flow) -> &'static str {
    match flow {
        Flow::Messages => "messages",
        Flow::DeadLetters => "dead-letters",
        Flow::LateData => "late-data",
        Flow::Logs => "logs",
        Flow::Matches => "matches",
    }
}

/// The last layout of each mesh, for the kinds that are visible: a status changes more often than a spec.
#[derive(Debug, Default)]
pub struct Layouts(BTreeMap<(MeshKey, Kinds), Layout>);

/// A layout, and what it is made of.
type Layout = (Value, Vec<Surplus>, Arc<LaidOut>);

impl Layouts {
    /// The layout of a mesh; the last one if nothing has changed.
    pub fn get(
        &mut self,
        (mesh, kinds): (&MeshKey, Kinds),
        spec: &Value,
        surplus: Vec<Surplus>,
        decode: impl FnOnce(&Value) -> FunctionMeshSpec,
    ) -> Arc<LaidOut> {
        let key = (mesh.clone(), kinds);
        if let Some((of, beside, laid_out)) = self.0.get(&key)
            && of == spec
            && *beside == surplus
        {
            return Arc::clone(laid_out);
        }
        let laid_out = Arc::new(LaidOut::new(&decode(spec), &surplus));
        self.0.insert(key, (spec.clone(), surplus, Arc::clone(&laid_out)));
        laid_out
    }

    /// Forgets meshes.
    pub fn retain(&mut self, is_kept: impl Fn(&MeshKey, Kinds) -> bool) {
        self.0.retain(|(mesh, kinds), _| is_kept(mesh, *kinds));
    }
}
