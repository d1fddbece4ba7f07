//! Rotation of log files.

use function_mesh_api::types::{LogRotatePolicy, RuntimeLogConfig};

/// Rotation of a log file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rotation {
    Daily,
    Weekly,
    Monthly,
    /// At a size in megabytes.
    Size(u32),
}

impl Rotation {
    /// The configured rotation. Files that a sidecar reads are always rotated, to limit their size.
    pub(super) fn from_config(config: Option<&RuntimeLogConfig>, is_read_by_sidecar: bool) -> Option<Self> {
        let policy = config.and_then(|config| config.rotate_policy);
        policy.map(Self::from).or(is_read_by_sidecar.then_some(Self::Size(10)))
    }
}

impl From<LogRotatePolicy> for Rotation {
    fn from(policy: LogRotatePolicy) -> Self {
        match policy {
            LogRotatePolicy::TimedPolicyWithDaily => Self::Daily,
            LogRotatePolicy::TimedPolicyWithWeekly => Self::Weekly,
            LogRotatePolicy::TimedPolicyWithMonthly => Self::Monthly,
            LogRotatePolicy::SizedPolicyWith10MB => Self::Size(10),
            LogRotatePolicy::SizedPolicyWith50MB => Self::Size(50),
            LogRotatePolicy::SizedPolicyWith100MB => Self::Size(100),
        }
    }
}
