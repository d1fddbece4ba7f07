//! Stage three: the plan of writes, as a pure function of what was observed.
//!
//! All decisions about the children of a live component are here: what to seed, defer, adopt, apply and delete.
//! `apply.rs` executes the plan and decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use function_mesh_api::validate::Valid;
use function_mesh_api::{Component, Spec, labels};
use function_mesh_workloads::subscriptions::subscriptions;
use function_mesh_workloads::{VerticalPodAutoscaler, Workload, hold_replicas, is_cleanup_wanted};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use kube::{Resource, ResourceExt};

use super::observe::{Observed, PauseReason};
use super::recreate::{Recreate, Stop};
use super::rollout::AppliedRollout;
use super::{finalizer, immutable, pending_change, recreate, subscription_history};
use function_mesh_kube::apply::{is_orphan_of, is_owned_by};

/// The writes for one component, in this order.
#[derive(Debug)]
pub(super) struct Plan {
    /// Initial replicas for an autoscaler, which is disabled at 0 replicas.
    pub(super) seed_replicas: Option<i32>,
    /// The finalizer comes before the first pod, which creates a subscription.
    pub(super) finalizer: finalizer::Step,
    /// The Service comes before the pods, which resolve its DNS names at start.
    pub(super) service: Step<Service>,
    pub(super) stateful_set: SetStep,
    /// Where a component with `strategy: Recreate` is that is not stopped.
    pub(super) recreate: Option<Recreate>,
    pub(super) autoscaler: Step<HorizontalPodAutoscaler>,
    pub(super) vertical_autoscaler: Step<VerticalPodAutoscaler>,
    /// The rollout that the StatefulSet is of.
    pub(super) rollout: AppliedRollout,
}

/// The write of one child.
#[derive(Debug, PartialEq)]
pub(super) enum Step<K> {
    /// The child is neither wanted nor present.
    None,
    /// Keep the live child: rollouts are paused.
    Keep(Arc<K>),
    /// Take the orphan back and keep it: rollouts are paused.
    Adopt { wanted: Box<K>, live: Arc<K> },
    /// Create or update the child, which adopts an orphan.
    Apply { wanted: Box<K>, live: Option<Arc<K>> },
    /// Delete the child: it is ours, or an orphan of ours, and no longer wanted.
    Delete(Arc<K>),
}

/// The write of the StatefulSet.
#[derive(Debug, PartialEq)]
pub(super) enum SetStep {
    /// Create or update the StatefulSet.
    Apply { wanted: Box<StatefulSet>, live: Option<Arc<StatefulSet>> },
    /// Defer the rollout.
    Defer(Box<DeferredRollout>),
    /// Keep the StatefulSet stopped until its pods can be recreated.
    Stop(Box<Stop>),
}

/// A deferred rollout. Replicas are never deferred.
#[derive(Debug, PartialEq)]
pub(super) struct DeferredRollout {
    pub(super) live: Arc<StatefulSet>,
    pub(super) reason: PauseReason,
    /// The wanted StatefulSet.
    pub(super) wanted: StatefulSet,
    /// The pod spec hash to annotate, if the live StatefulSet has none because upstream's operator created it.
    pub(super) adopt: Option<String>,
    /// The replicas to scale to.
    pub(super) scale: Option<i32>,
    /// The record of `strategy: Recreate` to annotate, if it has changed.
    pub(super) record: Option<String>,
    /// The pending change, for the status.
    pub(super) pending: Option<String>,
}

impl Plan {
    /// Whether it writes nothing but whole children, whose contents are known afterwards.
    pub(super) fn writes_only_whole_children(&self) -> bool {
        let is_part_written = match &self.stateful_set {
            SetStep::Defer(rollout) => {
                rollout.adopt.is_some()
                    || rollout.scale.is_some()
                    || rollout.record.is_some()
                    || recreate::is_starting(&rollout.live)
            }
            // Its next step follows from its pods, which are read each time.
            SetStep::Stop(_) => true,
            SetStep::Apply { wanted, .. } => recreate::is_starting(wanted),
        };
        self.seed_replicas.is_none() && self.finalizer == finalizer::Step::None && !is_part_written
    }
}

impl<K> Step<K> {
    /// Whether the child exists after the plan is executed.
    pub(super) fn is_present(&self) -> bool {
        matches!(self, Self::Keep(_) | Self::Adopt { .. } | Self::Apply { .. })
    }
}

/// Decides what to write. `given` is the component as written by its author, `component` the same with defaults.
pub(super) fn plan<C: Component>(
    given: &C,
    component: &Valid<C>,
    rendered: Workload,
    observed: &Observed,
) -> Plan {
    let Workload { mut stateful_set, service, mut autoscaler, vertical_autoscaler } = rendered;
    let owner = component.uid().unwrap_or_default();
    let annotations = stateful_set.metadata.annotations.get_or_insert_default();
    annotations.insert(labels::POD_SPEC_HASH.to_owned(), observed.pod_spec_hash.clone());
    let function_uid = observed.function_uid.as_ref().unwrap_or(&owner);
    annotations.insert(labels::FUNCTION_UID.to_owned(), function_uid.clone());
    // Without a StatefulSet, the status has the retired subscriptions.
    let before = component.status().filter(|_| observed.stateful_set.is_none());
    let before = before.map(|status| status.retired_subscriptions.as_slice()).unwrap_or_default();
    subscription_history::write(&mut stateful_set, &subscriptions(&**component), before);
    let mut rollout = observed.rollout.write(&mut stateful_set);
    if let Some(autoscaler) = autoscaler.as_mut().filter(|_| observed.rollout.holds_replicas()) {
        hold_replicas(autoscaler);
    }
    let is_paused = observed.pause == Some(PauseReason::Rollouts);
    let labels = stateful_set.metadata.labels.clone().unwrap_or_default();
    let claim = Claim { owner: &owner, labels: &labels, is_paused };
    let (stateful_set, recreate) = recreate::step(stateful_set, observed);
    if let SetStep::Defer(deferred) = &stateful_set
        && deferred.pending.is_some()
    {
        rollout = rollout.deferred();
    }
    Plan {
        seed_replicas: seed_replicas(&**component, given),
        finalizer: finalizer::step(component.meta(), is_cleanup_wanted(component)),
        service: claim.step(Some(service), observed.service.clone()),
        stateful_set,
        recreate,
        autoscaler: claim.step(autoscaler, observed.autoscaler.clone()),
        vertical_autoscaler: claim.step(vertical_autoscaler, observed.vertical_autoscaler.clone()),
        rollout,
    }
}

/// An autoscaler treats missing replicas as 0, at which it is disabled.
fn seed_replicas<C: Component>(complete: &C, given: &C) -> Option<i32> {
    let (complete, common) = (complete.spec().view().common, given.spec().view().common);
    (common.is_autoscaled() && common.replicas.is_none()).then_some(complete.replicas).flatten()
}

/// What makes a live child ours.
struct Claim<'a> {
    owner: &'a str,
    labels: &'a BTreeMap<String, String>,
    is_paused: bool,
}

impl Claim<'_> {
    fn step<K: Resource>(&self, wanted: Option<K>, live: Option<Arc<K>>) -> Step<K> {
        let is_ours = live.as_deref().is_some_and(|live| is_owned_by(live, self.owner));
        let is_orphan = live.as_deref().is_some_and(|live| is_orphan_of(live, self.labels));
        match (wanted, live) {
            (Some(_), Some(live)) if self.is_paused && is_ours => Step::Keep(live),
            (Some(wanted), Some(live)) if self.is_paused && is_orphan => {
                Step::Adopt { wanted: Box::new(wanted), live }
            }
            (Some(wanted), live) => Step::Apply { wanted: Box::new(wanted), live },
            (None, Some(live)) if is_ours || is_orphan => Step::Delete(live),
            (None, _) => Step::None,
        }
    }
}

/// The write of a StatefulSet that is not stopped.
pub(super) fn set_step(wanted: StatefulSet, observed: &Observed) -> SetStep {
    let live = observed.stateful_set.clone();
    let (Some(reason), Some(live)) = (observed.pause, live.clone()) else {
        return SetStep::Apply { wanted: Box::new(wanted), live };
    };
    let hash = labels::annotation(&wanted.metadata, labels::POD_SPEC_HASH);
    let has_no_hash = labels::annotation(&live.metadata, labels::POD_SPEC_HASH).is_none();
    let adopt = hash.filter(|_| has_no_hash).map(str::to_owned);
    let replicas = |set: &StatefulSet| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let scale = Some(replicas(&wanted)).filter(|wanted| *wanted != replicas(&live));
    let mut kept = wanted.clone();
    immutable::keep(&mut kept, &live);
    let pending = pending_change::describe(&kept, &live);
    let record = |set: &StatefulSet| labels::annotation(&set.metadata, labels::RECREATE).map(str::to_owned);
    let record = record(&wanted).filter(|wanted| Some(wanted) != record(&live).as_ref());
    SetStep::Defer(Box::new(DeferredRollout { live, reason, wanted, adopt, scale, record, pending }))
}

/// Copies from the live StatefulSet what a write must keep: the immutable fields, and the subscriptions of earlier pods.
/// It runs on the object that the write replaces, which may be newer than the cache.
pub(super) fn keep_live(wanted: &mut StatefulSet, live: &StatefulSet) {
    immutable::keep(wanted, live);
    subscription_history::carry_over(wanted, live);
}

#[cfg(test)]
mod tests {
    use function_mesh_api::Function;
    use function_mesh_api::validate::valid_component;
    use function_mesh_testkit::fixtures;
    use function_mesh_workloads::{Backends, Settings, render};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::{Value, json};

    use super::*;
    use crate::component::pod_spec_hash;
    use crate::component::rollout::ObservedRollout;
    use crate::context::ResolvedBackendConfigs;

    fn function(change: &Value) -> Function {
        let mut function = Function::with_spec("f", fixtures::java_function("f"));
        function.metadata.uid = Some("uid".to_owned());
        let mut spec = serde_json::to_value(&function.spec).expect("JSON");
        for (field, value) in change.as_object().expect("fields") {
            spec[field] = value.clone();
        }
        function.spec = serde_json::from_value(spec).expect("a spec");
        function
    }

    fn rendered(function: &Function) -> (Valid<Function>, Workload) {
        let valid = valid_component(function.clone()).expect("a valid function");
        let workload = render(&valid, Backends::default(), &Settings::default());
        (valid, workload)
    }

    fn observed(function: &Function) -> Observed {
        Observed {
            stateful_set: None,
            service: None,
            autoscaler: None,
            vertical_autoscaler: None,
            previous_jobs: Vec::new(),
            previous_pods: Vec::new(),
            backends: ResolvedBackendConfigs::default(),
            pause: None,
            recreate: None,
            pod_spec_hash: pod_spec_hash::hash(function),
            function_uid: None,
            revisions: (None, None),
            rollout: ObservedRollout::default(),
        }
    }

    fn planned(function: &Function, observed: &Observed) -> Plan {
        let (valid, workload) = rendered(function);
        plan(function, &valid, workload, observed)
    }

    /// The state of the cluster after the plan of this function was executed.
    fn written(function: &Function) -> Observed {
        let Plan { service, stateful_set, autoscaler, .. } = planned(function, &observed(function));
        let SetStep::Apply { wanted, .. } = stateful_set else { panic!("no apply") };
        let live = |step| match step {
            Step::Apply { wanted, .. } => Some(Arc::new(*wanted)),
            _ => None,
        };
        let autoscaler = match autoscaler {
            Step::Apply { wanted, .. } => Some(Arc::new(*wanted)),
            _ => None,
        };
        Observed {
            stateful_set: Some(Arc::new(*wanted)),
            service: live(service),
            autoscaler,
            ..observed(function)
        }
    }

    #[test]
    fn seeds_replicas_for_an_autoscaler_without_replicas() {
        for (change, expected) in [
            (json!({}), None),
            (json!({ "replicas": 2 }), None),
            (json!({ "maxReplicas": 5 }), Some(1)),
            (json!({ "minReplicas": 2, "maxReplicas": 5 }), Some(2)),
            (json!({ "replicas": 3, "maxReplicas": 5 }), None),
        ] {
            let function = function(&change);
            assert_eq!(planned(&function, &observed(&function)).seed_replicas, expected, "{change}");
        }
    }

    #[test]
    fn creates_all_children_of_a_new_component() {
        for (change, scaled) in [
            (json!({}), [false, false]),
            (json!({ "maxReplicas": 5 }), [true, false]),
            (json!({ "pod": { "vpa": {} } }), [false, true]),
        ] {
            let function = function(&change);
            let plan = planned(&function, &observed(&function));
            assert!(matches!(plan.service, Step::Apply { live: None, .. }), "{change}");
            assert!(matches!(plan.stateful_set, SetStep::Apply { live: None, .. }), "{change}");
            let found = [plan.autoscaler.is_present(), plan.vertical_autoscaler.is_present()];
            assert_eq!(found, scaled, "{change}");
            assert_eq!(plan.finalizer, finalizer::Step::None, "{change}");
        }
    }

    #[test]
    fn deletes_own_but_not_foreign_autoscalers() {
        let before = written(&function(&json!({ "maxReplicas": 5 })));
        let now = function(&json!({}));
        assert!(matches!(planned(&now, &before).autoscaler, Step::Delete(_)));
        let mut foreign = before;
        if let Some(autoscaler) = &mut foreign.autoscaler {
            Arc::make_mut(autoscaler).metadata.owner_references = None;
        }
        assert_eq!(planned(&now, &foreign).autoscaler, Step::None);
        // An orphan with our mark.
        if let Some(autoscaler) = &mut foreign.autoscaler {
            mark(&mut Arc::make_mut(autoscaler).metadata);
        }
        assert!(matches!(planned(&now, &foreign).autoscaler, Step::Delete(_)));
    }

    fn mark(metadata: &mut ObjectMeta) {
        metadata.owner_references = None;
        let hash = "0123456789abcdef".repeat(2);
        metadata.annotations.get_or_insert_default().insert(labels::APPLIED_HASH.to_owned(), hash);
    }

    #[test]
    fn adopts_orphans_while_paused_and_keeps_them() {
        let function = function(&json!({}));
        let mut before = written(&function);
        before.pause = Some(PauseReason::Rollouts);
        if let Some(service) = &mut before.service {
            mark(&mut Arc::make_mut(service).metadata);
        }
        assert!(matches!(planned(&function, &before).service, Step::Adopt { .. }));
        before.pause = None;
        assert!(matches!(planned(&function, &before).service, Step::Apply { live: Some(_), .. }));
    }

    #[test]
    fn defers_rollouts_but_not_scaling() {
        let mut before = written(&function(&json!({})));
        let now = function(&json!({ "replicas": 4, "image": "new" }));
        for reason in [PauseReason::Rollouts, PauseReason::BackendConfig] {
            before.pause = Some(reason);
            let plan = planned(&now, &before);
            let SetStep::Defer(deferred) = plan.stateful_set else { panic!("{reason:?}: not deferred") };
            assert_eq!((deferred.reason, deferred.scale, deferred.adopt), (reason, Some(4), None));
            assert!(deferred.pending.expect("a change").contains("image"), "{reason:?}");
            // Only a pause of rollouts keeps the other children too.
            assert_eq!(matches!(plan.service, Step::Keep(_)), reason == PauseReason::Rollouts);
        }
    }

    #[test]
    fn adopts_a_stateful_set_without_hash_while_paused() {
        let function = function(&json!({}));
        let mut before = written(&function);
        before.pause = Some(PauseReason::Rollouts);
        if let Some(set) = &mut before.stateful_set {
            Arc::make_mut(set).metadata.annotations = None;
        }
        let SetStep::Defer(deferred) = planned(&function, &before).stateful_set else {
            panic!("not deferred")
        };
        assert_eq!(deferred.adopt, Some(before.pod_spec_hash.clone()));
        assert_eq!((deferred.scale, deferred.pending), (None, None));
    }

    #[test]
    fn creates_missing_children_while_paused() {
        let function = function(&json!({}));
        let mut before = written(&function);
        before.pause = Some(PauseReason::Rollouts);
        (before.service, before.stateful_set) = (None, None);
        let plan = planned(&function, &before);
        assert!(matches!(plan.service, Step::Apply { live: None, .. }));
        assert!(matches!(plan.stateful_set, SetStep::Apply { live: None, .. }));
    }
}
