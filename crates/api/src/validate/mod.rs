//! Validation rules, as pure functions.
//!
//! The webhook, the controller and the command line share one set of rules. Validation reports all violations, each
//! with its field. Only this module creates [`Valid`] objects, and only those can be rendered.

mod backend;
mod canary;
mod collector;
mod component;
mod conflicts;
mod cron;
mod environment;
mod field_limits;
mod labels;
mod lints;
mod mesh;
mod message_scaling;
mod messaging;
mod pod;
mod ratchet;
mod rollout;
pub mod rules;
mod scaling;
mod topics;
mod typo_index;
mod violation;
mod volumes;
pub mod warnings;
mod window;

use std::ops::Deref;

use crate::component::Component;
use crate::defaulting::SetDefaults;
use crate::{BackendConfigSpec, FunctionMesh, names};

use scaling::Lifecycle;

pub use backend::is_unsafe_probe;
pub(crate) use collector::Collector;
pub use collector::{KnownViolations, MAX_FINDINGS, Scope};
pub use component::MAX_ARGUMENT;
pub use environment::unsafe_variable;
pub use ratchet::ratchet;
pub use violation::{FieldPath, Findings, Violation, Violations};

/// A defaulted object without violations.
#[derive(Clone, Debug)]
pub struct Valid<T>(T);

impl<T> Deref for Valid<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Valid<T> {
    /// Unwraps the object.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// Validates a copy of a component object, after defaulting.
pub fn check_component<C: Component>(object: &C) -> Findings {
    check_component_for(object, Scope::RulesAndWarnings)
}

/// Validates a component object, with or without warnings.
pub fn check_component_for<C: Component>(object: &C, scope: Scope) -> Findings {
    let mut findings = Collector::new(scope);
    check_with_defaults(object, &mut findings);
    findings.finish()
}

/// The violations of the stored component object, for [`check_component_update`].
pub fn component_violations<C: Component>(object: &C) -> KnownViolations {
    let mut findings = Collector::recording();
    check_with_defaults(object, &mut findings);
    findings.into_known()
}

/// Validates an update of a component object. Known violations become warnings as in [`ratchet`], without its limit.
pub fn check_component_update<C: Component>(object: &C, known: KnownViolations, scope: Scope) -> Findings {
    let mut findings = Collector::with_known(scope, known);
    check_with_defaults(object, &mut findings);
    findings.finish()
}

/// Defaults and validates a component object. The error lists all violations.
pub fn valid_component<C: Component>(mut object: C) -> Result<Valid<C>, Violations> {
    apply_defaults(&mut object);
    let mut findings = Collector::new(Scope::Rules);
    check_component_object(&object, &mut findings);
    findings.finish().into_result()?;
    Ok(Valid(object))
}

/// Validates a mesh: each component by itself, then all together.
pub fn check_mesh(mesh: &FunctionMesh) -> Findings {
    check_mesh_for(mesh, Scope::RulesAndWarnings)
}

/// Validates a mesh, with or without warnings.
pub fn check_mesh_for(mesh: &FunctionMesh, scope: Scope) -> Findings {
    let mut findings = Collector::new(scope);
    mesh::check(mesh, &mut findings);
    findings.finish()
}

/// The violations of the stored mesh, for [`check_mesh_update`].
pub fn mesh_violations(mesh: &FunctionMesh) -> KnownViolations {
    let mut findings = Collector::recording();
    mesh::check(mesh, &mut findings);
    findings.into_known()
}

/// Validates an update of a mesh. Known violations become warnings as in [`ratchet`], without its limit.
pub fn check_mesh_update(mesh: &FunctionMesh, known: KnownViolations, scope: Scope) -> Findings {
    let mut findings = Collector::with_known(scope, known);
    mesh::check(mesh, &mut findings);
    findings.finish()
}

/// Defaults and validates a mesh. The error lists all violations.
pub fn valid_mesh(mut mesh: FunctionMesh) -> Result<Valid<FunctionMesh>, Violations> {
    mesh.spec.set_defaults();
    check_mesh_for(&mesh, Scope::Rules).into_result()?;
    Ok(Valid(mesh))
}

/// Validates a BackendConfig, including the rules on fields that run code in pods.
pub fn check_backend_config(spec: &BackendConfigSpec) -> Findings {
    let mut findings = Collector::new(Scope::RulesAndWarnings);
    backend::check(spec, &mut findings);
    backend::check_safe(spec, &mut findings);
    findings.finish()
}

/// Validates a BackendConfig whose author may run code in pods, with `--allow-unsafe-backend-config`.
pub fn check_trusted_backend_config(spec: &BackendConfigSpec) -> Findings {
    let mut findings = Collector::new(Scope::RulesAndWarnings);
    backend::check(spec, &mut findings);
    findings.finish()
}

fn check_with_defaults<C: Component>(object: &C, findings: &mut Collector) {
    let mut complete = object.clone();
    apply_defaults(&mut complete);
    check_component_object(&complete, findings);
}

fn apply_defaults<C: Component>(object: &mut C) {
    let name = object.meta().name.clone().unwrap_or_default();
    object.spec_mut().set_defaults(&name);
}

fn check_component_object<C: Component>(object: &C, findings: &mut Collector) {
    // During admission, an object with generateName has no name yet.
    match (object.meta().name.as_deref(), object.meta().generate_name.as_deref()) {
        (None | Some(""), Some(prefix)) if !prefix.is_empty() => {}
        (name, _) => {
            if let Some(error) = names::component_name_error(name.unwrap_or_default()) {
                findings.deny(FieldPath::root("metadata.name"), error);
            } else if let Some(warning) = names::component_name_warning(name.unwrap_or_default()) {
                findings.warn(FieldPath::root("metadata.name"), warning);
            }
        }
    }
    let stored = object.meta().resource_version.as_deref().is_some_and(|version| !version.is_empty());
    let lifecycle = if stored { Lifecycle::Stored } else { Lifecycle::New };
    component::check(&FieldPath::root("spec"), object.spec(), lifecycle, findings);
}
