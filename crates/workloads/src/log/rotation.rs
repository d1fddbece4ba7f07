//! When a log file is closed and the next begun.

use function_mesh_api::types::{LogRotatePolicy, RuntimeLogConfig};

/// When a log file is closed and the next begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rotation {
    Daily,
    Weekly,
    Monthly,
    /// At so many megabytes.
    Size(u32),
}

impl Rotation {
    /// What the configuration says. Files that a sidecar reads must be bounded even when it says nothing.
    pub(super) fn of(config: Option<&RuntimeLogConfig>, is_read_by_sidecar: bool) -> Option<Self> {
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
