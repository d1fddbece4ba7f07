//! Remembers that the children of a component need no write, together with everything from which that follows. While none
//! of it changes, a reconcile neither validates nor renders: it looks at the pods and reports.
//!
//! The pods, and the status of the StatefulSet, are read each time.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use function_mesh_api::{Component, Spec};
use function_mesh_kube::apply::is_owned_by;
use function_mesh_kube::cache::Watched;
use function_mesh_kube::compact::Compact;
use function_mesh_workloads::names;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use super::recreate::Recreate;
use super::status::{Applied, Observation};
use super::{Context, subscription_history};
use crate::context::Revisions;
use crate::error::Error;

/// Rewritten fields up to which an observation is remembered.
const MAX_REWRITTEN: usize = 16;

/// Components whose children need no write, by key.
#[derive(Debug, Default)]
pub struct SettledComponents {
    keys: RandomState,
    components: Mutex<HashMap<String, Settled>>,
    /// All observations have this one instead of the StatefulSet: an empty one takes kilobytes too.
    without: Arc<StatefulSet>,
}

#[derive(Debug)]
struct Settled {
    inputs: u64,
    /// What was observed, without the StatefulSet.
    observation: Box<Observation>,
}

impl SettledComponents {
    /// Drops a component that is deleted, or whose children are written.
    pub fn forget(&self, key: &str) {
        self.lock().remove(key);
    }

    fn find(&self, key: &str, inputs: u64) -> Option<Observation> {
        let components = self.lock();
        let found = components.get(key).filter(|settled| settled.inputs == inputs)?;
        Some((*found.observation).clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Settled>> {
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a reconcile begins with, apart from the component itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Inputs {
    /// The [`Compact::content`] of the component.
    own: u64,
    children: Contents,
    backends: Revisions,
}

impl Inputs {
    /// The inputs as they are cached now.
    pub(super) fn cached<C: Component>(component: &C, own: u64, context: &Context) -> Self {
        let namespace = component.namespace().unwrap_or_default();
        let children = Contents::cached(component, context);
        Self { own, children, backends: context.shared.backend_versions(&namespace) }
    }

    /// A hash of all from which the writes of a component follow. None if that takes a request, or if there is no
    /// StatefulSet.
    fn hash<C: Component>(&self, component: &C, settled: &SettledComponents) -> Option<u64> {
        let status = component.status();
        // Vertical autoscalers are not watched.
        if component.spec().view().common.pod.is_some_and(|pod| pod.vpa.is_some())
            || status.is_some_and(|status| status.conditions.contains_key("VerticalPodAutoscaler"))
        {
            return None;
        }
        self.children.stateful_set?;
        let revisions =
            status.map(|it| (&it.global_backend_config_revision, &it.namespaced_backend_config_revision));
        let is_observed =
            status.is_some_and(|status| status.observed_generation == component.meta().generation);
        Some(settled.keys.hash_one((self.own, self.children, &self.backends, revisions, is_observed)))
    }
}

/// The [`Compact::content`] of each child; None if there is no such child.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Contents {
    stateful_set: Option<u64>,
    service: Option<u64>,
    autoscaler: Option<u64>,
}

impl Contents {
    /// The contents of the cached children.
    pub(super) fn cached<C: Component>(component: &C, context: &Context) -> Self {
        let (name, namespace) = (component.name_any(), component.namespace().unwrap_or_default());
        let (workload, service) = (names::stateful_set(&name, C::ROLE), names::service(&name, C::ROLE));
        Self {
            stateful_set: content_of(&context.stateful_sets, &workload, &namespace),
            service: content_of(&context.services, &service, &namespace),
            autoscaler: content_of(&context.autoscalers, &workload, &namespace),
        }
    }

    /// Sets the content of a child of this kind.
    pub(super) fn set(&mut self, kind: &str, content: Option<u64>) {
        match kind {
            "StatefulSet" => self.stateful_set = content,
            "Service" => self.service = content,
            "HorizontalPodAutoscaler" => self.autoscaler = content,
            _ => {}
        }
    }

    /// The contents after these were written: the others must be the same before and now.
    fn after(self, written: Self, now: Self) -> Option<Self> {
        let one = |before: Option<u64>, written: Option<u64>, now: Option<u64>| match written {
            Some(written) => Some(Some(written)),
            None => (before == now).then_some(now),
        };
        Some(Self {
            stateful_set: one(self.stateful_set, written.stateful_set, now.stateful_set)?,
            service: one(self.service, written.service, now.service)?,
            autoscaler: one(self.autoscaler, written.autoscaler, now.autoscaler)?,
        })
    }
}

fn content_of<K>(store: &Store<Compact<K>>, name: &str, namespace: &str) -> Option<u64>
where
    Compact<K>: Watched,
{
    store.get(&ObjectRef::new(name).within(namespace)).map(|found| found.content())
}

/// What the last reconcile observed, if its inputs were the same, with the StatefulSet as it is now.
pub(super) async fn recall<C: Component>(
    component: &C,
    inputs: &Inputs,
    context: &Context,
) -> Result<Option<Observation>, Error> {
    let settled = &context.shared.settled;
    let hash = inputs.hash(component, settled);
    let Some(mut observation) = hash.and_then(|hash| settled.find(&super::key(component), hash)) else {
        return Ok(None);
    };
    let name = names::stateful_set(&component.name_any(), C::ROLE);
    let namespace = component.namespace().unwrap_or_default();
    let found = context.stateful_sets.fetch(&name, &namespace).await.map_err(Error::observe)?;
    Ok(found.map(|stateful_set| {
        let Applied { retired_subscriptions, .. } = &mut observation.applied;
        if let Some(retired) = retired_subscriptions {
            *retired = subscription_history::retired(component, &stateful_set);
        }
        observation.applied.stateful_set = stateful_set;
        observation
    }))
}

/// Remembers an observation with the inputs before it and the contents of the written children, None if more than
/// children was written. A child that changed meanwhile, or was an orphan, needs another look.
pub(super) fn record<C: Component>(
    component: &C,
    inputs: Inputs,
    written: Option<Contents>,
    observation: &Observation,
    context: &Context,
) {
    let (key, settled) = (super::key(component), &context.shared.settled);
    let Observation { applied, revisions, .. } = observation;
    let is_ours = is_owned_by(&*applied.stateful_set, component.meta().uid.as_deref().unwrap_or_default());
    let now = Contents::cached(component, context);
    let after = written.and_then(|written| inputs.children.after(written, now));
    let after = after.filter(|after| {
        // Destructured, so that a new child fails to compile until it is here.
        let Contents { stateful_set: _, service, autoscaler } = after;
        let has_all = service.is_some() && autoscaler.is_some() == applied.has_autoscaler;
        is_ours && has_all && applied.adopted.is_empty() && applied.rewritten.len() <= MAX_REWRITTEN
    });
    let hash = after.and_then(|children| Inputs { children, ..inputs }.hash(component, settled));
    let Some(inputs) = hash else {
        settled.forget(&key);
        return;
    };
    // Each field is named, so that none is left out of the record.
    let applied = Applied {
        stateful_set: Arc::clone(&settled.without),
        changes: BTreeMap::new(),
        adopted: Vec::new(),
        immutable_diffs: applied.immutable_diffs.clone(),
        has_autoscaler: applied.has_autoscaler,
        has_vertical_autoscaler: applied.has_vertical_autoscaler,
        sleeps_at_zero: applied.sleeps_at_zero,
        // Read again, since there may be many.
        retired_subscriptions: applied.retired_subscriptions.as_ref().map(|_| Vec::new()),
        rewritten: applied.rewritten.clone(),
        pending: applied.pending.clone(),
        is_paused: applied.is_paused,
        recreate: applied.recreate.as_ref().map(Recreate::without_event),
        rollout: applied.rollout.clone(),
    };
    let observation = Observation::of(applied, revisions.clone());
    settled.lock().insert(key, Settled { inputs, observation: Box::new(observation) });
}

#[cfg(test)]
mod tests {
    use function_mesh_workloads::Workload;

    use super::*;

    fn observation(pending: Option<&str>) -> Observation {
        let mut applied = Applied::of(Arc::default(), Vec::new());
        applied.pending = pending.map(str::to_owned);
        Observation::of(applied, (None, None))
    }

    #[test]
    fn contents_have_each_watched_child() {
        // Vertical autoscalers are not watched.
        for kind in Workload::KINDS.into_iter().filter(|kind| *kind != "VerticalPodAutoscaler") {
            let mut contents = Contents::default();
            contents.set(kind, Some(1));
            assert_ne!(contents, Contents::default(), "{kind}");
        }
    }

    #[test]
    fn observation_is_found_for_the_same_inputs_only() {
        let settled = SettledComponents::default();
        let remembered = Settled { inputs: 7, observation: Box::new(observation(Some("image"))) };
        settled.lock().insert("function/n/f".to_owned(), remembered);
        let pending = |key, inputs| settled.find(key, inputs).map(|found| found.applied.pending);
        assert_eq!(pending("function/n/f", 7), Some(Some("image".to_owned())));
        assert_eq!(pending("function/n/f", 8), None);
        assert_eq!(pending("function/n/g", 7), None);
        settled.forget("function/n/f");
        assert_eq!(pending("function/n/f", 7), None);
    }

    #[test]
    fn contents_are_known_of_written_and_of_unchanged_children() {
        let contents = |stateful_set, service| Contents { stateful_set, service, autoscaler: None };
        let (none, written) = (Contents::default(), contents(Some(1), Some(2)));
        // Not yet in the cache.
        assert_eq!(none.after(written, none), Some(written));
        assert_eq!(written.after(none, written), Some(written));
        assert_eq!(written.after(contents(Some(3), None), written), Some(contents(Some(3), Some(2))));
        // Another client changed or deleted the Service.
        assert_eq!(written.after(contents(Some(3), None), contents(Some(1), Some(4))), None);
        assert_eq!(written.after(contents(Some(3), None), contents(Some(1), None)), None);
    }
}
