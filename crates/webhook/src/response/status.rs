//! The status of a denial, and warnings, as the API server forwards them to the user.

use std::borrow::Cow;

use function_mesh_api::validate::Violation;
use function_mesh_api::{printable, printable_lines};
use kube::core::Status;
use kube::core::response::{StatusCause, StatusDetails, StatusSummary};

/// Longest warning; the API server truncates longer ones.
const MAX_WARNING: usize = 256;
/// Total length of the warnings of a response.
const MAX_WARNINGS: usize = 4096;

/// Longest text from a request that is quoted in a response or log.
const MAX_QUOTED: usize = 253;
/// Longest message of one violation.
const MAX_VIOLATION: usize = 1024;
/// Number of violations that are listed; the rest are counted.
const MAX_VIOLATIONS: usize = 100;

/// The object that a status is about.
#[derive(Clone, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) group: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
}

impl Subject<'_> {
    fn details(&self) -> StatusDetails {
        StatusDetails {
            name: truncated(self.name).into_owned(),
            group: self.group.to_owned(),
            kind: self.kind.to_owned(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        }
    }

    /// The status for an invalid object. It lists the violations in the message and, for tools, as causes.
    pub(crate) fn invalid(&self, violations: &[Violation]) -> Status {
        let listed = violations.get(..MAX_VIOLATIONS).unwrap_or(violations);
        let causes: Vec<_> = listed
            .iter()
            .map(|violation| StatusCause {
                reason: "FieldValueInvalid".to_owned(),
                message: printable_lines(&truncate(&violation.message, MAX_VIOLATION)).into_owned(),
                field: printable(&truncate(violation.field.as_str(), MAX_VIOLATION)).into_owned(),
            })
            .collect();
        let mut lines: Vec<_> =
            causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        if violations.len() > listed.len() {
            lines.push(format!("and {} more", violations.len() - listed.len()));
        }
        let message = if let [line] = lines.as_slice() {
            line.clone()
        } else {
            let (kind, name) = (self.kind, truncated(self.name));
            format!("{kind} {name:?} has {} violations:\n{}", violations.len(), lines.join("\n"))
        };
        let details = StatusDetails { causes, ..self.details() };
        Status { details: Some(details), ..failure(422, "Invalid", message) }
    }
}

/// A failure status.
pub(crate) fn failure(code: u16, reason: &str, message: impl Into<String>) -> Status {
    Status {
        status: Some(StatusSummary::Failure),
        code,
        message: message.into(),
        reason: reason.to_owned(),
        ..Status::default()
    }
}

/// A failure status for a timeout or exhausted limits; the client should retry.
pub(crate) fn overloaded(code: u16, reason: &str, message: String) -> Status {
    let details = StatusDetails {
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: Vec::new(),
        retry_after_seconds: 1,
    };
    Status { details: Some(details), ..failure(code, reason, message) }
}

/// Text from a request, truncated to be quoted.
pub(crate) fn truncated(text: &str) -> Cow<'_, str> {
    truncate(text, MAX_QUOTED)
}

fn truncate(text: &str, bytes: usize) -> Cow<'_, str> {
    if text.len() <= bytes {
        return Cow::Borrowed(text);
    }
    let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
}

/// Warnings within the limits of the API server, one line each. Warnings that do not fit are counted.
pub(crate) fn warnings(findings: &[Violation]) -> Option<Vec<String>> {
    let mut left = MAX_WARNINGS;
    let mut warnings = Vec::new();
    for (index, finding) in findings.iter().enumerate() {
        let warning = single_line(&finding.to_string());
        let rest = format!("{} more warnings", findings.len() - index);
        // Leave room for the count of the rest.
        let Some(remaining) = left.checked_sub(warning.chars().count() + rest.len()) else {
            warnings.push(rest);
            break;
        };
        left = remaining + rest.len();
        warnings.push(warning);
    }
    (!warnings.is_empty()).then_some(warnings)
}

/// One line of bounded length: warnings travel in an HTTP header, and one with a line break is dropped.
fn single_line(text: &str) -> String {
    let text: String =
        text.chars().take(MAX_WARNING + 1).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line: Vec<char> = printable(&text).chars().collect();
    if line.len() <= MAX_WARNING {
        return line.into_iter().collect();
    }
    line.into_iter().take(MAX_WARNING - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use function_mesh_api::validate::FieldPath;

    use super::*;

    fn finding(message: &str) -> Violation {
        Violation { field: FieldPath::root("spec.x"), message: message.to_owned() }
    }

    #[test]
    fn multiple_violations_have_a_heading() {
        let subject = Subject { group: "g.io", kind: "Function", name: "f" };
        let one = subject.invalid(&[finding("is wrong")]);
        assert_eq!((one.code, one.reason.as_str()), (422, "Invalid"));
        assert_eq!(one.message, "spec.x: is wrong");
        let two = subject.invalid(&[finding("is wrong"), finding("is odd")]);
        assert_eq!(two.message, "Function \"f\" has 2 violations:\nspec.x: is wrong\nspec.x: is odd");
        let details = two.details.unwrap();
        assert_eq!(
            (details.group.as_str(), details.kind.as_str(), details.name.as_str()),
            ("g.io", "Function", "f")
        );
        assert_eq!(details.causes[1].message, "is odd");
        assert_eq!(details.causes[1].field, "spec.x");
    }

    #[test]
    fn status_size_is_bounded() {
        let subject = Subject { group: "g.io", kind: "Function", name: &"n".repeat(10_000) };
        let status = subject.invalid(&vec![finding(&"ä".repeat(100_000)); 5000]);
        assert!(status.message.len() < 120_000, "{}", status.message.len());
        assert!(status.message.ends_with("\nand 4900 more"));
        assert!(status.message.contains("has 5000 violations"));
        assert_eq!(status.details.unwrap().causes.len(), 100);
    }

    #[test]
    fn warnings_fit_the_limits_of_the_api_server() {
        assert_eq!(warnings(&[]), None);
        let lines = warnings(&[finding("two\nlines"), finding(&"ä".repeat(300))]).unwrap();
        assert_eq!(lines[0], "spec.x: two lines");
        assert_eq!(lines[1].chars().count(), MAX_WARNING);
        assert!(lines[1].ends_with("ä…"));
        assert_eq!(warnings(&[finding("a\u{202e}b\u{9b}2J")]).unwrap(), ["spec.x: a\u{fffd}b 2J"]);
        let many = warnings(&vec![finding(&"x".repeat(300)); 40]).unwrap();
        assert!(many.iter().map(|line| line.chars().count()).sum::<usize>() <= MAX_WARNINGS);
        assert_eq!(many.last().unwrap(), &format!("{} more warnings", 40 - (many.len() - 1)));
    }
}
