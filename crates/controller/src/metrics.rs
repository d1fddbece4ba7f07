//! Metrics of the controllers. Labels come from fixed sets, never from objects, and what can be counted begins
//! at zero, so that the first fault is an increase.

use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Kinds that are reconciled.
const KINDS: [&str; 4] = ["Function", "FunctionMesh", "Sink", "Source"];
/// Kinds that are written as children.
const CHILDREN: [&str; 7] = [
    "Function",
    "HorizontalPodAutoscaler",
    "Service",
    "Sink",
    "Source",
    "StatefulSet",
    "VerticalPodAutoscaler",
];
const OUTCOMES: [&str; 6] = ["done", "failed", "invalid", "late", "skipped", "unreadable"];

/// A reconcile takes a few requests.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0, 60.0];
/// Changes are gathered for 50 ms; beyond that an object waits for a free place.
const WAITS: [f64; 9] = [0.055, 0.075, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0];

/// The part of a reconcile in which an error arose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Something could not be read.
    Observe,
    /// A rule is broken.
    Validate,
    /// What is wanted could not be put in words.
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
        let in_progress =
            Opts::new("function_mesh_reconciles_in_progress", "Reconciles that are being worked on.");
        let metrics = Self {
            reconciles: counter(
                "function_mesh_reconciles_total",
                "Reconciles by kind and outcome.",
                &["kind", "outcome"],
            )?,
            seconds: histogram(
                "function_mesh_reconcile_duration_seconds",
                "Time that a reconcile takes.",
                &BUCKETS,
            )?,
            errors: counter(
                "function_mesh_reconcile_errors_total",
                "Errors of reconciles by kind and the stage in which they arose.",
                &["kind", "stage"],
            )?,
            in_progress: registered(registry, IntGaugeVec::new(in_progress, &["kind"])?)?,
            waits: histogram(
                "function_mesh_change_wait_seconds",
                "Time from a change of an object, or of its children, to the reconcile that takes it up.",
                &WAITS,
            )?,
            writes: counter(
                "function_mesh_writes_total",
                "Writes to the API server by kind and what they did.",
                &["kind", "change"],
            )?,
            registry: registry.clone(),
        };
        metrics.begin_at_zero();
        Ok(metrics)
    }

    fn begin_at_zero(&self) {
        for kind in KINDS {
            for outcome in OUTCOMES {
                self.reconciles.with_label_values(&[kind, outcome]);
            }
            for stage in Stage::ALL {
                self.errors.with_label_values(&[kind, stage.as_str()]);
            }
            self.seconds.with_label_values(&[kind]);
            self.in_progress.with_label_values(&[kind]);
            self.waits.with_label_values(&[kind]);
            self.writes.with_label_values(&[kind, "status"]);
        }
        for kind in CHILDREN {
            for change in ["created", "updated", "deleted"] {
                self.writes.with_label_values(&[kind, change]);
            }
        }
    }

    /// A reconcile begins.
    pub fn begin(&self, kind: &'static str) -> Work {
        let in_progress = self.in_progress.with_label_values(&[kind]);
        in_progress.inc();
        Work { metrics: self.clone(), kind, begun: Instant::now(), in_progress }
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

/// A reconcile that is being worked on, until this goes.
#[must_use]
pub struct Work {
    metrics: Metrics,
    kind: &'static str,
    begun: Instant,
    in_progress: IntGauge,
}

impl Work {
    /// There was nothing to be done: the object is being deleted, or is somebody else's.
    pub fn skipped(self) {
        self.count("skipped");
    }

    /// It was based on a stale cache, and is retried soon.
    pub fn conflict(self) {
        self.count("late");
    }

    /// The object could not be decoded.
    pub fn unreadable(self) {
        self.error(Stage::Observe);
        self.count("unreadable");
    }

    /// It ended, with these errors.
    pub fn ended(self, errors: impl IntoIterator<Item = Stage>) {
        let mut outcome = "done";
        for stage in errors {
            self.error(stage);
            // A rule that is broken is the author's matter; anything else is ours.
            if stage != Stage::Validate {
                outcome = "failed";
            } else if outcome == "done" {
                outcome = "invalid";
            }
        }
        self.count(outcome);
    }

    fn error(&self, stage: Stage) {
        self.metrics.errors.with_label_values(&[self.kind, stage.as_str()]).inc();
    }

    fn count(&self, outcome: &str) {
        self.metrics.reconciles.with_label_values(&[self.kind, outcome]).inc();
        self.metrics.seconds.with_label_values(&[self.kind]).observe(self.begun.elapsed().as_secs_f64());
    }
}

impl Drop for Work {
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
    fn an_outcome_tells_whose_matter_it_is() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        for (errors, outcome) in [
            (vec![], "done"),
            (vec![Stage::Validate], "invalid"),
            (vec![Stage::Validate, Stage::Report], "failed"),
            (vec![Stage::Apply], "failed"),
        ] {
            let count = || {
                value(&registry, "function_mesh_reconciles_total", &[("kind", "Sink"), ("outcome", outcome)])
            };
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
    fn work_that_is_dropped_is_no_longer_in_progress() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let in_progress = || value(&registry, "function_mesh_reconciles_in_progress", &[("kind", "Source")]);
        let work = metrics.begin("Source");
        assert!(in_progress() > 0.5);
        drop(work);
        assert!(in_progress() < 0.5);
    }

    #[test]
    fn a_computed_gauge_of_each_kind_is_as_of_the_moment_it_is_read() {
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
