//! Kubernetes' syntax of labels, annotations and environment variables.

/// The error of an invalid label or annotation key, or None for a valid one.
pub(super) fn key_error(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let prefix_is_fine =
        prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(is_domain_part));
    (!prefix_is_fine || !is_name(name)).then(|| {
        format!(
            "invalid key {key:?}: use a name of at most 63 letters, digits and `-_.`, optionally with a DNS domain \
             and `/` as prefix"
        )
    })
}

/// Like [`key_error`], for an annotation, whose prefix can contain capitals.
pub(super) fn annotation_key_error(key: &str) -> Option<String> {
    key_error(&key.to_ascii_lowercase())
}

/// The error of an invalid label value, or None for a valid one.
pub(super) fn value_error(value: &str) -> Option<String> {
    (!value.is_empty() && !is_name(value)).then(|| {
        format!(
            "invalid label value {value:?}: use at most 63 letters, digits and `-_.`, starting and ending with a \
             letter or digit"
        )
    })
}

/// The error of an invalid environment variable name, or None for a valid one.
pub(super) fn variable_error(name: &str) -> Option<&'static str> {
    let is_fine = !name.is_empty() && name.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=');
    (!is_fine).then_some("invalid environment variable name: use printable ASCII without `=`")
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    bytes.len() <= 63
        && ends.into_iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn is_domain_part(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    [bytes.first(), bytes.last()].into_iter().all(|end| end.is_some_and(inner))
        && bytes.iter().all(|byte| inner(byte) || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_kubernetes_accepts() {
        for good in ["a", "A.b_c-d", "example.com/a", "a-b.c9/X", &"x".repeat(63)] {
            assert_eq!(key_error(good), None, "{good}");
        }
        for bad in ["", "-a", "a/", "/a", "A.com/a", "a/b/c", "a b", "ä", "-x.io/a", &"x".repeat(64)] {
            assert!(key_error(bad).is_some(), "{bad}");
        }
        assert_eq!(annotation_key_error("Example.COM/a"), None);
        for (value, is_good) in
            [("", true), ("v1.2_3-x", true), ("a b", false), (".a", false), ("a/b", false)]
        {
            assert_eq!(value_error(value).is_none(), is_good, "{value:?}");
        }
        for (name, is_good) in
            [("A", true), ("a.b c", true), ("", false), ("A=", false), ("ä", false), ("\n", false)]
        {
            assert_eq!(variable_error(name).is_none(), is_good, "{name:?}");
        }
    }
}
