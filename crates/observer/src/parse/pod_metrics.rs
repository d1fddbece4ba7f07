//! Port 9094 of a pod: counters of the runner, whose names differ by language and version.
//!
//! | | functions | sources | sinks |
//! |---|---|---|---|
//! | received | `pulsar_function_received_total` | `pulsar_source_received_total` | `pulsar_sink_received_total` |
//! | processed | `pulsar_function_processed_successfully_total` | `pulsar_source_written_total` | `pulsar_sink_written_total` |
//! | exceptions | `user_exceptions_total`, `system_exceptions_total` | `source_exceptions_total`, `system_exceptions_total` | `sink_exceptions_total`, `system_exceptions_total` |
//!
//! The Python client adds `_total` to a counter that lacks it; Go declares gauges with the same names. Values of the last
//! minute (`_1min`, `_total_1min`, `_1min_total`) are not used, because their window is not ours. Gauges that carry the
//! text of an exception are not read: their number has no limit.

use super::lenient::count;
use super::prometheus::lines;
use super::{ParseError, ParseLimits, text};
use crate::stats::PodStats;
use crate::{Cause, Reading};

/// Parses the metrics of a pod of this instance. A runner reports one instance; samples of others are ignored.
pub fn parse_pod_metrics(answer: &[u8], limits: &ParseLimits) -> Result<PodStats, ParseError> {
    let text = text(answer, limits)?;
    let mut stats = PodStats::default();
    let mut latency = Latency::default();
    for line in lines(text, limits.max_line) {
        let name = ["pulsar_function_", "pulsar_sink_", "pulsar_source_"]
            .iter()
            .find_map(|prefix| line.name.strip_prefix(prefix));
        let Some(name) = name else { continue };
        match name {
            "received_total" => add(&mut stats.received, line.value),
            "processed_successfully_total" | "written_total" => add(&mut stats.processed, line.value),
            "user_exceptions_total"
            | "system_exceptions_total"
            | "source_exceptions_total"
            | "sink_exceptions_total" => add(&mut stats.exceptions, line.value),
            "process_latency_ms_sum" if line.value.is_finite() && line.value >= 0.0 => {
                stats.latency_sum = Reading::Known(line.value);
            }
            "process_latency_ms_count" => add(&mut stats.latency_count, line.value),
            "process_latency_ms" => {
                if let Some(quantile) = line.label("quantile") {
                    latency.take(&quantile, line.value);
                }
            }
            "last_invocation" if line.value > 0.0 => stats.last_invocation = count(line.value).into(),
            _ => {}
        }
    }
    stats.latency_p99 = latency.p99.into();
    Ok(stats)
}

/// Adds a counter. A value that is no count makes the sum unknown.
fn add(total: &mut Reading<u64>, value: f64) {
    *total = match (*total, count(value)) {
        (Reading::Unknown(Cause::Invalid), _) | (_, None) => Reading::Unknown(Cause::Invalid),
        (Reading::Known(before), Some(value)) => Reading::Known(before.saturating_add(value)),
        (Reading::Unknown(_), Some(value)) => Reading::Known(value),
    };
}

/// The latency of the 99th percentile, or of the highest quantile below.
#[derive(Default)]
struct Latency {
    quantile: f64,
    p99: Option<f64>,
}

impl Latency {
    fn take(&mut self, quantile: &str, value: f64) {
        // A summary without recent calls reports NaN.
        let Ok(quantile) = quantile.parse::<f64>() else { return };
        if value.is_finite() && value >= 0.0 && (0.9..=0.99).contains(&quantile) && quantile >= self.quantile
        {
            *self = Self { quantile, p99: Some(value) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::Reading::Known;

    const LABELS: &str = r#"{tenant="public",namespace="public/default",name="f",instance_id="0",cluster="c",fqfn="public/default/f"}"#;

    fn parse(samples: &[(&str, &str)]) -> PodStats {
        let lines: Vec<_> = samples.iter().map(|(name, value)| format!("{name}{LABELS} {value}")).collect();
        let text = lines.join(
            "
",
        );
        parse_pod_metrics(text.as_bytes(), &ParseLimits::default()).unwrap()
    }

    #[test]
    fn java_functions_are_parsed() {
        let mut text = String::new();
        for (name, value) in [
            ("pulsar_function_received_total", "10.0"),
            ("pulsar_function_received_created", "1.7E9"),
            ("pulsar_function_received_1min", "3.0"),
            ("pulsar_function_processed_successfully_total", "7.0"),
            ("pulsar_function_user_exceptions_total", "2.0"),
            ("pulsar_function_system_exceptions_total", "1.0"),
            ("pulsar_function_user_exception", "1.0"),
            ("pulsar_function_process_latency_ms_sum", "120.5"),
            ("pulsar_function_process_latency_ms_count", "7.0"),
            ("pulsar_function_last_invocation", "1.7E12"),
        ] {
            let _ = writeln!(text, "{name}{LABELS} {value}");
        }
        text.push_str("pulsar_function_process_latency_ms{name=\"f\",quantile=\"0.5\",} 5.0\n");
        text.push_str("pulsar_function_process_latency_ms{name=\"f\",quantile=\"0.99\",} 30.0\n");
        text.push_str("pulsar_function_process_latency_ms{name=\"f\",quantile=\"0.999\",} NaN\n");
        let stats = parse_pod_metrics(text.as_bytes(), &ParseLimits::default()).unwrap();
        assert_eq!((stats.received, stats.processed, stats.exceptions), (Known(10), Known(7), Known(3)));
        assert_eq!((stats.latency_sum, stats.latency_count), (Known(120.5), Known(7)));
        assert_eq!((stats.latency_p99, stats.last_invocation), (Known(30.0), Known(1_700_000_000_000)));
    }

    #[test]
    fn python_and_go_names_are_parsed() {
        let stats = parse(&[
            ("pulsar_function_received_total", "4"),
            ("pulsar_function_received_1min_total", "9"),
            ("pulsar_function_received_total_1min", "9"),
            ("pulsar_function_processed_successfully_total", "3"),
            ("pulsar_function_user_exceptions_total", "0"),
        ]);
        assert_eq!((stats.received, stats.processed, stats.exceptions), (Known(4), Known(3), Known(0)));
        assert!(!stats.latency_sum.is_known() && !stats.last_invocation.is_known());
    }

    #[test]
    fn connectors_are_parsed() {
        let sink = parse(&[
            ("pulsar_sink_received_total", "4"),
            ("pulsar_sink_written_total", "3"),
            ("pulsar_sink_sink_exceptions_total", "1"),
        ]);
        assert_eq!((sink.received, sink.processed, sink.exceptions), (Known(4), Known(3), Known(1)));
        let source =
            parse(&[("pulsar_source_written_total", "5"), ("pulsar_source_source_exceptions_total", "2")]);
        assert_eq!((source.processed, source.exceptions), (Known(5), Known(2)));
    }

    #[test]
    fn missing_counters_are_unknown() {
        assert_eq!(parse(&[("jvm_memory_bytes_used", "4")]), PodStats::default());
        let name = "pulsar_function_user_exceptions_total";
        let stats = parse(&[(name, "1"), (name, "NaN"), (name, "2")]);
        assert_eq!(stats.exceptions, Reading::Unknown(Cause::Invalid));
    }
}
