//! Metrics of admission. Counters are initialised to zero, so that the first denial is an increase.

use std::time::Duration;

use function_mesh_api::{BackendConfig, Function, FunctionMesh, Sink, Source};
use kube::core::Resource;
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::admission::{Action, Outcome, Verdict};

/// A decision takes less than a millisecond; seconds mean slow clients or a queue.
const BUCKETS: [f64; 9] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 4.0];

/// Metrics of admission. Labels have a fixed set of values: none comes from a request.
#[derive(Clone, Debug)]
pub struct Metrics {
    decisions: IntCounterVec,
    latency: HistogramVec,
    pub(crate) body_bytes: IntGaugeVec,
    pub(crate) abandoned: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let decisions = Opts::new("function_mesh_admission_decisions_total", "Admission decisions.");
        let decisions = IntCounterVec::new(decisions, &["webhook", "kind", "operation", "outcome"])?;
        let latency = HistogramOpts::new(
            "function_mesh_admission_duration_seconds",
            "Time from the request header to the decision.",
        );
        let latency = HistogramVec::new(latency.buckets(BUCKETS.to_vec()), &["webhook"])?;
        let body_bytes = Opts::new(
            "function_mesh_admission_body_bytes",
            "Bytes of the memory budget that requests and responses use.",
        );
        let body_bytes = IntGaugeVec::new(body_bytes, &["size"])?;
        let abandoned = IntCounter::new(
            "function_mesh_admission_abandoned_total",
            "Decisions that were still running at their deadline.",
        )?;
        registry.register(Box::new(body_bytes.clone()))?;
        registry.register(Box::new(abandoned.clone()))?;
        registry.register(Box::new(decisions.clone()))?;
        registry.register(Box::new(latency.clone()))?;
        let metrics = Self { decisions, latency, body_bytes, abandoned };
        metrics.initialise();
        Ok(metrics)
    }

    fn initialise(&self) {
        let kinds = [
            Function::kind(&()),
            Source::kind(&()),
            Sink::kind(&()),
            FunctionMesh::kind(&()),
            BackendConfig::kind(&()),
        ];
        for action in [Action::Mutate, Action::Validate] {
            self.latency.with_label_values(&[action.as_str()]);
            for kind in &kinds {
                let zero = |operation: &str, outcome: Outcome| {
                    let labels = [action.as_str(), kind, operation, outcome.as_str()];
                    self.decisions.with_label_values(&labels);
                };
                for operation in ["CREATE", "UPDATE"] {
                    zero(operation, Outcome::Allowed);
                    zero(operation, Outcome::Exempt);
                    zero(operation, Outcome::Denied);
                    if action == Action::Mutate {
                        zero(operation, Outcome::Patched);
                    }
                }
                // The operation of a request that was not decoded is unknown.
                zero("unknown", Outcome::Malformed);
                zero("unknown", Outcome::Overloaded);
            }
        }
    }

    pub(crate) fn observe(&self, action: Action, kind: &str, verdict: &Verdict, took: Duration) {
        let labels = [action.as_str(), kind, verdict.operation, verdict.outcome.as_str()];
        self.decisions.with_label_values(&labels).inc();
        self.latency.with_label_values(&[action.as_str()]).observe(took.as_secs_f64());
    }
}
