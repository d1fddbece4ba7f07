//! Where reconciles and the observer meet: reconciles leave the pod counts of a component, and read its last report.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use function_mesh_api::conditions::{ConditionType, Reason};
use function_mesh_api::types::{ComponentStatus, ScalingStatus, TrafficStatus};
use function_mesh_observer::{Monotonic, Workload};
use function_mesh_rollout::Counters;
use function_mesh_rollout::recreate::Subscription;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Monotonic time begins here, so that what happened before the process started has a time too.
const OFFSET: Duration = Duration::from_hours(7 * 24);
/// Age from which the answer of a pod is too old. Pods are asked every 20 seconds.
const MAX_AGE: Duration = Duration::from_secs(90);

/// What the status of a component says about its traffic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrafficReport {
    /// `status.traffic`.
    pub traffic: TrafficStatus,
    /// The condition Stalled. None for a component that cannot stall, such as a source.
    pub stall: Option<StallReport>,
    /// `status.scaling`. None for a component that is not scaled on its work.
    pub scaling: Option<ScalingStatus>,
}

/// The condition Stalled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StallReport {
    /// Whether it holds; None for unknown.
    pub holds: Option<bool>,
    /// Why.
    pub reason: Reason,
    /// The same for people, with what to do.
    pub message: String,
}

impl StallReport {
    /// The condition in a status.
    pub fn of(conditions: &[Condition]) -> Option<Self> {
        let found = conditions.iter().find(|it| it.type_ == ConditionType::Stalled.as_str())?;
        let reason = Reason::ALL.iter().find(|reason| reason.as_str() == found.reason)?;
        let holds = match found.status.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        };
        Some(Self { holds, reason: *reason, message: found.message.clone() })
    }

    /// The message of a stall.
    pub fn problem(&self) -> Option<&str> {
        (self.holds == Some(true)).then_some(self.message.as_str())
    }
}

/// What is known about message traffic.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum TrafficState {
    /// It is not observed.
    #[default]
    Off,
    /// It is not observed, though scaling needs it: what the status says about that.
    Needed(Box<ScalingStatus>),
    /// It has not been observed since this replica leads: the status stays as it is.
    Pending,
    /// As observed.
    Reported(Box<TrafficReport>),
}

impl TrafficState {
    /// Writes what is known into a status.
    pub(crate) fn write(&self, status: &mut ComponentStatus) {
        (status.traffic, status.scaling) = match self {
            Self::Off => (None, None),
            Self::Needed(scaling) => (None, Some((**scaling).clone())),
            Self::Pending => return,
            Self::Reported(report) => (Some(report.traffic.clone()), report.scaling.clone()),
        };
    }

    /// The report, if there is one.
    pub(crate) fn report(&self) -> Option<&TrafficReport> {
        if let Self::Reported(report) = self { Some(report) } else { None }
    }

    /// The stall that it reports.
    pub(crate) fn stall(&self) -> Option<&StallReport> {
        self.report()?.stall.as_ref().filter(|stall| stall.problem().is_some())
    }
}

/// The revision of the pods, and whether some have an older one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rollout<'a> {
    pub(crate) revision: Option<&'a str>,
    pub(crate) is_in_progress: bool,
    /// Whether its pods are gone until they are recreated, so that it matters who consumes the subscription.
    pub(crate) is_draining: bool,
    /// The first pod of a canary that continues: its pods are asked more often, and not only the first ones.
    pub(crate) canary_from: Option<u64>,
}

#[derive(Debug, Default)]
struct Entry {
    uid: String,
    workload: Workload,
    is_rolling_out: bool,
    /// Since when it waits until nothing consumes its subscription, as far as this process knows.
    draining_since: Option<Monotonic>,
    /// Who consumes the subscription, as of an answer since then.
    subscription: Option<Subscription>,
    /// Revision of the StatefulSet to which `ready_since` belongs.
    revision: Option<String>,
    report: Option<TrafficReport>,
    canary_from: Option<u64>,
    /// The last answers of pods, by UID: when, and what it was.
    pods: HashMap<String, (Monotonic, Option<Counters>)>,
}

/// Pod counts and reports, by key of the component.
#[derive(Debug)]
pub struct TrafficBoard {
    started: Instant,
    components: Mutex<HashMap<String, Entry>>,
}

impl Default for TrafficBoard {
    fn default() -> Self {
        Self { started: Instant::now(), components: Mutex::default() }
    }
}

impl TrafficBoard {
    /// The time.
    pub(crate) fn now(&self) -> Monotonic {
        Monotonic(OFFSET + self.started.elapsed())
    }

    /// Leaves the pod counts that a reconcile has observed.
    pub(crate) fn note(&self, key: &str, uid: &str, (wanted, ready): (i32, i32), rollout: Rollout<'_>) {
        let Rollout { revision, is_in_progress, is_draining, canary_from } = rollout;
        let now = self.now();
        let mut components = self.lock();
        let entry = entry(&mut components, key, uid);
        let is_same = entry.revision.as_deref() == revision;
        let since = entry.workload.ready_since.filter(|_| is_same).unwrap_or(now);
        entry.revision = revision.map(str::to_owned);
        (entry.is_rolling_out, entry.canary_from) = (is_in_progress, canary_from);
        if is_draining {
            entry.draining_since.get_or_insert(now);
        } else {
            (entry.draining_since, entry.subscription) = (None, None);
        }
        entry.workload = Workload {
            wanted: u32::try_from(wanted).unwrap_or_default(),
            ready: u32::try_from(ready).unwrap_or_default(),
            ready_since: (ready > 0).then_some(since),
        };
    }

    /// The pod counts; none before the first reconcile.
    pub(crate) fn workload(&self, key: &str, uid: &str) -> Option<Workload> {
        self.lock().get(key).filter(|entry| entry.uid == uid).map(|entry| entry.workload)
    }

    /// The same, and whether a rollout is in progress.
    pub(crate) fn rollout(&self, key: &str, uid: &str) -> Option<(Workload, bool)> {
        let components = self.lock();
        let entry = components.get(key).filter(|entry| entry.uid == uid)?;
        Some((entry.workload, entry.is_rolling_out))
    }

    /// Whether it waits until nothing consumes its subscription.
    pub(crate) fn is_draining(&self, key: &str, uid: &str) -> bool {
        self.lock().get(key).is_some_and(|entry| entry.uid == uid && entry.draining_since.is_some())
    }

    /// The first pod of a canary.
    pub(crate) fn canary_from(&self, key: &str, uid: &str) -> Option<u64> {
        self.lock().get(key).filter(|entry| entry.uid == uid)?.canary_from
    }

    /// Takes the answer of a pod that was asked at this time.
    pub(crate) fn note_pod(&self, key: &str, uid: &str, pod: String, at: Monotonic, found: Option<Counters>) {
        entry(&mut self.lock(), key, uid).pods.insert(pod, (at, found));
    }

    /// Drops the answers of pods that are not asked any more.
    pub(crate) fn keep_pods(&self, key: &str, uid: &str, asked: &[&str]) {
        entry(&mut self.lock(), key, uid).pods.retain(|pod, _| asked.contains(&pod.as_str()));
    }

    /// The last counters of pods by UID; None for those of a pod that did not answer, or not lately.
    pub(crate) fn counters(&self, key: &str, uid: &str) -> HashMap<String, Option<Counters>> {
        let now = self.now();
        let components = self.lock();
        let Some(entry) = components.get(key).filter(|entry| entry.uid == uid) else { return HashMap::new() };
        let recent = |(at, found): (Monotonic, Option<Counters>)| found.filter(|_| now.since(at) <= MAX_AGE);
        entry.pods.iter().map(|(pod, answer)| (pod.clone(), recent(*answer))).collect()
    }

    /// Takes who consumes the subscription, as of an answer at this time. Returns whether a component that waits for it has
    /// something to learn.
    pub(crate) fn note_subscription(&self, key: &str, uid: &str, at: Monotonic, found: Subscription) -> bool {
        let mut components = self.lock();
        let entry = components.get_mut(key).filter(|entry| entry.uid == uid);
        let entry = entry.filter(|entry| entry.draining_since.is_some_and(|since| at > since));
        entry.is_some_and(|entry| entry.subscription.replace(found) != Some(found))
    }

    /// Who consumes the subscription of a component that waits for it; None while that was not asked.
    pub(crate) fn subscription(&self, key: &str, uid: &str) -> Option<Subscription> {
        self.lock().get(key).filter(|entry| entry.uid == uid).and_then(|entry| entry.subscription)
    }

    /// Leaves a report for the next reconcile.
    pub(crate) fn publish(&self, key: &str, uid: &str, report: TrafficReport) {
        entry(&mut self.lock(), key, uid).report = Some(report);
    }

    /// The last report.
    pub(crate) fn report(&self, key: &str, uid: &str) -> Option<TrafficReport> {
        self.lock().get(key).filter(|entry| entry.uid == uid).and_then(|entry| entry.report.clone())
    }

    /// Drops a deleted component.
    pub(crate) fn forget(&self, key: &str) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entry of a component, a new one if another object has the name now.
fn entry<'a>(components: &'a mut HashMap<String, Entry>, key: &str, uid: &str) -> &'a mut Entry {
    let entry = components.entry(key.to_owned()).or_default();
    if entry.uid != uid {
        *entry = Entry { uid: uid.to_owned(), ..Entry::default() };
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(revision: Option<&str>) -> Rollout<'_> {
        Rollout { revision, ..Rollout::default() }
    }

    #[test]
    fn only_an_answer_since_the_pods_are_gone_counts() {
        let board = TrafficBoard::default();
        let known = |consumers| Subscription::Known { consumers, unacked: 0 };
        let later = || Monotonic(board.now().0 + Duration::from_secs(1));
        assert!(!board.note_subscription("k", "u", later(), known(0)));
        let before = board.now();
        let draining = Rollout { is_draining: true, ..Rollout::default() };
        board.note("k", "u", (3, 0), draining);
        assert!(board.is_draining("k", "u"));
        assert!(!board.note_subscription("k", "u", before, known(0)));
        assert_eq!(board.subscription("k", "u"), None);
        assert!(board.note_subscription("k", "u", later(), known(1)));
        // A later reconcile forgets nothing, and the same answer triggers nothing.
        board.note("k", "u", (3, 0), draining);
        assert!(!board.note_subscription("k", "u", later(), known(1)));
        assert!(board.note_subscription("k", "u", later(), known(0)));
        assert_eq!((board.subscription("k", "u"), board.subscription("k", "v")), (Some(known(0)), None));
        board.note("k", "u", (3, 3), revision(Some("b")));
        assert_eq!((board.is_draining("k", "u"), board.subscription("k", "u")), (false, None));
    }

    #[test]
    fn readiness_counts_from_the_current_revision() {
        let board = TrafficBoard::default();
        let since = || board.workload("k", "u").and_then(|workload| workload.ready_since);
        board.note("k", "u", (2, 1), revision(Some("a")));
        let first = since();
        assert!(first.is_some());
        board.note("k", "u", (2, 2), revision(Some("a")));
        assert_eq!(since(), first);
        board.note("k", "u", (2, 2), revision(Some("b")));
        assert!(since() > first);
        board.note("k", "u", (2, 0), revision(Some("b")));
        assert_eq!(since(), None);
    }

    #[test]
    fn a_later_object_of_the_same_name_starts_anew() {
        let board = TrafficBoard::default();
        board.publish("k", "u", TrafficReport::default());
        assert!(board.report("k", "u").is_some());
        assert_eq!(board.report("k", "v"), None);
        board.note("k", "v", (1, 1), revision(None));
        assert_eq!(board.report("k", "u"), None);
        board.forget("k");
        assert_eq!(board.workload("k", "v"), None);
    }
}
