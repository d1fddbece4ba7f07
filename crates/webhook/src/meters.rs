//! Counts and times of decisions.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use crate::admission::{Action, Verdict};

/// A decision takes parts of a millisecond; seconds mean that a client sends slowly, or that requests queue.
const BUCKETS: [f64; 9] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 4.0];

/// The metrics of admission. Every label has few values: none is taken from a request.
#[derive(Clone, Debug)]
pub struct Meters {
    decisions: IntCounterVec,
    latency: HistogramVec,
}

impl Meters {
    /// Metrics in a registry.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let decisions = Opts::new("function_mesh_admission_decisions_total", "Decisions on objects.");
        let decisions = IntCounterVec::new(decisions, &["webhook", "kind", "operation", "outcome"])?;
        let latency = HistogramOpts::new(
            "function_mesh_admission_duration_seconds",
            "Time from the header of a request to the decision.",
        );
        let latency = HistogramVec::new(latency.buckets(BUCKETS.to_vec()), &["webhook"])?;
        registry.register(Box::new(decisions.clone()))?;
        registry.register(Box::new(latency.clone()))?;
        Ok(Self { decisions, latency })
    }

    pub(crate) fn note(&self, action: Action, kind: &str, verdict: &Verdict, took: Duration) {
        let labels = [action.as_str(), kind, verdict.operation, verdict.outcome.as_str()];
        self.decisions.with_label_values(&labels).inc();
        self.latency.with_label_values(&[action.as_str()]).observe(took.as_secs_f64());
    }
}
