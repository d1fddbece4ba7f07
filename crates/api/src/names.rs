//! Names in Pulsar and Kubernetes: topics, packages and objects.

use std::sync::LazyLock;

use regex::Regex;

/// Maximum length of the name of a component object. With `-function` and the suffix of a StatefulSet revision it must
/// still fit into a label value.
pub const MAX_COMPONENT_NAME: usize = 43;

/// A topic name, `domain://tenant/namespace/topic`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicName {
    /// Whether the domain is `persistent` rather than `non-persistent`.
    pub persistent: bool,
    /// Tenant.
    pub tenant: String,
    /// Namespace.
    pub namespace: String,
    /// Topic, or the regular expression of a topic pattern.
    pub local: String,
}

impl TopicName {
    /// Parses a topic name in any of its three forms: `topic`, `tenant/namespace/topic`, or in full. The error is the
    /// message for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (domain, rest) = match text.split_once("://") {
            Some((domain, rest)) => (domain, rest.to_owned()),
            None => match text.split('/').count() {
                1 => ("persistent", format!("public/default/{text}")),
                3 => ("persistent", text.to_owned()),
                _ => {
                    return Err(format!(
                        "invalid topic name {text:?}: use `topic`, `tenant/namespace/topic` or `persistent://tenant/namespace/topic`"
                    ));
                }
            },
        };
        let persistent = match domain {
            "persistent" => true,
            "non-persistent" => false,
            _ => {
                return Err(format!(
                    "invalid topic name {text:?}: it must start with `persistent://` or `non-persistent://`"
                ));
            }
        };
        let mut parts = rest.splitn(3, '/');
        let (Some(tenant), Some(namespace), Some(local)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(format!(
                "invalid topic name {text:?}: `{domain}://` must be followed by `tenant/namespace/topic`"
            ));
        };
        for (what, part) in [("tenant", tenant), ("namespace", namespace)] {
            if !is_named_entity(part) {
                return Err(format!(
                    "invalid topic name {text:?}: the {what} {part:?} may only contain letters, digits and `-=:._`"
                ));
            }
        }
        if local.is_empty() {
            return Err(format!("invalid topic name {text:?}: the topic after the namespace is empty"));
        }
        Ok(Self { persistent, tenant: tenant.into(), namespace: namespace.into(), local: local.into() })
    }

    /// The partitioned topic of a partition: `topic` for `topic-partition-3`.
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

/// Separates the URL of a package from its digest.
const DIGEST: &str = "#sha256=";
/// Hexadecimal digits of a SHA-256 digest.
const DIGEST_DIGITS: usize = 64;

/// Splits a package location into its URL and the lowercase digest after `#sha256=`. Any other fragment stays part of
/// the URL.
pub fn split_digest(location: &str) -> (&str, Option<String>) {
    match location.split_once(DIGEST) {
        Some((address, digest)) if is_http(address) => (address, Some(digest.to_ascii_lowercase())),
        _ => (location, None),
    }
}

/// Whether the network can replace a package: it is downloaded over plain HTTP and has no digest.
pub fn is_replaceable_package(location: &str) -> bool {
    location.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("http://"))
        && split_digest(location).1.is_none()
}

fn is_http(address: &str) -> bool {
    let lower = address.to_ascii_lowercase();
    ["http://", "https://"].iter().any(|scheme| lower.starts_with(scheme))
}

/// Whether a location is a bare path in the storage of Pulsar's function workers: `tenant/namespace/name`, with or
/// without a version and further segments. The runners download it with `functions download --path`.
pub fn is_bare_package_path(location: &str) -> bool {
    !location.contains("://")
        && location.split('/').count() >= 3
        && location.split('/').all(|segment| !segment.trim().is_empty())
}

/// The error of an invalid package location, or None for a valid one. Valid are `function://`, `source://` and
/// `sink://` with `tenant/namespace/name`, optionally `@version`; `http://` and `https://`, optionally with `#sha256=`
/// and a digest; and bare paths, see [`is_bare_package_path`].
pub fn package_location_error(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    if is_http(text) {
        let digest = split_digest(text).1?;
        let is_digest = digest.len() == DIGEST_DIGITS && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        return (!is_digest).then(|| {
            format!(
                "invalid SHA-256 digest {digest:?}: write {DIGEST_DIGITS} hexadecimal digits after `{DIGEST}`"
            )
        });
    }
    let scheme = ["function://", "source://", "sink://"].into_iter().find(|s| lower.starts_with(s));
    let Some(scheme) = scheme else {
        return (!is_bare_package_path(text)).then(|| {
            format!(
                "invalid package location {text:?}: it must start with `function://`, `source://`, `sink://`, `http://` or `https://`, or be a path `tenant/namespace/name`"
            )
        });
    };
    let rest = &text[scheme.len()..];
    let (name, version) = rest.split_once('@').unwrap_or((rest, ""));
    if name.split('/').count() != 3 || version.contains('@') || rest.contains("://") {
        return Some(format!("invalid package {text:?}: use `{scheme}tenant/namespace/name@version`"));
    }
    None
}

/// DNS label (RFC 1123), as Services require.
static DNS_LABEL: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$").ok());

/// The error of an invalid name of a component object, or None for a valid one.
pub fn component_name_error(name: &str) -> Option<String> {
    if !DNS_LABEL.as_ref().is_some_and(|pattern| pattern.is_match(name)) {
        return Some(format!(
            "invalid component name {name:?}: use lowercase letters, digits and `-`, starting and ending with a letter or digit"
        ));
    }
    (name.len() > MAX_COMPONENT_NAME).then(|| {
        format!("component name {name:?} has {} characters; the maximum is {MAX_COMPONENT_NAME}", name.len())
    })
}

/// The warning on a valid name of a component object whose Service an older Kubernetes rejects, or None.
pub fn component_name_warning(name: &str) -> Option<&'static str> {
    name.starts_with(|letter: char| letter.is_ascii_digit()).then_some(
        "starts with a digit: Kubernetes before 1.36 rejects a Service of that name, and a component without its \
         Service does not become ready",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_short_topic_names() {
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
    fn rejects_invalid_topic_names() {
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
    fn strips_partition_suffixes() {
        let strip = |text| TopicName::parse(text).expect("a topic").without_partition().local;
        assert_eq!(strip("in-partition-3"), "in");
        assert_eq!(strip("in-partition-x"), "in-partition-x");
        assert_eq!(strip("-partition-3"), "-partition-3");
    }

    #[test]
    fn validates_package_locations() {
        for good in
            ["function://t/n/f@v1", "Sink://t/n/f", "source:////@1", "https://example.com/a?b=c", "HTTP://x"]
        {
            assert_eq!(package_location_error(good), None, "{good}");
            assert!(!is_bare_package_path(good), "{good}");
        }
        for bad in [
            "function://t/n",
            "function://t/n/f@1@2",
            "ftp://x/y/z",
            "",
            "function://t/n/f://x",
            "f.jar",
            "n/f",
            "/pulsar/x/f.jar",
            "t//f",
            "t/n/ ",
            "t/n/",
        ] {
            assert!(package_location_error(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn accepts_bare_package_paths() {
        for good in ["public/default/x", "t/n/name@v1", "t/n/name/1b2f-x.jar", "t/n/a b.jar"] {
            assert_eq!(package_location_error(good), None, "{good}");
            assert!(is_bare_package_path(good), "{good}");
        }
    }

    #[test]
    fn validates_package_digests() {
        let digest = "Ab".repeat(32);
        let location = format!("https://h/f.jar?a=1#sha256={digest}");
        assert_eq!(package_location_error(&location), None);
        assert_eq!(split_digest(&location), ("https://h/f.jar?a=1", Some("ab".repeat(32))));
        assert_eq!(split_digest("https://h/f.jar#top"), ("https://h/f.jar#top", None));
        assert_eq!(split_digest("function://t/n/f#sha256=1"), ("function://t/n/f#sha256=1", None));
        for bad in ["", "12", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65), &format!("{digest};id")] {
            assert!(package_location_error(&format!("http://h/f#sha256={bad}")).is_some(), "{bad}");
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
    fn validates_component_names() {
        assert_eq!(component_name_error(&"a".repeat(43)), None);
        assert_eq!(component_name_error("2fa"), None);
        for bad in [&"a".repeat(44), "", "A", "-a", "a.b", "a-", "ä"] {
            assert!(component_name_error(bad).is_some(), "{bad}");
        }
        assert_eq!(component_name_warning("a2fa"), None);
        assert!(component_name_warning("2fa").is_some());
    }
}
