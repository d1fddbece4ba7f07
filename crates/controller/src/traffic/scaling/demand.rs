//! What a component's spec says about its scaling. Pure.

use std::time::Duration;

use function_mesh_api::component::{Component, Consuming, KindSpecific, Role, Spec as _, SpecView};
use function_mesh_api::labels;
use function_mesh_api::types::{
    ProcessingGuarantee, SCALING_RANGE, Scaling, ScalingSchedule, parse_duration,
};
use function_mesh_kube::apply::controller_of;
use function_mesh_observer::cluster::Interest;
use function_mesh_observer::requests::Activity;
use function_mesh_observer::{SubscriptionType, Workload};
use function_mesh_scaling::{Policy, Schedule, SleepRefusal};

/// What scaling needs to know of a component's spec.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// Replicas that are set.
    pub(crate) replicas: u32,
    /// Type of the subscription; None for a source without one.
    pub(crate) subscription: Option<SubscriptionType>,
    /// Whether a pod works on one message at a time.
    pub(crate) is_synchronous: bool,
    /// Why it must not sleep, regardless of the policies of its Pulsar namespace.
    pub(crate) refusal: Option<SleepRefusal>,
    /// Whether the user suspended it.
    pub(crate) is_suspended: bool,
    /// Whether the user paused rollouts.
    pub(crate) is_paused: bool,
    /// Name of the mesh that it belongs to.
    pub(crate) mesh: Option<String>,
    /// What the user wants; None for a component that is not scaled on its work.
    pub(crate) wanted: Option<Wanted>,
}

/// `spec.scaling`.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Whether the operator sets the replicas; otherwise it recommends them.
    pub(crate) is_automatic: bool,
    /// The policy without schedules.
    pub(crate) policy: Policy,
    /// Other bounds at certain times. Invalid ones are left out, which validation reports.
    pub(crate) schedules: Vec<Schedule>,
    /// Number of distinct keys.
    pub(crate) keys: Option<u32>,
    /// Whether it may be set to zero.
    pub(crate) may_sleep: bool,
}

impl Work {
    /// The work of a component that reads these topics.
    pub(crate) fn of<C: Component>(component: &C, interest: &Interest) -> Self {
        let view = component.spec().view();
        let common = &view.common;
        let meta = component.meta();
        let has_runner = common.java.is_some() || common.python.is_some() || common.golang.is_some();
        let owner = controller_of(component).filter(|owner| owner.kind == "FunctionMesh");
        let wanted = common.scaling.filter(|_| common.max_replicas.is_none());
        Self {
            replicas: common.replicas.map_or(1, |replicas| u32::try_from(replicas).unwrap_or_default()),
            subscription: subscription_type(&view),
            is_synchronous: view.role == Role::Function && has_runner,
            refusal: refusal(&view, interest),
            is_suspended: labels::is_suspended(meta),
            is_paused: labels::is_paused(meta),
            mesh: owner.map(|owner| owner.name.clone()),
            wanted: wanted.map(|scaling| Wanted::of(scaling, common.may_sleep())),
        }
    }

    /// Whether scaling looks at it: for itself, or for the components of its mesh.
    pub(crate) fn has_scaler(&self) -> bool {
        self.wanted.is_some() || self.mesh.is_some()
    }

    /// Whether the operator sets the replicas.
    pub(crate) fn is_automatic(&self) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| wanted.is_automatic)
    }

    /// How often it is asked about.
    pub(crate) fn activity(&self, workload: &Workload) -> Activity {
        match workload.wanted {
            0 if self.may_sleep() => Activity::Asleep,
            0 => Activity::Suspended,
            _ => Activity::Awake,
        }
    }

    /// Whether messages wake it once it has no replicas.
    pub(crate) fn may_sleep(&self) -> bool {
        !self.is_suspended && self.wanted.as_ref().is_some_and(|wanted| wanted.is_automatic)
    }

    /// Whether the policies of its Pulsar namespaces matter.
    pub(crate) fn needs_policies(&self) -> bool {
        self.refusal.is_none() && self.wanted.as_ref().is_some_and(|wanted| wanted.may_sleep)
    }
}

impl Wanted {
    fn of(scaling: &Scaling, may_sleep: bool) -> Self {
        let (least, most) = SCALING_RANGE;
        let duration = |text: Option<&String>, default: Duration| {
            let parsed = text.and_then(|text| parse_duration(text));
            parsed.map_or(default, |duration| duration.clamp(least, most))
        };
        let count = |number: i32| u32::try_from(number).unwrap_or_default();
        let defaults = Policy::default();
        let lag = duration(scaling.lag.as_ref(), defaults.lag);
        let policy = Policy {
            min_replicas: count(scaling.least()),
            max_replicas: count(scaling.most()),
            utilization: scaling
                .utilization
                .map_or(defaults.utilization, |percent| f64::from(percent.clamp(10, 100)) / 100.0),
            idle_after: duration(scaling.idle_after.as_ref(), defaults.idle_after),
            down_window: duration(scaling.scale_down_window.as_ref(), defaults.down_window),
            ..defaults.with_lag(lag)
        };
        Self {
            is_automatic: scaling.is_automatic(),
            policy: Policy { catch_up: duration(scaling.catch_up.as_ref(), lag), ..policy },
            schedules: scaling.schedules.iter().flatten().filter_map(schedule).collect(),
            keys: scaling.keys.map(count).filter(|keys| *keys > 0),
            may_sleep,
        }
    }
}

fn schedule(of: &ScalingSchedule) -> Option<Schedule> {
    let zone = of.time_zone.as_deref().filter(|zone| !zone.is_empty()).unwrap_or("UTC");
    let parsed = Schedule::parse(&of.start, parse_duration(&of.duration)?, zone).ok()?;
    let count = |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok());
    Some(parsed.with_bounds(count(of.min_replicas), count(of.max_replicas)))
}

fn subscription_type(view: &SpecView<'_>) -> Option<SubscriptionType> {
    let Some(Consuming { retain_ordering, retain_key_ordering, .. }) = view.consuming else {
        // The instances of a batch source share the tasks that one of them discovers.
        let is_batch = matches!(view.kind_specific, KindSpecific::Source { batch: Some(_), .. });
        return is_batch.then_some(SubscriptionType::Shared);
    };
    let is_once = view.common.processing_guarantee == ProcessingGuarantee::EffectivelyOnce;
    Some(match (retain_ordering || is_once, retain_key_ordering) {
        (true, _) => SubscriptionType::Failover,
        (false, true) => SubscriptionType::KeyShared,
        (false, false) => SubscriptionType::Shared,
    })
}

fn refusal(view: &SpecView<'_>, interest: &Interest) -> Option<SleepRefusal> {
    let names = || interest.topics.iter().chain(interest.patterns.iter().map(|(name, _)| name));
    // A batch source discovers its own tasks, in one of its pods.
    if view.consuming.is_none() || names().next().is_none() {
        return Some(SleepRefusal::NoInput);
    }
    names().any(|name| !name.persistent).then_some(SleepRefusal::NotPersistent)
}

#[cfg(test)]
mod tests {
    use function_mesh_api::{Function, FunctionSpec, Sink, Source};
    use function_mesh_testkit::fixtures;
    use serde_json::{Value, json};

    use super::super::super::demand::Demand;
    use super::*;

    fn of(more: &Value) -> Work {
        let mut spec = serde_json::to_value(fixtures::java_function("f")).expect("a spec");
        for (key, value) in more.as_object().expect("fields") {
            spec[key] = value.clone();
        }
        let spec: FunctionSpec = serde_json::from_value(spec).expect("a spec");
        Demand::of(&Function::with_spec("f", spec), Duration::ZERO).work
    }

    #[test]
    fn defaults_and_limits_make_a_policy() {
        assert!(of(&json!({})).wanted.is_none());
        let wanted = of(&json!({ "scaling": {} })).wanted.expect("scaling");
        let expected = Policy::default().with_lag(Duration::from_mins(1));
        assert_eq!((wanted.policy, wanted.is_automatic, wanted.may_sleep), (expected, true, false));
        let scaling = json!({ "mode": "Recommend", "minReplicas": 0, "maxReplicas": 4, "lag": "1s",
            "catchUp": "2m", "utilization": 50, "idleAfter": "never",
            "scaleDownWindow": "2m", "keys": 3 });
        let wanted = of(&json!({ "scaling": scaling })).wanted.expect("scaling");
        let expected = Policy {
            min_replicas: 0,
            max_replicas: 4,
            lag: Duration::from_secs(5),
            catch_up: Duration::from_mins(2),
            utilization: 0.5,
            down_window: Duration::from_mins(2),
            ..Policy::default()
        };
        assert_eq!((wanted.policy, wanted.is_automatic, wanted.may_sleep), (expected, false, false));
        assert_eq!(wanted.keys, Some(3));
        // An HPA sets the replicas.
        assert!(of(&json!({ "maxReplicas": 4, "scaling": {} })).wanted.is_none());
    }

    #[test]
    fn schedules_keep_their_bounds_and_invalid_ones_are_left_out() {
        let schedules = json!([
            { "start": "0 8 * * *", "duration": "10h", "timeZone": "Europe/Berlin", "minReplicas": 3 },
            { "start": "0 8 * * *", "duration": "10h", "timeZone": "Europe/Atlantis" },
            { "start": "never", "duration": "10h" },
        ]);
        let wanted = of(&json!({ "scaling": { "schedules": schedules } })).wanted.expect("scaling");
        assert_eq!(wanted.schedules.len(), 1);
        let noon = function_mesh_observer::UnixMillis(1_767_610_800_000);
        assert_eq!(wanted.policy.at(&wanted.schedules, noon).min_replicas, 3);
    }

    #[test]
    fn the_subscription_follows_from_ordering_and_guarantee() {
        for (more, expected) in [
            (json!({}), SubscriptionType::Shared),
            (json!({ "retainOrdering": true, "retainKeyOrdering": true }), SubscriptionType::Failover),
            (json!({ "processingGuarantee": "effectively_once" }), SubscriptionType::Failover),
            (json!({ "retainKeyOrdering": true }), SubscriptionType::KeyShared),
        ] {
            assert_eq!(of(&more).subscription, Some(expected), "{more}");
        }
    }

    #[test]
    fn sinks_are_asynchronous_and_sources_do_not_sleep() {
        assert!(of(&json!({})).is_synchronous);
        let sink = Demand::of(&Sink::with_spec("k", fixtures::sink("k")), Duration::ZERO).work;
        assert!(!sink.is_synchronous && sink.subscription.is_some() && sink.refusal.is_none());
        let source = Demand::of(&Source::with_spec("s", fixtures::source("s")), Duration::ZERO).work;
        assert_eq!((source.subscription, source.refusal), (None, Some(SleepRefusal::NoInput)));
        let mut batch = fixtures::source("s");
        batch.batch_source_config =
            serde_json::from_value(json!({ "discoveryTriggererClassName": "T" })).expect("a batch source");
        let batch = Demand::of(&Source::with_spec("s", batch), Duration::ZERO).work;
        assert_eq!(batch.subscription, Some(SubscriptionType::Shared));
        assert_eq!(batch.refusal, Some(SleepRefusal::NoInput));
    }

    #[test]
    fn messages_of_topics_that_are_not_persistent_would_be_lost() {
        let work = of(&json!({ "input": { "topics": ["non-persistent://public/default/a"] } }));
        assert_eq!(work.refusal, Some(SleepRefusal::NotPersistent));
    }
}
