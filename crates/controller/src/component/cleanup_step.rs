//! The next step of a deletion with clean-up, as a pure function of the observed state: terminate the pods, so that
//! there are no consumers; run a Job that deletes the subscriptions; remove the finalizer. `delete.rs` observes and
//! executes the step.
//!
//! Each step depends on the state of the cluster only, so any replica can continue. After the finalizer is removed, the
//! garbage collector deletes the children.

/// The observed state of a component that is being deleted.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a separate observation")]
pub(super) struct CleanupState {
    /// Whether the component has our finalizer.
    pub(super) has_finalizer: bool,
    /// Whether the children are orphaned, or the component is not managed.
    pub(super) skips_cleanup: bool,
    pub(super) plan: Plan,
    pub(super) pods: Pods,
    pub(super) job: CleanupJob,
    /// Whether the clean-up deadline has passed.
    pub(super) is_past_deadline: bool,
    /// Whether the Job has not finished long after the deadline: no Job controller processes it.
    pub(super) is_job_stalled: bool,
}

/// What to delete in Pulsar.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Plan {
    /// Nothing: a clean-up is no longer wanted.
    NotWanted,
    /// The subscriptions cannot be determined.
    Unknown(String),
    /// Whether other components use a subscription is not known yet.
    PeersUnknown,
    /// Nothing: other components use all subscriptions.
    AllShared,
    /// Some subscriptions.
    Remove,
}

/// The state of the pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pods {
    Running,
    Terminating,
    Deleted,
    /// The garbage collector has removed their owner reference, possibly before we observed the request to orphan.
    Orphaned,
}

/// How a Job ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum End {
    Succeeded,
    Failed(String),
}

/// The clean-up Job of this object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum CleanupJob {
    Missing,
    /// A Job of that name exists and is not ours.
    Foreign(String),
    /// The Job is ours.
    Ours {
        end: Option<End>,
        is_deleted: bool,
        /// Whether it would delete a subscription that another component uses by now.
        is_outdated: bool,
        /// Whether its container failed while others of its pod still run: the Job starts no other pod.
        is_stuck: bool,
    },
}

/// The next step of a deletion.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum CleanupStep {
    /// Nothing: the component has no finalizer of ours.
    Nothing,
    /// Remove the finalizer.
    RemoveFinalizer,
    /// Delete the StatefulSet in the foreground.
    StopPods,
    /// Create the Job.
    CreateJob,
    /// Delete the unfinished Job.
    CancelJob(&'static str),
    /// Wait for this.
    Wait(&'static str),
    /// Wait for the Job to finish.
    WaitForJob,
    /// The Job succeeded: publish an Event, delete the Job, remove the finalizer.
    Succeed,
    /// Publish that all subscriptions are in use, and remove the finalizer.
    KeepAll,
    /// Publish what is not deleted and why, and remove the finalizer.
    Abandon(String),
}

pub(super) const WAITING_FOR_PODS: &str = "waiting for its pods to terminate";
const WAITING_FOR_JOB: &str = "waiting for its clean-up Job to terminate";

/// The next step.
pub(super) fn next_step(state: &CleanupState) -> CleanupStep {
    if !state.has_finalizer {
        return CleanupStep::Nothing;
    }
    if state.skips_cleanup {
        return CleanupStep::RemoveFinalizer;
    }
    match &state.plan {
        Plan::NotWanted => return cancel(state).unwrap_or(CleanupStep::RemoveFinalizer),
        Plan::Unknown(cause) => return CleanupStep::Abandon(cause.clone()),
        Plan::PeersUnknown | Plan::AllShared | Plan::Remove => {}
    }
    match state.pods {
        Pods::Orphaned => return CleanupStep::RemoveFinalizer,
        Pods::Running => return CleanupStep::StopPods,
        Pods::Terminating if !state.is_past_deadline => return CleanupStep::Wait(WAITING_FOR_PODS),
        // The broker keeps a subscription that still has consumers; then the Job reports the failure.
        Pods::Terminating | Pods::Deleted => {}
    }
    match &state.job {
        CleanupJob::Ours { end: Some(End::Succeeded), .. } => CleanupStep::Succeed,
        CleanupJob::Ours { end: Some(End::Failed(cause)), .. } | CleanupJob::Foreign(cause) => {
            CleanupStep::Abandon(cause.clone())
        }
        CleanupJob::Ours { is_outdated: true, .. } | CleanupJob::Ours { is_stuck: true, .. }
            if !state.is_past_deadline =>
        {
            cancel(state).unwrap_or(CleanupStep::Wait(WAITING_FOR_JOB))
        }
        CleanupJob::Ours { is_stuck: true, .. } => {
            CleanupStep::Abandon("clean-up failed until its deadline; see the log of its Job's pods".to_owned())
        }
        CleanupJob::Ours { is_deleted: true, .. } if !state.is_past_deadline => CleanupStep::Wait(WAITING_FOR_JOB),
        CleanupJob::Ours { .. } if state.is_job_stalled => {
            CleanupStep::Abandon("clean-up Job timed out; check that Jobs run in this cluster".to_owned())
        }
        CleanupJob::Ours { .. } => CleanupStep::WaitForJob,
        CleanupJob::Missing => match state.plan {
            Plan::AllShared => CleanupStep::KeepAll,
            Plan::PeersUnknown if state.is_past_deadline => CleanupStep::Abandon(
                "cannot determine whether other components use them: not all components can be listed; see /readyz"
                    .to_owned(),
            ),
            Plan::PeersUnknown => CleanupStep::Wait("waiting for the caches of all components to sync"),
            Plan::Remove | Plan::NotWanted | Plan::Unknown(_) => CleanupStep::CreateJob,
        },
    }
}

/// Deletes a running Job: it would continue without the component and delete subscriptions that must be kept.
fn cancel(state: &CleanupState) -> Option<CleanupStep> {
    match state.job {
        CleanupJob::Ours { end: None, .. } if state.is_past_deadline => None,
        CleanupJob::Ours { end: None, is_deleted: true, .. } => Some(CleanupStep::Wait(WAITING_FOR_JOB)),
        CleanupJob::Ours { end: None, is_deleted: false, .. } => {
            Some(CleanupStep::CancelJob(WAITING_FOR_JOB))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(end: Option<End>) -> CleanupJob {
        CleanupJob::Ours { end, is_deleted: false, is_outdated: false, is_stuck: false }
    }

    fn state(plan: Plan, pods: Pods, job: CleanupJob) -> CleanupState {
        CleanupState {
            has_finalizer: true,
            skips_cleanup: false,
            plan,
            pods,
            job,
            is_past_deadline: false,
            is_job_stalled: false,
        }
    }

    #[test]
    fn next_step_follows_the_state() {
        use CleanupJob::{Foreign, Missing};
        use CleanupStep::{
            Abandon, CancelJob, CreateJob, KeepAll, RemoveFinalizer, StopPods, Succeed, Wait, WaitForJob,
        };
        use Plan::{AllShared, NotWanted, PeersUnknown, Remove, Unknown};
        use Pods::{Deleted, Orphaned, Running, Terminating};
        let failed = || ours(Some(End::Failed("why".into())));
        let succeeded = || ours(Some(End::Succeeded));
        for (plan, pods, job, expected) in [
            (Remove, Running, Missing, StopPods),
            (Remove, Terminating, Missing, Wait(WAITING_FOR_PODS)),
            (Remove, Deleted, Missing, CreateJob),
            (Remove, Deleted, ours(None), WaitForJob),
            (Remove, Deleted, succeeded(), Succeed),
            (Remove, Deleted, failed(), Abandon("why".into())),
            (Remove, Deleted, Foreign("whose".into()), Abandon("whose".into())),
            (Remove, Orphaned, Missing, RemoveFinalizer),
            (AllShared, Running, Missing, StopPods),
            (AllShared, Deleted, Missing, KeepAll),
            (PeersUnknown, Deleted, Missing, Wait("waiting for the caches of all components to sync")),
            (PeersUnknown, Deleted, succeeded(), Succeed),
            (Unknown("why".into()), Running, Missing, Abandon("why".into())),
            (NotWanted, Running, Missing, RemoveFinalizer),
            (NotWanted, Deleted, ours(None), CancelJob(WAITING_FOR_JOB)),
            (NotWanted, Deleted, failed(), RemoveFinalizer),
            (NotWanted, Deleted, Foreign("whose".into()), RemoveFinalizer),
        ] {
            let state = state(plan, pods, job);
            assert_eq!(next_step(&state), expected, "{state:?}");
        }
    }

    #[test]
    fn outdated_job_is_cancelled() {
        let job = |is_deleted| CleanupJob::Ours { end: None, is_deleted, is_outdated: true, is_stuck: false };
        for plan in [Plan::Remove, Plan::AllShared] {
            let found = next_step(&state(plan.clone(), Pods::Deleted, job(false)));
            assert_eq!(found, CleanupStep::CancelJob(WAITING_FOR_JOB), "{plan:?}");
            assert_eq!(next_step(&state(plan, Pods::Deleted, job(true))), CleanupStep::Wait(WAITING_FOR_JOB));
        }
    }

    /// Another Job makes the next attempt, until the deadline.
    #[test]
    fn job_that_a_sidecar_keeps_is_replaced() {
        let job = |is_deleted| CleanupJob::Ours { end: None, is_deleted, is_outdated: false, is_stuck: true };
        let stuck = state(Plan::Remove, Pods::Deleted, job(false));
        assert_eq!(next_step(&stuck), CleanupStep::CancelJob(WAITING_FOR_JOB));
        let deleted = state(Plan::Remove, Pods::Deleted, job(true));
        assert_eq!(next_step(&deleted), CleanupStep::Wait(WAITING_FOR_JOB));
        let late = CleanupState { is_past_deadline: true, ..stuck };
        assert!(matches!(next_step(&late), CleanupStep::Abandon(_)));
    }

    #[test]
    fn stalled_cleanup_is_abandoned_in_every_state() {
        for pods in [Pods::Terminating, Pods::Deleted] {
            for plan in [Plan::NotWanted, Plan::PeersUnknown, Plan::AllShared, Plan::Remove] {
                for is_deleted in [false, true] {
                    for is_outdated in [false, true] {
                        let job = CleanupJob::Ours { end: None, is_deleted, is_outdated, is_stuck: false };
                        let late = CleanupState {
                            is_past_deadline: true,
                            is_job_stalled: true,
                            ..state(plan.clone(), pods, job)
                        };
                        let step = next_step(&late);
                        assert!(
                            matches!(step, CleanupStep::Abandon(_) | CleanupStep::RemoveFinalizer),
                            "{late:?}: {step:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn no_cleanup_without_finalizer_or_if_orphaned() {
        let wanted = state(Plan::Remove, Pods::Running, CleanupJob::Missing);
        let released = CleanupState { has_finalizer: false, ..wanted.clone() };
        assert_eq!(next_step(&released), CleanupStep::Nothing);
        let skipped = CleanupState { skips_cleanup: true, ..wanted };
        assert_eq!(next_step(&skipped), CleanupStep::RemoveFinalizer);
    }
}
