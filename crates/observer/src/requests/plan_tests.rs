//! Tests of the plan: what is asked, how often, and within which limits.

use super::*;
use crate::Cause;
use crate::requests::Outcome;

const WEB: &str = "http://pulsar:8080";

fn topic(name: &str, partitions: Option<usize>) -> TopicTarget {
    let partitions = partitions.map_or(Reading::Unknown(Cause::NotAsked), Reading::Known);
    TopicTarget { name: TopicName::parse(name).unwrap(), partitions }
}

fn target(topics: Vec<TopicTarget>) -> Target {
    Target {
        web: WEB.into(),
        topics,
        patterns: Vec::new(),
        output: None,
        activity: Activity::Awake,
        needs_details: false,
        needs_lag: false,
        needs_policies: false,
    }
}

fn second(count: u64) -> Monotonic {
    Monotonic(Duration::from_secs(count))
}

fn urls(schedule: &Schedule, targets: &[Target], now: Monotonic) -> Vec<String> {
    let plan = plan(schedule, targets, &BTreeMap::new(), &PlanLimits::default(), now);
    plan.requests.into_iter().map(|request| request.url).collect()
}

/// Runs plans for some time, each request taking no time. Returns how often each URL was asked.
fn run(targets: &[Target], limits: &PlanLimits, seconds: u64, outcome: Outcome) -> BTreeMap<String, usize> {
    let mut schedule = Schedule::default();
    let mut asked = BTreeMap::new();
    for tick in 0..seconds * 4 {
        let now = Monotonic(Duration::from_millis(250 * tick));
        for request in plan(&schedule, targets, &BTreeMap::new(), limits, now).requests {
            schedule.start(&request.key, request.flags.earliest_time, now);
            schedule.finish(&request.key, outcome, limits, now);
            *asked.entry(request.url).or_default() += 1;
        }
    }
    asked
}

#[test]
fn partitions_are_asked_before_statistics() {
    let schedule = Schedule::default();
    let plain = [target(vec![topic("t/n/a", None)])];
    let all = urls(&schedule, &plain, second(0));
    assert_eq!(all, [format!("{WEB}/admin/v2/persistent/t/n/a/partitions")]);
    let one = urls(&schedule, &[target(vec![topic("t/n/a-partition-3", None)])], second(0));
    assert!(one[0].contains("/a-partition-3/stats?"), "{one:?}");
    let many = urls(&schedule, &[target(vec![topic("t/n/a", Some(4))])], second(0));
    assert!(many.len() == 1 && many[0].contains("/a/partitioned-stats?"), "{many:?}");
}

#[test]
fn a_topic_of_two_components_is_asked_once_with_all_flags() {
    let detailed = Target { needs_details: true, ..target(vec![topic("a", Some(1))]) };
    let plan = plan(
        &Schedule::default(),
        &[target(vec![topic("public/default/a", Some(1))]), detailed],
        &BTreeMap::new(),
        &PlanLimits::default(),
        second(0),
    );
    assert_eq!(plan.requests.len(), 1);
    assert!(plan.requests[0].flags.consumers && plan.needed.len() == 1);
}

#[test]
fn intervals_follow_activity() {
    let limits = PlanLimits::default();
    for (activity, least, most) in
        [(Activity::Awake, 27, 34), (Activity::Asleep, 68, 86), (Activity::Suspended, 9, 12)]
    {
        let target = Target { activity, ..target(vec![topic("a", Some(2))]) };
        let asked = run(&[target], &limits, 300, Outcome::Answered);
        let count = *asked.values().next().unwrap();
        assert!((least..=most).contains(&count), "{activity:?}: {count}");
    }
}

#[test]
fn lag_is_asked_once_a_minute() {
    let lagging = Target { needs_lag: true, ..target(vec![topic("a", Some(2))]) };
    let asked = run(&[lagging], &PlanLimits::default(), 300, Outcome::Answered);
    let lag: usize = asked
        .iter()
        .filter(|(url, _)| url.contains("getEarliestTimeInBacklog"))
        .map(|(_, count)| *count)
        .sum();
    assert!((4..=6).contains(&lag), "{asked:?}");
    assert!(asked.values().sum::<usize>() > 25);
}

#[test]
fn requests_of_a_thousand_topics_are_bounded_and_fair() {
    let targets: Vec<_> = (0..1000).map(|n| target(vec![topic(&format!("t/n{n}/a"), Some(1))])).collect();
    let limits = PlanLimits { per_second: 50, ..PlanLimits::default() };
    let mut asked = run(&targets, &limits, 50, Outcome::Answered);
    asked.retain(|url, _| !url.ends_with("/brokers"));
    let total: usize = asked.values().sum();
    assert!(total <= 50 * 51, "{total}");
    assert_eq!(asked.len(), 1000);
    let (least, most) = (asked.values().min().unwrap(), asked.values().max().unwrap());
    assert!(most - least <= 2, "{least} {most}");
}

#[test]
fn requests_under_way_are_bounded() {
    let limits = PlanLimits::default();
    let targets: Vec<_> =
        (0..100).map(|n| target(vec![topic(&format!("t/n{}/a{n}", n % 2), Some(1))])).collect();
    let mut schedule = Schedule::default();
    let first = plan(&schedule, &targets, &BTreeMap::new(), &limits, second(0));
    assert_eq!(first.requests.len(), limits.in_flight_per_broker);
    for request in &first.requests {
        schedule.start(&request.key, false, second(0));
    }
    let second_plan = plan(&schedule, &targets, &BTreeMap::new(), &limits, second(1));
    assert!(second_plan.requests.is_empty());
    assert_eq!(second_plan.next, Some(second(1)));
    let one_namespace: Vec<_> =
        (0..100).map(|n| target(vec![topic(&format!("t/n/a{n}"), Some(1))])).collect();
    let plan = plan(&Schedule::default(), &one_namespace, &BTreeMap::new(), &limits, second(0));
    assert_eq!(plan.requests.len(), limits.in_flight_per_namespace);
}

#[test]
fn a_broker_that_fails_gets_one_probe_at_a_time() {
    let limits = PlanLimits::default();
    let targets: Vec<_> = (0..100).map(|n| target(vec![topic(&format!("t/n{n}/a"), Some(1))])).collect();
    let asked = run(&targets, &limits, 300, Outcome::NoAnswer);
    let total: usize = asked.values().sum();
    assert!((5..=20).contains(&total), "{total}");
    let healthy = run(&targets, &limits, 300, Outcome::Answered);
    assert!(healthy.values().sum::<usize>() > 2500);
}

#[test]
fn brokers_are_scraped_where_there_are_many_topics() {
    let brokers = BTreeMap::from([(WEB.to_owned(), vec!["http://b1:8080".into(), "http://b2:8080".into()])]);
    let mut targets: Vec<_> = (0..300).map(|n| target(vec![topic(&format!("t/n/a{n}"), Some(1))])).collect();
    targets[7].needs_details = true;
    let limits = PlanLimits::default();
    let plan = plan(&Schedule::default(), &targets, &brokers, &limits, second(0));
    let urls: Vec<_> = plan.requests.iter().map(|request| request.url.as_str()).collect();
    assert!(
        urls.contains(&"http://b1:8080/metrics/") && urls.contains(&"http://b2:8080/metrics/"),
        "{urls:?}"
    );
    assert_eq!(plan.needed.len(), 4);
}

#[test]
fn patterns_and_outputs_are_asked() {
    let mut sleeping = target(Vec::new());
    sleeping.patterns = vec![TopicName::parse("persistent://t/n/in-.*").unwrap()];
    sleeping.output = Some(topic("t/m/out", Some(0)));
    let quiet = urls(&Schedule::default(), std::slice::from_ref(&sleeping), second(0));
    assert_eq!(quiet, [format!("{WEB}/admin/v2/persistent/t/n")]);
    sleeping.needs_details = true;
    let stuck = urls(&Schedule::default(), &[sleeping], second(0));
    assert!(stuck.iter().any(|url| url.ends_with("/namespaces/t/m/backlogQuotaMap")), "{stuck:?}");
    assert!(stuck.iter().any(|url| url.contains("/t/m/out/stats?")), "{stuck:?}");
}
