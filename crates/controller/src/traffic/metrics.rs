//! Metrics of the observer. Those of single components have names of objects in their labels and are off by default.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use function_mesh_api::component::Role;
use function_mesh_observer::Traffic;
use function_mesh_observer::requests::{Outcome, RequestKey};
use function_mesh_observer::stall::{StallReason, Verdict};
use prometheus::{GaugeVec, Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry};

/// Seconds; Pulsar answers in milliseconds.
const BUCKETS: [f64; 8] = [0.005, 0.02, 0.05, 0.1, 0.5, 1.0, 3.0, 8.0];
const REQUESTS: [&str; 8] =
    ["broker_metrics", "brokers", "partitions", "pod_metrics", "policies", "quotas", "stats", "topics"];
const OUTCOMES: [&str; 4] = ["answered", "no_answer", "status", "unusable"];
const LABELS: [&str; 3] = ["kind", "namespace", "name"];
/// Name and help of the metrics of each component, in the order of [`Sample::numbers`].
const OF_COMPONENT: [(&str, &str); 8] = [
    ("function_mesh_component_backlog", "Entries that wait for a component; absent while unknown."),
    ("function_mesh_component_lag_seconds", "Age of the oldest entry that waits for a component."),
    ("function_mesh_component_in_messages_per_second", "Messages published to the inputs of a component."),
    ("function_mesh_component_out_messages_per_second", "Messages that the pods of a component processed."),
    ("function_mesh_component_exceptions", "Exceptions in the pods of a component within ten minutes."),
    (
        "function_mesh_component_stalled",
        "1 while a component is stalled, 0 while it is not; absent while unknown.",
    ),
    (
        "function_mesh_component_desired_replicas",
        "Replicas that the operator sets, or recommends, for a component with spec.scaling.",
    ),
    (
        "function_mesh_component_scaling_held",
        "1 while the replicas of a component with spec.scaling must not be changed, 0 otherwise.",
    ),
];

/// The metrics.
pub(crate) struct TrafficMetrics {
    requests: IntCounterVec,
    seconds: Histogram,
    components: IntGaugeVec,
    stalled: IntGaugeVec,
    scaled: IntCounterVec,
    of_components: Option<OfComponents>,
}

/// What the last round found out about a component.
pub(crate) struct Sample<'a> {
    /// Identity of the component.
    pub(super) key: &'a str,
    pub(super) kind: &'static str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// Whether it has a backlog at all.
    pub(super) consumes: bool,
    /// None before the first round.
    pub(super) traffic: Option<&'a Traffic>,
    pub(super) verdict: &'a Verdict,
    /// Replicas that are wanted, and whether something holds them; None if it is not scaled on its work.
    pub(super) scaling: Option<(u32, bool)>,
}

impl TrafficMetrics {
    /// Registers the metrics; those of each component if wanted.
    pub(crate) fn register(registry: &Registry, with_components: bool) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let requests = IntCounterVec::new(
            Opts::new(
                "function_mesh_observer_requests_total",
                "Requests to Pulsar and to pods by kind and outcome.",
            ),
            &["kind", "outcome"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        for kind in REQUESTS {
            for outcome in OUTCOMES {
                requests.with_label_values(&[kind, outcome]);
            }
        }
        let name = "function_mesh_observer_request_duration_seconds";
        let options = HistogramOpts::new(name, "Duration of a request to Pulsar or to a pod.");
        let seconds = Histogram::with_opts(options.buckets(BUCKETS.to_vec()))?;
        registry.register(Box::new(seconds.clone()))?;
        let components = gauge(
            "function_mesh_observer_components",
            "Observed components: those whose backlog is known, and those whose backlog is unknown.",
            &["state"],
        )?;
        let stalled = gauge(
            "function_mesh_stalled_components",
            "Stalled components by kind and reason.",
            &["kind", "reason"],
        )?;
        let scaled = IntCounterVec::new(
            Opts::new(
                "function_mesh_scale_actions_total",
                "Changes of the replicas of components with spec.scaling, by kind and reason.",
            ),
            &["kind", "reason"],
        )?;
        registry.register(Box::new(scaled.clone()))?;
        let of_components = with_components.then(|| OfComponents::register(registry)).transpose()?;
        let metrics = Self { requests, seconds, components, stalled, scaled, of_components };
        metrics.set(&[]);
        Ok(metrics)
    }

    /// Counts a request.
    pub(super) fn asked(&self, kind: &str, outcome: Outcome, seconds: f64) {
        let outcome = match outcome {
            Outcome::Answered => "answered",
            Outcome::NoAnswer | Outcome::NoAnswerOfOwner => "no_answer",
            Outcome::Status(_) => "status",
            Outcome::Unusable => "unusable",
        };
        self.requests.with_label_values(&[kind, outcome]).inc();
        self.seconds.observe(seconds);
    }

    /// Counts a change of replicas.
    pub(super) fn scaled(&self, kind: &str, reason: &str) {
        self.scaled.with_label_values(&[kind, reason]).inc();
    }

    /// Sets the gauges from all components.
    pub(super) fn set(&self, components: &[Sample<'_>]) {
        let mut stalled: HashMap<_, i64> = HashMap::new();
        let (mut observed, mut unknown) = (0, 0);
        for component in components {
            if let Some(stall) = component.verdict.stall() {
                *stalled.entry((component.kind, stall.reason)).or_default() += 1;
            }
            if let Some(traffic) = component.traffic.filter(|_| component.consumes) {
                let is_known = traffic.backlog.is_known();
                observed += i64::from(is_known);
                unknown += i64::from(!is_known);
            }
        }
        // Each combination is set, and none removed: a scrape may come between two of them.
        for kind in Role::ALL.map(Role::kind) {
            for reason in StallReason::ALL {
                let count = stalled.get(&(kind, reason)).copied().unwrap_or_default();
                self.stalled.with_label_values(&[kind, reason.as_str()]).set(count);
            }
        }
        self.components.with_label_values(&["observed"]).set(observed);
        self.components.with_label_values(&["unknown"]).set(unknown);
        if let Some(of_components) = &self.of_components {
            of_components.set(components);
        }
    }
}

type Numbers = [Option<f64>; OF_COMPONENT.len()];

impl Sample<'_> {
    #[allow(clippy::cast_precision_loss, reason = "the numbers are rounded to two digits")]
    fn numbers(&self) -> Numbers {
        let stalled = match self.verdict {
            Verdict::Stalled(_) => Some(1.0),
            Verdict::Progressing => Some(0.0),
            Verdict::Exempt(_) | Verdict::Unknown(_) => None,
        };
        let traffic = self.traffic.copied().unwrap_or_default();
        [
            traffic.backlog.known().map(|it| it as f64),
            traffic.lag_seconds.known().map(|it| it as f64),
            traffic.in_rate.known(),
            traffic.out_rate.known(),
            traffic.exceptions.known().map(|it| it as f64),
            stalled,
            self.scaling.map(|(desired, _)| f64::from(desired)),
            self.scaling.map(|(_, is_held)| f64::from(u8::from(is_held))),
        ]
    }
}

/// Metrics of each component.
struct OfComponents {
    gauges: [GaugeVec; OF_COMPONENT.len()],
    /// What the gauges show, by key of the component.
    shown: Mutex<HashMap<String, Shown>>,
}

struct Shown {
    labels: [String; LABELS.len()],
    numbers: Numbers,
    /// Whether the component still exists.
    is_current: bool,
}

impl OfComponents {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let mut gauges = Vec::new();
        for (name, help) in OF_COMPONENT {
            let gauge = GaugeVec::new(Opts::new(name, help), &LABELS)?;
            registry.register(Box::new(gauge.clone()))?;
            gauges.push(gauge);
        }
        let gauges = gauges.try_into();
        let gauges = gauges.map_err(|_| prometheus::Error::Msg("one gauge for each metric".to_owned()))?;
        Ok(Self { gauges, shown: Mutex::default() })
    }

    fn set(&self, components: &[Sample<'_>]) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for component in components {
            let numbers = component.numbers();
            if let Some(shown) = shown.get_mut(component.key) {
                self.show(shown, numbers);
                shown.is_current = true;
            } else {
                let labels = [component.kind, component.namespace, component.name].map(str::to_owned);
                let mut new = Shown { labels, numbers: Numbers::default(), is_current: true };
                self.show(&mut new, numbers);
                shown.insert(component.key.to_owned(), new);
            }
        }
        shown.retain(|_, shown| {
            let is_current = std::mem::take(&mut shown.is_current);
            if !is_current {
                self.show(shown, Numbers::default());
            }
            is_current
        });
    }

    /// Sets the series that have changed, and removes those whose number is no longer known.
    fn show(&self, shown: &mut Shown, numbers: Numbers) {
        let labels = shown.labels.each_ref().map(String::as_str);
        for ((gauge, before), now) in self.gauges.iter().zip(shown.numbers).zip(numbers) {
            match now {
                Some(number) if before != now => gauge.with_label_values(&labels).set(number),
                // An error would be a series that is not there.
                None if before.is_some() => _ = gauge.remove_label_values(&labels),
                _ => {}
            }
        }
        shown.numbers = numbers;
    }
}

/// The label of a request.
pub(super) fn kind_of(key: &RequestKey) -> &'static str {
    match key {
        RequestKey::Partitions { .. } => "partitions",
        RequestKey::Stats { .. } => "stats",
        RequestKey::Topics { .. } => "topics",
        RequestKey::BacklogQuotas { .. } => "quotas",
        RequestKey::Policies { .. } => "policies",
        RequestKey::Brokers { .. } => "brokers",
        RequestKey::Metrics { .. } => "broker_metrics",
    }
}

#[cfg(test)]
mod tests;
