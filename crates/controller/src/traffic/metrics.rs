//! Metrics of the observer. Those of single components have names of objects in their labels and are off by default.

use function_mesh_observer::requests::{Outcome, RequestKey};
use prometheus::{GaugeVec, Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::observed::Observed;

/// Seconds; Pulsar answers in milliseconds.
const BUCKETS: [f64; 8] = [0.005, 0.02, 0.05, 0.1, 0.5, 1.0, 3.0, 8.0];
const REQUESTS: [&str; 7] =
    ["broker_metrics", "brokers", "partitions", "pod_metrics", "quotas", "stats", "topics"];
const OUTCOMES: [&str; 4] = ["answered", "no_answer", "status", "unusable"];
const LABELS: [&str; 3] = ["kind", "namespace", "name"];

/// The metrics.
pub(crate) struct TrafficMetrics {
    requests: IntCounterVec,
    seconds: Histogram,
    components: IntGaugeVec,
    stalled: IntGaugeVec,
    of_components: Option<OfComponents>,
}

/// Metrics of each component.
struct OfComponents {
    backlog: GaugeVec,
    lag: GaugeVec,
    incoming: GaugeVec,
    outgoing: GaugeVec,
    exceptions: GaugeVec,
    stalled: IntGaugeVec,
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
        let of_components = with_components.then(|| OfComponents::register(registry)).transpose()?;
        Ok(Self { requests, seconds, components, stalled, of_components })
    }

    /// Counts a request.
    pub(super) fn asked(&self, kind: &str, outcome: Outcome, seconds: f64) {
        let outcome = match outcome {
            Outcome::Answered => "answered",
            Outcome::NoAnswer => "no_answer",
            Outcome::Status(_) => "status",
            Outcome::Unusable => "unusable",
        };
        self.requests.with_label_values(&[kind, outcome]).inc();
        self.seconds.observe(seconds);
    }

    /// Sets the gauges from all components.
    pub(super) fn set<'a>(&self, components: impl Iterator<Item = (&'static str, &'a Observed)>) {
        self.stalled.reset();
        if let Some(of_components) = &self.of_components {
            of_components.reset();
        }
        let (mut observed, mut unknown) = (0, 0);
        for (kind, component) in components {
            let stall = component.verdict().stall();
            if let Some(stall) = stall {
                self.stalled.with_label_values(&[kind, stall.reason.as_str()]).inc();
            }
            let Some(report) = component.reported() else { continue };
            if component.demand.consumes() {
                let is_known = report.traffic.backlog.is_some();
                observed += i64::from(is_known);
                unknown += i64::from(!is_known);
            }
            if let Some(of_components) = &self.of_components {
                of_components.set(kind, component);
            }
        }
        self.components.with_label_values(&["observed"]).set(observed);
        self.components.with_label_values(&["unknown"]).set(unknown);
    }
}

impl OfComponents {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = GaugeVec::new(Opts::new(name, help), &LABELS)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let stalled = IntGaugeVec::new(
            Opts::new("function_mesh_component_stalled", "1 while a component is stalled, by reason."),
            &["kind", "namespace", "name", "reason"],
        )?;
        registry.register(Box::new(stalled.clone()))?;
        Ok(Self {
            backlog: gauge(
                "function_mesh_component_backlog",
                "Entries that wait for a component; absent while unknown.",
            )?,
            lag: gauge(
                "function_mesh_component_lag_seconds",
                "Age of the oldest entry that waits for a component.",
            )?,
            incoming: gauge(
                "function_mesh_component_in_messages_per_second",
                "Messages published to the inputs of a component.",
            )?,
            outgoing: gauge(
                "function_mesh_component_out_messages_per_second",
                "Messages that the pods of a component processed.",
            )?,
            exceptions: gauge(
                "function_mesh_component_exceptions",
                "Exceptions in the pods of a component within ten minutes.",
            )?,
            stalled,
        })
    }

    fn reset(&self) {
        for gauge in [&self.backlog, &self.lag, &self.incoming, &self.outgoing, &self.exceptions] {
            gauge.reset();
        }
        self.stalled.reset();
    }

    #[allow(clippy::cast_precision_loss, reason = "the numbers are rounded to two digits")]
    fn set(&self, kind: &str, component: &Observed) {
        let Some(report) = component.reported() else { return };
        let labels = [kind, &component.namespace, &component.name];
        let traffic = &report.traffic;
        for (gauge, number) in [
            (&self.backlog, traffic.backlog.map(|it| it as f64)),
            (&self.lag, traffic.lag_seconds.map(|it| it as f64)),
            (&self.incoming, traffic.in_rate),
            (&self.outgoing, traffic.out_rate),
            (&self.exceptions, traffic.exceptions.map(|it| it as f64)),
        ] {
            if let Some(number) = number {
                gauge.with_label_values(&labels).set(number);
            }
        }
        if let Some(stall) = component.verdict().stall() {
            let [kind, namespace, name] = labels;
            self.stalled.with_label_values(&[kind, namespace, name, stall.reason.as_str()]).set(1);
        }
    }
}

/// The label of a request.
pub(super) fn kind_of(key: &RequestKey) -> &'static str {
    match key {
        RequestKey::Partitions { .. } => "partitions",
        RequestKey::Stats { .. } => "stats",
        RequestKey::Topics { .. } => "topics",
        RequestKey::BacklogQuotas { .. } => "quotas",
        RequestKey::Brokers { .. } => "brokers",
        RequestKey::Metrics { .. } => "broker_metrics",
    }
}
