//! Metrics of the controllers, in the shape of `controller_runtime_*` and `workqueue_*`. Labels come from fixed sets, never
//! from objects, and counters are initialised to zero, so that the first error is an increase.

use std::time::Instant;

use function_mesh_api::Role;
use function_mesh_workloads::Workload;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Kinds that are reconciled.
const KINDS: [&str; 4] = ["Function", "FunctionMesh", "Sink", "Source"];
const RESULTS: [&str; 6] = ["conflict", "decode_error", "error", "invalid", "skipped", "success"];

/// Seconds; a reconcile makes a few requests.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0, 60.0];
/// Seconds; changes are debounced for 50 ms, and then wait for a free worker.
const WAITS: [f64; 9] = [0.055, 0.075, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0];

/// The stage of a reconcile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Something could not be read.
    Observe,
    /// A rule is broken.
    Validate,
    /// Children could not be rendered.
    Render,
    /// Something could not be written.
    Apply,
    /// The status could not be written.
    Report,
}

impl Stage {
    const ALL: [Self; 5] = [Self::Observe, Self::Validate, Self::Render, Self::Apply, Self::Report];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Validate => "validate",
            Self::Render => "render",
            Self::Apply => "apply",
            Self::Report => "report",
        }
    }
}

/// What reconciles did and how long they took.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    seconds: HistogramVec,
    errors: IntCounterVec,
    in_progress: IntGaugeVec,
    waits: HistogramVec,
    writes: IntCounterVec,
}

impl Metrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help, labels: &[&str]| {
            registered(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let histogram = |name, help, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            registered(registry, HistogramVec::new(options, &["kind"])?)
        };
        let in_progress = Opts::new("function_mesh_active_workers", "Workers that run a reconcile.");
        let metrics = Self {
            reconciles: counter(
                "function_mesh_reconcile_total",
                "Reconciles by kind and result.",
                &["kind", "result"],
            )?,
            seconds: histogram("function_mesh_reconcile_time_seconds", "Duration of a reconcile.", &BUCKETS)?,
            errors: counter(
                "function_mesh_reconcile_errors_total",
                "Reconcile errors by kind and stage.",
                &["kind", "stage"],
            )?,
            in_progress: registered(registry, IntGaugeVec::new(in_progress, &["kind"])?)?,
            waits: histogram(
                "function_mesh_workqueue_queue_duration_seconds",
                "Time from a change of an object, or of its children, to its reconcile.",
                &WAITS,
            )?,
            writes: counter(
                "function_mesh_writes_total",
                "Writes to the API server by kind and change.",
                &["kind", "change"],
            )?,
            registry: registry.clone(),
        };
        metrics.initialise();
        Ok(metrics)
    }

    fn initialise(&self) {
        for kind in KINDS {
            for result in RESULTS {
                self.reconciles.with_label_values(&[kind, result]);
            }
            for stage in Stage::ALL {
                self.errors.with_label_values(&[kind, stage.as_str()]);
            }
            self.seconds.with_label_values(&[kind]);
            self.in_progress.with_label_values(&[kind]);
            self.waits.with_label_values(&[kind]);
            self.writes.with_label_values(&[kind, "status"]);
        }
        // Children of components, and components of meshes.
        for kind in Workload::KINDS.into_iter().chain(Role::ALL.map(Role::kind)) {
            for change in ["created", "updated", "deleted"] {
                self.writes.with_label_values(&[kind, change]);
            }
        }
    }

    /// A reconcile begins.
    pub fn begin(&self, kind: &'static str) -> ReconcileTimer {
        let in_progress = self.in_progress.with_label_values(&[kind]);
        in_progress.inc();
        ReconcileTimer { metrics: self.clone(), kind, begun: Instant::now(), in_progress }
    }

    /// Counts a write.
    pub fn wrote(&self, kind: &str, change: &'static str) {
        self.writes.with_label_values(&[kind, change]).inc();
    }

    /// How long changes of a kind wait.
    pub fn waits(&self, kind: &str) -> Histogram {
        self.waits.with_label_values(&[kind])
    }

    /// A gauge of one kind.
    pub fn gauge(
        &self,
        kind: &str,
        (name, help): (&str, &str),
        label: &str,
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let options = Opts::new(name, help).const_label("kind", kind);
        registered(&self.registry, IntGaugeVec::new(options, &[label])?)
    }

    /// A gauge of one kind that is computed when it is read.
    pub fn computed(
        &self,
        kind: &str,
        (name, help): (&str, &str),
        label: Option<&str>,
        compute: impl Fn(&IntGaugeVec) + Send + Sync + 'static,
    ) -> Result<(), prometheus::Error> {
        let options = Opts::new(name, help).const_label("kind", kind);
        let gauge = IntGaugeVec::new(options, label.as_slice())?;
        self.registry.register(Box::new(Computed { gauge, compute }))
    }
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// Measures one reconcile, until it is dropped.
#[must_use]
pub struct ReconcileTimer {
    metrics: Metrics,
    kind: &'static str,
    begun: Instant,
    in_progress: IntGauge,
}

impl ReconcileTimer {
    /// The object is not managed, or is gone.
    pub fn skipped(self) {
        self.count("skipped");
    }

    /// It was based on a stale cache, and is retried soon.
    pub fn conflict(self) {
        self.count("conflict");
    }

    /// The object could not be decoded.
    pub fn decode_error(self) {
        self.error(Stage::Observe);
        self.count("decode_error");
    }

    /// It ended, with these errors.
    pub fn ended(self, errors: impl IntoIterator<Item = Stage>) {
        let mut result = "success";
        for stage in errors {
            self.error(stage);
            // The author fixes an invalid object; anything else is retried.
            if stage != Stage::Validate {
                result = "error";
            } else if result == "success" {
                result = "invalid";
            }
        }
        self.count(result);
    }

    fn error(&self, stage: Stage) {
        self.metrics.errors.with_label_values(&[self.kind, stage.as_str()]).inc();
    }

    fn count(&self, result: &str) {
        self.metrics.reconciles.with_label_values(&[self.kind, result]).inc();
        self.metrics.seconds.with_label_values(&[self.kind]).observe(self.begun.elapsed().as_secs_f64());
    }
}

impl Drop for ReconcileTimer {
    fn drop(&mut self) {
        self.in_progress.dec();
    }
}

struct Computed<F> {
    gauge: IntGaugeVec,
    compute: F,
}

impl<F: Fn(&IntGaugeVec) + Send + Sync> Collector for Computed<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        (self.compute)(&self.gauge);
        self.gauge.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(registry: &Registry, name: &str, labels: &[(&str, &str)]) -> f64 {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name() == name).expect("the metric");
        let matches = |metric: &&prometheus::proto::Metric| {
            let has = |(name, value): &(&str, &str)| {
                metric.get_label().iter().any(|label| label.name() == *name && label.value() == *value)
            };
            labels.iter().all(has)
        };
        let metric = family.get_metric().iter().find(matches).expect("the series");
        metric.get_counter().get_value() + metric.get_gauge().get_value()
    }

    #[test]
    fn results_tell_errors_of_the_author_from_others() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        for (errors, result) in [
            (vec![], "success"),
            (vec![Stage::Validate], "invalid"),
            (vec![Stage::Validate, Stage::Report], "error"),
            (vec![Stage::Apply], "error"),
        ] {
            let count =
                || value(&registry, "function_mesh_reconcile_total", &[("kind", "Sink"), ("result", result)]);
            let before = count();
            metrics.begin("Sink").ended(errors.clone());
            assert!(count() > before, "{errors:?}");
        }
        for (stage, expected) in [("validate", 2.0), ("report", 1.0), ("apply", 1.0), ("observe", 0.0)] {
            let found = value(
                &registry,
                "function_mesh_reconcile_errors_total",
                &[("kind", "Sink"), ("stage", stage)],
            );
            assert!((found - expected).abs() < 0.1, "{stage}: {found}");
        }
    }

    #[test]
    fn a_dropped_reconcile_is_not_active() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let in_progress = || value(&registry, "function_mesh_active_workers", &[("kind", "Source")]);
        let work = metrics.begin("Source");
        assert!(in_progress() > 0.5);
        drop(work);
        assert!(in_progress() < 0.5);
    }

    #[test]
    fn computed_gauges_are_current_when_read() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        for (kind, number) in [("Sink", 1), ("Source", 2)] {
            let compute = move |gauge: &IntGaugeVec| gauge.with_label_values(&["Ready"]).set(number);
            metrics.computed(kind, ("things", "Things."), Some("phase"), compute).unwrap();
        }
        assert!((value(&registry, "things", &[("kind", "Sink"), ("phase", "Ready")]) - 1.0).abs() < 0.1);
        assert!((value(&registry, "things", &[("kind", "Source"), ("phase", "Ready")]) - 2.0).abs() < 0.1);
    }
}
