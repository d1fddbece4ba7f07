//! Windows: functions that take several messages at a time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// A window over the input. Either a count or a duration gives its length.
// The order of the fields is the order in which the runner's configuration lists them.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowConfig {
    /// Class of the function; always `spec.className`, whatever stands here.
    pub actual_window_function_class_name: Option<String>,
    /// Length of a window in messages.
    pub window_length_count: Option<i32>,
    /// Length of a window in milliseconds.
    pub window_length_duration_ms: Option<i64>,
    /// Messages after which the next window begins. Default: `windowLengthCount`.
    pub sliding_interval_count: Option<i32>,
    /// Milliseconds after which the next window begins. Default: `windowLengthDurationMs`.
    pub sliding_interval_duration_ms: Option<i64>,
    /// Topic for messages that come after their window has closed.
    pub late_data_topic: Option<String>,
    /// Milliseconds that a message may lag behind the newest one.
    pub max_lag_ms: Option<i64>,
    /// Milliseconds between two watermarks.
    pub watermark_emit_interval_ms: Option<i64>,
    /// Class that reads the time of an event from a message.
    pub timestamp_extractor_class_name: Option<String>,
    /// How often a message takes effect.
    pub processing_guarantees: Option<WindowGuarantee>,
}

/// How often a message takes effect in a window.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum WindowGuarantee {
    #[serde(rename = "ATLEAST_ONCE")]
    AtLeastOnce,
    #[serde(rename = "ATMOST_ONCE")]
    AtMostOnce,
}
