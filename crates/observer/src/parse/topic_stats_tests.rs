//! Tests of the answers of `/stats` and `/partitioned-stats`.

use super::*;
use crate::Reading::Known;

const LIMITS: fn() -> ParseLimits = ParseLimits::default;
const FLAGS: StatsFlags = StatsFlags { consumers: true, earliest_time: true };

/// An answer of Pulsar 4.0, shortened.
const STATS: &str = r#"{
  "count": 0, "msgRateIn": 0.0, "msgInCounter": 42, "bytesInCounter": 2100, "backlogSize": 512,
  "backlogQuotaLimitSize": -1, "backlogQuotaLimitTime": 0, "publishers": [],
  "subscriptions": {
    "public/default/f": {
      "msgRateOut": 1.5, "msgOutCounter": 40, "msgRateRedeliver": 0.25, "messageAckRate": 1.25,
      "msgBacklog": 12, "msgBacklogNoDelayed": 10, "msgDelayed": 2, "backlogSize": -1,
      "blockedSubscriptionOnUnackedMsgs": false, "unackedMessages": 5, "type": "Shared",
      "lastConsumedTimestamp": 1000, "lastAckedTimestamp": 900, "lastMarkDeleteAdvancedTimestamp": 800,
      "totalMsgExpired": 3, "earliestMsgPublishTimeInBacklog": 700, "drainingHashesCount": 1,
      "consumers": [
        {"unackedMessages": 5, "availablePermits": -3, "avgMessagesPerEntry": 10,
         "metadata": {"application": "pulsar-function", "instance_id": "1", "id": "public/default/f"}}
      ],
      "subscriptionProperties": {}, "durable": true
    },
    "other": {"msgBacklog": "not a number", "consumers": 7}
  },
  "replication": {}, "compaction": {"lastCompactionRemovedEventCount": 0}
}"#;

fn is_mine(name: &str) -> bool {
    name == "public/default/f"
}

#[test]
fn stats_of_a_topic_are_decoded() {
    let answer =
        parse_topic_stats("persistent://t/n/in", STATS.as_bytes(), FLAGS, &LIMITS(), is_mine).unwrap();
    assert!(answer.is_complete());
    let topic = &answer.parts[0];
    assert_eq!((topic.in_counter, topic.backlog_size), (Known(42), Known(512)));
    assert!(!topic.quota_size.is_known() && !topic.quota_age.is_known());
    assert_eq!(topic.subscriptions.len(), 1);
    let stats = topic.subscription("public/default/f").unwrap();
    assert_eq!((stats.backlog, stats.ready_backlog(), stats.delayed), (Known(12), Known(10), Known(2)));
    assert_eq!((stats.unacked, stats.out_counter), (Known(5), Known(40)));
    assert_eq!((stats.last_acked, stats.last_mark_delete), (Known(900), Known(800)));
    assert_eq!(stats.earliest_publish, Known(700));
    assert_eq!(stats.kind, Some(SubscriptionType::Shared));
    assert_eq!(stats.consumers, Known(1));
    assert_eq!(stats.consumer_details[0].instance, Known(1));
    assert_eq!(stats.consumer_details[0].permits, Known(-3.0));
    assert!(!stats.throttled_counter.is_known());
}

#[test]
fn consumers_that_were_not_asked_for_are_unknown() {
    let flags = StatsFlags::default();
    let json = STATS.replace("\"availablePermits\": -3", "\"x\": 1");
    let answer = parse_topic_stats("t", json.as_bytes(), flags, &LIMITS(), is_mine).unwrap();
    let stats = answer.parts[0].subscription("public/default/f").unwrap();
    assert_eq!(stats.consumers, Reading::Unknown(Cause::NotAsked));
    assert_eq!(stats.earliest_publish, Reading::Unknown(Cause::NotAsked));
    let empty = r#"{"subscriptions": {"s": {"consumers": []}}}"#;
    let answer = parse_topic_stats("t", empty.as_bytes(), FLAGS, &LIMITS(), |_| true).unwrap();
    assert_eq!(answer.parts[0].subscription("s").unwrap().consumers, Known(0));
}

fn partitioned(metadata: &str, names: &[&str]) -> TopicAnswer {
    let parts: Vec<_> = names.iter().map(|name| format!(r#""{name}": {STATS}"#)).collect();
    let json =
        format!(r#"{{"msgInCounter": 7, "metadata": {metadata}, "partitions": {{{}}}}}"#, parts.join(","));
    parse_partitioned_stats(json.as_bytes(), FLAGS, &LIMITS(), is_mine).unwrap()
}

#[test]
fn a_missing_partition_makes_the_answer_incomplete() {
    let all = partitioned(
        r#"{"partitions": 2}"#,
        &["persistent://t/n/a-partition-1", "persistent://t/n/a-partition-0"],
    );
    assert!(all.is_complete());
    assert_eq!(all.parts[0].topic, "persistent://t/n/a-partition-0");
    let some = partitioned(
        r#"{"partitions": 3}"#,
        &["persistent://t/n/a-partition-1", "persistent://t/n/a-partition-0"],
    );
    assert!(!some.is_complete());
    assert_eq!(some.parts.len(), 2);
}

#[test]
fn zeros_under_the_name_of_the_topic_are_no_partition() {
    // What the broker sends when every partition failed.
    let answer = partitioned(r#"{"partitions": 2}"#, &["persistent://t/n/a"]);
    assert!(answer.parts.is_empty() && !answer.is_complete());
}

#[test]
fn an_answer_without_metadata_is_incomplete() {
    for metadata in ["null", "{}", r#"{"partitions": 0}"#, r#"{"partitions": -1}"#] {
        assert!(!partitioned(metadata, &["persistent://t/n/a-partition-0"]).is_complete(), "{metadata}");
    }
    // After partitions were removed and added, an entry beyond the number is not counted.
    let answer = partitioned(r#"{"partitions": 1}"#, &["a-partition-5"]);
    assert!(!answer.is_complete());
}

#[test]
fn a_partition_that_cannot_be_decoded_is_missing() {
    let json = r#"{"metadata": {"partitions": 2}, "partitions": {"a-partition-0": {}, "a-partition-1": 3}}"#;
    let answer = parse_partitioned_stats(json.as_bytes(), FLAGS, &LIMITS(), is_mine).unwrap();
    assert_eq!((answer.parts.len(), answer.is_complete()), (1, false));
}

#[test]
fn too_many_entries_are_an_error() {
    let limits = ParseLimits { max_subscriptions: 1, max_topics: 1, ..LIMITS() };
    let error = parse_topic_stats("t", STATS.as_bytes(), FLAGS, &limits, is_mine).unwrap_err();
    assert_eq!(Cause::from(&error), Cause::TooLarge);
    let json = r#"{"metadata": {"partitions": 2}, "partitions": {"a-partition-0": {}, "a-partition-1": {}}}"#;
    assert!(parse_partitioned_stats(json.as_bytes(), FLAGS, &limits, is_mine).is_err());
}
