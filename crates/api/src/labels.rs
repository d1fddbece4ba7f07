//! Names that objects in a cluster carry: labels, annotations, finalizers and field managers.
//!
//! The values are a contract with installations that exist: selectors are immutable, and people's scripts,
//! dashboards and network policies select by them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// API group of all kinds.
pub const GROUP: &str = "compute.functionmesh.io";
/// The one version.
pub const VERSION: &str = "v1alpha1";
/// Group and version, as in `apiVersion`.
pub const API_VERSION: &str = "compute.functionmesh.io/v1alpha1";

/// Recommended label: name of the application; the StatefulSet's name.
pub const APP_NAME: &str = "app.kubernetes.io/name";
/// Recommended label: instance of the application; the StatefulSet's name.
pub const APP_INSTANCE: &str = "app.kubernetes.io/instance";
/// Label of the children of functions: always `function-mesh`.
pub const APP: &str = "compute.functionmesh.io/app";
/// Label: role of the component, `function`, `source` or `sink`. Children are watched by it.
pub const COMPONENT: &str = "compute.functionmesh.io/component";
/// Label: name of the component's object.
pub const NAME: &str = "compute.functionmesh.io/name";
/// Label: namespace of the component's object.
pub const NAMESPACE: &str = "compute.functionmesh.io/namespace";
/// Label of a component that belongs to a mesh: name of the mesh.
pub const MESH: &str = "compute.functionmesh.io/mesh";
/// Label of a component that a Pulsar cluster's own function worker made; its subscriptions are not ours.
pub const PULSAR_CLUSTER: &str = "compute.functionmesh.io/pulsar-cluster";
/// The older form of [`PULSAR_CLUSTER`].
pub const LEGACY_PULSAR_CLUSTER: &str = "pulsar-cluster";
/// Label of a clean-up Job: UID of the component that it cleans up after, since another may have its name later.
pub const OWNER: &str = "owner";
/// The older forms of [`APP`], [`COMPONENT`], [`NAME`] and [`NAMESPACE`], still part of selectors.
pub const LEGACY: [&str; 4] = ["app", "component", "name", "namespace"];

/// Annotation: `"false"` makes the operator leave the object alone. On a mesh it holds for its components too.
pub const MANAGED: &str = "compute.functionmesh.io/managed";
/// Annotation: `"true"` holds back changes of running pods, save those of the component's own specification.
pub const PAUSE_ROLLOUT: &str = "compute.functionmesh.io/pause-rollout";
/// Annotation: `"false"` leaves subscriptions in place when the component is deleted.
pub const NEED_CLEANUP: &str = "compute.functionmesh.io/need-cleanup";
/// Annotation: `"true"` stops all pods. The specification, its number of replicas included, stays as it is.
pub const SUSPEND: &str = "compute.functionmesh.io/suspend";
/// Annotation: with each new value, pods are replaced one after the other. The same one as kubectl's.
pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// Annotations that a mesh passes on to its components. Whether it is managed is passed on in another way: a
/// mesh that is not managed passes on nothing else.
pub const PROPAGATED: [&str; 4] = [PAUSE_ROLLOUT, NEED_CLEANUP, SUSPEND, RESTARTED_AT];
/// Annotation of a component: the number of replicas that its mesh gave it. While the mesh says the same,
/// another number is somebody else's choice and stays.
pub const MESH_REPLICAS: &str = "compute.functionmesh.io/mesh-replicas";
/// Annotation of a component that is not managed because its mesh is not: UID of the mesh.
pub const RELEASED_BY: &str = "compute.functionmesh.io/released-by";
/// Annotation of a StatefulSet: digest of the specification that it was made from, as far as that shapes pods.
pub const POD_SPEC_HASH: &str = "compute.functionmesh.io/pod-spec-hash";
/// Annotation of a child: fingerprint of what the operator last applied, by which it knows without a write
/// that nothing is to be changed or taken away.
pub const APPLIED_HASH: &str = "compute.functionmesh.io/applied-hash";

/// Annotation of a StatefulSet: the subscriptions that its pods make or once made. It is written together with them, so
/// that a change of the specification loses none.
pub const SUBSCRIPTIONS: &str = "compute.functionmesh.io/subscriptions";

/// Finalizer: subscriptions are to be cleaned up.
pub const CLEANUP_FINALIZER: &str = "compute.functionmesh.io/subscription-cleanup";
/// The older form of [`CLEANUP_FINALIZER`].
pub const LEGACY_CLEANUP_FINALIZER: &str = "cleanup.subscription.finalizer";

/// Field managers of server-side apply, one for each purpose.
pub mod managers {
    /// The mesh controller, on the components of a mesh.
    pub const MESH: &str = "functionmesh.io/mesh";
    /// The component controllers, on StatefulSets, Services and autoscalers.
    pub const WORKLOAD: &str = "functionmesh.io/workload";
    /// The mesh controller, where it takes its components out of management together with the mesh.
    pub const RELEASE: &str = "functionmesh.io/release";
    /// The mesh controller, on the number of replicas that an autoscaler starts from, until it changes it.
    pub const REPLICAS: &str = "functionmesh.io/replicas";
    /// The component controllers, on the note of what a StatefulSet that another operator made was made from.
    pub const ADOPTION: &str = "functionmesh.io/adoption";
    /// Whoever writes a status.
    pub const STATUS: &str = "functionmesh.io/status";
    /// Whoever adds or removes a finalizer.
    pub const FINALIZER: &str = "functionmesh.io/finalizer";
    /// Leader election.
    pub const LEASE: &str = "functionmesh.io/lease";
}

/// Whether the operator looks after an object, or an annotation says that it is to leave it alone.
pub fn is_managed(meta: &ObjectMeta) -> bool {
    annotation(meta, MANAGED) != Some("false")
}

/// Whether changes of running pods are held back.
pub fn is_paused(meta: &ObjectMeta) -> bool {
    annotation(meta, PAUSE_ROLLOUT) == Some("true")
}

/// Whether no pods are to run.
pub fn is_suspended(meta: &ObjectMeta) -> bool {
    annotation(meta, SUSPEND) == Some("true")
}

/// The value of an annotation.
pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}
