//! Metrics of the authority.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::certificate::Moment;
use super::step::Step;

#[derive(Clone, Debug)]
pub(super) struct Metrics {
    expiration: IntGauge,
    trusted: IntGauge,
    steps: IntCounterVec,
    failures: IntCounter,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let expiration = IntGauge::new(
            "function_mesh_authority_expiration_timestamp_seconds",
            "When the authority that signs the serving certificate expires, in seconds since 1970.",
        )?;
        let trusted = IntGauge::new(
            "function_mesh_authority_trusted",
            "1 while all webhook configurations trust the authorities of the Secret.",
        )?;
        let steps = Opts::new(
            "function_mesh_authority_steps_total",
            "Changes of authorities and certificates that this replica made.",
        );
        let steps = IntCounterVec::new(steps, &["step"])?;
        let failures = IntCounter::new(
            "function_mesh_authority_failures_total",
            "How often the Secret or a webhook configuration could not be read, written or used.",
        )?;
        registry.register(Box::new(expiration.clone()))?;
        registry.register(Box::new(trusted.clone()))?;
        registry.register(Box::new(steps.clone()))?;
        registry.register(Box::new(failures.clone()))?;
        for step in Step::WRITING {
            steps.with_label_values(&[step.as_str()]);
        }
        Ok(Self { expiration, trusted, steps, failures })
    }

    pub(super) fn expires(&self, at: Moment) {
        self.expiration.set(at.as_secs().try_into().unwrap_or_default());
    }

    pub(super) fn trusted(&self, trusted: bool) {
        self.trusted.set(trusted.into());
    }

    pub(super) fn stepped(&self, step: Step) {
        self.steps.with_label_values(&[step.as_str()]).inc();
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }
}
