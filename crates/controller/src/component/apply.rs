//! Stage four: writes the children, in order, and removes what is no longer wanted.

use std::sync::Arc;

use function_mesh_api::validate::Valid;
use function_mesh_api::{Component, labels};
use function_mesh_workloads::difference::differences;
use function_mesh_workloads::{VerticalPodAutoscaler, Workload, names};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::{Resource, ResourceExt};

use super::observe::Observed;
use super::status::Children as Status;
use super::{Context, Error};
use crate::kit::children::{Applied, Change, Child, Children, is_owned_by};

/// Writes the children. The Service comes first, since pods look for their names as they start; autoscalers
/// come last, when there is something to scale.
pub(super) async fn apply<C: Component>(
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
    let kept = match &observed.stateful_set {
        Some(live) if is_owned_by(&**live, &owner) => keep_immutable(&mut stateful_set, live),
        _ => Vec::new(),
    };
    let service = count(context, children.apply(&service, observed.service).await?);
    let held = observed.stateful_set.clone().filter(|live| observed.is_held && is_owned_by(&**live, &owner));
    let stateful_set = match held {
        Some(live) => Applied { live, change: Change::None },
        None => count(context, children.apply(&stateful_set, observed.stateful_set).await?),
    };
    let autoscaler = if let Some(wanted) = autoscaler {
        Some(count(context, children.apply(&wanted, observed.autoscaler).await?))
    } else {
        if let Some(stale) = observed.autoscaler.filter(|live| is_owned_by(&**live, &owner)) {
            children.delete(&*stale).await?;
            context.shared.metrics.wrote("HorizontalPodAutoscaler", "deleted");
        }
        None
    };
    let vertical_autoscaler = vertical(&**component, vertical_autoscaler, &children, context).await?;
    Ok(Status {
        stateful_set: stateful_set.live,
        made: [
            ("StatefulSet", stateful_set.change),
            ("Service", service.change),
            ("HorizontalPodAutoscaler", autoscaler.as_ref().map_or(Change::None, |applied| applied.change)),
            (
                "VerticalPodAutoscaler",
                vertical_autoscaler.as_ref().map_or(Change::None, |applied| applied.change),
            ),
        ]
        .into_iter()
        .filter(|(_, change)| *change != Change::None)
        .collect(),
        has_autoscaler: autoscaler.is_some(),
        has_vertical_autoscaler: vertical_autoscaler.is_some(),
        kept,
    })
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
    context: &Context,
) -> Result<Option<Applied<VerticalPodAutoscaler>>, Error> {
    if let Some(wanted) = wanted {
        return Ok(Some(count(context, children.apply(&wanted, None).await?)));
    }
    let had_one =
        component.status().is_some_and(|status| status.conditions.contains_key("VerticalPodAutoscaler"));
    if had_one {
        let name = names::stateful_set(&component.name_any(), C::ROLE);
        // Without the kind there is no object either: the API server says "not found" to both. Any other
        // fault must not pass for that, or the status would forget an autoscaler that goes on acting.
        if let Some(stale) = children.read::<VerticalPodAutoscaler>(&name).await?
            && is_owned_by(&stale, children.owner)
        {
            children.delete(&stale).await?;
            context.shared.metrics.wrote("VerticalPodAutoscaler", "deleted");
        }
    }
    Ok(None)
}

/// Takes over what Kubernetes does not let anybody change in a StatefulSet that exists, and says which
/// fields would have been different. Pods must still be found by the selector, so its labels go into them.
fn keep_immutable(wanted: &mut StatefulSet, live: &Arc<StatefulSet>) -> Vec<&'static str> {
    let (Some(wanted), Some(live)) = (wanted.spec.as_mut(), live.spec.as_ref()) else { return Vec::new() };
    let mut kept = Vec::new();
    if wanted.selector != live.selector {
        wanted.selector = live.selector.clone();
        let labels = wanted.template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.extend(live.selector.match_labels.clone().unwrap_or_default());
        kept.push("selector");
    }
    if wanted.service_name != live.service_name {
        wanted.service_name.clone_from(&live.service_name);
        kept.push("serviceName");
    }
    if wanted.pod_management_policy != live.pod_management_policy {
        wanted.pod_management_policy.clone_from(&live.pod_management_policy);
        kept.push("podManagementPolicy");
    }
    let (ours, theirs) = (&wanted.volume_claim_templates, &live.volume_claim_templates);
    if !same_claims(ours.as_deref().unwrap_or_default(), theirs.as_deref().unwrap_or_default()) {
        wanted.volume_claim_templates.clone_from(&live.volume_claim_templates);
        kept.push("volumeClaimTemplates");
    }
    kept
}

fn same_claims<K: Resource<DynamicType = ()> + serde::Serialize>(wanted: &[K], live: &[K]) -> bool {
    match (serde_json::to_value(wanted), serde_json::to_value(live)) {
        (Ok(wanted), Ok(live)) => differences(&wanted, &live).is_empty(),
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
        let live = Arc::new(stateful_set(json!({
            "serviceName": "f", "podManagementPolicy": "OrderedReady",
            "selector": { "matchLabels": { "old": "f" } },
            "template": { "metadata": { "labels": { "old": "f" } } },
        })));
        assert_eq!(keep_immutable(&mut wanted, &live), ["selector", "serviceName", "podManagementPolicy"]);
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
        let mut wanted = stateful_set(spec(claim.clone()));
        assert!(keep_immutable(&mut wanted, &Arc::new(stateful_set(spec(completed)))).is_empty());
        let mut other = claim;
        other["spec"]["resources"]["requests"]["storage"] = json!("2Gi");
        assert_eq!(
            keep_immutable(&mut wanted, &Arc::new(stateful_set(spec(other)))),
            ["volumeClaimTemplates"]
        );
    }
}
