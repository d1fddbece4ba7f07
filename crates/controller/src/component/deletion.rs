//! The next step of the end of a component whose subscriptions are to be removed, as a pure function of what was
//! observed: first its pods stop, so that nobody consumes any more, then a Job removes the subscriptions, then the
//! finalizer goes. `delete.rs` observes, and executes the step.
//!
//! Each step is taken from what is there, so that it does not matter who took the one before. Everything else that
//! belongs to the component is the garbage collector's, as soon as the finalizer is gone.

/// What is known of a component that is being deleted.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an observation of its own")]
pub(super) struct CleanupState {
    /// Whether our finalizer is on it.
    pub(super) has_finalizer: bool,
    /// Whether its children are to outlive it, or it is not managed.
    pub(super) is_left_alone: bool,
    pub(super) plan: Plan,
    pub(super) pods: Pods,
    pub(super) job: CleanupJob,
    /// Whether it has waited for as long as a clean-up may take.
    pub(super) is_late: bool,
    /// Whether it has waited for so long that nobody can be looking after the Job.
    pub(super) is_abandoned: bool,
}

/// What is to be removed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Plan {
    /// Nothing: the wish was taken back.
    Declined,
    /// It cannot be told.
    Unknown(String),
    /// Whether another component uses a subscription is not known yet.
    Unclear,
    /// All of it is in use by others.
    AllShared,
    /// This.
    Remove,
}

/// What becomes of the pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pods {
    Running,
    Stopping,
    Gone,
    /// The garbage collector has taken the owner off them: they are to stay. It
    /// may be done before we see that it was asked to.
    Orphaned,
}

/// How a Job ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum End {
    Succeeded,
    Failed(String),
}

/// The Job that cleans up after this very object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum CleanupJob {
    Missing,
    /// Somebody else's has its name.
    Foreign(String),
    /// It is ours.
    Ours {
        end: Option<End>,
        is_deleted: bool,
        /// Whether it would remove what another component uses by now.
        is_outdated: bool,
    },
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum CleanupStep {
    /// Nothing of ours holds the object.
    Nothing,
    /// Remove the finalizer.
    Release,
    /// Delete the StatefulSet so that it is gone when its pods are.
    StopPods,
    /// Make the Job.
    CreateJob,
    /// End the Job before it is done.
    CancelJob(&'static str),
    /// Something has to happen first.
    Wait(&'static str),
    /// The Job is at work.
    WaitForJob,
    /// The Job has done it: record that, delete the Job, release.
    Succeed,
    /// Record that everything is in use, and release.
    KeepAll,
    /// Record what is left and why, and release.
    GiveUp(String),
}

pub(super) const STOPS: &str = "waiting for its pods to stop";
const CANCELS: &str = "waiting for its clean-up to stop";

/// The next step.
pub(super) fn next_step(state: &CleanupState) -> CleanupStep {
    if !state.has_finalizer {
        return CleanupStep::Nothing;
    }
    if state.is_left_alone {
        return CleanupStep::Release;
    }
    match &state.plan {
        Plan::Declined => return cancel(state).unwrap_or(CleanupStep::Release),
        Plan::Unknown(why) => return CleanupStep::GiveUp(why.clone()),
        Plan::Unclear | Plan::AllShared | Plan::Remove => {}
    }
    match state.pods {
        Pods::Orphaned => return CleanupStep::Release,
        Pods::Running => return CleanupStep::StopPods,
        Pods::Stopping if !state.is_late => return CleanupStep::Wait(STOPS),
        // Whoever still consumes keeps the broker from removing the subscription; the Job will tell.
        Pods::Stopping | Pods::Gone => {}
    }
    match &state.job {
        CleanupJob::Ours { end: Some(End::Succeeded), .. } => CleanupStep::Succeed,
        CleanupJob::Ours { end: Some(End::Failed(why)), .. } | CleanupJob::Foreign(why) => {
            CleanupStep::GiveUp(why.clone())
        }
        CleanupJob::Ours { is_outdated: true, .. } if !state.is_late => {
            cancel(state).unwrap_or(CleanupStep::Wait(CANCELS))
        }
        CleanupJob::Ours { is_deleted: true, .. } if !state.is_late => CleanupStep::Wait(CANCELS),
        CleanupJob::Ours { .. } if state.is_abandoned => {
            CleanupStep::GiveUp("the clean-up Job did not end; check that Jobs run in this cluster".to_owned())
        }
        CleanupJob::Ours { .. } => CleanupStep::WaitForJob,
        CleanupJob::Missing => match state.plan {
            Plan::AllShared => CleanupStep::KeepAll,
            Plan::Unclear if state.is_late => CleanupStep::GiveUp(
                "whether another component uses them is unknown, since not all components can be listed; see readyz"
                    .to_owned(),
            ),
            Plan::Unclear => CleanupStep::Wait("waiting until all components are listed"),
            Plan::Remove | Plan::Declined | Plan::Unknown(_) => CleanupStep::CreateJob,
        },
    }
}

/// Ends a Job that is at work: it would go on without the component, and remove later what is to stay.
fn cancel(state: &CleanupState) -> Option<CleanupStep> {
    match state.job {
        CleanupJob::Ours { end: None, .. } if state.is_late => None,
        CleanupJob::Ours { end: None, is_deleted: true, .. } => Some(CleanupStep::Wait(CANCELS)),
        CleanupJob::Ours { end: None, is_deleted: false, .. } => Some(CleanupStep::CancelJob(CANCELS)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(end: Option<End>) -> CleanupJob {
        CleanupJob::Ours { end, is_deleted: false, is_outdated: false }
    }

    fn state(plan: Plan, pods: Pods, job: CleanupJob) -> CleanupState {
        CleanupState {
            has_finalizer: true,
            is_left_alone: false,
            plan,
            pods,
            job,
            is_late: false,
            is_abandoned: false,
        }
    }

    #[test]
    fn each_state_has_its_step() {
        use CleanupJob::{Foreign, Missing};
        use CleanupStep::{
            CancelJob, CreateJob, GiveUp, KeepAll, Release, StopPods, Succeed, Wait, WaitForJob,
        };
        use Plan::{AllShared, Declined, Remove, Unclear, Unknown};
        use Pods::{Gone, Orphaned, Running, Stopping};
        let failed = || ours(Some(End::Failed("why".into())));
        let succeeded = || ours(Some(End::Succeeded));
        for (plan, pods, job, expected) in [
            (Remove, Running, Missing, StopPods),
            (Remove, Stopping, Missing, Wait(STOPS)),
            (Remove, Gone, Missing, CreateJob),
            (Remove, Gone, ours(None), WaitForJob),
            (Remove, Gone, succeeded(), Succeed),
            (Remove, Gone, failed(), GiveUp("why".into())),
            (Remove, Gone, Foreign("whose".into()), GiveUp("whose".into())),
            (Remove, Orphaned, Missing, Release),
            (AllShared, Running, Missing, StopPods),
            (AllShared, Gone, Missing, KeepAll),
            (Unclear, Gone, Missing, Wait("waiting until all components are listed")),
            (Unclear, Gone, succeeded(), Succeed),
            (Unknown("why".into()), Running, Missing, GiveUp("why".into())),
            (Declined, Running, Missing, Release),
            (Declined, Gone, ours(None), CancelJob(CANCELS)),
            (Declined, Gone, failed(), Release),
            (Declined, Gone, Foreign("whose".into()), Release),
        ] {
            let state = state(plan, pods, job);
            assert_eq!(next_step(&state), expected, "{state:?}");
        }
    }

    #[test]
    fn a_job_that_would_remove_what_others_use_by_now_is_ended() {
        let job = |is_deleted| CleanupJob::Ours { end: None, is_deleted, is_outdated: true };
        for plan in [Plan::Remove, Plan::AllShared] {
            let found = next_step(&state(plan.clone(), Pods::Gone, job(false)));
            assert_eq!(found, CleanupStep::CancelJob(CANCELS), "{plan:?}");
            assert_eq!(next_step(&state(plan, Pods::Gone, job(true))), CleanupStep::Wait(CANCELS));
        }
    }

    #[test]
    fn nothing_waits_for_ever_and_nothing_late_is_called_done() {
        for pods in [Pods::Stopping, Pods::Gone] {
            for plan in [Plan::Declined, Plan::Unclear, Plan::AllShared, Plan::Remove] {
                for is_deleted in [false, true] {
                    for is_outdated in [false, true] {
                        let job = CleanupJob::Ours { end: None, is_deleted, is_outdated };
                        let late = CleanupState {
                            is_late: true,
                            is_abandoned: true,
                            ..state(plan.clone(), pods, job)
                        };
                        let step = next_step(&late);
                        assert!(
                            matches!(step, CleanupStep::GiveUp(_) | CleanupStep::Release),
                            "{late:?}: {step:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn without_our_finalizer_or_when_left_alone_nothing_is_removed() {
        let wanted = state(Plan::Remove, Pods::Running, CleanupJob::Missing);
        let bare = CleanupState { has_finalizer: false, ..wanted.clone() };
        assert_eq!(next_step(&bare), CleanupStep::Nothing);
        let left_alone = CleanupState { is_left_alone: true, ..wanted };
        assert_eq!(next_step(&left_alone), CleanupStep::Release);
    }
}
