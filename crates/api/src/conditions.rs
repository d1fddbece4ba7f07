//! Types of conditions, and reasons of conditions and Events: the one list that status, Events, tests and the
//! generated tables of the docs share.
//!
//! Both are part of the API: scripts and alerts match them, so a name changes only with a deprecation. A condition
//! type says what is judged, a reason is one CamelCase word for why, and the message beside it is for people.
//!
//! ```
//! use function_mesh_api::conditions::{ConditionType, Reason};
//!
//! assert_eq!(ConditionType::Accepted.as_str(), "Accepted");
//! assert_eq!(Reason::ValidationFailed.to_string(), "ValidationFailed");
//! assert!(Reason::ALL.iter().all(|reason| !reason.description().is_empty()));
//! ```

use std::fmt;

use crate::types::Phase;

/// An enum whose variants are written as they are called, each with one line of documentation that a program can print.
macro_rules! documented_names {
    ($(#[$meta:meta])* $name:ident { $(#[doc = $doc:literal] $variant:ident,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name {
            $(#[doc = $doc] $variant,)+
        }

        impl $name {
            /// Every one, in the order in which a table lists them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in a status or an Event.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)+
                }
            }

            /// What it means, in one sentence without markup other than backticks.
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => $doc.trim_ascii(),)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

documented_names! {
    /// What a condition judges.
    ///
    /// The first six are standard conditions, in `status.conditions` of a FunctionMesh. The others are the entries
    /// that Function Mesh for Go defines, by role or by child, which stay as they are.
    ConditionType {
        /// All pods run the current spec and are ready, or none are wanted.
        Ready,
        /// Pods are being created, replaced or stopped.
        Progressing,
        /// Something keeps pods from becoming ready and needs a person.
        Degraded,
        /// An annotation defers changes of running pods.
        Paused,
        /// The spec is valid, so the operator acts on it.
        Accepted,
        /// Messages wait, pods are ready and nothing is acknowledged. Only if the operator observes Pulsar.
        Stalled,
        /// Entry of a mesh: this Function is ready.
        FunctionReady,
        /// Entry of a mesh: this Source is ready.
        SourceReady,
        /// Entry of a mesh: this Sink is ready.
        SinkReady,
        /// Entry of a mesh: all its components are ready.
        MeshReady,
        /// Entry of a component: all pods of the StatefulSet are updated and ready.
        StatefulSetReady,
        /// Entry of a component: the headless Service exists.
        ServiceReady,
        /// Entry of a component: the HorizontalPodAutoscaler exists.
        HPAReady,
        /// Entry of a component: the VerticalPodAutoscaler exists.
        VPAReady,
    }
}

impl ConditionType {
    /// The standard conditions, in the order in which a status lists them.
    pub const STANDARD: [Self; 6] =
        [Self::Ready, Self::Progressing, Self::Degraded, Self::Paused, Self::Accepted, Self::Stalled];
}

documented_names! {
    /// Why a condition has its status, or what an Event reports.
    Reason {
        /// The component is accepted and has no pods yet.
        Pending,
        /// All pods of the component run the current spec and are ready.
        PodsReady,
        /// Pods cannot start, crash or are not scheduled; the message names the first one and its error.
        Degraded,
        /// The component is scaled to zero or suspended by annotation.
        Suspended,
        /// The operator scaled the component to zero, since there is nothing to do; a message wakes it.
        Asleep,
        /// All components of the mesh are ready, asleep, suspended, or ready with a deferred change.
        ComponentsReady,
        /// The components named are starting or rolling out.
        ComponentsNotReady,
        /// The components named are degraded or invalid; the message has their own.
        ComponentsDegraded,
        /// The API server rejected a write of a child or a component; the operator retries.
        ApplyFailed,
        /// A rollout made no progress within its deadline; the message has the reason of the pod.
        ProgressDeadlineExceeded,
        /// A rollout failed, and the pods have the last good revision instead of the one of the spec.
        RolledBack,
        /// The pods have an earlier revision, since another component that the same change of the mesh changed was rolled back.
        RolledBackWithMesh,
        /// The pods have an earlier revision, since a person undid the rollout.
        RolloutUndone,
        /// The operator deleted a pod of an earlier revision that is not ready and that the StatefulSet does not replace.
        StuckPodDeleted,
        /// A pod that blocks its own repair could not be deleted; the message says why.
        StuckPodNotDeleted,
        /// The operator scaled a StatefulSet to zero, since its pods change and `rollout.strategy` is `Recreate`.
        RecreateStopping,
        /// No old pod is left, and the operator waits until nothing consumes the subscription.
        RecreateDraining,
        /// No old pod is left, and the operator starts the changed ones.
        RecreateStarting,
        /// The first changed pod is ready; the message has the time without a pod.
        Recreated,
        /// Some pods got a new version, as `rollout.canary` asks for.
        CanaryStarted,
        /// More pods got the new version of a canary, since nothing speaks against it.
        CanaryStepped,
        /// A step of a canary has ended and too little is known of its pods; the message says what is missing.
        CanaryInconclusive,
        /// The pods of a canary did what they may not do, and no other pod gets its version; the message has the figures.
        CanaryFailed,
        /// All pods have the version of a canary, and keep it.
        CanaryPromoted,
        /// A change went to all pods without a canary; the message says why.
        CanarySkipped,
        /// Pods or components are rolling out a change.
        RolloutInProgress,
        /// Nothing is rolling out.
        Stable,
        /// No component is degraded.
        AsExpected,
        /// The annotation `compute.functionmesh.io/pause-rollout` defers changes of the components named.
        RolloutPaused,
        /// No change of pods is deferred.
        NotPaused,
        /// The spec satisfies all validation rules.
        ValidationSucceeded,
        /// The spec violates a validation rule; the message names each field, and nothing was changed.
        ValidationFailed,
        /// The object does not match its CRD schema and is skipped; the message names the field.
        InvalidObject,
        /// The object is being deleted and waits for its children.
        Deleting,
        /// The operator updated the children named, or created missing ones of a component that has a status.
        Applied,
        /// The children named had no owner, carry the operator's mark and are controlled by this object again.
        Adopted,
        /// Admission, such as a mutating policy, changes the fields named whenever the operator applies them.
        FieldsRewritten,
        /// The components named are no longer managed, because their mesh is not.
        Released,
        /// The broker no longer lists the subscriptions named.
        CleanupSucceeded,
        /// The subscriptions named remain in Pulsar, and the message says why.
        CleanupFailed,
        /// The subscriptions named are kept, because another component uses them.
        CleanupSkipped,
        /// The operator stopped a clean-up Job of an earlier object with the same name.
        CleanupCancelled,
        /// A change of name, tenant, topics or subscription left the subscriptions named without a consumer.
        SubscriptionRetired,
        /// Fields of a BackendConfig that run code in pods, or select their Pulsar, are ignored.
        UnsafeBackendConfig,
        /// Messages are acknowledged, or none wait.
        NotStalled,
        /// Stalled: no consumer is connected, though pods are ready.
        NoConsumers,
        /// Stalled: the limit of unacknowledged messages stops delivery.
        BlockedOnUnacked,
        /// Stalled: messages are delivered and none is acknowledged.
        ReceivingNotAcking,
        /// Stalled: messages wait, and the consumers take none.
        NotReceiving,
        /// Stalled: keys wait until another consumer acknowledges their messages.
        KeySharedDraining,
        /// Stalled: the backlog quota of the output topic stops producers.
        OutputBlocked,
        /// Stalled: a rate limit of the broker delays every delivery.
        DispatchThrottled,
        /// Stalled: every message raises an exception.
        Failing,
        /// Pulsar denies the operator access, so whether the component is stalled is unknown.
        AccessDenied,
        /// Pulsar does not answer the operator, so whether the component is stalled is unknown.
        PulsarUnavailable,
        /// Too little is known about the traffic; the message says why.
        TrafficUnknown,
        /// The operator deleted a pod that holds unacknowledged messages of a stalled component.
        PodRestarted,
        /// Three restarts in a row did not end the stall: the operator restarts no more pods until an hour without one.
        RestartsExhausted,
        /// A pod of a stalled component could not be deleted; the message says why.
        PodRestartFailed,
        /// The operator changed the replicas of a component with `spec.scaling`; the message has the terms.
        Scaled,
        /// The API server rejected a change of the replicas; the operator tries again.
        ScaleFailed,
        /// Another field manager sets the replicas of a component with `spec.scaling`, so the operator does not.
        ScalingHeld,
    }
}

impl From<Phase> for Reason {
    /// The reason of the Event that reports this phase.
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Pending => Self::Pending,
            Phase::Progressing => Self::RolloutInProgress,
            Phase::Ready => Self::PodsReady,
            Phase::Degraded => Self::Degraded,
            Phase::RolledBack => Self::RolledBack,
            Phase::Paused => Self::RolloutPaused,
            Phase::Suspended => Self::Suspended,
            Phase::Asleep => Self::Asleep,
            Phase::Deleting => Self::Deleting,
            Phase::Invalid => Self::ValidationFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Name and description of every condition type and every reason.
    fn all() -> Vec<(&'static str, &'static str)> {
        let types = ConditionType::ALL.iter().map(|it| (it.as_str(), it.description()));
        let reasons = Reason::ALL.iter().map(|it| (it.as_str(), it.description()));
        types.chain(reasons).collect()
    }

    #[test]
    fn names_are_unique_within_each_enum() {
        let types: BTreeSet<_> = ConditionType::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(types.len(), ConditionType::ALL.len());
        let reasons: BTreeSet<_> = Reason::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(reasons.len(), Reason::ALL.len());
    }

    #[test]
    fn names_are_camel_case_words() {
        for (name, _) in all() {
            assert!(name.starts_with(|first: char| first.is_ascii_uppercase()), "{name}");
            assert!(name.chars().all(|letter| letter.is_ascii_alphanumeric()), "{name}");
            assert!(name.len() <= 32, "{name}");
        }
    }

    #[test]
    fn each_is_documented_in_one_sentence() {
        for (name, description) in all() {
            assert!(description.len() > 20 && description.ends_with('.'), "{name}: {description:?}");
            assert_eq!(description, description.trim(), "{name}");
            assert!(!description.contains(['\n', '|']), "{name} does not fit into a table: {description}");
        }
    }

    #[test]
    fn standard_conditions_come_first() {
        assert_eq!(ConditionType::ALL.get(..6), Some(&ConditionType::STANDARD[..]));
    }

    #[test]
    fn each_phase_has_a_reason_of_its_own() {
        let reasons: BTreeSet<_> = Phase::ALL.into_iter().map(Reason::from).collect();
        assert_eq!(reasons.len(), Phase::ALL.len());
    }
}
