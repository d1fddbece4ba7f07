//! Metrics of the certificate rotation.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::certificate::UnixTime;
use super::rotation::Rotation;

#[derive(Clone, Debug)]
pub(super) struct Metrics {
    ca_expiration: IntGauge,
    in_sync: IntGauge,
    rotations: IntCounterVec,
    failures: IntCounter,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let ca_expiration = IntGauge::new(
            "function_mesh_webhook_ca_expiration_timestamp_seconds",
            "Expiry of the CA that signs the serving certificate, as Unix time in seconds.",
        )?;
        let in_sync = IntGauge::new(
            "function_mesh_webhook_ca_bundle_in_sync",
            "1 while all webhook configurations have the CA bundle of the Secret, else 0.",
        )?;
        let rotations = Opts::new(
            "function_mesh_webhook_ca_rotations_total",
            "Writes of this replica to the Secret, by step of the rotation.",
        );
        let rotations = IntCounterVec::new(rotations, &["step"])?;
        let failures = IntCounter::new(
            "function_mesh_webhook_ca_rotation_failures_total",
            "Failed attempts to read, write or use the Secret or a webhook configuration.",
        )?;
        registry.register(Box::new(ca_expiration.clone()))?;
        registry.register(Box::new(in_sync.clone()))?;
        registry.register(Box::new(rotations.clone()))?;
        registry.register(Box::new(failures.clone()))?;
        for rotation in Rotation::WRITES {
            rotations.with_label_values(&[rotation.as_str()]);
        }
        Ok(Self { ca_expiration, in_sync, rotations, failures })
    }

    pub(super) fn set_ca_expiration(&self, at: UnixTime) {
        self.ca_expiration.set(at.as_secs().try_into().unwrap_or_default());
    }

    pub(super) fn set_in_sync(&self, in_sync: bool) {
        self.in_sync.set(in_sync.into());
    }

    pub(super) fn count_rotation(&self, rotation: Rotation) {
        self.rotations.with_label_values(&[rotation.as_str()]).inc();
    }

    pub(super) fn count_failure(&self) {
        self.failures.inc();
    }
}
