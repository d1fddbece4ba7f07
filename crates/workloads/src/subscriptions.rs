//! Subscriptions of components, and which of them are shared.
//!
//! Works on stored specs, with or without defaults, so that it applies to any live component.

use std::collections::BTreeSet;

use function_mesh_api::component::{KindSpecific, SpecView};
use function_mesh_api::names::TopicName;
use function_mesh_api::types::Subscription;
use function_mesh_api::{Component, Spec as _};

use crate::{details, pattern};

/// The subscriptions of a component, by topic or topic pattern.
pub fn subscriptions<C: Component>(component: &C) -> Vec<Subscription> {
    list(&component.spec().view(), component.meta().name.as_deref().unwrap_or_default())
}

pub(crate) fn list(view: &SpecView<'_>, object: &str) -> Vec<Subscription> {
    let or =
        |text: Option<&str>, default: &str| text.filter(|it| !it.is_empty()).unwrap_or(default).to_owned();
    let common = &view.common;
    let path =
        [or(common.tenant, "public"), or(common.namespace, "default"), or(common.name, object)].join("/");
    let Some(consuming) = view.consuming else {
        let is_batch = matches!(view.kind_specific, KindSpecific::Source { batch: Some(_), .. });
        let name = format!("BatchSourceExecutor-{path}");
        let topic = format!("persistent://{path}-intermediate");
        return is_batch.then_some(Subscription { name, topic, is_pattern: false }).into_iter().collect();
    };
    let name = or(consuming.subscription_name, &path);
    let specs = view.input().map(details::input_specs).unwrap_or_default();
    let subscriptions = specs.iter().map(|(topic, spec)| Subscription {
        name: name.clone(),
        topic: (*topic).to_owned(),
        is_pattern: spec.is_regex_pattern,
    });
    subscriptions.collect()
}

/// Whether two subscriptions can be the same. The operator does not read the ConfigMaps with the service URLs, so it
/// assumes the same Pulsar cluster.
pub fn may_be_shared(one: &Subscription, other: &Subscription) -> bool {
    if one.name != other.name {
        return false;
    }
    let (Ok(a), Ok(b)) = (TopicName::parse(&one.topic), TopicName::parse(&other.topic)) else {
        return one.topic == other.topic;
    };
    if (&a.tenant, &a.namespace) != (&b.tenant, &b.namespace) {
        return false;
    }
    match (one.is_pattern, other.is_pattern) {
        (false, false) => a.without_partition() == b.without_partition(),
        (true, false) => b.local.starts_with(pattern::literal_prefix(&a.local)),
        (false, true) => a.local.starts_with(pattern::literal_prefix(&b.local)),
        (true, true) => {
            let (a, b) = (pattern::literal_prefix(&a.local), pattern::literal_prefix(&b.local));
            a.starts_with(b) || b.starts_with(a)
        }
    }
}

/// The targets of a clean-up, of which some subscriptions can still be in use.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Targets {
    /// Subscriptions to delete.
    pub remove: Vec<Subscription>,
    /// Topics that a pattern of these must exclude, since another component has the subscription there.
    pub keep: Vec<Subscription>,
    /// Subscriptions to keep, since another component uses them.
    pub shared: Vec<Subscription>,
}

impl Targets {
    /// Targets of all subscriptions.
    pub fn all(subscriptions: Vec<Subscription>) -> Self {
        Self { remove: subscriptions, ..Self::default() }
    }

    /// Excludes the subscriptions of another component. Returns whether any is shared.
    pub fn exclude(&mut self, used: &[Subscription]) -> bool {
        let mut is_shared = false;
        for used in used {
            let mut rest = Vec::with_capacity(self.remove.len());
            for own in std::mem::take(&mut self.remove) {
                if !may_be_shared(&own, used) {
                    rest.push(own);
                    continue;
                }
                is_shared = true;
                if own.is_pattern && !used.is_pattern {
                    if !self.keep.contains(used) {
                        self.keep.push(used.clone());
                    }
                    rest.push(own);
                } else {
                    self.shared.push(own);
                }
            }
            self.remove = rest;
        }
        is_shared
    }

    /// Excludes the subscriptions that match. Returns whether any does.
    pub fn exclude_if(&mut self, is_used: impl Fn(&Subscription) -> bool) -> bool {
        let (used, rest) = std::mem::take(&mut self.remove).into_iter().partition(is_used);
        let used: Vec<_> = used;
        self.remove = rest;
        let is_any = !used.is_empty();
        self.shared.extend(used);
        is_any
    }
}

/// The union of two lists, sorted.
pub fn union(one: &[Subscription], other: &[Subscription]) -> Vec<Subscription> {
    let all: BTreeSet<_> = one.iter().chain(other).collect();
    all.into_iter().cloned().collect()
}

/// The difference of two lists.
pub fn without(one: &[Subscription], other: &[Subscription]) -> Vec<Subscription> {
    let other: BTreeSet<_> = other.iter().collect();
    one.iter().filter(|it| !other.contains(it)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(name: &str, topic: &str) -> Subscription {
        Subscription { name: name.into(), topic: topic.into(), is_pattern: false }
    }

    fn pattern(name: &str, topic: &str) -> Subscription {
        Subscription { is_pattern: true, ..plain(name, topic) }
    }

    #[test]
    fn may_be_shared_compares_topics() {
        for (one, other, expected) in [
            (plain("s", "a"), plain("s", "persistent://public/default/a"), true),
            (plain("s", "a"), plain("s", "public/default/a-partition-3"), true),
            (plain("s", "a"), plain("t", "a"), false),
            (plain("s", "a"), plain("s", "t/n/a"), false),
            (plain("s", "a"), plain("s", "non-persistent://public/default/a"), false),
            (pattern("s", "persistent://t/n/orders-.*"), plain("s", "t/n/orders-1"), true),
            (pattern("s", "persistent://t/n/orders-.*"), plain("s", "t/n/payments"), false),
            (pattern("s", "persistent://t/n/.*"), plain("s", "t/m/payments"), false),
            (plain("s", "t/n/x"), pattern("s", "persistent://t/n/(x|y)"), true),
            (pattern("s", "persistent://t/n/a-.*"), pattern("s", "persistent://t/n/b-.*"), false),
            (pattern("s", "persistent://t/n/a-.*"), pattern("s", "persistent://t/n/.*-b"), true),
        ] {
            assert_eq!(may_be_shared(&one, &other), expected, "{one:?} {other:?}");
            assert_eq!(may_be_shared(&other, &one), expected, "{other:?} {one:?}");
        }
    }

    #[test]
    fn exclude_keeps_shared_topics() {
        let mut targets = Targets::all(vec![
            plain("s", "a"),
            plain("s", "b"),
            pattern("s", "persistent://public/default/.*"),
        ]);
        assert!(!targets.exclude(&[plain("t", "a")]));
        assert!(targets.exclude(&[plain("s", "a")]));
        assert_eq!(targets.shared, [plain("s", "a")]);
        assert_eq!(targets.keep, [plain("s", "a")]);
        assert_eq!(targets.remove, [plain("s", "b"), pattern("s", "persistent://public/default/.*")]);
        assert!(targets.exclude(&[pattern("s", "persistent://public/default/x.*")]));
        assert_eq!(targets.remove, [plain("s", "b")]);
    }
}
