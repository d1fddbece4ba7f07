//! Who owns the replicas of a mesh's component: the mesh, an autoscaler, or a person.

use function_mesh_api::component::Common;
use function_mesh_api::{Component, Spec, bounded_replicas, labels};
use function_mesh_kube::apply::{ChildApplier, ChildError};
use serde_json::json;

/// What happens to the replicas before the mesh writes a component.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Transfer {
    /// Nothing.
    None,
    /// The mesh gives up the field with this number. Without a new owner, its next apply would remove the field and scale
    /// the component down.
    Release(i32),
    /// The number changes, and the owner of the field with it.
    Scale(i32),
}

/// Decides by the wanted component and the live one.
fn transfer(wanted: &Common<'_>, before: &Common<'_>) -> Transfer {
    let Some(now) = before.replicas else { return Transfer::None };
    let Some((least, most)) = wanted.autoscaled_bounds() else {
        // The operator wakes it no more.
        let would_sleep_on = now == 0 && before.may_sleep() && wanted.replicas.is_none();
        return if would_sleep_on { Transfer::Release(1) } else { Transfer::None };
    };
    if wanted.max_replicas.is_some() {
        // A component with replicas outside of the bounds of its HorizontalPodAutoscaler is invalid.
        let replicas = bounded_replicas(now, Some(least), most);
        return if !before.is_autoscaled() {
            Transfer::Release(replicas)
        } else if replicas == now {
            Transfer::None
        } else {
            Transfer::Scale(replicas)
        };
    }
    // The operator moves the number into its bounds, step by step.
    if before.is_autoscaled() {
        Transfer::None
    } else if now == 0 && !wanted.may_sleep() {
        Transfer::Release(least.max(1))
    } else {
        Transfer::Release(now)
    }
}

/// Prepares the live replicas for the wanted component.
pub(super) async fn prepare<C: Component>(
    children: &ChildApplier<'_>,
    wanted: &C,
    live: &C,
) -> Result<(), ChildError> {
    match transfer(&wanted.spec().view().common, &live.spec().view().common) {
        Transfer::None => Ok(()),
        Transfer::Release(replicas) => {
            let starter = ChildApplier { manager: labels::managers::REPLICAS, ..*children };
            starter.apply_fields(live, json!({ "spec": { "replicas": replicas } })).await.map(|_| ())
        }
        Transfer::Scale(replicas) => children.scale(live, replicas).await,
    }
}

/// The component with its replicas as an annotation, to detect changes of the mesh later. With an autoscaler the mesh
/// does not own the field; the webhook sets an initial number. The annotation stays while the operator scales, so that the
/// component keeps its pods when it no longer does.
pub(super) fn with_annotation<C: Component>(component: &C) -> C {
    let mut component = component.clone();
    let common = component.spec().view().common;
    let (replicas, is_autoscaled) = (common.replicas, common.is_autoscaled());
    let has_annotation = common.max_replicas.is_none();
    if is_autoscaled {
        component.spec_mut().unset_replicas();
    }
    if let Some(replicas) = replicas.filter(|_| has_annotation) {
        let annotations = component.meta_mut().annotations.get_or_insert_default();
        annotations.insert(labels::MESH_REPLICAS.to_owned(), replicas.to_string());
    }
    component
}

/// Keeps a number of replicas that differs from the mesh's while the mesh's is unchanged: a user or the operator scaled the
/// component. It applies until the mesh changes the number.
pub(super) fn preserve_scaled<C: Component>(wanted: &mut C, live: &C) {
    let applied = labels::annotation(live.meta(), labels::MESH_REPLICAS);
    let is_unchanged =
        applied.is_some() && applied == labels::annotation(wanted.meta(), labels::MESH_REPLICAS);
    let before = live.spec().view().common;
    let is_asleep = before.replicas == Some(0) && before.may_sleep();
    let differs = before.replicas != wanted.spec().view().common.replicas;
    if is_unchanged && differs && !is_asleep {
        wanted.spec_mut().unset_replicas();
    }
}

#[cfg(test)]
mod tests {
    use function_mesh_api::Function;
    use serde_json::{Value, from_value};

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "fixtures read better so")]
    fn function(spec: Value) -> Function {
        from_value(json!({ "metadata": { "name": "f" }, "spec": spec })).expect("a function")
    }

    fn between(before: Value, wanted: Value) -> Transfer {
        let (before, wanted) = (function(before), function(wanted));
        transfer(&wanted.spec.view().common, &before.spec.view().common)
    }

    fn scaling(min: i32, max: i32) -> Value {
        json!({ "scaling": { "minReplicas": min, "maxReplicas": max } })
    }

    #[test]
    fn a_component_keeps_its_replicas_when_the_operator_begins_to_scale() {
        let fixed = |replicas: i32| json!({ "replicas": replicas });
        let hpa = json!({ "replicas": 4, "maxReplicas": 9 });
        let recommended = json!({ "replicas": 4, "scaling": { "mode": "Recommend" } });
        for (before, wanted, expected) in [
            (fixed(4), scaling(1, 9), Transfer::Release(4)),
            // Its next decision moves the number into the bounds.
            (fixed(4), scaling(1, 2), Transfer::Release(4)),
            (fixed(0), scaling(0, 9), Transfer::Release(0)),
            (fixed(0), scaling(2, 9), Transfer::Release(2)),
            (recommended, scaling(1, 9), Transfer::Release(4)),
            (hpa, scaling(1, 2), Transfer::None),
            (json!({}), scaling(1, 2), Transfer::None),
        ] {
            assert_eq!(between(before.clone(), wanted.clone()), expected, "{before} {wanted}");
        }
    }

    #[test]
    fn a_component_keeps_its_replicas_when_the_operator_scales_no_more() {
        let scaled = |replicas: i32| {
            let mut spec = scaling(0, 9);
            spec["replicas"] = replicas.into();
            spec
        };
        for (before, wanted, expected) in [
            (scaled(4), json!({}), Transfer::None),
            (scaled(4), json!({ "replicas": 2 }), Transfer::None),
            (scaled(4), json!({ "maxReplicas": 9 }), Transfer::None),
            (scaled(4), json!({ "maxReplicas": 3 }), Transfer::Scale(3)),
            // The operator would not wake it.
            (scaled(0), json!({ "maxReplicas": 3 }), Transfer::Scale(1)),
            (scaled(0), json!({}), Transfer::Release(1)),
            (scaled(0), json!({ "replicas": 2 }), Transfer::None),
        ] {
            assert_eq!(between(before.clone(), wanted.clone()), expected, "{before} {wanted}");
        }
    }

    #[test]
    fn the_mesh_owns_no_replicas_that_the_operator_sets() {
        let written = with_annotation(&function(json!({ "replicas": 3, "scaling": {} })));
        let annotation =
            |of: &Function| labels::annotation(&of.metadata, labels::MESH_REPLICAS).map(str::to_owned);
        assert_eq!((written.spec.replicas, annotation(&written).as_deref()), (None, Some("3")));
        let hpa = with_annotation(&function(json!({ "replicas": 3, "maxReplicas": 5 })));
        assert_eq!((hpa.spec.replicas, annotation(&hpa)), (None, None));
        // Back to the same number: the pods stay. A sleeping component gets the mesh's number.
        for (live, expected) in [(5, None), (0, Some(3))] {
            let mut before =
                with_annotation(&function(json!({ "replicas": 3, "scaling": { "minReplicas": 0 } })));
            before.spec.replicas = Some(live);
            let mut wanted = with_annotation(&function(json!({ "replicas": 3 })));
            preserve_scaled(&mut wanted, &before);
            assert_eq!(wanted.spec.replicas, expected, "{live}");
        }
    }
}
