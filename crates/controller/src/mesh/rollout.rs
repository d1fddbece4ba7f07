//! Components that are rolled back together: with `rollout.atomic`, a component whose rollout failed takes those with it that
//! the same change of the mesh changed.
//!
//! The mesh annotates them, as long as the first one is rolled back.

use function_mesh_api::conditions::Reason;
use function_mesh_api::types::{ComponentStatus, RolloutState};
use function_mesh_api::{Component, FunctionMesh, labels};
use function_mesh_kube::apply::is_owned_by;
use function_mesh_kube::cache::Cache;
use function_mesh_kube::compact::Compact;
use function_mesh_workloads::MeshComponents;
use kube::ResourceExt;

use super::Context;

/// Adds the annotations to the components of a mesh with `rollout.atomic`.
pub(super) async fn annotate(
    wanted: &mut MeshComponents,
    mesh: &FunctionMesh,
    context: &Context,
) -> Result<(), kube::Error> {
    if mesh.spec.rollout.as_ref().is_none_or(|rollout| rollout.atomic != Some(true)) {
        return Ok(());
    }
    let MeshComponents { functions, sources, sinks } = wanted;
    let mut failed = failed_generation(functions, mesh, &context.functions).await?;
    if failed.is_none() {
        failed = failed_generation(sources, mesh, &context.sources).await?;
    }
    if failed.is_none() {
        failed = failed_generation(sinks, mesh, &context.sinks).await?;
    }
    let generation = mesh.metadata.generation.unwrap_or_default().to_string();
    for component in functions {
        add(component, &generation, failed.as_deref());
    }
    for component in sources {
        add(component, &generation, failed.as_deref());
    }
    for component in sinks {
        add(component, &generation, failed.as_deref());
    }
    Ok(())
}

fn add<C: Component>(component: &mut C, generation: &str, failed: Option<&str>) {
    let annotations = component.meta_mut().annotations.get_or_insert_default();
    annotations.insert(labels::MESH_GENERATION.to_owned(), generation.to_owned());
    if let Some(failed) = failed {
        annotations.insert(labels::ROLL_BACK.to_owned(), failed.to_owned());
    }
}

/// The generation of the mesh whose change failed in one of these components.
async fn failed_generation<C: Component>(
    components: &[C],
    mesh: &FunctionMesh,
    cache: &Cache<Compact<C>>,
) -> Result<Option<String>, kube::Error> {
    let (namespace, owner) = (mesh.namespace().unwrap_or_default(), mesh.uid().unwrap_or_default());
    for component in components {
        let live = cache.fetch(&component.name_any(), &namespace).await?;
        let live = live.filter(|live| is_owned_by(&**live, &owner));
        if let Some(failed) = live.as_ref().and_then(|live| failed_of(live.status()?)) {
            return Ok(Some(failed));
        }
    }
    Ok(None)
}

/// The generation of the mesh that failed in this component by itself.
fn failed_of(status: &ComponentStatus) -> Option<String> {
    let rollout = status.rollout.as_ref()?;
    let is_own = rollout.reason.as_deref() == Some(Reason::RolledBack.as_str());
    rollout.mesh_generation.clone().filter(|_| is_own && rollout.state == RolloutState::RolledBack)
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn only_a_component_that_failed_by_itself_takes_others_with_it() {
        for (state, reason, expected) in [
            ("RolledBack", "RolledBack", Some("4".to_owned())),
            ("RolledBack", "RolledBackWithMesh", None),
            ("RolledBack", "RolloutUndone", None),
            ("Failed", "ProgressDeadlineExceeded", None),
        ] {
            let status = json!({ "rollout": { "state": state, "reason": reason, "meshGeneration": "4" } });
            assert_eq!(failed_of(&from_value(status).expect("a status")), expected, "{reason}");
        }
    }
}
