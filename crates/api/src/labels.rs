//! Labels, annotations, finalizers and field managers.
//!
//! The values are a contract with existing installations: selectors are immutable, and scripts, dashboards and
//! network policies select by labels.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// API group of all kinds.
pub const GROUP: &str = "compute.functionmesh.io";
/// The only API version.
pub const VERSION: &str = "v1alpha1";
/// API group and version, as in `apiVersion`.
pub const API_VERSION: &str = "compute.functionmesh.io/v1alpha1";

/// Recommended label: name of the application; the StatefulSet's name.
pub const APP_NAME: &str = "app.kubernetes.io/name";
/// Recommended label: instance of the application; the StatefulSet's name.
pub const APP_INSTANCE: &str = "app.kubernetes.io/instance";
/// Label of the children of functions: always `function-mesh`.
pub const APP: &str = "compute.functionmesh.io/app";
/// Label: role of the component, `function`, `source` or `sink`. Watches of children select by it.
pub const COMPONENT: &str = "compute.functionmesh.io/component";
/// Label: name of the component's object.
pub const NAME: &str = "compute.functionmesh.io/name";
/// Label: namespace of the component's object.
pub const NAMESPACE: &str = "compute.functionmesh.io/namespace";
/// Label of a component that belongs to a mesh: name of the mesh.
pub const MESH: &str = "compute.functionmesh.io/mesh";
/// Label of a component that a Pulsar function worker created. The worker deletes its subscriptions.
pub const PULSAR_CLUSTER: &str = "compute.functionmesh.io/pulsar-cluster";
/// Legacy form of [`PULSAR_CLUSTER`].
pub const LEGACY_PULSAR_CLUSTER: &str = "pulsar-cluster";
/// Label of a clean-up Job: UID of the component, since a later component can have the same name.
pub const OWNER: &str = "owner";
/// Legacy forms of [`APP`], [`COMPONENT`], [`NAME`] and [`NAMESPACE`], which immutable selectors still contain.
pub const LEGACY: [&str; 4] = ["app", "component", "name", "namespace"];

/// Annotation: `"false"` stops reconciling the object. A mesh propagates it to its components.
pub const MANAGED: &str = "compute.functionmesh.io/managed";
/// Annotation: `"true"` defers changes of running pods that do not come from the component's own spec.
pub const PAUSE_ROLLOUT: &str = "compute.functionmesh.io/pause-rollout";
/// Annotation: `"false"` keeps the subscriptions when the component is deleted.
pub const NEED_CLEANUP: &str = "compute.functionmesh.io/need-cleanup";
/// Annotation: `"true"` scales to zero without a change of the spec.
pub const SUSPEND: &str = "compute.functionmesh.io/suspend";
/// Annotation: a new value triggers a rolling restart, as `kubectl rollout restart` does.
pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// Annotation with value `"false"`: the runner gets no readiness and startup probe but those of its spec.
pub const DEFAULT_PROBES: &str = "compute.functionmesh.io/default-probes";
/// Kubernetes' annotation of a pod: the container that kubectl selects by default.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// Annotations that a mesh propagates to its components. [`MANAGED`] is propagated separately, since an unmanaged mesh
/// propagates nothing else.
pub const PROPAGATED: [&str; 5] = [PAUSE_ROLLOUT, NEED_CLEANUP, SUSPEND, RESTARTED_AT, DEFAULT_PROBES];
/// Annotation of a component: the replicas that its mesh applied last. As long as the mesh does not change them, the
/// operator keeps replicas that `kubectl scale` or an autoscaler set.
pub const MESH_REPLICAS: &str = "compute.functionmesh.io/mesh-replicas";
/// Annotation of a component that is unmanaged because its mesh is: UID of the mesh.
pub const RELEASED_BY: &str = "compute.functionmesh.io/released-by";
/// Annotation of a StatefulSet: hash of the fields of the component spec that determine its pods.
pub const POD_SPEC_HASH: &str = "compute.functionmesh.io/pod-spec-hash";
/// Annotation of a StatefulSet: the edition of its pod template. A StatefulSet without it has the first one.
pub const TEMPLATE_EDITION: &str = "compute.functionmesh.io/template-edition";
/// Annotation of a StatefulSet: a hash of its rendered pod template.
pub const TEMPLATE_HASH: &str = "compute.functionmesh.io/template-hash";
/// Annotation of a StatefulSet: the UID in the function IDs of its pods. That of an adopted StatefulSet stays the UID of
/// the deleted owner, since another one would restart the pods.
pub const FUNCTION_UID: &str = "compute.functionmesh.io/function-uid";
/// Annotation of a child: hash of the object that the operator applied last. An equal hash saves the write, and shows
/// that no field was removed.
pub const APPLIED_HASH: &str = "compute.functionmesh.io/applied-hash";

/// Annotation of a StatefulSet: the current and former subscriptions of its pods. One write applies both, so that a
/// change of the spec loses no subscription.
pub const SUBSCRIPTIONS: &str = "compute.functionmesh.io/subscriptions";

/// Annotation of a StatefulSet: when its pods were last stopped and started by `rollout.strategy` `Recreate`.
pub const RECREATE: &str = "compute.functionmesh.io/recreate";

/// Annotation of a component: `FROM/TO`, two revisions of its StatefulSet. As long as the spec asks for the first one, the
/// pods get the second. `kubectl mesh rollout undo` writes it.
pub const UNDO_ROLLOUT: &str = "compute.functionmesh.io/undo-rollout";
/// Annotation of a Function that `kubectl mesh shadow` created: name of the function whose new version it tries.
pub const SHADOW_OF: &str = "compute.functionmesh.io/shadow-of";
/// Annotation of such a Function: what it changes in the spec, as a JSON merge patch.
pub const SHADOW_CHANGE: &str = "compute.functionmesh.io/shadow-change";
/// Annotation of a component: a revision of its StatefulSet. All pods get it, regardless of what the canary of
/// `rollout.canary` found. `kubectl mesh rollout promote` writes it.
pub const PROMOTE_CANARY: &str = "compute.functionmesh.io/promote-canary";
/// Annotation of a component of a mesh with `rollout.atomic`: the generation of the mesh.
pub const MESH_GENERATION: &str = "compute.functionmesh.io/mesh-generation";
/// Annotation of a component of a mesh with `rollout.atomic`: the generation of the mesh whose change was rolled back in
/// another component.
pub const ROLL_BACK: &str = "compute.functionmesh.io/roll-back";
/// Annotation of a StatefulSet whose component has `rollout.onFailure` `RollBack` or `rollout.canary`: the template that was tried last, the
/// revision that was good last, and why one was rolled back. One write applies it together with the template.
pub const ROLLOUT: &str = "compute.functionmesh.io/rollout";
/// Annotation of a StatefulSet: when the operator deleted pods that blocked their own repair, in the last hour. It deletes at
/// most ten an hour, even if it restarts.
pub const POD_DELETIONS: &str = "compute.functionmesh.io/pod-deletions";

/// Annotations of children that the operator adds to what it renders: they record what it did.
pub const RECORDS: [&str; 7] =
    [APPLIED_HASH, POD_SPEC_HASH, FUNCTION_UID, SUBSCRIPTIONS, RECREATE, ROLLOUT, POD_DELETIONS];

/// Finalizer: subscriptions must be deleted first.
pub const CLEANUP_FINALIZER: &str = "compute.functionmesh.io/subscription-cleanup";
/// Legacy form of [`CLEANUP_FINALIZER`].
pub const LEGACY_CLEANUP_FINALIZER: &str = "cleanup.subscription.finalizer";

/// Field managers of server-side apply, one for each purpose.
pub mod managers {
    /// The mesh controller, for the components of a mesh.
    pub const MESH: &str = "functionmesh.io/mesh";
    /// The component controllers, for StatefulSets, Services and autoscalers.
    pub const WORKLOAD: &str = "functionmesh.io/workload";
    /// The mesh controller, for the annotations of components that are released with their mesh.
    pub const RELEASE: &str = "functionmesh.io/release";
    /// The mesh controller, for the initial replicas of a component that an autoscaler scales.
    pub const REPLICAS: &str = "functionmesh.io/replicas";
    /// The observer, for the replicas of a component with `spec.scaling`.
    pub const AUTOSCALER: &str = "functionmesh.io/autoscaler";
    /// The component controllers, for the replicas of a StatefulSet that is stopped until its pods are recreated.
    pub const RECREATE: &str = "functionmesh.io/recreate";
    /// The component controllers, for the record of the pods that they delete.
    pub const POD_DELETIONS: &str = "functionmesh.io/pod-deletions";
    /// Every controller, for the owner references of orphans that it adopts, and for the hash annotation of a
    /// StatefulSet from upstream.
    pub const ADOPTION: &str = "functionmesh.io/adoption";
    /// Every controller, for status.
    pub const STATUS: &str = "functionmesh.io/status";
    /// Every controller, for finalizers.
    pub const FINALIZER: &str = "functionmesh.io/finalizer";
    /// Leader election.
    pub const LEASE: &str = "functionmesh.io/lease";
}

/// Whether the operator reconciles the object.
pub fn is_managed(meta: &ObjectMeta) -> bool {
    annotation(meta, MANAGED) != Some("false")
}

/// Whether rollouts are paused.
pub fn is_paused(meta: &ObjectMeta) -> bool {
    annotation(meta, PAUSE_ROLLOUT) == Some("true")
}

/// Whether the object is suspended.
pub fn is_suspended(meta: &ObjectMeta) -> bool {
    annotation(meta, SUSPEND) == Some("true")
}

/// The value of an annotation.
pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}
