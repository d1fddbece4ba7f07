//! Stage four: executes the plan in its order and decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use function_mesh_api::{Component, Spec as _, labels};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::DeleteParams;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::observe::PauseReason;
use super::plan::{DeferredRollout, Plan, SetStep, Step, keep_live};
use super::recreate::Stop;
use super::settled::Contents;
use super::status::Applied;
use super::{Context, finalizer, immutable, recreate, subscription_history};
use crate::error::Error;
use function_mesh_kube::apply::{Applied as Written, Change, Child, ChildApplier};

/// Executes the plan of a component. Returns the children, and the contents of those that were written; None if a write
/// changed something else.
pub(super) async fn apply<C: Component>(
    component: &C,
    plan: Plan,
    context: &Context,
) -> Result<(Applied, Option<Contents>), Error> {
    let namespace = component.namespace().unwrap_or_default();
    let owner = component.uid().unwrap_or_default();
    let children = super::children(context, &namespace, &owner);
    let mut writes = Writes {
        children: &children,
        context,
        changes: BTreeMap::new(),
        adopted: Vec::new(),
        rewritten: Vec::new(),
        contents: Contents::default(),
    };
    let are_contents_known = plan.writes_only_whole_children();
    if let Some(replicas) = plan.seed_replicas {
        let manager = ChildApplier { manager: labels::managers::REPLICAS, ..children };
        manager.apply_fields_of_owner(component, json!({ "spec": { "replicas": replicas } })).await?;
    }
    finalizer::apply(plan.finalizer, component, &children).await?;
    let has_autoscaler = plan.autoscaler.is_present();
    let has_vertical_autoscaler = plan.vertical_autoscaler.is_present();
    writes.step(plan.service).await?;
    let mut stateful_set = writes.stateful_set(component, plan.stateful_set).await?;
    stateful_set.recreate = stateful_set.recreate.or(plan.recreate);
    writes.step(plan.autoscaler).await?;
    writes.step(plan.vertical_autoscaler).await?;
    let Writes { changes, adopted, rewritten, contents, .. } = writes;
    // While they have the last good template, the pods consume what an earlier spec names.
    let retired_subscriptions = stateful_set.retired_subscriptions.filter(|_| !plan.rollout.is_held);
    let sleeps_at_zero =
        component.spec().view().common.may_sleep() && !labels::is_suspended(component.meta());
    let applied = Applied {
        changes,
        has_autoscaler,
        has_vertical_autoscaler,
        sleeps_at_zero,
        adopted,
        rewritten,
        retired_subscriptions,
        rollout: plan.rollout,
        ..stateful_set
    };
    Ok((applied, are_contents_known.then_some(contents)))
}

/// The writes of one reconcile, and their changes.
struct Writes<'a> {
    children: &'a ChildApplier<'a>,
    context: &'a Context,
    changes: BTreeMap<String, Change>,
    adopted: Vec<String>,
    rewritten: Vec<String>,
    contents: Contents,
}

impl Writes<'_> {
    async fn step<K: Child>(&mut self, step: Step<K>) -> Result<(), Error> {
        match step {
            Step::None | Step::Keep(_) => {}
            Step::Adopt { wanted, live } => {
                self.adopt(&*wanted, live).await?;
            }
            Step::Apply { wanted, live } => {
                let applied = self.children.apply(&*wanted, live, |_, _| {}).await?;
                self.note(applied);
            }
            Step::Delete(live) => {
                // The plan deletes only what is ours, or an orphan of ours.
                self.children.delete_with_preconditions(&*live, &DeleteParams::background()).await?;
                self.context.shared.metrics.wrote(&K::kind(&()), "deleted");
            }
        }
        Ok(())
    }

    async fn stateful_set<C: Component>(&mut self, component: &C, step: SetStep) -> Result<Applied, Error> {
        let (wanted, live) = match step {
            SetStep::Apply { wanted, live } => (wanted, live),
            SetStep::Defer(rollout) => return self.defer_rollout(*rollout).await,
            SetStep::Stop(held) => return self.stop(*held).await,
        };
        let live = match live.clone() {
            // That its pods are gone is known of this version of the StatefulSet alone.
            Some(live) if recreate::is_strategy_of(component) => {
                self.children.apply_decided(&*wanted, live, keep_live).await?
            }
            live => self.children.apply(&*wanted, live, keep_live).await?,
        };
        let live = self.note(live);
        let retired_subscriptions = Some(subscription_history::retired(component, &live));
        Ok(Applied { retired_subscriptions, ..Applied::of(live.clone(), immutable::diffs(&wanted, &live)) })
    }

    async fn defer_rollout(&mut self, rollout: DeferredRollout) -> Result<Applied, Error> {
        let DeferredRollout { live, reason, wanted, adopt, scale, record, pending } = rollout;
        let mut live = self.adopt(&wanted, live).await?;
        if let Some(pod_spec_hash) = adopt {
            let manager = ChildApplier { manager: labels::managers::ADOPTION, ..*self.children };
            let note = json!({ "metadata": { "annotations": { labels::POD_SPEC_HASH: pod_spec_hash } } });
            live = Arc::new(manager.apply_fields(&*live, note).await?);
        }
        if let Some(replicas) = scale {
            self.children.scale(&*live, replicas).await?;
            self.count::<StatefulSet>(Change::Updated);
        } else if let Some(record) = record {
            // Not before the replicas have another owner: without them in the write, they would be removed.
            let manager = ChildApplier { manager: labels::managers::RECREATE, ..*self.children };
            let note = json!({ "metadata": { "annotations": { labels::RECREATE: record } } });
            live = Arc::new(manager.apply_fields(&*live, note).await?);
        }
        let immutable_diffs = immutable::diffs(&wanted, &live);
        let is_paused = reason == PauseReason::Rollouts;
        Ok(Applied { pending, is_paused, ..Applied::of(live, immutable_diffs) })
    }

    /// Scales the StatefulSet to zero, or records that its pods are gone, and changes nothing else of it.
    async fn stop(&mut self, stop: Stop) -> Result<Applied, Error> {
        let Stop { live, wanted, part, recreate } = stop;
        let mut live = self.adopt(&wanted, live).await?;
        if let Some(part) = part {
            let manager = ChildApplier { manager: labels::managers::RECREATE, ..*self.children };
            let is_running = live.spec.as_ref().is_some_and(|spec| spec.replicas != Some(0));
            live = Arc::new(manager.apply_fields(&*live, part).await?);
            if is_running {
                self.count::<StatefulSet>(Change::Updated);
            } else {
                self.context.shared.metrics.wrote(&StatefulSet::kind(&()), "updated");
            }
        }
        let immutable_diffs = immutable::diffs(&wanted, &live);
        Ok(Applied { recreate: Some(recreate), ..Applied::of(live, immutable_diffs) })
    }

    /// Takes an orphan back without any other change.
    async fn adopt<K: Child>(&mut self, wanted: &K, live: Arc<K>) -> Result<Arc<K>, Error> {
        let (live, is_adopted) = self.children.adopt(wanted, live).await?;
        if is_adopted {
            self.adopted.push(format!("{} {}", K::kind(&()), live.name_any()));
        }
        Ok(live)
    }

    /// Notes the effects of an apply, and returns the live object.
    fn note<K: Child>(&mut self, applied: Written<K>) -> Arc<K> {
        let Written { live, change, is_adopted, rewritten, content } = applied;
        self.contents.set(&K::kind(&()), content);
        self.count::<K>(change);
        if is_adopted {
            self.adopted.push(format!("{} {}", K::kind(&()), live.name_any()));
        }
        self.rewritten.extend(rewritten.iter().map(|path| format!("{} {path}", K::kind(&()))));
        live
    }

    fn count<K: Child>(&mut self, change: Change) {
        let Some(verb) = change.verb() else { return };
        self.context.shared.metrics.wrote(&K::kind(&()), verb);
        self.changes.insert(K::kind(&()).into_owned(), change);
    }
}
