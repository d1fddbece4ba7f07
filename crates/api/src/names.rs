//! The texts that name things in Pulsar and in Kubernetes: topics, packages and objects.

use std::sync::LazyLock;

use regex::Regex;

/// Longest name of a component's object. With `-function` and the suffix that Kubernetes adds to a revision
/// of a StatefulSet it must still fit into a label.
pub const MAX_COMPONENT_NAME: usize = 43;

/// The parts of a topic's full name, `domain://tenant/namespace/topic`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicName {
    /// Whether messages outlive the broker: the domain `persistent` rather than `non-persistent`.
    pub persistent: bool,
    /// Tenant.
    pub tenant: String,
    /// Namespace.
    pub namespace: String,
    /// Topic, or a regular expression over topics.
    pub local: String,
}

impl TopicName {
    /// Reads a topic's name in any of its three forms: `topic`, `tenant/namespace/topic`, or in full. The
    /// error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (domain, rest) = match text.split_once("://") {
            Some((domain, rest)) => (domain, rest.to_owned()),
            None => match text.split('/').count() {
                1 => ("persistent", format!("public/default/{text}")),
                3 => ("persistent", text.to_owned()),
                _ => {
                    return Err(format!(
                        "{text:?} is no topic name: write `topic`, `tenant/namespace/topic` or `persistent://tenant/namespace/topic`"
                    ));
                }
            },
        };
        let persistent = match domain {
            "persistent" => true,
            "non-persistent" => false,
            _ => {
                return Err(format!(
                    "{text:?} is no topic name: it must begin with `persistent://` or `non-persistent://`"
                ));
            }
        };
        let mut parts = rest.splitn(3, '/');
        let (Some(tenant), Some(namespace), Some(local)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(format!(
                "{text:?} is no topic name: after `{domain}://` comes `tenant/namespace/topic`"
            ));
        };
        for (what, part) in [("tenant", tenant), ("namespace", namespace)] {
            if !is_named_entity(part) {
                return Err(format!(
                    "{text:?} is no topic name: its {what} {part:?} must be letters, digits and any of `-=:._`"
                ));
            }
        }
        if local.is_empty() {
            return Err(format!("{text:?} is no topic name: nothing stands after the namespace"));
        }
        Ok(Self { persistent, tenant: tenant.into(), namespace: namespace.into(), local: local.into() })
    }

    /// The topic without its partition, `topic` for `topic-partition-3`.
    #[must_use]
    pub fn without_partition(mut self) -> Self {
        if let Some((topic, partition)) = self.local.rsplit_once("-partition-")
            && !topic.is_empty()
            && !partition.is_empty()
            && partition.bytes().all(|byte| byte.is_ascii_digit())
        {
            self.local = topic.to_owned();
        }
        self
    }
}

impl std::fmt::Display for TopicName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let domain = if self.persistent { "persistent" } else { "non-persistent" };
        write!(f, "{domain}://{}/{}/{}", self.tenant, self.namespace, self.local)
    }
}

fn is_named_entity(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'=' | b':' | b'.' | b'_'))
}

/// What stands between the address of a package and its digest.
const DIGEST: &str = "#sha256=";
/// Letters of a SHA-256 digest.
const DIGEST_LETTERS: usize = 64;

/// The address of a package and, behind `#sha256=`, the digest that what is downloaded must have, in lower case. Any
/// other fragment is part of the address.
pub fn split_digest(location: &str) -> (&str, Option<String>) {
    match location.split_once(DIGEST) {
        Some((address, digest)) if is_http(address) => (address, Some(digest.to_ascii_lowercase())),
        _ => (location, None),
    }
}

/// Whether anybody between the server and the pod can replace a package: it comes by plain HTTP and has no digest.
pub fn is_replaceable_package(location: &str) -> bool {
    location.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("http://"))
        && split_digest(location).1.is_none()
}

fn is_http(address: &str) -> bool {
    let lower = address.to_ascii_lowercase();
    ["http://", "https://"].iter().any(|scheme| lower.starts_with(scheme))
}

/// Why a text does not say where a package is, if it does not. Accepted are
/// `function://`, `source://` and `sink://` with `tenant/namespace/name`, optionally `@version`, and
/// `http://` and `https://`, optionally with `#sha256=` and a digest.
pub fn package_location_fault(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    if is_http(text) {
        let digest = split_digest(text).1?;
        let is_digest = digest.len() == DIGEST_LETTERS && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        return (!is_digest).then(|| {
            format!("{digest:?} is no SHA-256 digest: write its {DIGEST_LETTERS} hexadecimal digits behind `{DIGEST}`")
        });
    }
    let scheme = ["function://", "source://", "sink://"].into_iter().find(|s| lower.starts_with(s));
    let Some(scheme) = scheme else {
        return Some(format!(
            "{text:?} is no package location: begin with `function://`, `source://`, `sink://`, `http://` or `https://`"
        ));
    };
    let rest = &text[scheme.len()..];
    let (name, version) = rest.split_once('@').unwrap_or((rest, ""));
    if name.split('/').count() != 3 || version.contains('@') || rest.contains("://") {
        return Some(format!("{text:?} is no package: write `{scheme}tenant/namespace/name@version`"));
    }
    None
}

/// A name that a Service can have: a letter, then letters, digits and `-`, all lower case.
static DNS_LABEL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("^[a-z]([-a-z0-9]*[a-z0-9])?$").ok());

/// Why a text cannot be the name of a component's object, if it cannot.
pub fn component_name_fault(name: &str) -> Option<String> {
    if !DNS_LABEL.as_ref().is_some_and(|pattern| pattern.is_match(name)) {
        return Some(format!(
            "{name:?} cannot name a component: begin with a lower-case letter and use lower-case letters, digits and `-`"
        ));
    }
    (name.len() > MAX_COMPONENT_NAME)
        .then(|| format!("{name:?} has {} characters, at most {MAX_COMPONENT_NAME} are possible", name.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_short_topic_names() {
        for (text, full) in [
            ("in", "persistent://public/default/in"),
            ("t/n/in", "persistent://t/n/in"),
            ("non-persistent://t/n/in", "non-persistent://t/n/in"),
            ("persistent://t/n/a/b", "persistent://t/n/a/b"),
            ("persistent://t/n/.*-logs", "persistent://t/n/.*-logs"),
        ] {
            assert_eq!(TopicName::parse(text).expect(text).to_string(), full);
        }
    }

    #[test]
    fn refuses_what_is_no_topic() {
        for text in [
            "a/b",
            "a/b/c/d",
            "kafka://t/n/x",
            "persistent://t/n",
            "persistent://t/n/",
            "persistent:///n/x",
            "t t/n/x",
            "",
        ] {
            assert!(TopicName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn strips_partitions() {
        let strip = |text| TopicName::parse(text).expect("a topic").without_partition().local;
        assert_eq!(strip("in-partition-3"), "in");
        assert_eq!(strip("in-partition-x"), "in-partition-x");
        assert_eq!(strip("-partition-3"), "-partition-3");
    }

    #[test]
    fn knows_package_locations() {
        for good in
            ["function://t/n/f@v1", "Sink://t/n/f", "source:////@1", "https://example.com/a?b=c", "HTTP://x"]
        {
            assert_eq!(package_location_fault(good), None, "{good}");
        }
        for bad in ["t/n/f", "function://t/n", "function://t/n/f@1@2", "ftp://x", "", "function://t/n/f://x"]
        {
            assert!(package_location_fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn package_digest_is_split_and_checked() {
        let digest = "Ab".repeat(32);
        let location = format!("https://h/f.jar?a=1#sha256={digest}");
        assert_eq!(package_location_fault(&location), None);
        assert_eq!(split_digest(&location), ("https://h/f.jar?a=1", Some("ab".repeat(32))));
        assert_eq!(split_digest("https://h/f.jar#top"), ("https://h/f.jar#top", None));
        assert_eq!(split_digest("function://t/n/f#sha256=1"), ("function://t/n/f#sha256=1", None));
        for bad in ["", "12", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65), &format!("{digest};id")] {
            assert!(package_location_fault(&format!("http://h/f#sha256={bad}")).is_some(), "{bad}");
        }
        for (location, is_replaceable) in [
            ("http://h/f".to_owned(), true),
            ("HTTP://h/f".to_owned(), true),
            (format!("http://h/f#sha256={digest}"), false),
            ("https://h/f".to_owned(), false),
            ("function://t/n/f".to_owned(), false),
        ] {
            assert_eq!(is_replaceable_package(&location), is_replaceable, "{location}");
        }
    }

    #[test]
    fn bounds_component_names() {
        assert_eq!(component_name_fault(&"a".repeat(43)), None);
        for bad in [&"a".repeat(44), "", "A", "1a", "a.b", "a-", "ä"] {
            assert!(component_name_fault(bad).is_some(), "{bad}");
        }
    }
}
