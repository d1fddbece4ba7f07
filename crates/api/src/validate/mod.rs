//! The rules that objects must keep, as pure functions.
//!
//! One set of rules serves the webhook, the controller and the command line. A rule reports every violation
//! it finds, with the field at fault; none stops at the first. Only [`Valid`] objects are rendered, and this
//! module alone makes them.

mod backend;
mod collector;
mod component;
mod conflicts;
mod environment;
mod field_limits;
mod labels;
mod lints;
mod mesh;
mod messaging;
mod pod;
mod ratchet;
pub mod rules;
mod scaling;
mod topics;
mod typo_index;
mod violation;
mod volumes;
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

/// An object that is complete and keeps all rules.
#[derive(Clone, Debug)]
pub struct Valid<T>(T);

impl<T> Deref for Valid<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Valid<T> {
    /// Gives the object back.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// What the rules say of a component's object, and advice. It is completed first, in a copy.
pub fn check_component<C: Component>(object: &C) -> Findings {
    check_component_for(object, Scope::RulesAndWarnings)
}

/// The same, of which advice may be left out.
pub fn check_component_for<C: Component>(object: &C, scope: Scope) -> Findings {
    let mut findings = Collector::new(scope);
    check_with_defaults(object, &mut findings);
    findings.finish()
}

/// The rules that a component's object breaks, to judge a change of it by [`check_component_update`].
pub fn component_violations<C: Component>(object: &C) -> KnownViolations {
    let mut findings = Collector::recording();
    check_with_defaults(object, &mut findings);
    findings.into_known()
}

/// What the rules say of a component's object that broke these before: as [`ratchet`], however many they are.
pub fn check_component_update<C: Component>(object: &C, known: KnownViolations, scope: Scope) -> Findings {
    let mut findings = Collector::since(scope, known);
    check_with_defaults(object, &mut findings);
    findings.finish()
}

/// Completes a component and lets it pass if it keeps all rules.
pub fn valid_component<C: Component>(mut object: C) -> Result<Valid<C>, Violations> {
    apply_defaults(&mut object);
    let mut findings = Collector::new(Scope::Rules);
    check_component_object(&object, &mut findings);
    findings.finish().into_result()?;
    Ok(Valid(object))
}

/// What the rules say of a mesh: of each component as if it stood alone, and of all together; and advice.
pub fn check_mesh(mesh: &FunctionMesh) -> Findings {
    check_mesh_for(mesh, Scope::RulesAndWarnings)
}

/// The same, of which advice may be left out.
pub fn check_mesh_for(mesh: &FunctionMesh, scope: Scope) -> Findings {
    let mut findings = Collector::new(scope);
    mesh::check(mesh, &mut findings);
    findings.finish()
}

/// The rules that a mesh breaks, to judge a change of it by [`check_mesh_update`].
pub fn mesh_violations(mesh: &FunctionMesh) -> KnownViolations {
    let mut findings = Collector::recording();
    mesh::check(mesh, &mut findings);
    findings.into_known()
}

/// What the rules say of a mesh that broke these before: as [`ratchet`], however many they are.
pub fn check_mesh_update(mesh: &FunctionMesh, known: KnownViolations, scope: Scope) -> Findings {
    let mut findings = Collector::since(scope, known);
    mesh::check(mesh, &mut findings);
    findings.finish()
}

/// Completes a mesh and lets it pass if it keeps all rules.
pub fn valid_mesh(mut mesh: FunctionMesh) -> Result<Valid<FunctionMesh>, Violations> {
    mesh.spec.set_defaults();
    check_mesh_for(&mesh, Scope::Rules).into_result()?;
    Ok(Valid(mesh))
}

/// What the rules say of defaults for components, those on instructions to shells and runtimes included; and advice.
pub fn check_backend_config(spec: &BackendConfigSpec) -> Findings {
    let mut findings = Collector::new(Scope::RulesAndWarnings);
    backend::check(spec, &mut findings);
    backend::check_safe(spec, &mut findings);
    findings.finish()
}

/// What the rules say of defaults for components where whoever writes those may run code in the pods: with
/// `--allow-unsafe-backend-config`.
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
    // An object whose name is yet to be generated from a prefix has none while it is admitted.
    match (object.meta().name.as_deref(), object.meta().generate_name.as_deref()) {
        (None | Some(""), Some(prefix)) if !prefix.is_empty() => {}
        (name, _) => {
            if let Some(fault) = names::component_name_fault(name.unwrap_or_default()) {
                findings.deny(FieldPath::root("metadata.name"), fault);
            }
        }
    }
    let stored = object.meta().resource_version.as_deref().is_some_and(|version| !version.is_empty());
    let lifecycle = if stored { Lifecycle::Stored } else { Lifecycle::New };
    component::check(&FieldPath::root("spec"), object.spec(), lifecycle, findings);
}
