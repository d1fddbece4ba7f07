//! Rules of windows.

use crate::types::WindowConfig;

use super::collector::Collector;
use super::rules;
use super::violation::FieldPath;
use crate::names::TopicName;

/// Validates the window of the function spec at `path`.
pub(super) fn check(path: &FieldPath, window: &WindowConfig, findings: &mut Collector) {
    match (window.window_length_count, window.window_length_duration_ms) {
        (None, None) => findings.deny_rule(path, &rules::WINDOW_WITHOUT_LENGTH),
        (Some(_), Some(_)) => findings.deny_rule(path, &rules::WINDOW_OF_TWO_LENGTHS),
        (Some(_), None) | (None, Some(_)) => {}
    }
    for (value, rule) in [
        (window.window_length_count.map(i64::from), &rules::WINDOW_COUNT),
        (window.window_length_duration_ms, &rules::WINDOW_DURATION),
        (window.sliding_interval_count.map(i64::from), &rules::WINDOW_STEP),
        (window.sliding_interval_duration_ms, &rules::WINDOW_STEP_DURATION),
    ] {
        if value.is_some_and(|value| value <= 0) {
            findings.deny_rule(path, rule);
        }
    }
    if window.timestamp_extractor_class_name.as_deref().is_some_and(|name| !name.is_empty()) {
        let path = path.field("windowConfig");
        // 0 is the default of the runner, so it is valid.
        if window.max_lag_ms.is_some_and(|lag| lag < 0) {
            findings.deny(path.field("maxLagMs"), "must be 0 or more");
        }
        if window.watermark_emit_interval_ms.is_some_and(|interval| interval <= 0) {
            findings.deny(path.field("watermarkEmitIntervalMs"), "must be 1 or more");
        }
    }
    let late = window.late_data_topic.as_deref().filter(|topic| !topic.is_empty());
    // Upstream passes it on, and the runner reads it only with a timestamp extractor.
    if let Some(Err(error)) = late.map(TopicName::parse) {
        findings.warn(path.field("windowConfig.lateDataTopic"), error);
    }
}
