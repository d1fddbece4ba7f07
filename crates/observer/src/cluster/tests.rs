//! Tests of a cluster: from targets to observations.

use super::*;
use crate::parse::ParseLimits;

const WEB: &str = "http://pulsar:8080";

fn name(text: &str) -> TopicName {
    TopicName::parse(text).unwrap()
}

fn interest(topics: &[&str], patterns: &[&str]) -> Interest {
    let pattern = |text: &&str| {
        let name = name(text);
        (name.clone(), TopicPattern::new(&name))
    };
    Interest {
        subscription: "s".into(),
        topics: topics.iter().map(|topic| name(topic)).collect(),
        patterns: patterns.iter().map(pattern).collect(),
        output: None,
    }
}

fn second(count: u64) -> Monotonic {
    Monotonic(Duration::from_secs(count))
}

/// Answers requests until none is due, and returns their URLs.
fn answer(
    cluster: &mut Cluster,
    interests: &[Interest],
    limits: &PlanLimits,
    now: Monotonic,
    body: impl Fn(&RequestKey) -> Result<String, Outcome>,
) -> Vec<String> {
    let mut asked = Vec::new();
    let mut wanted = Wanted::default();
    for interest in interests {
        wanted.add(interest);
    }
    for _ in 0..20 {
        let targets: Vec<_> =
            interests.iter().map(|it| cluster.target(it, Activity::Awake, false, false, false)).collect();
        let requests = cluster.begin(&targets, limits, 1000, now);
        if requests.is_empty() {
            break;
        }
        for request in requests {
            asked.push(request.url.clone());
            let (outcome, result) = match body(&request.key) {
                Ok(body) => {
                    let parsed = parse(&request, body.as_bytes(), &ParseLimits::default(), &wanted).unwrap();
                    (Outcome::Answered, Ok(parsed))
                }
                Err(outcome) => (outcome, Err(outcome.cause().unwrap())),
            };
            cluster.apply(&request, outcome, result, None, limits, now);
        }
    }
    asked
}

fn stats(backlog: u64) -> String {
    format!(
        r#"{{"msgInCounter": 1, "subscriptions": {{"s": {{"msgBacklog": {backlog}}}, "other": {{"msgBacklog": 9}}}}}}"#
    )
}

fn backlogs(
    cluster: &Cluster,
    interest: &Interest,
    now: Monotonic,
) -> Vec<(String, Result<Option<u64>, Cause>)> {
    let observation = cluster.observe(interest, Vec::new(), now, UnixMillis(0), Duration::from_mins(1));
    let backlog = |answer: TopicAnswer| answer.parts[0].subscription("s").and_then(|it| it.backlog.known());
    observation.topics.into_iter().map(|topic| (topic.topic, topic.answer.map(backlog))).collect()
}

#[test]
fn a_topic_is_asked_and_observed() {
    let (mut cluster, limits) = (Cluster::new(WEB, Vec::new()), PlanLimits::default());
    let interests = [interest(&["t/n/a"], &[])];
    assert_eq!(cluster.answered_at(&interests[0]), None);
    let a = "persistent://t/n/a".to_owned();
    assert_eq!(backlogs(&cluster, &interests[0], second(1)), [(a.clone(), Err(Cause::NotAsked))]);
    let asked = answer(&mut cluster, &interests, &limits, second(1), |key| {
        Ok(match key {
            RequestKey::Partitions { .. } => r#"{"partitions": 0}"#.to_owned(),
            _ => stats(7),
        })
    });
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(cluster.answered_at(&interests[0]), Some(second(1)));
    assert_eq!(backlogs(&cluster, &interests[0], second(2)), [(a.clone(), Ok(Some(7)))]);
    // Without later answers it is unknown, and says why.
    assert_eq!(backlogs(&cluster, &interests[0], second(100)), [(a.clone(), Err(Cause::Stale))]);
    answer(&mut cluster, &interests, &limits, second(100), |_| Err(Outcome::NoAnswer));
    assert_eq!(backlogs(&cluster, &interests[0], second(200)), [(a, Err(Cause::Failed))]);
}

#[test]
fn a_denied_topic_says_so() {
    let (mut cluster, limits) = (Cluster::new(WEB, Vec::new()), PlanLimits::default());
    let interests = [interest(&["t/n/a"], &[])];
    answer(&mut cluster, &interests, &limits, second(1), |_| Err(Outcome::Status(403)));
    let found = backlogs(&cluster, &interests[0], second(2));
    assert_eq!(found, [("persistent://t/n/a".to_owned(), Err(Cause::Unauthorized))]);
}

#[test]
fn patterns_find_new_topics() {
    let (mut cluster, limits) = (Cluster::new(WEB, Vec::new()), PlanLimits::default());
    let interests = [interest(&[], &["persistent://t/n/in-.*"])];
    let mut list = r#"["persistent://t/n/in-1", "persistent://t/n/out-1"]"#.to_owned();
    for (now, expected) in [(1, 1), (100, 2)] {
        answer(&mut cluster, &interests, &limits, second(now), |key| {
            Ok(match key {
                RequestKey::Topics { .. } => list.clone(),
                RequestKey::Partitions { .. } => r#"{"partitions": 0}"#.to_owned(),
                _ => stats(3),
            })
        });
        let found = backlogs(&cluster, &interests[0], second(now));
        assert_eq!(found.len(), expected, "{found:?}");
        assert!(found.iter().all(|(_, answer)| *answer == Ok(Some(3))), "{found:?}");
        list = r#"["persistent://t/n/in-1", "persistent://t/n/in-2"]"#.to_owned();
    }
}

#[test]
fn a_pattern_without_topics_says_so() {
    let (mut cluster, limits) = (Cluster::new(WEB, Vec::new()), PlanLimits::default());
    let pattern = "persistent://t/n/in-.*";
    let interests = [interest(&[], &[pattern]), interest(&["t/n/a"], &[pattern])];
    let found = backlogs(&cluster, &interests[0], second(1));
    assert_eq!(found, [(pattern.to_owned(), Err(Cause::NotAsked))]);
    answer(&mut cluster, &interests, &limits, second(1), |key| {
        Ok(match key {
            RequestKey::Topics { .. } => r#"["persistent://t/n/out-1"]"#.to_owned(),
            RequestKey::Partitions { .. } => r#"{"partitions": 0}"#.to_owned(),
            _ => stats(3),
        })
    });
    let found = backlogs(&cluster, &interests[0], second(2));
    assert_eq!(found, [(pattern.to_owned(), Err(Cause::NoMatch))]);
    // A component that has another topic has a backlog.
    let found = backlogs(&cluster, &interests[1], second(2));
    assert_eq!(found, [("persistent://t/n/a".to_owned(), Ok(Some(3)))]);
}

#[test]
fn topics_that_match_later_are_wanted_of_brokers() {
    let (mut cluster, limits) = (Cluster::new(WEB, Vec::new()), PlanLimits::default());
    let interests = [interest(&[], &["persistent://t/n/in-.*"])];
    let mut matches = |now, list: &str| {
        answer(&mut cluster, &interests, &limits, second(now), |key| match key {
            RequestKey::Topics { .. } => Ok(list.to_owned()),
            _ => Err(Outcome::Status(404)),
        });
        let is_new = cluster.take_new_matches();
        (is_new, cluster.all_matched().map(ToString::to_string).collect::<Vec<_>>())
    };
    let one = "persistent://t/n/in-1".to_owned();
    assert_eq!(matches(1, r#"["persistent://t/n/in-1"]"#), (true, vec![one.clone()]));
    assert_eq!(matches(100, r#"["persistent://t/n/in-1", "persistent://t/n/x"]"#), (false, vec![one]));
    assert!(matches(200, r#"["persistent://t/n/in-1", "persistent://t/n/in-2"]"#).0);
    assert!(!cluster.take_new_matches(), "it was taken");
}

#[test]
fn a_pattern_with_too_many_topics_is_incomplete() {
    let (mut cluster, limits) =
        (Cluster::new(WEB, Vec::new()), PlanLimits { per_second: 100_000, ..PlanLimits::default() });
    let interests = [interest(&[], &["persistent://t/n/in-.*"])];
    let names: Vec<_> = (0..1_500).map(|number| format!("\"persistent://t/n/in-{number}\"")).collect();
    answer(&mut cluster, &interests, &limits, second(1), |key| match key {
        RequestKey::Topics { .. } => Ok(format!("[{}]", names.join(","))),
        _ => Err(Outcome::Status(404)),
    });
    // A part of them would look like all.
    let target = cluster.target(&interests[0], Activity::Awake, false, false, false);
    assert!(target.topics.is_empty());
    let found = backlogs(&cluster, &interests[0], second(2));
    assert_eq!(found, [("persistent://t/n/in-.*".to_owned(), Err(Cause::TooLarge))]);
}

#[test]
fn a_costly_pattern_is_not_matched_and_delays_no_other() {
    let (mut cluster, limits) = (Cluster::new(WEB, Vec::new()), PlanLimits::default());
    let interests = [
        interest(&[], &["persistent://t/n/(a*){120}c"]),
        interest(&[], &["persistent://t/n/.*"]),
        interest(&[], &["persistent://t/n/in-7"]),
    ];
    let names = (0..900).map(|number| format!("\"persistent://t/n/{}{number}\"", "a".repeat(900)));
    let names: Vec<_> = names.chain(["\"persistent://t/n/in-7\"".to_owned()]).collect();
    let begun = std::time::Instant::now();
    answer(&mut cluster, &interests, &limits, second(1), |key| match key {
        RequestKey::Topics { .. } => Ok(format!("[{}]", names.join(","))),
        RequestKey::Partitions { .. } => Ok(r#"{"partitions": 0}"#.to_owned()),
        _ => Ok(stats(3)),
    });
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let costly = backlogs(&cluster, &interests[0], second(2));
    assert_eq!(costly, [("persistent://t/n/(a*){120}c".to_owned(), Err(Cause::TooLarge))]);
    let narrow = backlogs(&cluster, &interests[2], second(2));
    assert_eq!(narrow, [("persistent://t/n/in-7".to_owned(), Ok(Some(3)))]);
}

/// A cluster with 300 topics, of which brokers report the metrics.
fn large(
    brokers: &str,
    metrics: impl Fn(&str) -> Result<String, Outcome>,
) -> (Cluster, Vec<Interest>, Vec<String>) {
    let mut cluster = Cluster::new(WEB, Vec::new());
    let interests: Vec<_> = (0..300).map(|number| interest(&[&format!("t/n/a{number}")], &[])).collect();
    let asked = answer_large(&mut cluster, &interests, second(1), brokers, metrics);
    (cluster, interests, asked)
}

/// Answers requests about many topics, and returns the URLs without those for numbers of partitions.
fn answer_large(
    cluster: &mut Cluster,
    interests: &[Interest],
    now: Monotonic,
    brokers: &str,
    metrics: impl Fn(&str) -> Result<String, Outcome>,
) -> Vec<String> {
    let limits = PlanLimits {
        per_second: 100_000,
        in_flight_per_namespace: 1000,
        in_flight_per_broker: 1000,
        ..PlanLimits::default()
    };
    let mut asked = answer(cluster, interests, &limits, now, |key| match key {
        RequestKey::Partitions { .. } => Ok(r#"{"partitions": 0}"#.to_owned()),
        RequestKey::Brokers { .. } => Ok(brokers.to_owned()),
        RequestKey::Metrics { broker, .. } => metrics(broker),
        _ => Ok(stats(3)),
    });
    asked.retain(|url| !url.ends_with("/partitions"));
    asked
}

fn line(topic: usize, backlog: u64) -> String {
    format!(
        "pulsar_subscription_back_log{{topic=\"persistent://t/n/a{topic}\",subscription=\"s\"}} {backlog}\n"
    )
}

#[test]
fn many_topics_are_read_from_the_metrics_of_all_brokers() {
    let body = |broker: &str| {
        let half = if broker.contains("b1") { 0..150 } else { 150..300 };
        Ok(half.map(|topic| line(topic, 5)).collect())
    };
    let (cluster, interests, asked) = large(r#"["b1:8080", "b2:8080"]"#, body);
    assert!(asked.contains(&"http://b1:8080/metrics/".to_owned()), "{asked:?}");
    assert!(asked.len() < 310, "{}", asked.len());
    for topic in [0, 299] {
        let found = backlogs(&cluster, &interests[topic], second(2));
        assert_eq!(found[0].1, Ok(Some(5)), "{topic}");
    }
}

#[test]
fn a_single_broker_is_asked_by_the_url_of_the_cluster() {
    let body = |_: &str| Ok((0..300).map(|topic| line(topic, 5)).collect());
    let (_, _, asked) = large(r#"["localhost:8080"]"#, body);
    assert!(asked.contains(&format!("{WEB}/metrics/")), "{asked:?}");
}

#[test]
fn denied_or_empty_metrics_lead_back_to_topics() {
    for answer in [Err(Outcome::Status(403)), Ok(String::new())] {
        let (cluster, interests, _) = large(r#"["localhost:8080"]"#, |_| answer.clone());
        let found = backlogs(&cluster, &interests[7], second(2));
        assert_eq!(found[0].1, Ok(Some(3)), "{answer:?}");
    }
}

/// Topics are asked one by one meanwhile.
#[test]
fn brokers_that_the_administrator_named_are_tried_again() {
    let named = vec!["http://b1:8080".to_owned(), "http://b2:8080".to_owned()];
    for failed in [Ok(String::new()), Err(Outcome::Status(403))] {
        let mut cluster = Cluster::new(WEB, named.clone());
        let interests: Vec<_> = (0..300).map(|number| interest(&[&format!("t/n/a{number}")], &[])).collect();
        answer_large(&mut cluster, &interests, second(1), "[]", |_| failed.clone());
        answer_large(&mut cluster, &interests, second(20), "[]", |_| failed.clone());
        let found = backlogs(&cluster, &interests[7], second(21));
        assert_eq!(found[0].1, Ok(Some(3)), "{failed:?}");
        let all = |_: &str| Ok((0..300).map(|topic| line(topic, 5)).collect());
        answer_large(&mut cluster, &interests, second(1_000), "[]", all);
        let asked = answer_large(&mut cluster, &interests, second(1_020), "[]", all);
        assert_eq!(asked, ["http://b1:8080/metrics/", "http://b2:8080/metrics/"], "{failed:?}");
    }
}
