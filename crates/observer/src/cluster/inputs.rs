//! What a cluster knows of the inputs of a component beside their statistics: partitions, and policies of namespaces.

use std::collections::BTreeSet;

use function_mesh_api::names::TopicName;

use super::{Cluster, Interest, MAX_TOPICS, Parsed};
use crate::parse::NamespacePolicies;
use crate::{Cause, Reading};

impl Cluster {
    /// Partitions of all input topics of a component. A topic that is not partitioned counts as one.
    pub fn input_partitions(&self, interest: &Interest) -> Reading<u32> {
        let matched = self.matched(interest);
        let topics = interest.topics.iter().chain(&matched).take(MAX_TOPICS);
        let count = |topic: &TopicName| {
            // A name of one partition has none itself.
            let is_one = topic.clone().without_partition().local != topic.local;
            let known = if is_one { Some(&Reading::Known(1)) } else { self.partitions.get(topic) };
            let known = known.copied().unwrap_or(Reading::Unknown(Cause::NotAsked));
            known.map(|count| u64::try_from(count.max(1)).unwrap_or(u64::MAX))
        };
        Reading::<u64>::sum(topics.map(count)).and_then(|sum| u32::try_from(sum).ok().into())
    }

    /// The policies of the namespaces of all inputs of a component: of each, the one that matters most.
    pub fn policies(&self, interest: &Interest) -> Reading<NamespacePolicies> {
        let patterns = interest.patterns.iter().map(|(name, _)| name);
        let names = interest.topics.iter().chain(patterns);
        let namespaces: BTreeSet<_> =
            names.map(|name| (name.tenant.clone(), name.namespace.clone())).collect();
        let of = |namespace| {
            let known = self.policies.get(&namespace).copied();
            known.unwrap_or(Reading::Unknown(self.failure.unwrap_or(Cause::NotAsked)))
        };
        let strictest = Reading::Known(NamespacePolicies::default());
        namespaces
            .into_iter()
            .map(of)
            .fold(strictest, |one, other| one.zip(other).map(|(one, other)| one.strictest(other)))
    }

    pub(super) fn apply_policies(&mut self, namespace: &(String, String), result: &Result<Parsed, Cause>) {
        let reading = match result {
            Ok(Parsed::Policies(policies)) => Reading::Known(*policies),
            Ok(_) => return,
            Err(cause) => Reading::Unknown(*cause),
        };
        self.policies.insert(namespace.clone(), reading);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interest(topics: &[&str]) -> Interest {
        let topics = topics.iter().map(|topic| TopicName::parse(topic).unwrap()).collect();
        Interest { subscription: "s".to_owned(), topics, patterns: Vec::new(), output: None }
    }

    #[test]
    fn partitions_are_added_up_once_all_are_known() {
        let mut cluster = Cluster::default();
        let both = interest(&["t/n/a", "t/n/b", "t/n/c-partition-3"]);
        for (topic, count) in [("t/n/a", 4), ("t/n/b", 0)] {
            assert!(!cluster.input_partitions(&both).is_known());
            cluster.partitions.insert(TopicName::parse(topic).unwrap(), Reading::Known(count));
        }
        assert_eq!(cluster.input_partitions(&both), Reading::Known(6));
    }

    #[test]
    fn the_strictest_policies_count_and_a_denial_is_unknown() {
        let (mut cluster, both) = (Cluster::default(), interest(&["t/n/a", "t/m/b"]));
        let of = |ttl, expiration| NamespacePolicies {
            message_ttl_seconds: ttl,
            subscription_expiration_minutes: expiration,
            stops_producers: false,
        };
        let namespace = |name: &str| ("t".to_owned(), name.to_owned());
        cluster.apply_policies(&namespace("n"), &Ok(Parsed::Policies(of(Some(60), None))));
        assert_eq!(cluster.policies(&both), Reading::Unknown(Cause::NotAsked));
        cluster.apply_policies(&namespace("m"), &Ok(Parsed::Policies(of(Some(5), Some(9)))));
        assert_eq!(cluster.policies(&both), Reading::Known(of(Some(5), Some(9))));
        cluster.apply_policies(&namespace("m"), &Err(Cause::Unauthorized));
        assert_eq!(cluster.policies(&both), Reading::Unknown(Cause::Unauthorized));
    }
}
