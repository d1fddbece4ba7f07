//! Answers recorded from a broker of Pulsar 4.0.8: a topic with a consumer that acknowledged six messages, a topic with
//! three partitions and six messages without a consumer, and the metrics after another broker loaded the first topic.

use function_mesh_observer::Reading::Known;
use function_mesh_observer::parse::{
    ParseLimits, StatsFlags, parse_broker_metrics, parse_partitioned_stats, parse_topic_stats,
};
use function_mesh_observer::{Cause, Reading, SubscriptionType};

const STATS: &[u8] = include_bytes!("../answers/stats.json");
const PARTITIONED: &[u8] = include_bytes!("../answers/partitioned-stats.json");
const METRICS: &[u8] = include_bytes!("../answers/metrics.txt");
const SUBSCRIPTION: &str = "public/default/f";
const CHEAP: StatsFlags = StatsFlags { consumers: false, earliest_time: false };
const FULL: StatsFlags = StatsFlags { consumers: true, earliest_time: true };

#[test]
fn a_topic_with_a_consumer() {
    let answer = parse_topic_stats("plain", STATS, FULL, &ParseLimits::default(), |_| true).unwrap();
    let topic = &answer.parts[0];
    let stats = topic.subscription(SUBSCRIPTION).unwrap();
    assert!(answer.is_complete() && topic.in_counter == Known(6));
    assert_eq!((stats.backlog, stats.ready_backlog(), stats.out_counter), (Known(0), Known(0), Known(6)));
    assert_eq!(stats.kind, Some(SubscriptionType::Shared));
    assert!(stats.last_acked.is_known_and(|time| time > 1_700_000_000_000));
    assert!(stats.last_mark_delete.is_known_and(|time| time > 1_700_000_000_000));
    assert_eq!((stats.consumers, stats.consumer_details.len()), (Known(1), 1));
    assert_eq!(stats.consumer_details[0].permits, Known(994.0));
    assert_eq!(stats.consumer_details[0].is_blocked_on_unacked, Known(false));
    // The consumer is no function's, so that it names no instance.
    assert!(!stats.consumer_details[0].instance.is_known());
    // The broker has no quota, and an empty backlog has no oldest message.
    assert!(!topic.is_over_quota().is_known() && !stats.earliest_publish.is_known());
    assert_eq!(stats.throttled_counter, Known(0));
}

#[test]
fn a_partitioned_topic_without_a_consumer() {
    let limits = ParseLimits::default();
    let answer = parse_partitioned_stats(PARTITIONED, CHEAP, &limits, |name| name == SUBSCRIPTION).unwrap();
    assert!(answer.is_complete() && answer.parts.len() == 3);
    let stats = answer.parts.iter().map(|part| part.subscription(SUBSCRIPTION).unwrap());
    assert_eq!(Reading::<u64>::sum(stats.clone().map(|it| it.backlog)), Known(6));
    // The broker has created no dispatcher, which says so even without a list of consumers.
    assert!(stats.clone().all(|it| it.kind.is_none() && it.consumers == Known(0)));
    assert!(stats.clone().all(|it| it.earliest_publish == Reading::Unknown(Cause::NotAsked)));
}

#[test]
fn metrics_of_both_topics() {
    let is_wanted = |_: &str, name: &str| name.is_empty() || name == SUBSCRIPTION;
    let metrics = parse_broker_metrics(METRICS, &ParseLimits::default(), is_wanted).unwrap();
    let partitioned = metrics.answer("persistent://public/default/in", 3).unwrap();
    assert!(partitioned.is_complete());
    let backlog =
        partitioned.parts.iter().map(|part| part.subscription(SUBSCRIPTION).unwrap().ready_backlog());
    assert_eq!(Reading::<u64>::sum(backlog), Known(6));
    let plain = metrics.answer("persistent://public/default/plain", 0).unwrap();
    let stats = plain.parts[0].subscription(SUBSCRIPTION).unwrap();
    // Counters and timestamps began again, and a message waits.
    assert_eq!((plain.parts[0].in_counter, stats.out_counter), (Known(0), Known(0)));
    assert_eq!((stats.backlog, stats.last_acked, stats.consumers), (Known(1), Known(0), Known(0)));
    assert!(!plain.parts[0].is_over_quota().is_known());
}
