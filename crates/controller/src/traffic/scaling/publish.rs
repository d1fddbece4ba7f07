//! When a decision becomes a report, which the next reconcile writes into the status.

use function_mesh_api::types::ScalingStatus;
use function_mesh_observer::Monotonic;

use super::super::ObserverSettings;
use super::super::board::TrafficReport;
use super::super::observed::Observed;

impl Observed {
    /// What the status says about scaling.
    pub(super) fn reported_scaling(&self) -> Option<&ScalingStatus> {
        self.published.as_ref().and_then(|(report, _)| report.scaling.as_ref())
    }

    /// What a report says about scaling now: as before, while nothing new is worth saying.
    pub(in super::super) fn scaling_status(
        &self,
        grace: std::time::Duration,
        now: Monotonic,
    ) -> Option<ScalingStatus> {
        self.demand.work.wanted.as_ref()?;
        let before = self.reported_scaling();
        let status = self.scaler.as_ref().and_then(|scaler| scaler.status(before, grace, now));
        status.or_else(|| before.cloned())
    }

    /// A report, if scaling alone is worth one. A change that is under way is reported with its end.
    pub(super) fn scaling_report(
        &mut self,
        settings: &ObserverSettings,
        now: Monotonic,
    ) -> Option<TrafficReport> {
        if self.demand.work.wanted.is_none() {
            let (report, written) = self.published.as_mut().filter(|(report, _)| report.scaling.is_some())?;
            (report.scaling, *written) = (None, now);
            return Some(report.clone());
        }
        let scaler = self.scaler.as_ref()?;
        let is_pending = self.demand.work.is_automatic() && scaler.is_pending(now);
        let since = self.published.as_ref().map(|(_, written)| now.since(*written)).unwrap_or_default();
        let (grace, least) = (settings.intervals.grace, settings.write.min_interval);
        let before = self.reported_scaling();
        if is_pending || !scaler.is_worth_report(before, since, (grace, least), now) {
            return None;
        }
        let scaling = self.scaling_status(grace, now);
        // The first report is that of the traffic, once it is known.
        let (mut report, _) = self.published.clone()?;
        report.scaling = scaling;
        self.published = Some((report.clone(), now));
        Some(report)
    }
}

/// What the status says if Pulsar is not observed. What was learned stays.
pub(crate) fn observer_off(before: Option<&ScalingStatus>) -> ScalingStatus {
    ScalingStatus {
        reason: Some("ObserverOff".to_owned()),
        message: Some(
            "the operator does not observe Pulsar, so that it does not scale; start it with --observe"
                .to_owned(),
        ),
        last_scale_time: before.and_then(|before| before.last_scale_time.clone()),
        learned: before.and_then(|before| before.learned.clone()),
        ..ScalingStatus::default()
    }
}
