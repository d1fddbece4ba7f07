//! Writes the components of a mesh and removes those that it no longer has.

use std::collections::BTreeSet;
use std::sync::Arc;

use function_mesh_api::validate::Valid;
use function_mesh_api::{Component, FunctionMesh, Spec, bounded_replicas, labels};
use function_mesh_workloads::MeshComponents;
use futures::stream::{self, StreamExt};
use kube::ResourceExt;
use serde_json::json;

use super::Context;
use super::status::{ComponentState, Outcome, Seen};
use crate::error::Error;
use function_mesh_kube::apply::{Applied, Change, ChildApplier, ChildError, is_owned_by};
use function_mesh_kube::cache::Cache;
use function_mesh_kube::compact::Compact;

/// Components written at a time; a mesh of hundreds must not crowd out the others.
const AT_A_TIME: usize = 8;

/// Writes all components, then removes orphans. One that fails does not keep the others back; but nothing
/// is removed while something could not be written, so that a rename never leaves the mesh without either.
pub(super) async fn apply(mesh: &Valid<FunctionMesh>, wanted: MeshComponents, context: &Context) -> Outcome {
    let MeshComponents { functions, sources, sinks } = wanted;
    let namespace = mesh.namespace().unwrap_or_default();
    let owner = mesh.uid().unwrap_or_default();
    let children = ChildApplier {
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
    if errors.is_empty() {
        Outcome::Applied(seen)
    } else {
        Outcome::Failed { seen, error: Error::Children(errors) }
    }
}

async fn write<C: Component>(
    children: &ChildApplier<'_>,
    wanted: &[C],
    cache: &Cache<Compact<C>>,
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
    children: &ChildApplier<'_>,
    component: &C,
    cache: &Cache<Compact<C>>,
) -> Result<Applied<C>, ChildError> {
    let name = component.name_any();
    let fetched = cache.fetch(&name, children.namespace).await;
    let mut cached = fetched.map_err(|source| ChildError::read::<C>(&name, source))?;
    if let Some(live) = &cached {
        cached = Some(take_back(children, live).await?);
    }
    if let Some(live) = &cached {
        hand_over_replicas(children, component, &**live).await?;
    }
    children.apply(&with_replicas_noted(component), cached, leave_replicas_of_others).await
}

/// A component that was let go together with its mesh is managed again, now that the mesh is.
async fn take_back<C: Component>(children: &ChildApplier<'_>, live: &Arc<C>) -> Result<Arc<C>, ChildError> {
    if labels::annotation(live.meta(), labels::RELEASED_BY) != Some(children.owner)
        || !is_owned_by(&**live, children.owner)
    {
        return Ok(Arc::clone(live));
    }
    let releasing = ChildApplier { manager: labels::managers::RELEASE, ..*children };
    releasing.apply_fields(&**live, json!({})).await.map(Arc::new)
}

/// Sees to the number of replicas before it is the autoscaler's. When that is new, the number was the mesh's
/// until now and would go with it, and pods with it, if nobody else owned it. And when its bounds move past the
/// number, that has to move first: no component is valid with more replicas than its most, or fewer than its
/// least.
async fn hand_over_replicas<C: Component>(
    children: &ChildApplier<'_>,
    wanted: &C,
    live: &C,
) -> Result<(), ChildError> {
    let (wanted, before) = (wanted.spec().view().common, live.spec().view().common);
    let (Some(most), Some(now)) = (wanted.max_replicas, before.replicas) else { return Ok(()) };
    let replicas = bounded_replicas(now, wanted.min_replicas, most);
    if before.max_replicas.is_none() {
        let starter = ChildApplier { manager: labels::managers::REPLICAS, ..*children };
        starter.apply_fields(live, json!({ "spec": { "replicas": replicas } })).await.map(|_| ())
    } else if replicas == now {
        Ok(())
    } else {
        children.scale(live, replicas).await
    }
}

/// The component with a note of the replicas that the mesh gives it. Under an autoscaler they are not the mesh's
/// to say; the webhook gives a first number.
fn with_replicas_noted<C: Component>(component: &C) -> C {
    let mut component = component.clone();
    let common = component.spec().view().common;
    if common.max_replicas.is_some() {
        component.spec_mut().unset_replicas();
    } else if let Some(replicas) = common.replicas {
        let annotations = component.meta_mut().annotations.get_or_insert_default();
        annotations.insert(labels::MESH_REPLICAS.to_owned(), replicas.to_string());
    }
    component
}

/// When the mesh gave the number before that it gives now, and there is another one, then somebody scaled the
/// component: that is theirs, until the mesh says something new.
fn leave_replicas_of_others<C: Component>(wanted: &mut C, live: &C) {
    let given = labels::annotation(live.meta(), labels::MESH_REPLICAS);
    let is_old_news = given.is_some() && given == labels::annotation(wanted.meta(), labels::MESH_REPLICAS);
    if is_old_news && live.spec().view().common.replicas != wanted.spec().view().common.replicas {
        wanted.spec_mut().unset_replicas();
    }
}

/// Takes the components of a mesh that is not managed out of management too. Returns what changed, and what failed.
pub(super) async fn release(mesh: &FunctionMesh, context: &Context) -> (Vec<String>, Vec<ChildError>) {
    let (namespace, owner) = (mesh.namespace().unwrap_or_default(), mesh.uid().unwrap_or_default());
    let children = ChildApplier {
        client: &context.shared.client,
        namespace: &namespace,
        owner: &owner,
        manager: labels::managers::RELEASE,
    };
    let (mut changes, mut errors) = (Vec::new(), Vec::new());
    release_all(&children, &context.functions, context, &mut changes, &mut errors).await;
    release_all(&children, &context.sources, context, &mut changes, &mut errors).await;
    release_all(&children, &context.sinks, context, &mut changes, &mut errors).await;
    (changes, errors)
}

async fn release_all<C: Component>(
    children: &ChildApplier<'_>,
    cache: &Cache<Compact<C>>,
    context: &Context,
    changes: &mut Vec<String>,
    errors: &mut Vec<ChildError>,
) {
    for held in owned(children, cache) {
        let Some(live) = whole(&held, context, errors).await else { continue };
        if !labels::is_managed(live.meta()) || live.meta().deletion_timestamp.is_some() {
            continue;
        }
        let annotations = json!({ labels::MANAGED: "false", labels::RELEASED_BY: children.owner });
        match children.apply_fields(&live, json!({ "metadata": { "annotations": annotations } })).await {
            Ok(_) => changes.push(format!("{} {} released", C::ROLE, live.name_any())),
            Err(error) => errors.push(error),
        }
    }
}

/// The components of a mesh that the cache holds, by name.
fn owned<C: Component>(children: &ChildApplier<'_>, cache: &Cache<Compact<C>>) -> Vec<Arc<Compact<C>>> {
    let mut owned = cache.state_filter(|held| {
        held.namespace().as_deref() == Some(children.namespace) && is_owned_by(held, children.owner)
    });
    owned.sort_by_key(|held| held.name_any());
    owned
}

async fn remove<C: Component>(
    children: &ChildApplier<'_>,
    wanted: &[C],
    cache: &Cache<Compact<C>>,
    context: &Context,
    seen: &mut Seen,
    errors: &mut Vec<ChildError>,
) {
    let wanted: BTreeSet<_> = wanted.iter().map(ResourceExt::name_any).collect();
    for orphan in owned(children, cache).into_iter().filter(|held| !wanted.contains(&held.name_any())) {
        let Some(orphan) = whole(&orphan, context, errors).await else { continue };
        if orphan.meta().deletion_timestamp.is_some() {
            continue;
        }
        match children.delete(&orphan).await {
            Ok(()) => {
                context.shared.metrics.wrote(C::ROLE.kind(), "deleted");
                seen.changes.push(format!("{} {} deleted", C::ROLE, orphan.name_any()));
            }
            Err(error) => errors.push(error),
        }
    }
}

/// A component that the cache holds. One that cannot be decoded stays as it is until it can be: what it is, nobody
/// knows.
async fn whole<C: Component>(
    held: &Compact<C>,
    context: &Context,
    errors: &mut Vec<ChildError>,
) -> Option<C> {
    match context.shared.whole(held).await {
        Ok(whole) => whole?.decode().ok(),
        Err(source) => {
            errors.push(ChildError::read::<C>(&held.name_any(), source));
            None
        }
    }
}
