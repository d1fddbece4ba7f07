//! Arbitrary answers: no panic, bounded results, and nothing known that was not reported.

use std::time::Duration;

use function_mesh_observer::parse::{
    ParseLimits, StatsFlags, parse_backlog_policies, parse_broker_metrics, parse_partitioned_stats,
    parse_partitions, parse_pod_metrics, parse_topic_list, parse_topic_stats,
};
use function_mesh_observer::requests::follow_redirect;
use function_mesh_observer::stall::{StallPolicy, Verdict, detect};
use function_mesh_observer::{
    Cause, Monotonic, Observation, PodObservation, Reading, ServerClock, TopicObservation, Tracker,
    TrackerSettings, Traffic, TrafficSettings, UnixMillis, Workload,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const LIMITS: ParseLimits = ParseLimits {
    max_bytes: 4096,
    max_topics: 4,
    max_subscriptions: 4,
    max_consumers: 2,
    max_name: 24,
    max_line: 200,
};
const FLAGS: StatsFlags = StatsFlags { consumers: true, earliest_time: true };

/// A JSON value of a field that has any meaning, mostly of the right type.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => any::<u32>().prop_map(|number| number.to_string()),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => any::<f64>().prop_map(|number| format!("{number:e}")),
        1 => prop::sample::select(vec![
            "null", "true", "false", "\"x\"", "\"7\"", "[]", "{}", "[[{}]]", "{\"a\":{\"b\":[1]}}", "-1", "1e999",
            "18446744073709551615", "\"\\ud800\"", "\"Shared\"", "\"Key_Shared\"",
        ])
        .prop_map(str::to_owned),
    ]
}

fn field() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "msgBacklog",
        "msgBacklogNoDelayed",
        "msgDelayed",
        "unackedMessages",
        "msgOutCounter",
        "lastAckedTimestamp",
        "lastConsumedTimestamp",
        "lastMarkDeleteAdvancedTimestamp",
        "earliestMsgPublishTimeInBacklog",
        "totalMsgExpired",
        "type",
        "consumers",
        "drainingHashesCount",
        "unknownField",
    ])
}

fn subscription() -> impl Strategy<Value = String> {
    prop::collection::btree_map(field(), value(), 0..14).prop_map(|fields| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    })
}

fn topic() -> impl Strategy<Value = String> {
    (subscription(), value(), 0..6_usize).prop_map(|(subscription, counter, others)| {
        let mut all = vec![format!("\"s\":{subscription}")];
        all.extend((0..others).map(|number| format!("\"other{number}\":{{}}")));
        format!("{{\"msgInCounter\":{counter},\"subscriptions\":{{{}}}}}", all.join(","))
    })
}

fn partitioned() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a-partition-0", "a-partition-1", "a-partition-2", "a"]);
    // A number that can match, and any other.
    let count = prop_oneof![(0..4_u8).prop_map(|number| number.to_string()), value()];
    (prop::collection::btree_map(name, topic(), 0..4), count).prop_map(|(parts, count)| {
        let parts: Vec<_> = parts.iter().map(|(name, json)| format!("\"{name}\":{json}")).collect();
        format!("{{\"metadata\":{{\"partitions\":{count}}},\"partitions\":{{{}}}}}", parts.join(","))
    })
}

fn metric() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "pulsar_subscription_back_log",
        "pulsar_subscription_back_log_no_delayed",
        "pulsar_subscription_last_acked_timestamp",
        "pulsar_in_messages_total",
        "pulsar_out_messages_total",
        "pulsar_function_received_total",
        "pulsar_function_process_latency_ms",
        "pulsar_sink_written_total",
    ]);
    let label = "[a-c\"\\\\{}=,\n]{0,8}";
    let number = prop_oneof![value(), Just("NaN".into()), Just("+Inf".into()), Just("1.5E7".into())];
    (name, label, number).prop_map(|(name, label, number)| {
        format!("{name}{{topic=\"t{label}\",subscription=\"s\",quantile=\"0.99\"}} {number}")
    })
}

fn parse_everything(bytes: &[u8]) {
    let _ = parse_topic_stats("t", bytes, FLAGS, &LIMITS, |_| true);
    if let Ok(answer) = parse_partitioned_stats(bytes, FLAGS, &LIMITS, |_| true) {
        assert!(answer.parts.len() <= LIMITS.max_topics);
    }
    if let Ok(metrics) = parse_broker_metrics(bytes, &LIMITS, |_, _| true) {
        assert!(metrics.len() <= LIMITS.max_topics);
    }
    if let Ok(list) = parse_topic_list(bytes, &LIMITS, 3, |_| true) {
        assert!(list.topics.len() <= 3);
    }
    let _ = parse_pod_metrics(bytes, &LIMITS);
    let _ = parse_partitions(bytes, &LIMITS);
    let _ = parse_backlog_policies(bytes, &LIMITS);
}

/// Keeps a counterexample beside this file, so that it is tried first.
fn config() -> ProptestConfig {
    let kept = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig { failure_persistence: Some(Box::new(kept)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes_are_parsed(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        parse_everything(&bytes);
    }

    #[test]
    fn any_cut_of_an_answer_is_parsed(json in partitioned(), cut in 0.0..1.0_f64) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let length = (json.len() as f64 * cut) as usize;
        parse_everything(&json.as_bytes()[..length]);
        // A part of an object is no object.
        if length > 0 {
            prop_assert!(parse_topic_stats("t", &json.as_bytes()[..length], FLAGS, &LIMITS, |_| true).is_err());
        }
    }

    #[test]
    fn any_metrics_are_parsed(lines in prop::collection::vec(metric(), 0..20)) {
        parse_everything(lines.join("\n").as_bytes());
    }

    #[test]
    fn a_complete_answer_has_every_partition(json in partitioned()) {
        if let Ok(answer) = parse_partitioned_stats(json.as_bytes(), FLAGS, &LIMITS, |_| true) {
            let is_complete = answer.is_complete();
            prop_assert_eq!(is_complete, answer.expected == Reading::Known(answer.parts.len()));
            prop_assert!(!(is_complete && answer.parts.is_empty()));
            prop_assert!(answer.parts.iter().all(|part| part.topic.starts_with("a-partition-")));
        }
    }

    /// For any answers: no panic, a bounded window, and no number from a round in which something is missing.
    #[test]
    fn any_history_is_judged(
        rounds in prop::collection::vec((partitioned(), any::<bool>(), 0..200_u64, prop::collection::vec(metric(), 0..6)), 1..40),
        ready in any::<bool>(),
    ) {
        let mut tracker = Tracker::new(TrackerSettings { points: 8, ..TrackerSettings::default() });
        let workload =
            Workload { wanted: 1, ready: u32::from(ready), ready_since: Some(Monotonic(Duration::ZERO)) };
        let mut now = Duration::ZERO;
        for (json, is_answered, seconds, pod) in rounds {
            now += Duration::from_secs(seconds);
            let parsed = parse_partitioned_stats(json.as_bytes(), FLAGS, &LIMITS, |name| name == "s");
            let answer = parsed.map_err(|error| Cause::from(&error)).and_then(|answer| {
                if is_answered { Ok(answer) } else { Err(Cause::Failed) }
            });
            let is_complete = answer.as_ref().is_ok_and(|answer| {
                answer.is_complete() && answer.parts.iter().all(|part| part.subscription("s").is_some())
            });
            let stats = parse_pod_metrics(pod.join("\n").as_bytes(), &LIMITS).map_err(|_| Cause::Invalid);
            let observation = Observation {
                at: Monotonic(now),
                wall: UnixMillis(u64::MAX - 5),
                clock: ServerClock::measure(UnixMillis(seconds), UnixMillis(u64::MAX), UnixMillis(0)),
                topics: vec![TopicObservation { topic: "a".into(), subscription: "s".into(), answer }],
                is_output_blocked: Reading::default(),
                pods: vec![PodObservation { ordinal: 0, at: Monotonic(now), stats }],
            };
            let is_new = tracker.window().last().is_none_or(|last| last.at < observation.at);
            tracker.observe(&observation, &workload);
            let last = tracker.window().last().unwrap();
            prop_assert!(tracker.window().points().count() <= 8);
            if is_new && !is_complete {
                prop_assert!(!last.backlog.is_known() && !last.in_rate.is_known());
            }
            let verdict = detect(&tracker, &workload, &StallPolicy::default(), Monotonic(now));
            prop_assert!(ready || matches!(verdict, Verdict::Exempt(_)));
            let traffic = Traffic::summarize(tracker.window(), Monotonic(now), &TrafficSettings::default());
            prop_assert!(traffic.in_rate.known().is_none_or(|rate| rate.is_finite() && rate >= 0.0));
        }
    }

    #[test]
    fn any_location_is_checked(location in ".{0,80}", path in "/[a-z/]{0,10}") {
        let asked = ["http://pulsar:8080/a".to_owned()];
        let _ = follow_redirect(&asked, &location, |_, _| true);
        let url = format!("http://other:8080{path}");
        prop_assert!(follow_redirect(&asked, &url, |host, _| host == "pulsar").is_err());
    }

    #[test]
    fn any_date_is_parsed(text in ".{0,70}") {
        let _ = UnixMillis::from_http_date(&text);
    }
}

/// Nesting must not use the stack: an answer of a broker is not trusted.
#[test]
fn deep_nesting_is_an_error() {
    let limits = ParseLimits::default();
    for depth in [100, 10_000, 200_000] {
        let nested = format!("{{\"unknown\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let _ = parse_topic_stats("t", nested.as_bytes(), FLAGS, &limits, |_| true);
        let nested = format!("{{\"msgInCounter\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let _ = parse_topic_stats("t", nested.as_bytes(), FLAGS, &limits, |_| true);
    }
}
