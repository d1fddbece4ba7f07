//! Options for values that may be empty.

/// The text, or None if it is absent or empty.
pub(crate) fn non_empty<T: AsRef<str> + ?Sized>(text: Option<&T>) -> Option<&str> {
    text.map(AsRef::as_ref).filter(|text| !text.is_empty())
}

/// The list, or None if it is empty, so that the field is omitted.
pub(crate) fn none_if_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
