//! The pages as data: all meshes, and one mesh as its graph. Pure.
//!
//! A number that is unknown is null, never zero. What cannot be decoded is left out, and the rest is there: half of the
//! data makes half of a graph.

mod graph;
mod mesh;
mod overview;
mod parts;
#[cfg(test)]
mod tests;

pub use graph::{LaidOut, Layouts};
pub use mesh::mesh;
pub use overview::{Rows, overview};
pub use parts::{ComponentNode, Edge, MeshHead, MeshRow, OverviewHead, Piece, TopicNode};
