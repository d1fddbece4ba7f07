//! What is observed of a component whose pods are rolled out.

use jiff::Timestamp;

/// A component, as observed in one round.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "the facts are independent")]
pub struct Observation {
    /// Newest revision of the StatefulSet.
    pub revision: String,
    /// Identity of the template that is wanted: of the spec, without what does not shape pods.
    pub tried: String,
    /// Generation of the component.
    pub generation: i64,
    /// Wanted pods. 0 for a component that is suspended or sleeps.
    pub wanted: u32,
    /// Whether the StatefulSet has the wanted template, and its controller has observed it.
    pub is_current: bool,
    /// Whether all pods have the newest revision and are ready, and none has a problem.
    pub is_ready: bool,
    /// Whether rollouts are paused.
    pub is_paused: bool,
    /// Since when the template is tried, or else since when the component is not ready.
    pub since: Option<Timestamp>,
    /// Whether the status says that the deadline of this rollout was exceeded.
    pub was_failed: bool,
    /// Whether this revision has been rolled out, by the status that was written last: what happens to its pods now is no
    /// rollout.
    pub was_settled: bool,
    /// The pods.
    pub pods: Vec<Pod>,
    /// When pods that blocked their own repair were deleted, as it is recorded.
    pub deletions: Vec<Timestamp>,
    /// Why pods are not ready.
    pub problem: Option<String>,
    /// The canary, if it has not ended or has failed.
    pub canary: Option<crate::canary::Observed>,
}

/// A pod of the component.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "the facts are independent")]
pub struct Pod {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Resource version.
    pub resource_version: String,
    /// Its revision, if it has the label.
    pub revision: Option<String>,
    /// Whether its containers have started, without a restart.
    pub has_started: bool,
    /// Whether it is ready.
    pub is_ready: bool,
    /// Since when it is ready.
    pub ready_since: Option<Timestamp>,
    /// Whether it has a problem that does not resolve with time.
    pub is_failing: bool,
    /// When it ends at the latest, if it terminates.
    pub ends_at: Option<Timestamp>,
}

impl Observation {
    /// The pods of the newest revision that do not terminate.
    pub(crate) fn updated(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| self.is_updated(pod) && pod.ends_at.is_none())
    }

    /// Whether the pods of the canary's step have the newest revision and are ready.
    pub(crate) fn is_step_ready(&self) -> bool {
        let ready = self.updated().filter(|pod| pod.is_ready).count();
        let wanted = self.canary.as_ref().and_then(|canary| usize::try_from(canary.pods).ok());
        self.is_current && wanted.is_some_and(|wanted| wanted > 0 && ready >= wanted)
    }

    /// Whether a pod has the newest revision.
    pub(crate) fn is_updated(&self, pod: &Pod) -> bool {
        pod.revision.as_deref() == Some(&*self.revision)
    }

    /// The pods of earlier revisions that are not ready and do not get so. A pod without a revision is unknown.
    pub(crate) fn stuck(&self) -> impl Iterator<Item = &Pod> {
        let is_stuck = |pod: &&Pod| {
            pod.revision.is_some()
                && !self.is_updated(pod)
                && !pod.is_ready
                && pod.is_failing
                && pod.ends_at.is_none()
        };
        self.pods.iter().filter(move |pod| self.is_current && is_stuck(pod))
    }
}
