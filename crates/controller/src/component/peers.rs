//! Other components that use a subscription: a clean-up keeps it.

use function_mesh_api::{Component, Function, Role, Sink, Source};
use function_mesh_workloads::subscriptions::{Targets, subscriptions};
use kube::{Resource, ResourceExt};

use crate::context::Shared;
use function_mesh_kube::cache::Cache;
use function_mesh_kube::compact::Compact;

/// All components of the namespaces that are watched.
#[derive(Clone)]
pub struct Peers {
    /// All functions.
    pub functions: Cache<Compact<Function>>,
    /// All sources.
    pub sources: Cache<Compact<Source>>,
    /// All sinks.
    pub sinks: Cache<Compact<Sink>>,
}

impl Peers {
    /// Excludes targets that other live components use, and returns these components. None while the caches of all
    /// watched namespaces have not synced.
    pub(super) async fn exclude_shared(
        &self,
        role: Role,
        uid: &str,
        targets: &mut Targets,
        shared: &Shared,
    ) -> Option<Vec<String>> {
        let mut users = Vec::new();
        if role == Role::Source {
            exclude_used(&self.sources, uid, targets, &mut users, shared).await?;
        } else {
            exclude_used(&self.functions, uid, targets, &mut users, shared).await?;
            exclude_used(&self.sinks, uid, targets, &mut users, shared).await?;
        }
        users.sort();
        Some(users)
    }
}

async fn exclude_used<C: Component>(
    cache: &Cache<Compact<C>>,
    uid: &str,
    targets: &mut Targets,
    users: &mut Vec<String>,
    shared: &Shared,
) -> Option<()> {
    if !cache.has_synced() {
        return None;
    }
    let names: Vec<String> = targets.remove.iter().map(|it| search_term(&it.name)).collect();
    let is_live = |cached: &Compact<C>| {
        cached.meta().deletion_timestamp.is_none() && cached.meta().uid.as_deref() != Some(uid)
    };
    for cached in cache.state_filter(|cached| is_live(cached)) {
        // A text search avoids decoding thousands of objects.
        let mentions =
            |cached: &Compact<C>| cached.json().is_some_and(|json| names.iter().any(|it| json.contains(it)));
        if !cached.is_large() && !mentions(&cached) {
            continue;
        }
        let Some(full) = shared.fetch_full(&cached).await.ok()? else { continue };
        if !mentions(&full) {
            continue;
        }
        let is_shared = match full.decode() {
            Ok(component) => targets.exclude(&subscriptions(&component)),
            // The subscriptions of an undecodable component are unknown, so everything that it mentions is excluded.
            Err(_) => targets.exclude_if(|it| {
                full.json().is_some_and(|json| {
                    json.contains(&search_term(&it.name)) && json.contains(&search_term(&it.topic))
                })
            }),
        };
        if is_shared {
            let namespace = cached.namespace().unwrap_or_default();
            users.push(format!("{} {namespace}/{}", C::ROLE.kind(), cached.name_any()));
        }
    }
    Some(())
}

/// The part of a subscription's name that is in every spec which results in it, and that JSON never escapes: the last
/// segment of the default `tenant/namespace/name`.
fn search_term(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:=,+@~ ".contains(letter);
    let longest = last.split(|letter| !is_plain(letter)).max_by_key(|part| part.len());
    longest.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_term_is_never_escaped() {
        for (name, expected) in
            [("public/default/f", "f"), ("a\"bc", "bc"), ("s", "s"), ("", ""), ("é/ü", "")]
        {
            assert_eq!(search_term(name), expected, "{name}");
        }
    }
}
