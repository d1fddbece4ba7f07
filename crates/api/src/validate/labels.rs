//! The grammar of labels, annotations and environment variables, as Kubernetes has it.

/// Why a text cannot be the key of a label or an annotation, if it cannot.
pub(super) fn key_fault(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let prefix_is_fine =
        prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(is_domain_part));
    (!prefix_is_fine || !is_name(name)).then(|| {
        format!(
            "{key:?} is no key of a label: write a name of at most 63 letters, digits and any of `-_.`, \
             if need be with a domain and `/` before it"
        )
    })
}

/// The same for an annotation, where capitals count as small letters.
pub(super) fn annotation_key_fault(key: &str) -> Option<String> {
    key_fault(&key.to_ascii_lowercase())
}

/// Why a text cannot be the value of a label, if it cannot.
pub(super) fn value_fault(value: &str) -> Option<String> {
    (!value.is_empty() && !is_name(value)).then(|| {
        format!(
            "{value:?} is no value of a label: at most 63 letters, digits and any of `-_.` are possible, \
             with a letter or digit at either end"
        )
    })
}

/// Why a text cannot name an environment variable, if it cannot.
pub(super) fn variable_fault(name: &str) -> Option<&'static str> {
    let is_fine = !name.is_empty() && name.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=');
    (!is_fine).then_some(
        "is no name of an environment variable: it must not be empty, and be of printable ASCII without `=`",
    )
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
    fn keys_and_values_are_those_that_kubernetes_takes() {
        for good in ["a", "A.b_c-d", "example.com/a", "a-b.c9/X", &"x".repeat(63)] {
            assert_eq!(key_fault(good), None, "{good}");
        }
        for bad in ["", "-a", "a/", "/a", "A.com/a", "a/b/c", "a b", "ä", "-x.io/a", &"x".repeat(64)] {
            assert!(key_fault(bad).is_some(), "{bad}");
        }
        assert_eq!(annotation_key_fault("Example.COM/a"), None);
        for (value, is_good) in
            [("", true), ("v1.2_3-x", true), ("a b", false), (".a", false), ("a/b", false)]
        {
            assert_eq!(value_fault(value).is_none(), is_good, "{value:?}");
        }
        for (name, is_good) in
            [("A", true), ("a.b c", true), ("", false), ("A=", false), ("ä", false), ("\n", false)]
        {
            assert_eq!(variable_fault(name).is_none(), is_good, "{name:?}");
        }
    }
}
