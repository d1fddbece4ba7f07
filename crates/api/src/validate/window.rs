//! The rules of windows.

use crate::types::WindowConfig;

use super::{FieldPath, Findings};

pub(super) fn check(path: &FieldPath, window: &WindowConfig, findings: &mut Findings) {
    match (window.window_length_count, window.window_length_duration_ms) {
        (None, None) => findings.deny(
            path.field("windowLengthCount"),
            "a window needs a length: set `windowLengthCount` or `windowLengthDurationMs`",
        ),
        (Some(_), Some(_)) => findings.deny(
            path.field("windowLengthCount"),
            "`windowLengthDurationMs` is set too; a window has one length",
        ),
        (Some(_), None) | (None, Some(_)) => {}
    }
    let mut positive = |field: &str, value: Option<i64>| {
        if value.is_some_and(|value| value <= 0) {
            findings.deny(path.field(field), "must be 1 or more");
        }
    };
    positive("windowLengthCount", window.window_length_count.map(i64::from));
    positive("windowLengthDurationMs", window.window_length_duration_ms);
    positive("slidingIntervalCount", window.sliding_interval_count.map(i64::from));
    positive("slidingIntervalDurationMs", window.sliding_interval_duration_ms);
    if window.timestamp_extractor_class_name.as_deref().is_some_and(|name| !name.is_empty()) {
        positive("maxLagMs", window.max_lag_ms);
        positive("watermarkEmitIntervalMs", window.watermark_emit_interval_ms);
    }
}
