//! What a component's spec says about its traffic: topics, subscription, and when it counts as stalled.

use std::time::Duration;

use function_mesh_api::component::{Component, Spec as _};
use function_mesh_api::names::TopicName;
use function_mesh_api::topology::TopicPattern;
use function_mesh_api::types::{
    OnStall, ProcessingGuarantee, STALL_AFTER, STALL_AFTER_RANGE, parse_duration,
};
use function_mesh_observer::cluster::Interest;
use function_mesh_observer::stall::StallPolicy;
use function_mesh_workloads::subscriptions::subscriptions;
use kube::ResourceExt as _;

use super::scaling::Work;
use super::service_urls::ConfigMapRef;

/// The demand of a component.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    /// ConfigMap with the URL of the web service.
    pub(crate) config_map: ConfigMapRef,
    /// What to ask.
    pub(crate) interest: Interest,
    /// When it counts as stalled.
    pub(crate) policy: StallPolicy,
    /// What to do then.
    pub(crate) on_stall: OnStall,
    /// What scaling needs to know.
    pub(crate) work: Work,
}

impl Demand {
    /// The demand of a component whose pods take their first message within this time.
    pub(crate) fn of<C: Component>(component: &C, start_time: Duration) -> Self {
        let view = component.spec().view();
        let subscriptions = subscriptions(component);
        let subscription = subscriptions.first().map(|it| it.name.clone()).unwrap_or_default();
        let (mut topics, mut patterns) = (Vec::new(), Vec::new());
        for found in &subscriptions {
            let Ok(name) = TopicName::parse(&found.topic) else { continue };
            if found.is_pattern {
                patterns.push((name.clone(), TopicPattern::new(&name)));
            } else {
                topics.push(name);
            }
        }
        topics.sort();
        topics.dedup();
        let window = view.function().and_then(|function| function.window_config.as_ref());
        let acknowledges = view.consuming.and_then(|consuming| consuming.auto_ack).unwrap_or(true);
        let is_manual = view.common.processing_guarantee == ProcessingGuarantee::Manual;
        let window_length = window.and_then(|window| window.window_length_duration_ms).unwrap_or_default();
        let (least, most) = STALL_AFTER_RANGE;
        let stall_after = view.common.stall_after.and_then(parse_duration).unwrap_or(STALL_AFTER);
        let config = view.common.pulsar.and_then(|pulsar| pulsar.pulsar_config.as_deref());
        let interest = Interest {
            subscription,
            topics,
            patterns,
            output: view.output_topic().and_then(|topic| TopicName::parse(topic).ok()),
        };
        Self {
            config_map: (component.namespace().unwrap_or_default(), config.unwrap_or_default().to_owned()),
            work: Work::of(component, &interest),
            interest,
            policy: StallPolicy {
                stall_after: stall_after.clamp(least, most),
                holds_messages: is_manual || !acknowledges || window.is_some(),
                window: Duration::from_millis(u64::try_from(window_length).unwrap_or_default()),
                start_time,
            },
            on_stall: view.common.on_stall.unwrap_or_default(),
        }
    }

    /// Whether it consumes.
    pub(crate) fn consumes(&self) -> bool {
        !self.interest.topics.is_empty() || !self.interest.patterns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use function_mesh_api::{Function, FunctionSpec, Source};
    use function_mesh_testkit::fixtures;
    use serde_json::json;

    use super::*;

    fn of(more: &serde_json::Value) -> Demand {
        let mut spec = serde_json::to_value(fixtures::java_function("f")).expect("a spec");
        for (key, value) in more.as_object().expect("fields") {
            spec[key] = value.clone();
        }
        let spec: FunctionSpec = serde_json::from_value(spec).expect("a spec");
        Demand::of(&Function::with_spec("f", spec), Duration::ZERO)
    }

    #[test]
    fn topics_patterns_and_output_are_named_in_full() {
        let found = of(
            &json!({ "input": { "topics": ["a", "persistent://public/default/a"], "topicPattern": "t/n/in-.*" },
            "output": { "topic": "b" } }),
        );
        let topics: Vec<_> = found.interest.topics.iter().map(ToString::to_string).collect();
        assert_eq!(topics, ["persistent://public/default/a"]);
        assert_eq!(found.interest.patterns[0].0.to_string(), "persistent://t/n/in-.*");
        assert_eq!(
            found.interest.output.map(|it| it.to_string()).as_deref(),
            Some("persistent://public/default/b")
        );
        assert_eq!(found.interest.subscription, "public/default/f");
    }

    #[test]
    fn the_config_map_is_that_of_the_namespace() {
        let mut function = Function::with_spec("f", fixtures::java_function("f"));
        function.metadata.namespace = Some("n".to_owned());
        let pulsar = function.spec.pulsar.get_or_insert_default();
        pulsar.pulsar_config = Some("pulsar".to_owned());
        assert_eq!(Demand::of(&function, Duration::ZERO).config_map, ("n".to_owned(), "pulsar".to_owned()));
    }

    #[test]
    fn components_that_hold_messages_are_told_apart() {
        assert!(!of(&json!({})).policy.holds_messages);
        for more in [
            json!({ "autoAck": false }),
            json!({ "processingGuarantee": "manual" }),
            json!({ "windowConfig": { "windowLengthDurationMs": 60_000 } }),
        ] {
            assert!(of(&more).policy.holds_messages, "{more}");
        }
    }

    #[test]
    fn the_time_of_a_stall_is_bounded() {
        let after = |text: &str| of(&json!({ "stallAfter": text })).policy.stall_after.as_secs();
        assert_eq!((after("90s"), after("1s"), after("never")), (90, 60, 300));
        assert_eq!(of(&json!({})).policy.stall_after, STALL_AFTER);
    }

    #[test]
    fn a_source_consumes_nothing() {
        assert!(!Demand::of(&Source::with_spec("s", fixtures::source("s")), Duration::ZERO).consumes());
    }
}
