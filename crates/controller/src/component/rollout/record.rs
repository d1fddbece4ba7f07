//! What is recorded of a rollout in an annotation of the StatefulSet, the good template that replaces a failed one, and the
//! partition of a canary.
//!
//! The StatefulSet controller keeps templates as ControllerRevisions. They live as long as the StatefulSet and the record.

use function_mesh_api::types::{Rollout, RolloutState};
use function_mesh_api::{Component, Spec as _, labels};
use function_mesh_kube::apply::{ChildApplier, hash, is_owned_by};
use function_mesh_rollout::{Policy, Record, Undo, canary};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::ResourceExt;
use serde::Deserialize;
use serde_json::json;

use super::canary::{before, consumes, write_partition};
use crate::component::Context;
use crate::component::pod_counts::Pods;
use crate::context::ResolvedBackendConfigs;
use crate::error::Error;

/// What is observed of a rollout before it is planned.
#[derive(Debug, Default)]
pub(in crate::component) struct ObservedRollout {
    /// Identity of the wanted template.
    pub(in crate::component) tried: String,
    /// What must be recorded; None if the policy does not roll back.
    pub(in crate::component) record: Option<Record>,
    /// The template that the pods get instead of the wanted one.
    pub(in crate::component) good: Option<Box<PodTemplateSpec>>,
    /// The steps of a canary, if the policy has one.
    pub(in crate::component) canary: Option<canary::Plan>,
    /// See [`AppliedRollout::has_failed`].
    pub(in crate::component) has_failed: bool,
}

/// What a decision of this reconcile changes in the plan.
#[derive(Debug)]
pub(in crate::component) struct Decided {
    /// What must be recorded, if that changes.
    pub(in crate::component) record: Option<Record>,
    /// See [`AppliedRollout::has_failed`].
    pub(in crate::component) has_failed: bool,
}

/// The rollout as it was applied.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AppliedRollout {
    /// Identity of the wanted template.
    pub tried: String,
    /// What is recorded.
    pub record: Option<Record>,
    /// Whether the pods have the last good template instead.
    pub is_held: bool,
    /// Whether an autoscaler leaves the replicas as they are, since the rollout has failed and its pods stay: more replicas
    /// would be more pods that fail.
    pub has_failed: bool,
}

impl AppliedRollout {
    /// The same while the StatefulSet is not written.
    pub(in crate::component) fn deferred(self) -> Self {
        Self { record: None, is_held: false, ..self }
    }
}

impl ObservedRollout {
    /// Whether an autoscaler leaves the replicas as they are: the rollout has failed, or pods of two versions are compared,
    /// and another number of pods would change what is compared.
    pub(in crate::component) fn holds_replicas(&self) -> bool {
        let canary = self.record.as_ref().and_then(|record| record.canary.as_ref());
        let is_compared =
            self.canary.is_some() && self.good.is_none() && canary.is_some_and(canary::Record::is_partial);
        is_compared || self.has_failed
    }

    /// Writes it into the wanted StatefulSet.
    pub(in crate::component) fn write(&self, wanted: &mut StatefulSet) -> AppliedRollout {
        if let Some(record) = &self.record
            && let Ok(text) = serde_json::to_string(record)
        {
            wanted.metadata.annotations.get_or_insert_default().insert(labels::ROLLOUT.to_owned(), text);
        }
        if let (Some(good), Some(spec)) = (&self.good, &mut wanted.spec) {
            spec.template.clone_from(good);
        } else if let (Some(plan), Some(record)) = (&self.canary, &self.record)
            && let Some(canary) = &record.canary
        {
            write_partition(wanted, canary, plan);
        }
        AppliedRollout {
            tried: self.tried.clone(),
            record: self.record.clone(),
            is_held: self.good.is_some(),
            has_failed: self.has_failed,
        }
    }
}

/// Observes the rollout of a component. `decided` is what a decision of this reconcile changes.
pub(in crate::component) async fn observe<C: Component>(
    component: &C,
    live: Option<&StatefulSet>,
    (pod_spec_hash, backends): (&str, &ResolvedBackendConfigs),
    decided: Option<Decided>,
    children: &ChildApplier<'_>,
    context: &Context,
) -> Result<ObservedRollout, Error> {
    let rollout = component.spec().view().common.rollout;
    let (policy, canary) = (Policy::of(rollout), canary::Plan::of(rollout));
    let undo = labels::annotation(component.meta(), labels::UNDO_ROLLOUT);
    let undo = undo.and_then(|text| text.parse::<Undo>().ok());
    let has_failed = match &decided {
        Some(decided) => decided.has_failed,
        None => live.is_some_and(|live| had_failed(component, live, pod_spec_hash)),
    };
    if !policy.rolls_back && undo.is_none() && canary.is_none() {
        return Ok(ObservedRollout {
            tried: pod_spec_hash.to_owned(),
            has_failed,
            ..ObservedRollout::default()
        });
    }
    let tried = identity(pod_spec_hash, backends);
    let mut record = decided.and_then(|it| it.record).or_else(|| live.and_then(recorded)).unwrap_or_default();
    let now = Timestamp::now();
    let is_tried = record.tried == tried || record == Record::default();
    let generation = component.meta().generation.unwrap_or_default();
    let annotation = |key| labels::annotation(component.meta(), key);
    let group = annotation(labels::MESH_GENERATION);
    let is_new = record.tried != tried;
    // The first record may be of pods that run already.
    let is_change = is_new && live.is_some() && (!record.tried.is_empty() || !has_spec(live, pod_spec_hash));
    record.try_template(&tried, group, now);
    if canary.is_none() {
        (record.canary, record.consumes) = (None, None);
    } else if is_new || record.consumes.is_none() {
        let before = live.map(|live| before(component, live, context)).unwrap_or_default();
        record.begin_canary(is_change, before, consumes(component), now);
    }
    let had_failure = record.failed.is_some();
    let applied = live.filter(|live| is_tried && is_applied(live, pod_spec_hash)).and_then(revision);
    record.undo(undo.as_ref(), applied, generation, now);
    record.follow(annotation(labels::ROLL_BACK), group, applied, generation, now);
    if let Some(canary) = record.canary.as_mut().filter(|_| had_failure && record.failed.is_none()) {
        // What was undone is tried again.
        canary.restart(now);
    }
    if let Some(revision) = annotation(labels::PROMOTE_CANARY)
        && !context.shared.is_paused(component.meta())
    {
        record.promote(revision, applied);
    }
    let mut good = None;
    if let (Some(failed), Some(live)) = (record.holds(&tried, &policy).cloned(), live) {
        good = template(&failed.to, live, children).await?;
        if good.is_none() {
            // Nothing good is left: the wanted template stays, and its failure is reported.
            (record.good, record.failed) = (None, None);
        }
    }
    Ok(ObservedRollout { tried, record: Some(record), good: good.map(Box::new), canary, has_failed })
}

/// Whether a failure stops the autoscaler of a component. A policy that recommends stops nothing.
pub(super) fn stops_autoscaler<C: Component>(component: &C) -> bool {
    let common = component.spec().view().common;
    common.is_autoscaled() && common.rollout.is_some_and(Rollout::is_automatic)
}

/// Whether the last reconcile stopped the autoscaler for the template that the StatefulSet has.
fn had_failed<C: Component>(component: &C, live: &StatefulSet, pod_spec_hash: &str) -> bool {
    let status = component.status().and_then(|status| status.rollout.as_ref());
    let failed = status.filter(|it| it.state == RolloutState::Failed);
    stops_autoscaler(component)
        && has_spec(Some(live), pod_spec_hash)
        && failed.is_some_and(|it| it.failed_revision.as_deref() == revision(live))
}

/// The record in a StatefulSet. One that cannot be read is absent.
fn recorded(live: &StatefulSet) -> Option<Record> {
    serde_json::from_str(labels::annotation(&live.metadata, labels::ROLLOUT)?).ok()
}

/// Whether a StatefulSet has the template of the spec, and its controller has observed it.
fn is_applied(live: &StatefulSet, pod_spec_hash: &str) -> bool {
    has_spec(Some(live), pod_spec_hash) && Pods::of(live).is_current
}

/// Whether a StatefulSet was rendered from the spec.
fn has_spec(live: Option<&StatefulSet>, pod_spec_hash: &str) -> bool {
    live.is_some_and(|live| labels::annotation(&live.metadata, labels::POD_SPEC_HASH) == Some(pod_spec_hash))
}

fn revision(live: &StatefulSet) -> Option<&str> {
    live.status.as_ref()?.update_revision.as_deref()
}

/// What a template is made of, apart from the operator: a new release of it does not try a failed spec again.
fn identity(pod_spec_hash: &str, backends: &ResolvedBackendConfigs) -> String {
    let backends = backends.as_backends();
    let parts = [backends.global, backends.namespaced].map(|it| it.map(|it| (&it.spec.env, &it.spec.pod)));
    if parts == [None, None] { pod_spec_hash.to_owned() } else { hash(&json!([pod_spec_hash, parts])) }
}

/// The template of a revision. None if it no longer exists, or if it is not one of this StatefulSet.
async fn template(
    revision: &str,
    live: &StatefulSet,
    children: &ChildApplier<'_>,
) -> Result<Option<PodTemplateSpec>, Error> {
    let found = children.read::<ControllerRevision>(revision).await?;
    let owner = live.uid().unwrap_or_default();
    Ok(found.filter(|found| is_owned_by(found, &owner)).as_ref().and_then(template_of))
}

fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    #[derive(Deserialize)]
    struct Data {
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Spec {
        template: PodTemplateSpec,
    }
    let data = revision.data.as_ref()?;
    Data::deserialize(&data.0).ok().map(|data| data.spec.template)
}

#[cfg(test)]
mod tests {
    use serde_json::from_value;

    use super::*;

    #[test]
    fn a_template_is_read_from_a_revision() {
        let template =
            json!({ "$patch": "replace", "spec": { "containers": [{ "name": "c", "image": "i" }] } });
        let revision = json!({ "metadata": { "name": "f-1" }, "revision": 1, "data": { "spec": { "template": template } } });
        let found = template_of(&from_value(revision).expect("a revision")).expect("a template");
        assert_eq!(found.spec.expect("a spec").containers[0].image.as_deref(), Some("i"));
        for data in [json!(null), json!({}), json!({ "spec": { "template": 3 } })] {
            let revision = json!({ "metadata": { "name": "f-1" }, "revision": 1, "data": data });
            assert_eq!(template_of(&from_value(revision).expect("a revision")), None);
        }
    }

    #[test]
    fn an_unreadable_record_is_absent() {
        let set = |text: &str| StatefulSet {
            metadata: kube::core::ObjectMeta {
                annotations: Some([(labels::ROLLOUT.to_owned(), text.to_owned())].into()),
                ..Default::default()
            },
            ..StatefulSet::default()
        };
        for text in ["", "3", "{\"tried\":3}", "null"] {
            assert_eq!(recorded(&set(text)), None, "{text}");
        }
        let record = Record { tried: "t".to_owned(), good: Some("f-1".to_owned()), ..Record::default() };
        assert_eq!(recorded(&set(&serde_json::to_string(&record).expect("JSON"))), Some(record));
    }
}
