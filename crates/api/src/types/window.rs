//! Windows of window functions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// Window over the input. Its length is either a count or a duration.
// The fields are in the order in which the runner's configuration lists them.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowConfig {
    /// Class of the window function. Ignored: `spec.className` replaces it.
    pub actual_window_function_class_name: Option<String>,
    /// Window length in messages.
    pub window_length_count: Option<i32>,
    /// Window length in milliseconds.
    pub window_length_duration_ms: Option<i64>,
    /// Sliding interval in messages. Defaults to `windowLengthCount`.
    pub sliding_interval_count: Option<i32>,
    /// Sliding interval in milliseconds. Defaults to `windowLengthDurationMs`.
    pub sliding_interval_duration_ms: Option<i64>,
    /// Topic for late messages, which arrive after their window was closed.
    pub late_data_topic: Option<String>,
    /// Maximum lag of a message behind the latest one, in milliseconds.
    pub max_lag_ms: Option<i64>,
    /// Interval between watermarks, in milliseconds.
    pub watermark_emit_interval_ms: Option<i64>,
    /// Timestamp extractor class, which reads the event time of a message.
    pub timestamp_extractor_class_name: Option<String>,
    /// Processing guarantee of the window.
    pub processing_guarantees: Option<WindowGuarantee>,
}

/// Processing guarantee of a window.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum WindowGuarantee {
    #[serde(rename = "ATLEAST_ONCE")]
    AtLeastOnce,
    #[serde(rename = "ATMOST_ONCE")]
    AtMostOnce,
}
