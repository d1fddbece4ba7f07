//! Metrics of the controllers. Labels come from fixed sets, never from objects.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// Reconciles by kind and outcome, and how long they took.
#[derive(Clone)]
pub struct Metrics {
    reconciles: IntCounterVec,
    seconds: HistogramVec,
    writes: IntCounterVec,
}

impl Metrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            reconciles: IntCounterVec::new(
                Opts::new("function_mesh_reconciles_total", "Reconciles by kind and outcome."),
                &["kind", "outcome"],
            )?,
            seconds: HistogramVec::new(
                HistogramOpts::new(
                    "function_mesh_reconcile_duration_seconds",
                    "Time that a reconcile takes.",
                )
                .buckets(vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0]),
                &["kind"],
            )?,
            writes: IntCounterVec::new(
                Opts::new(
                    "function_mesh_writes_total",
                    "Writes to the API server by kind and what they did.",
                ),
                &["kind", "change"],
            )?,
        };
        registry.register(Box::new(metrics.reconciles.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.writes.clone()))?;
        Ok(metrics)
    }

    /// Counts a reconcile.
    pub fn reconciled(&self, kind: &str, outcome: &'static str, started: std::time::Instant) {
        self.reconciles.with_label_values(&[kind, outcome]).inc();
        self.seconds.with_label_values(&[kind]).observe(started.elapsed().as_secs_f64());
    }

    /// Counts a write.
    pub fn wrote(&self, kind: &str, change: &'static str) {
        self.writes.with_label_values(&[kind, change]).inc();
    }
}
