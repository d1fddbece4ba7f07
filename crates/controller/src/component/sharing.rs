//! Other components that use a subscription: a clean-up leaves theirs alone.

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
    /// Takes out of the targets what another live component uses, and names those that do. None while not all of them
    /// are known, of every namespace that is watched.
    pub(super) async fn leave_shared(
        &self,
        role: Role,
        uid: &str,
        targets: &mut Targets,
        shared: &Shared,
    ) -> Option<Vec<String>> {
        let mut users = Vec::new();
        if role == Role::Source {
            leave(&self.sources, uid, targets, &mut users, shared).await?;
        } else {
            leave(&self.functions, uid, targets, &mut users, shared).await?;
            leave(&self.sinks, uid, targets, &mut users, shared).await?;
        }
        users.sort();
        Some(users)
    }
}

async fn leave<C: Component>(
    cache: &Cache<Compact<C>>,
    uid: &str,
    targets: &mut Targets,
    users: &mut Vec<String>,
    shared: &Shared,
) -> Option<()> {
    if !cache.has_synced() {
        return None;
    }
    let names: Vec<String> = targets.remove.iter().map(|it| fragment(&it.name)).collect();
    let is_live = |held: &Compact<C>| {
        held.meta().deletion_timestamp.is_none() && held.meta().uid.as_deref() != Some(uid)
    };
    for held in cache.state_filter(|held| is_live(held)) {
        // Reading a thousand objects takes long; looking for a word in them does not.
        let mentions =
            |held: &Compact<C>| held.json().is_some_and(|json| names.iter().any(|it| json.contains(it)));
        if !held.is_large() && !mentions(&held) {
            continue;
        }
        let Some(whole) = shared.whole(&held).await.ok()? else { continue };
        if !mentions(&whole) {
            continue;
        }
        let is_shared = match whole.decode() {
            Ok(component) => targets.exclude(&subscriptions(&component)),
            // What it reads nobody knows, so all that it mentions counts.
            Err(_) => targets.exclude_if(|it| {
                whole.json().is_some_and(|json| {
                    json.contains(&fragment(&it.name)) && json.contains(&fragment(&it.topic))
                })
            }),
        };
        if is_shared {
            let namespace = held.namespace().unwrap_or_default();
            users.push(format!("{} {namespace}/{}", C::ROLE.kind(), held.name_any()));
        }
    }
    Some(())
}

/// The part of a subscription's name that any specification holds which leads to it, in a form that JSON does not
/// escape: the last one of `tenant/namespace/name`, which is the default.
fn fragment(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:=,+@~ ".contains(letter);
    let longest = last.split(|letter| !is_plain(letter)).max_by_key(|part| part.len());
    longest.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_is_never_escaped() {
        for (name, expected) in
            [("public/default/f", "f"), ("a\"bc", "bc"), ("s", "s"), ("", ""), ("é/ü", "")]
        {
            assert_eq!(fragment(name), expected, "{name}");
        }
    }
}
