//! One component under observation: its samples, and when a report is worth a write.

use std::collections::BTreeMap;
use std::time::Duration;

use function_mesh_api::types::{OnStall, TrafficStatus};
use function_mesh_observer::cluster::Cluster;
use function_mesh_observer::stall::{
    RestartDecision, RestartLimits, RestartState, StallPolicy, Verdict, decide_restart, detect,
    effective_stall_after,
};
use function_mesh_observer::{
    Cause, Monotonic, Observation, PodObservation, Reading, ServerClock, TopicObservation, Tracker,
    TrackerSettings, Traffic, TrafficSettings, UnixMillis, Workload, WriteLimits,
};
use function_mesh_pulsar::{Access, WebUrl};
use function_mesh_rollout::recreate::Subscription;

use super::board::{StallReport, TrafficReport};
use super::demand::Demand;
use super::intervals::Intervals;
use super::metrics::Sample;
use super::report::{cause_text, millis, readings, stall_report, time, traffic_status};
use super::scaling::{CONSUMERS_INTERVAL, Scaler};
use super::subscription;

/// The Pulsar cluster of a component.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// The web service.
    pub(super) web: WebUrl,
    /// How it is asked.
    pub(super) access: Access,
}

/// A component under observation.
#[derive(Debug)]
pub(super) struct Observed {
    /// Hash of the object from which the demand was read.
    pub(super) content: u64,
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Index of its kind.
    pub(super) kind: usize,
    pub(super) demand: Demand,
    /// Its Pulsar cluster, or why none is known.
    pub(super) place: Result<Place, String>,
    /// Whether its ConfigMap has been read.
    is_placed: bool,
    /// The last answers of its pods, by ordinal.
    pub(super) pods: BTreeMap<u64, PodObservation>,
    /// When its pods are asked next; None for at once.
    pub(super) pods_due: Option<Monotonic>,
    restarts: RestartState,
    pub(super) tracker: Tracker,
    began: Monotonic,
    last_round: Option<Monotonic>,
    /// What the last round found out.
    traffic: Option<Traffic>,
    /// What the status has, and since when.
    pub(super) published: Option<(TrafficReport, Monotonic)>,
    verdict: Verdict,
    /// When it was last seen stalled by this process.
    stalled_at: Monotonic,
    has_told_exhausted: bool,
    /// Who consumes its subscription, as of the last round.
    pub(super) subscription: Subscription,
    /// Its scaling, if it is scaled on its work, or its mesh is.
    pub(super) scaler: Option<Box<Scaler>>,
}

impl Observed {
    /// A component of which the status is known, which a previous process may have written.
    pub(super) fn new(
        (uid, namespace, name): (&str, &str, &str),
        (kind, content): (usize, u64),
        demand: Demand,
        before: Option<TrafficReport>,
        now: Monotonic,
        wall: UnixMillis,
    ) -> Self {
        let age =
            |time: Option<UnixMillis>| time.map(|time| Duration::from_millis(wall.0.saturating_sub(time.0)));
        let at = |time| age(time).map(|age| Monotonic(now.0.saturating_sub(age)));
        let traffic = before.as_ref().map(|before| &before.traffic);
        let restarts = RestartState {
            restarts: traffic.and_then(|traffic| traffic.restarts).unwrap_or_default(),
            last: at(traffic.and_then(|traffic| traffic.last_restart.as_ref()).and_then(millis)),
            stalled_at: None,
        };
        let observed_at = at(traffic.and_then(|traffic| traffic.observed_at.as_ref()).and_then(millis));
        let tracker = tracker(&demand);
        let scaling = before.as_ref().and_then(|before| before.scaling.as_ref());
        let scaler = demand.work.has_scaler().then(|| Box::new(Scaler::new(scaling)));
        Self {
            content,
            uid: uid.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            kind,
            demand,
            place: Err("the ConfigMap with the URL of Pulsar has not been read".to_owned()),
            is_placed: false,
            pods: BTreeMap::new(),
            pods_due: None,
            restarts,
            tracker,
            began: now,
            last_round: None,
            traffic: None,
            published: before.map(|before| (before, observed_at.unwrap_or_default())),
            verdict: Verdict::Unknown(Cause::NotAsked),
            stalled_at: now,
            has_told_exhausted: false,
            subscription: Subscription::NotObserved,
            scaler,
        }
    }

    /// Takes another spec. Samples stay, unless it consumes something else.
    pub(super) fn change(&mut self, content: u64, demand: Demand, now: Monotonic) {
        self.content = content;
        let (old, new) = (&self.demand.interest, &demand.interest);
        let names = |interest: &function_mesh_observer::cluster::Interest| {
            let patterns = interest.patterns.iter().map(|(name, _)| name.clone());
            (interest.subscription.clone(), interest.topics.clone(), patterns.collect::<Vec<_>>())
        };
        let is_other = names(old) != names(new)
            || self.demand.policy.stall_after != demand.policy.stall_after
            || self.demand.config_map != demand.config_map;
        match &mut self.scaler {
            _ if !demand.work.has_scaler() => self.scaler = None,
            Some(scaler) => scaler.note_spec(&self.demand.work, &demand.work),
            None => self.scaler = Some(Box::default()),
        }
        self.demand = demand;
        if is_other {
            self.begin_again(now);
        }
    }

    fn begin_again(&mut self, now: Monotonic) {
        self.tracker = tracker(&self.demand);
        (self.began, self.last_round) = (now, None);
        if let Some(scaler) = &mut self.scaler {
            scaler.begin_again();
        }
    }

    /// Moves it to another cluster, whose counters are others. The next round comes at once.
    pub(super) fn set_place(&mut self, place: Result<Place, String>, now: Monotonic) {
        if self.place != place {
            let is_first = !self.is_placed;
            self.place = place;
            self.is_placed = true;
            if is_first {
                self.last_round = None;
            } else {
                self.begin_again(now);
            }
        }
    }

    /// Whether consumers are worth asking for.
    pub(super) fn needs_details(&self, now: Monotonic) -> bool {
        let scaler = self.scaler.as_ref().filter(|_| self.needs_lag());
        self.tracker.needs_details(now, self.demand.policy.stall_after)
            || scaler.is_some_and(|scaler| scaler.facts.needs_consumers(CONSUMERS_INTERVAL, now))
    }

    /// Whether the lag is worth reading.
    pub(super) fn needs_lag(&self) -> bool {
        self.tracker
            .window()
            .last()
            .is_some_and(|last| last.ready_backlog.is_known_and(|backlog| backlog > 0))
    }

    /// Whether it is time for a round: all topics have a newer answer, or none came for long.
    pub(super) fn is_due(
        &self,
        cluster: Option<&Cluster>,
        workload: &Workload,
        intervals: &Intervals,
        now: Monotonic,
    ) -> Option<Monotonic> {
        let answered = cluster.and_then(|cluster| cluster.answered_at(&self.demand.interest));
        if let Some(at) = answered
            && self.last_round.is_none_or(|last| at > last)
        {
            return Some(at);
        }
        let since = self.last_round.unwrap_or(self.began);
        let interval = match self.last_round {
            None => intervals.grace,
            Some(_) if self.place.is_err() => intervals.round_without_cluster,
            Some(_) if workload.ready == 0 => intervals.idle_round_without_pods,
            Some(_) => intervals.idle_round,
        };
        let is_late = now.since(since) >= interval;
        // A source has no topic to ask about; its rounds follow its pods.
        let newest_pod = self.pods.values().map(|pod| pod.at).max().filter(|_| !self.demand.consumes());
        let has_pods = newest_pod.is_some_and(|at| self.last_round.is_none_or(|last| at > last));
        (is_late || has_pods).then_some(now)
    }

    /// One round: takes the answers and judges. Returns a report that is worth a write.
    pub(super) fn round(
        &mut self,
        cluster: Option<&Cluster>,
        workload: &Workload,
        (at, wall): (Monotonic, UnixMillis),
        intervals: &Intervals,
        write: &WriteLimits,
    ) -> Option<TrafficReport> {
        let mut settings = TrafficSettings::default();
        if workload.ready == 0 {
            settings.max_age = intervals.idle_round_without_pods;
        }
        // With more topics than may be asked within that time, numbers are older, and known all the same.
        let round = cluster.map_or(Duration::ZERO, Cluster::round_time);
        settings.max_age = settings.max_age.max(round.saturating_mul(2));
        self.tracker.set_max_age(settings.max_age);
        let pods = self.pods.values().cloned().map(|pod| fresh(pod, at, settings.max_age)).collect();
        let interest = &self.demand.interest;
        let observation = match cluster {
            Some(cluster) => cluster.observe(interest, pods, at, wall, settings.max_age),
            None => self.without_cluster(pods, at, wall),
        };
        self.tracker.observe(&observation, workload);
        self.subscription = subscription::of(&observation);
        if let Some(scaler) = &mut self.scaler {
            scaler.note_round(scaler.facts.after(&observation, cluster, interest));
        }
        self.last_round = Some(at);
        let policy = self.demand.policy;
        self.verdict = detect(&self.tracker, workload, &policy, at);
        let traffic = Traffic::summarize(self.tracker.window(), at, &settings);
        self.traffic = Some(traffic);
        let before = self.published.as_ref().map(|(report, _)| report);
        let stall = self.stall(&policy, before.and_then(|before| before.stall.as_ref()));
        let is_stalled = self.verdict.stall().is_some();
        if is_stalled {
            self.stalled_at = at;
        } else if self.verdict == Verdict::Progressing {
            self.has_told_exhausted = false;
        }
        self.restarts = self.restarts.after(is_stalled, false, at, &RestartLimits::default());
        let scaling = self.scaling_status(intervals.grace, at);
        let report = TrafficReport { traffic: self.status(&traffic), stall, scaling };
        let is_worth = match &self.published {
            _ if !self.is_settled(&traffic, intervals.grace, at) => false,
            None => true,
            Some((before, written)) => {
                let condition =
                    |report: &TrafficReport| report.stall.as_ref().map(|stall| (stall.holds, stall.reason));
                let shown = |report: &TrafficReport| {
                    (report.traffic.access, report.traffic.message.clone(), report.traffic.restarts)
                };
                let previous = readings(&before.traffic);
                condition(before) != condition(&report)
                    || at.since(*written) >= write.min_interval && shown(before) != shown(&report)
                    || traffic.is_meaningful_change(&previous, at.since(*written), write)
            }
        };
        is_worth.then(|| {
            self.published = Some((report.clone(), at));
            report
        })
    }

    /// Whether enough is known for a report: a rate needs two answers, and pods need time to subscribe. Until then the
    /// status stays as it is, after a restart of the operator too.
    fn is_settled(&self, traffic: &Traffic, grace: Duration, at: Monotonic) -> bool {
        let is_answered_no = traffic.backlog.cause().is_some_and(Cause::is_of_cluster);
        let is_final = is_answered_no || self.is_placed && self.place.is_err();
        let grace = if is_final { grace } else { 4 * grace };
        let rate = if self.demand.consumes() { traffic.in_rate } else { traffic.out_rate };
        rate.is_known() || at.since(self.began) >= grace
    }

    fn without_cluster(&self, pods: Vec<PodObservation>, at: Monotonic, wall: UnixMillis) -> Observation {
        let interest = &self.demand.interest;
        let names = interest.topics.iter().chain(interest.patterns.iter().map(|(name, _)| name));
        let topics = names.map(|name| TopicObservation {
            topic: name.to_string(),
            subscription: interest.subscription.clone(),
            answer: Err(Cause::NotAsked),
        });
        let is_output_blocked = Reading::Unknown(Cause::NotAsked);
        Observation {
            at,
            wall,
            clock: ServerClock::default(),
            topics: topics.collect(),
            is_output_blocked,
            pods,
        }
    }

    fn stall(&self, policy: &StallPolicy, before: Option<&StallReport>) -> Option<StallReport> {
        if !self.demand.consumes() {
            return None;
        }
        let after = effective_stall_after(&self.tracker, policy);
        // What was stalled stays so until something is acknowledged, or nothing waits: a new tracker has not seen how long it
        // has been waiting.
        let is_over = self.tracker.has_progressed_since(self.stalled_at) || !self.tracker.has_waiting();
        let before =
            before.filter(|before| before.problem().is_none() || !is_over || self.verdict.stall().is_some());
        stall_report(&self.verdict, after, |cause| self.why(cause), before)
    }

    fn why(&self, cause: Cause) -> String {
        match &self.place {
            Ok(place) => cause_text(cause, place.web.as_str(), place.access.kind()),
            Err(message) => message.clone(),
        }
    }

    fn status(&self, traffic: &Traffic) -> TrafficStatus {
        let unknown = if self.demand.consumes() { traffic.backlog.cause() } else { None };
        let has_restarts = self.restarts.restarts > 0;
        let wall = self.tracker.window().last().map(|last| (last.at, last.wall));
        let last_restart = self.restarts.last.zip(wall).and_then(|(at, (now, wall))| {
            let age = u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
            time(UnixMillis(wall.0.saturating_sub(age)))
        });
        TrafficStatus {
            access: self.place.as_ref().ok().map(|place| place.access.kind()),
            message: unknown.map(|cause| self.why(cause)),
            restarts: has_restarts.then_some(self.restarts.restarts),
            last_restart: last_restart.filter(|_| has_restarts),
            ..traffic_status(traffic)
        }
    }

    /// Which pod to restart, if the component wants that and it can help.
    pub(super) fn restart(&self, ready: &[u64], now: Monotonic) -> Option<RestartDecision> {
        let stall = self.verdict.stall().filter(|_| self.wants_restart())?;
        let (unacked, longest) = (self.tracker.unacked_by_pod(), self.tracker.longest_call());
        Some(decide_restart(stall, &self.restarts, unacked, ready, longest, &RestartLimits::default(), now))
    }

    /// Counts a restart that is about to happen. Returns the report that records it first.
    pub(super) fn count_restart(&mut self, now: Monotonic, wall: UnixMillis) -> TrafficReport {
        self.restarts = self.restarts.after(true, true, now, &RestartLimits::default());
        let (mut report, _) = self.published.clone().unwrap_or_default();
        report.traffic.restarts = Some(self.restarts.restarts);
        report.traffic.last_restart = time(wall);
        self.published = Some((report.clone(), now));
        report
    }

    /// The verdict of the last round.
    pub(super) fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Whether to report the end of restarts now: once for each stall.
    pub(super) fn tell_exhausted(&mut self) -> bool {
        !std::mem::replace(&mut self.has_told_exhausted, true)
    }

    /// Whether it is stalled, and its pods may be restarted.
    pub(super) fn wants_restart(&self) -> bool {
        self.verdict.stall().is_some() && self.demand.on_stall == OnStall::Restart
    }

    /// What metrics show: as of the last round, which the status may have left out as noise.
    pub(super) fn sample<'a>(&'a self, key: &'a str, kind: &'static str) -> Sample<'a> {
        Sample {
            key,
            kind,
            namespace: &self.namespace,
            name: &self.name,
            consumes: self.demand.consumes(),
            traffic: self.traffic.as_ref(),
            verdict: &self.verdict,
            scaling: self.scaler.as_ref().and_then(|scaler| scaler.sample()),
        }
    }
}

/// A tracker without samples.
fn tracker(demand: &Demand) -> Tracker {
    Tracker::new(TrackerSettings { stall_after: demand.policy.stall_after, ..TrackerSettings::default() })
}

/// A sample of a pod, or none if it is too old.
fn fresh(pod: PodObservation, at: Monotonic, max_age: Duration) -> PodObservation {
    if at.since(pod.at) <= max_age { pod } else { PodObservation { stats: Err(Cause::Stale), ..pod } }
}

#[cfg(test)]
mod tests;
