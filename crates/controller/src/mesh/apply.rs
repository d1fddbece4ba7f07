//! Applies the components of a mesh and deletes orphans.

use std::collections::BTreeSet;
use std::sync::Arc;

use function_mesh_api::validate::Valid;
use function_mesh_api::{Component, FunctionMesh, Spec, labels};
use function_mesh_workloads::MeshComponents;
use futures::stream::{self, StreamExt};
use kube::ResourceExt;
use serde_json::json;

use super::status::{ComponentState, Observation, Outcome};
use super::{Context, replicas};
use crate::error::Error;
use function_mesh_kube::apply::{Applied, ChildApplier, ChildError, is_owned_by};
use function_mesh_kube::cache::Cache;
use function_mesh_kube::compact::Compact;

/// Concurrent writes of one mesh, so that a mesh of hundreds of components does not starve others.
const CONCURRENT_WRITES: usize = 8;

/// Applies all components, then deletes orphans. A failure does not block the other writes. It does block deletions, so
/// that a renamed component is never deleted before its replacement exists.
pub(super) async fn apply(mesh: &Valid<FunctionMesh>, wanted: MeshComponents, context: &Context) -> Outcome {
    let MeshComponents { functions, sources, sinks } = wanted;
    let namespace = mesh.namespace().unwrap_or_default();
    let owner = mesh.uid().unwrap_or_default();
    let children = ChildApplier {
        client: &context.shared.client,
        namespace: &namespace,
        owner: &owner,
        manager: labels::managers::MESH,
        rewrites: &context.shared.rewrites,
        echoes: &context.shared.echoes,
    };
    let mut seen = Observation::default();
    let mut errors = Vec::new();
    write(&children, &functions, &context.functions, context, &mut seen, &mut errors).await;
    write(&children, &sources, &context.sources, context, &mut seen, &mut errors).await;
    write(&children, &sinks, &context.sinks, context, &mut seen, &mut errors).await;
    if errors.is_empty() {
        delete_orphans(&children, &functions, &context.functions, context, &mut seen, &mut errors).await;
        delete_orphans(&children, &sources, &context.sources, context, &mut seen, &mut errors).await;
        delete_orphans(&children, &sinks, &context.sinks, context, &mut seen, &mut errors).await;
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
    seen: &mut Observation,
    errors: &mut Vec<ChildError>,
) {
    let writes: Vec<_> = wanted.iter().map(|component| write_one(children, component, cache)).collect();
    let mut results = stream::iter(writes).buffered(CONCURRENT_WRITES);
    let mut rest = wanted.iter();
    while let (Some(result), Some(component)) = (results.next().await, rest.next()) {
        let name = component.spec().view().common.name.unwrap_or_default().to_owned();
        match result {
            Ok(applied) => {
                if applied.is_adopted {
                    seen.adopted.push(format!("{} {}", C::ROLE.kind(), applied.live.name_any()));
                }
                seen.rewritten.extend(
                    applied.rewritten.iter().map(|path| format!("{} {name}: {path}", C::ROLE.kind())),
                );
                if let Some(verb) = applied.change.verb() {
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
    let mut is_adopted = false;
    if let Some(live) = cached {
        let (live, is_orphan) = children.adopt(component, live).await?;
        is_adopted = is_orphan;
        cached = Some(readopt(children, &live).await?);
    }
    if let Some(live) = &cached {
        replicas::prepare(children, component, &**live).await?;
    }
    let applied =
        children.apply(&replicas::with_annotation(component), cached, replicas::preserve_scaled).await?;
    Ok(Applied { is_adopted: is_adopted || applied.is_adopted, ..applied })
}

/// Manages a component again that was released together with its mesh.
async fn readopt<C: Component>(children: &ChildApplier<'_>, live: &Arc<C>) -> Result<Arc<C>, ChildError> {
    if labels::annotation(live.meta(), labels::RELEASED_BY) != Some(children.owner)
        || !is_owned_by(&**live, children.owner)
    {
        return Ok(Arc::clone(live));
    }
    let releasing = ChildApplier { manager: labels::managers::RELEASE, ..*children };
    releasing.apply_fields(&**live, json!({})).await.map(Arc::new)
}

/// Releases the components of an unmanaged mesh: they become unmanaged too. Returns changes and errors.
pub(super) async fn release(mesh: &FunctionMesh, context: &Context) -> (Vec<String>, Vec<ChildError>) {
    let (namespace, owner) = (mesh.namespace().unwrap_or_default(), mesh.uid().unwrap_or_default());
    let children = ChildApplier {
        client: &context.shared.client,
        namespace: &namespace,
        owner: &owner,
        manager: labels::managers::RELEASE,
        rewrites: &context.shared.rewrites,
        echoes: &context.shared.echoes,
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
    for cached in owned(children, cache) {
        let Some(live) = fetch(&cached, context, errors).await else { continue };
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

/// The cached components of a mesh, by name.
fn owned<C: Component>(children: &ChildApplier<'_>, cache: &Cache<Compact<C>>) -> Vec<Arc<Compact<C>>> {
    let mut owned = cache.state_filter(|cached| {
        cached.namespace().as_deref() == Some(children.namespace) && is_owned_by(cached, children.owner)
    });
    owned.sort_by_key(|cached| cached.name_any());
    owned
}

async fn delete_orphans<C: Component>(
    children: &ChildApplier<'_>,
    wanted: &[C],
    cache: &Cache<Compact<C>>,
    context: &Context,
    seen: &mut Observation,
    errors: &mut Vec<ChildError>,
) {
    let wanted: BTreeSet<_> = wanted.iter().map(ResourceExt::name_any).collect();
    for orphan in owned(children, cache).into_iter().filter(|cached| !wanted.contains(&cached.name_any())) {
        let Some(orphan) = fetch(&orphan, context, errors).await else { continue };
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

/// A cached component, decoded. None if it cannot be decoded: it remains unchanged.
async fn fetch<C: Component>(
    cached: &Compact<C>,
    context: &Context,
    errors: &mut Vec<ChildError>,
) -> Option<C> {
    match context.shared.fetch_full(cached).await {
        Ok(fetch) => fetch?.decode().ok(),
        Err(source) => {
            errors.push(ChildError::read::<C>(&cached.name_any(), source));
            None
        }
    }
}
