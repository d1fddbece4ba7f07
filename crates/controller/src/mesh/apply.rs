//! Writes the components of a mesh and removes those that it no longer has.

use std::collections::BTreeSet;
use std::sync::Arc;

use function_mesh_api::validate::Valid;
use function_mesh_api::{Component, FunctionMesh, Spec, labels};
use function_mesh_workloads::MeshComponents;
use futures::stream::{self, StreamExt};
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store};
use serde_json::json;

use super::status::{ComponentState, Outcome, Seen};
use super::{Context, Error};
use crate::kit::cache::Guarded;
use crate::kit::children::{Applied, Change, ChildError, Children, is_owned_by};

/// Components written at a time; a mesh of hundreds must not crowd out the others.
const AT_A_TIME: usize = 8;

/// Writes all components, then removes orphans. One that fails does not keep the others back; but nothing
/// is removed while something could not be written, so that a rename never leaves the mesh without either.
pub(super) async fn apply(mesh: &Valid<FunctionMesh>, wanted: MeshComponents, context: &Context) -> Outcome {
    let MeshComponents { functions, sources, sinks } = wanted;
    let namespace = mesh.namespace().unwrap_or_default();
    let owner = mesh.uid().unwrap_or_default();
    let children = Children {
        client: &context.shared.client,
        namespace: &namespace,
        owner: &owner,
        manager: labels::managers::MESH,
    };
    let mut seen = Seen::default();
    let mut errors = Vec::new();
    write(&children, &functions, &context.functions, context, &mut seen, &mut errors).await;
    write(&children, &sources, &context.sources, context, &mut seen, &mut errors).await;
    write(&children, &sinks, &context.sinks, context, &mut seen, &mut errors).await;
    if errors.is_empty() {
        remove(&children, &functions, &context.functions, context, &mut seen, &mut errors).await;
        remove(&children, &sources, &context.sources, context, &mut seen, &mut errors).await;
        remove(&children, &sinks, &context.sinks, context, &mut seen, &mut errors).await;
    }
    let error = (!errors.is_empty()).then_some(Error::Children(errors));
    Outcome { seen, error }
}

async fn write<C: Component>(
    children: &Children<'_>,
    wanted: &[C],
    cache: &Store<Guarded<C>>,
    context: &Context,
    seen: &mut Seen,
    errors: &mut Vec<ChildError>,
) {
    let writes: Vec<_> = wanted.iter().map(|component| write_one(children, component, cache)).collect();
    let mut results = stream::iter(writes).buffered(AT_A_TIME);
    let mut rest = wanted.iter();
    while let (Some(result), Some(component)) = (results.next().await, rest.next()) {
        let name = component.spec().view().common.name.unwrap_or_default().to_owned();
        match result {
            Ok(applied) => {
                if applied.change != Change::None {
                    let verb = if applied.change == Change::Created { "created" } else { "updated" };
                    context.shared.metrics.wrote(C::ROLE.kind(), verb);
                    seen.changes.push(format!("{} {name} {verb}", C::ROLE));
                }
                seen.components.insert((C::ROLE, name), ComponentState::of(&*applied.live));
            }
            Err(error) => {
                seen.components.insert((C::ROLE, name), ComponentState::failed(&error));
                errors.push(error);
            }
        }
    }
}

async fn write_one<C: Component>(
    children: &Children<'_>,
    component: &C,
    cache: &Store<Guarded<C>>,
) -> Result<Applied<C>, ChildError> {
    let cached = readable(cache, &component.name_any(), children.namespace);
    if let Some(live) = &cached {
        hand_over_replicas(children, component, &**live).await?;
    }
    children.apply(&without_owned_by_others(component), cached).await
}

/// Sees to the number of replicas before it is the autoscaler's. When that is new, the number was the mesh's
/// until now and would go with it, and pods with it, if nobody else owned it. And when its bounds move past the
/// number, that has to move first: no component is valid with more replicas than its most, or fewer than its
/// least.
async fn hand_over_replicas<C: Component>(
    children: &Children<'_>,
    wanted: &C,
    live: &C,
) -> Result<(), ChildError> {
    let (wanted, before) = (wanted.spec().view().common, live.spec().view().common);
    let (Some(most), Some(now)) = (wanted.max_replicas, before.replicas) else { return Ok(()) };
    let replicas = now.min(most).max(wanted.min_replicas.unwrap_or(1));
    if before.max_replicas.is_none() {
        let starter = Children { manager: labels::managers::REPLICAS, ..*children };
        starter.apply_part(live, json!({ "replicas": replicas })).await
    } else if replicas == now {
        Ok(())
    } else {
        children.scale(live, replicas).await
    }
}

/// Under an autoscaler the number of replicas is not the mesh's to say. The webhook gives it a first value.
fn without_owned_by_others<C: Component>(component: &C) -> C {
    let mut component = component.clone();
    if component.spec().view().common.max_replicas.is_some() {
        component.spec_mut().leave_replicas_open();
    }
    component
}

fn readable<C: Component>(cache: &Store<Guarded<C>>, name: &str, namespace: &str) -> Option<Arc<C>> {
    let held = cache.get(&ObjectRef::new(name).within(namespace))?;
    match &*held {
        DeserializeGuard(Ok(component)) => Some(Arc::new(component.clone())),
        DeserializeGuard(Err(_)) => None,
    }
}

async fn remove<C: Component>(
    children: &Children<'_>,
    wanted: &[C],
    cache: &Store<Guarded<C>>,
    context: &Context,
    seen: &mut Seen,
    errors: &mut Vec<ChildError>,
) {
    let wanted: BTreeSet<_> = wanted.iter().map(ResourceExt::name_any).collect();
    let mut orphans = cache.state_filter(|held| {
        held.namespace().as_deref() == Some(children.namespace)
            && is_owned_by(held, children.owner)
            && !wanted.contains(&held.name_any())
    });
    orphans.sort_by_key(|held| held.name_any());
    for orphan in orphans {
        // One that cannot be read stays until it can be: what it is, nobody knows.
        let DeserializeGuard(Ok(orphan)) = &*orphan else { continue };
        if orphan.meta().deletion_timestamp.is_some() {
            continue;
        }
        match children.delete(orphan).await {
            Ok(()) => {
                context.shared.metrics.wrote(C::ROLE.kind(), "deleted");
                seen.changes.push(format!("{} {} deleted", C::ROLE, orphan.name_any()));
            }
            Err(error) => errors.push(error),
        }
    }
}
