//! The text that a scrape gets.

use std::time::Duration;

use function_mesh_observer::stall::{Exemption, Stall};
use function_mesh_observer::{Cause, Reading};
use prometheus::TextEncoder;

use super::*;

fn stall(reason: StallReason) -> Verdict {
    Verdict::Stalled(Stall { reason, duration: Duration::from_mins(5), stalled: 1, total: 1, backlog: 7 })
}

fn traffic() -> Traffic {
    Traffic {
        backlog: Reading::Known(1_200),
        lag_seconds: Reading::Known(61),
        in_rate: Reading::Known(2.5),
        out_rate: Reading::Known(0.0),
        exceptions: Reading::Known(3),
        ..Traffic::default()
    }
}

fn sample<'a>(key: &'a str, traffic: Option<&'a Traffic>, verdict: &'a Verdict) -> Sample<'a> {
    let name = key.rsplit('/').next().unwrap_or_default();
    Sample {
        key,
        kind: "Function",
        namespace: "team-a",
        name,
        consumes: true,
        traffic,
        verdict,
        scaling: None,
    }
}

fn register(with_components: bool) -> (Registry, TrafficMetrics) {
    let registry = Registry::new();
    let metrics = TrafficMetrics::register(&registry, with_components).expect("metrics");
    (registry, metrics)
}

/// The lines of a metric, without its help.
fn lines(registry: &Registry, name: &str) -> Vec<String> {
    let text = TextEncoder::new().encode_to_string(&registry.gather()).expect("a text");
    text.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

#[test]
fn gauges_are_zero_from_the_start() {
    let (registry, _metrics) = register(true);
    let stalled = lines(&registry, "function_mesh_stalled_components");
    assert_eq!(stalled.len(), Role::ALL.len() * StallReason::ALL.len());
    assert!(stalled.iter().all(|line| line.ends_with("} 0")), "{stalled:?}");
    for kind in ["Function", "Sink", "Source"] {
        for reason in StallReason::ALL {
            let series = format!("function_mesh_stalled_components{{kind=\"{kind}\",reason=\"{reason}\"}} 0");
            assert!(stalled.contains(&series), "{series}");
        }
    }
    assert_eq!(
        lines(&registry, "function_mesh_observer_components"),
        [
            "function_mesh_observer_components{state=\"observed\"} 0",
            "function_mesh_observer_components{state=\"unknown\"} 0",
        ]
    );
    assert!(lines(&registry, "function_mesh_component_").is_empty());
}

#[test]
fn components_are_counted_by_what_is_known() {
    let (registry, metrics) = register(false);
    let (known, unknown, progressing) = (traffic(), Traffic::default(), Verdict::Progressing);
    let stalled = stall(StallReason::NotReceiving);
    let source = Sample { consumes: false, kind: "Source", ..sample("s", Some(&unknown), &progressing) };
    let all = [
        sample("a", Some(&known), &stalled),
        sample("b", Some(&known), &stalled),
        sample("c", Some(&unknown), &progressing),
        sample("new", None, &progressing),
        source,
    ];
    metrics.set(&all);
    let series = "function_mesh_stalled_components{kind=\"Function\",reason=\"NotReceiving\"}";
    assert_eq!(lines(&registry, series), [format!("{series} 2")]);
    assert_eq!(
        lines(&registry, "function_mesh_observer_components"),
        [
            "function_mesh_observer_components{state=\"observed\"} 2",
            "function_mesh_observer_components{state=\"unknown\"} 1",
        ]
    );
    metrics.set(&all[2..]);
    assert_eq!(lines(&registry, series), [format!("{series} 0")]);
}

#[test]
fn without_the_switch_no_component_is_named() {
    let (registry, metrics) = register(false);
    let (traffic, verdict) = (traffic(), stall(StallReason::Failing));
    metrics.set(&[sample("functions/team-a/secret-name", Some(&traffic), &verdict)]);
    let all = lines(&registry, "");
    assert!(!all.is_empty());
    let named: Vec<_> = all
        .iter()
        .filter(|line| {
            ["function_mesh_component_", "team-a", "secret-name"].iter().any(|it| line.contains(it))
        })
        .collect();
    assert!(named.is_empty(), "{named:?}");
}

#[test]
fn numbers_of_a_component_appear_and_vanish_with_it() {
    let (registry, metrics) = register(true);
    let (traffic, progressing) = (traffic(), Verdict::Progressing);
    let stalled = stall(StallReason::NoConsumers);
    let (a, b) = ("functions/team-a/a", "functions/team-a/b");
    metrics.set(&[sample(a, Some(&traffic), &stalled), sample(b, None, &progressing)]);
    let of = |name: &str| format!("{{kind=\"Function\",name=\"{name}\",namespace=\"team-a\"}}");
    assert_eq!(
        lines(&registry, "function_mesh_component_"),
        [
            format!("function_mesh_component_backlog{} 1200", of("a")),
            format!("function_mesh_component_exceptions{} 3", of("a")),
            format!("function_mesh_component_in_messages_per_second{} 2.5", of("a")),
            format!("function_mesh_component_lag_seconds{} 61", of("a")),
            format!("function_mesh_component_out_messages_per_second{} 0", of("a")),
            format!("function_mesh_component_stalled{} 1", of("a")),
            format!("function_mesh_component_stalled{} 0", of("b")),
        ]
    );
    metrics.set(&[sample(b, None, &progressing)]);
    assert_eq!(
        lines(&registry, "function_mesh_component_"),
        [format!("function_mesh_component_stalled{} 0", of("b"))]
    );
    metrics.set(&[]);
    assert!(lines(&registry, "function_mesh_component_").is_empty());
}

#[test]
fn what_is_unknown_has_no_series() {
    let (registry, metrics) = register(true);
    let (known, progressing) = (traffic(), Verdict::Progressing);
    for verdict in [Verdict::Unknown(Cause::Failed), Verdict::Exempt(Exemption::Starting)] {
        let scaled = Sample { scaling: Some((3, true)), ..sample("k", Some(&known), &progressing) };
        metrics.set(&[scaled]);
        assert_eq!(lines(&registry, "function_mesh_component_").len(), OF_COMPONENT.len());
        let unknown = Traffic { backlog: Reading::Unknown(Cause::Failed), ..known };
        metrics.set(&[sample("k", Some(&unknown), &verdict)]);
        let all = lines(&registry, "function_mesh_component_");
        assert_eq!(all.len(), OF_COMPONENT.len() - 4, "{all:?}");
        for name in ["backlog", "stalled", "desired_replicas", "scaling_held"] {
            assert!(lines(&registry, &format!("function_mesh_component_{name}")).is_empty(), "{name}");
        }
    }
}
