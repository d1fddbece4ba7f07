//! The health of a mesh and of its components for people: what `status` and `top` print.
//!
//! [`function_mesh_status`] builds the data from objects of the API server. [`text`](mod@text) and [`top`] draw it.
//! `status -o json` prints a [`StatusView`], `top -o json` a [`TopView`].

#[cfg(test)]
mod health_tests;
mod number;
mod scaling;
mod table;
#[cfg(test)]
mod tests;
pub mod text;
pub mod top;

pub use function_mesh_status::{
    ComponentView, Health, MeshView, StatusView, TrafficView, component_status, components, mesh_status,
};
pub use scaling::{ScalingView, Unexplained};
pub use top::{Sort, TopView};

/// The SGR code of the colour of a health.
const fn colour_of(health: Health) -> &'static str {
    match health {
        Health::Healthy => "32",
        Health::NotReady => "33",
        Health::Stalled => "35",
        Health::Degraded => "31",
    }
}
