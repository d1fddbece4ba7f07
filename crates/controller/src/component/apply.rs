//! Stage four: writes the children, in order, and removes what is no longer wanted.

use std::sync::Arc;

use function_mesh_api::validate::Valid;
use function_mesh_api::{Component, Spec, labels};
use function_mesh_workloads::diff::differences_of;
use function_mesh_workloads::subscriptions::subscriptions;
use function_mesh_workloads::{VerticalPodAutoscaler, Workload, is_cleanup_wanted, names};
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::observe::{Hold, Observed};
use super::status::Children as Status;
use super::{Context, Error, finalizer, pending, subscribed};
use crate::kit::children::{Applied, Change, Child, Children, is_owned_by};

/// Writes the children. The Service comes first, since pods look for their names as they start; autoscalers
/// come last, when there is something to scale.
pub(super) async fn apply<C: Component>(
    given: &C,
    component: &Valid<C>,
    wanted: Workload,
    observed: Observed,
    context: &Context,
) -> Result<Status, Error> {
    let Workload { mut stateful_set, service, autoscaler, vertical_autoscaler } = wanted;
    let namespace = component.namespace().unwrap_or_default();
    let owner = component.uid().unwrap_or_default();
    let children = Children {
        client: &context.shared.client,
        namespace: &namespace,
        owner: &owner,
        manager: labels::managers::WORKLOAD,
    };
    give_first_number(&**component, given, &children).await?;
    finalizer::align(&**component, is_cleanup_wanted(component), &children, context).await?;
    let annotations = stateful_set.metadata.annotations.get_or_insert_default();
    annotations.insert(labels::POD_SPEC_HASH.to_owned(), observed.digest);
    // Where there is no StatefulSet that remembers them, the status may.
    let before = component.status().filter(|_| observed.stateful_set.is_none());
    let before = before.map(|status| status.retired_subscriptions.as_slice()).unwrap_or_default();
    subscribed::write(&mut stateful_set, &subscriptions(&**component), before);

    let is_paused = observed.hold == Some(Hold::Paused);
    let service = place(&children, &service, observed.service, is_paused, context).await?;
    let held = observed.stateful_set.clone().filter(|_| observed.hold.is_some());
    let (set, pending) = if let Some(live) = held {
        hold(&children, &stateful_set, live, context).await?
    } else {
        let adjust = |wanted: &mut StatefulSet, live: &StatefulSet| {
            keep_immutable(wanted, live);
            subscribed::carry_over(wanted, live);
        };
        let applied = children.apply(&stateful_set, observed.stateful_set, adjust).await?;
        (count(context, applied), None)
    };
    let autoscaler = if let Some(wanted) = autoscaler {
        Some(place(&children, &wanted, observed.autoscaler, is_paused, context).await?)
    } else {
        if let Some(stale) = observed.autoscaler.filter(|live| is_owned_by(&**live, &owner)) {
            children.delete(&*stale).await?;
            context.shared.metrics.wrote("HorizontalPodAutoscaler", "deleted");
        }
        None
    };
    let vertical = vertical(&**component, vertical_autoscaler, &children, is_paused, context).await?;
    let change = |change: Option<Change>| change.unwrap_or(Change::None);
    let changes = [
        ("StatefulSet", set.change),
        ("Service", service.change),
        ("HorizontalPodAutoscaler", change(autoscaler.as_ref().map(|applied| applied.change))),
        ("VerticalPodAutoscaler", change(vertical)),
    ];
    Ok(Status {
        kept: fixed(&stateful_set, &set.live),
        // What is held back is not rolled out: the pods still read what they did.
        retired: observed.hold.is_none().then(|| subscribed::retired(&**component, &set.live)),
        stateful_set: set.live,
        made: changes.into_iter().filter(|(_, change)| *change != Change::None).collect(),
        has_autoscaler: autoscaler.is_some(),
        has_vertical_autoscaler: vertical.is_some(),
        pending,
        is_paused,
    })
}

/// An autoscaler takes a missing number of replicas for zero, which means that it is switched off. So it gets a
/// number to start from, where no webhook has filled one in.
async fn give_first_number<C: Component>(
    complete: &C,
    given: &C,
    children: &Children<'_>,
) -> Result<(), Error> {
    let (complete, common) = (complete.spec().view().common, given.spec().view().common);
    if common.max_replicas.is_some() && common.replicas.is_none() {
        let starter = Children { manager: labels::managers::REPLICAS, ..*children };
        let part = json!({ "spec": { "replicas": complete.replicas } });
        starter.apply_part_of_owner(given, part).await?;
    }
    Ok(())
}

/// Writes a child; while rollouts are paused, only one that is missing.
async fn place<K: Child>(
    children: &Children<'_>,
    wanted: &K,
    cached: Option<Arc<K>>,
    is_paused: bool,
    context: &Context,
) -> Result<Applied<K>, Error> {
    match cached {
        Some(live) if is_paused && is_owned_by(&*live, children.owner) => {
            Ok(Applied { live, change: Change::None })
        }
        cached => Ok(count(context, children.apply(wanted, cached, |_, _| {}).await?)),
    }
}

/// Leaves the pods as they are, and says what would change. How many there are is never held back.
async fn hold(
    children: &Children<'_>,
    wanted: &StatefulSet,
    live: Arc<StatefulSet>,
    context: &Context,
) -> Result<(Applied<StatefulSet>, Option<String>), Error> {
    let live = adopt(children, wanted, live).await?;
    let mut adjusted = wanted.clone();
    keep_immutable(&mut adjusted, &live);
    let pending = pending::change(&adjusted, &live);
    let replicas = |set: &StatefulSet| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let mut change = Change::None;
    if replicas(wanted) != replicas(&live) {
        children.scale(&*live, replicas(wanted)).await?;
        change = Change::Updated;
    }
    Ok((count(context, Applied { live, change }), pending))
}

/// Notes on a StatefulSet that another operator made which specification that counts as made from, so that the next
/// change of the component is seen as one.
async fn adopt(
    children: &Children<'_>,
    wanted: &StatefulSet,
    live: Arc<StatefulSet>,
) -> Result<Arc<StatefulSet>, Error> {
    let Some(digest) = labels::annotation(&wanted.metadata, labels::POD_SPEC_HASH) else { return Ok(live) };
    if labels::annotation(&live.metadata, labels::POD_SPEC_HASH).is_some() {
        return Ok(live);
    }
    let adoption = Children { manager: labels::managers::ADOPTION, ..*children };
    let note = json!({ "metadata": { "annotations": { labels::POD_SPEC_HASH: digest } } });
    Ok(Arc::new(adoption.apply_part(&*live, note).await?))
}

fn count<K: Child>(context: &Context, applied: Applied<K>) -> Applied<K> {
    let change = match applied.change {
        Change::None => return applied,
        Change::Created => "created",
        Change::Updated => "updated",
    };
    context.shared.metrics.wrote(&K::kind(&()), change);
    applied
}

/// Vertical autoscalers are rare and their kind may come and go, so they are not watched: one is asked for
/// where it is wanted, or where the status says that there was one.
async fn vertical<C: Component>(
    component: &C,
    wanted: Option<VerticalPodAutoscaler>,
    children: &Children<'_>,
    is_paused: bool,
    context: &Context,
) -> Result<Option<Change>, Error> {
    let name = names::stateful_set(&component.name_any(), C::ROLE);
    if let Some(wanted) = wanted {
        let live = children.read(&name).await?.map(Arc::new);
        return Ok(Some(place(children, &wanted, live, is_paused, context).await?.change));
    }
    let had_one =
        component.status().is_some_and(|status| status.conditions.contains_key("VerticalPodAutoscaler"));
    // Without the kind there is no object either: the API server says "not found" to both. Any other
    // fault must not pass for that, or the status would forget an autoscaler that goes on acting.
    if had_one
        && let Some(stale) = children.read::<VerticalPodAutoscaler>(&name).await?
        && is_owned_by(&stale, children.owner)
    {
        children.delete(&stale).await?;
        context.shared.metrics.wrote("VerticalPodAutoscaler", "deleted");
    }
    Ok(None)
}

/// Takes over what Kubernetes does not let anybody change in a StatefulSet that exists. Pods must still be found
/// by the selector, so its labels go into them.
fn keep_immutable(wanted: &mut StatefulSet, live: &StatefulSet) {
    let fixed = fixed(wanted, live);
    let (Some(wanted), Some(live)) = (wanted.spec.as_mut(), live.spec.as_ref()) else { return };
    for field in fixed {
        match field {
            "selector" => {
                wanted.selector = live.selector.clone();
                let labels = wanted.template.metadata.get_or_insert_default().labels.get_or_insert_default();
                labels.extend(live.selector.match_labels.clone().unwrap_or_default());
            }
            "serviceName" => wanted.service_name.clone_from(&live.service_name),
            "podManagementPolicy" => wanted.pod_management_policy.clone_from(&live.pod_management_policy),
            _ => wanted.volume_claim_templates.clone_from(&live.volume_claim_templates),
        }
    }
}

/// The fields of a StatefulSet that cannot be changed, and would have to be.
fn fixed(wanted: &StatefulSet, live: &StatefulSet) -> Vec<&'static str> {
    let (Some(wanted), Some(live)) = (wanted.spec.as_ref(), live.spec.as_ref()) else { return Vec::new() };
    let claims = |spec: &StatefulSetSpec| spec.volume_claim_templates.clone().unwrap_or_default();
    let differs = [
        ("selector", wanted.selector != live.selector),
        ("serviceName", wanted.service_name != live.service_name),
        ("podManagementPolicy", wanted.pod_management_policy != live.pod_management_policy),
        ("volumeClaimTemplates", !same_claims(&claims(wanted), &claims(live))),
    ];
    differs.into_iter().filter_map(|(field, differs)| differs.then_some(field)).collect()
}

fn same_claims<K: Resource<DynamicType = ()> + serde::Serialize>(wanted: &[K], live: &[K]) -> bool {
    match (serde_json::to_value(wanted), serde_json::to_value(live)) {
        (Ok(wanted), Ok(live)) => differences_of("PersistentVolumeClaim", &wanted, &live).is_empty(),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "fixtures read better so")]
mod tests {
    use serde_json::json;

    use super::*;

    fn stateful_set(spec: serde_json::Value) -> StatefulSet {
        serde_json::from_value(json!({ "metadata": { "name": "f-function" }, "spec": spec }))
            .expect("a StatefulSet")
    }

    #[test]
    fn what_cannot_change_is_kept_and_told() {
        let mut wanted = stateful_set(json!({
            "serviceName": "f-function-headless", "podManagementPolicy": "Parallel",
            "selector": { "matchLabels": { "name": "f" } },
            "template": { "metadata": { "labels": { "name": "f" } } },
        }));
        let live = stateful_set(json!({
            "serviceName": "f", "podManagementPolicy": "OrderedReady",
            "selector": { "matchLabels": { "old": "f" } },
            "template": { "metadata": { "labels": { "old": "f" } } },
        }));
        assert_eq!(fixed(&wanted, &live), ["selector", "serviceName", "podManagementPolicy"]);
        keep_immutable(&mut wanted, &live);
        let spec = wanted.spec.expect("a spec");
        assert_eq!(spec.selector.match_labels, live.spec.as_ref().expect("a spec").selector.match_labels);
        let labels = spec.template.metadata.and_then(|meta| meta.labels).expect("labels");
        assert_eq!(labels.into_keys().collect::<Vec<_>>(), ["name", "old"]);
        assert_eq!(spec.service_name.as_deref(), Some("f"));
    }

    #[test]
    fn claims_that_the_api_server_completed_are_the_same() {
        let claim = json!({ "metadata": { "name": "data" }, "spec": { "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "1Gi" } } } });
        let mut completed = claim.clone();
        completed["status"] = json!({ "phase": "Pending" });
        completed["spec"]["volumeMode"] = json!("Filesystem");
        let spec = |claim: serde_json::Value| json!({ "selector": {}, "template": {}, "volumeClaimTemplates": [claim] });
        let wanted = stateful_set(spec(claim.clone()));
        assert_eq!(fixed(&wanted, &stateful_set(spec(completed))), [""; 0]);
        let mut other = claim;
        other["spec"]["resources"]["requests"]["storage"] = json!("2Gi");
        assert_eq!(fixed(&wanted, &stateful_set(spec(other))), ["volumeClaimTemplates"]);
    }
}
