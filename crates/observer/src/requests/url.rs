//! URLs of Pulsar's admin REST API.

use std::fmt::Write as _;

use function_mesh_api::names::TopicName;

use crate::parse::StatsFlags;

/// A segment of a path. Everything but letters, digits and `-._~` is encoded, so that a name cannot end its segment.
fn encode(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    // A segment of dots is a relative path.
    if out == "." || out == ".." { out.replace('.', "%2E") } else { out }
}

fn topic_path(topic: &TopicName) -> String {
    let domain = if topic.persistent { "persistent" } else { "non-persistent" };
    let [tenant, namespace, local] = [&topic.tenant, &topic.namespace, &topic.local].map(|it| encode(it));
    format!("/admin/v2/{domain}/{tenant}/{namespace}/{local}")
}

/// URL of the statistics of a topic, with the flags that keep them cheap: without the size of each backlog, which takes the lock of
/// the ledger, and without publishers.
pub fn stats(web: &str, topic: &TopicName, is_partitioned: bool, flags: StatsFlags) -> String {
    let path = topic_path(topic);
    let end = if is_partitioned { "partitioned-stats" } else { "stats" };
    let exclude = !flags.consumers;
    let mut url = format!(
        "{web}{path}/{end}?subscriptionBacklogSize=false&excludePublishers=true&excludeConsumers={exclude}"
    );
    if flags.earliest_time {
        url.push_str("&getEarliestTimeInBacklog=true");
    }
    url
}

/// URL of something below a topic, such as `internalStats`.
pub fn topic(web: &str, topic: &TopicName, end: &str) -> String {
    format!("{web}{}/{end}", topic_path(topic))
}

pub(super) fn partitions(web: &str, topic: &TopicName) -> String {
    self::topic(web, topic, "partitions")
}

pub(super) fn topics(web: &str, tenant: &str, namespace: &str, persistent: bool) -> String {
    let domain = if persistent { "persistent" } else { "non-persistent" };
    format!("{web}/admin/v2/{domain}/{}/{}", encode(tenant), encode(namespace))
}

pub(super) fn backlog_quotas(web: &str, tenant: &str, namespace: &str) -> String {
    format!("{web}/admin/v2/namespaces/{}/{}/backlogQuotaMap", encode(tenant), encode(namespace))
}

pub(super) fn policies(web: &str, tenant: &str, namespace: &str) -> String {
    format!("{web}/admin/v2/namespaces/{}/{}", encode(tenant), encode(namespace))
}

pub(super) fn brokers(web: &str) -> String {
    format!("{web}/admin/v2/brokers")
}

/// The metrics of a broker. The slash avoids a redirect.
pub(super) fn metrics(broker: &str) -> String {
    format!("{broker}/metrics/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_segment() {
        let topic = TopicName::parse("persistent://t/n/a b/../c?x=1#é").unwrap();
        let url = stats("http://broker:8080", &topic, false, StatsFlags::default());
        assert_eq!(
            url,
            "http://broker:8080/admin/v2/persistent/t/n/a%20b%2F..%2Fc%3Fx%3D1%23%C3%A9/stats\
             ?subscriptionBacklogSize=false&excludePublishers=true&excludeConsumers=true"
        );
        assert_eq!(encode(".."), "%2E%2E");
    }

    #[test]
    fn flags_are_written() {
        let topic = TopicName::parse("non-persistent://t/n/a").unwrap();
        let flags = StatsFlags { consumers: true, earliest_time: true };
        let url = stats("https://broker", &topic, true, flags);
        assert!(url.starts_with("https://broker/admin/v2/non-persistent/t/n/a/partitioned-stats?"), "{url}");
        assert!(url.ends_with("excludeConsumers=false&getEarliestTimeInBacklog=true"), "{url}");
        assert_eq!(partitions("w", &topic), "w/admin/v2/non-persistent/t/n/a/partitions");
        assert_eq!(topics("w", "t", "n", true), "w/admin/v2/persistent/t/n");
        assert_eq!(backlog_quotas("w", "t", "n"), "w/admin/v2/namespaces/t/n/backlogQuotaMap");
        assert_eq!(policies("w", "t", "n/../m"), "w/admin/v2/namespaces/t/n%2F..%2Fm");
        assert_eq!(metrics("w"), "w/metrics/");
    }
}
