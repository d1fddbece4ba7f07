//! Lines of the Prometheus text format, borrowed from the answer.
//!
//! Comments, and lines that are malformed or too long, are skipped: a broker writes metrics of every kind into one
//! answer, and plugins add theirs.

use std::borrow::Cow;

/// A sample: `name{label="value"} number`, with an optional timestamp, which is ignored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    labels: &'a str,
    pub(super) value: f64,
}

impl<'a> Line<'a> {
    /// The value of a label; None if it is absent.
    pub(super) fn label(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut rest = self.labels;
        loop {
            let (label, value, next) = split_label(rest)?;
            if label == name {
                return Some(unescape(value));
            }
            rest = next;
        }
    }
}

/// The samples of an answer.
pub(super) fn lines(text: &str, max_line: usize) -> impl Iterator<Item = Line<'_>> {
    text.split('\n').filter(move |line| line.len() <= max_line).filter_map(parse)
}

fn parse(line: &str) -> Option<Line<'_>> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let end =
        line.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'))?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => {
            let end = end_of_labels(rest)?;
            (rest.get(..end)?, rest.get(end + 1..)?)
        }
        None => ("", rest),
    };
    let value = number(rest.split_ascii_whitespace().next()?)?;
    Some(Line { name, labels, value })
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

/// The position of the closing brace outside of quotes.
fn end_of_labels(text: &str) -> Option<usize> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (position, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'}' if !is_quoted => return Some(position),
            _ => {}
        }
    }
    None
}

/// The first label, its value with escapes, and the rest.
fn split_label(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = text.split_once('=')?;
    let quoted = rest.trim_start().strip_prefix('"')?;
    let mut is_escaped = false;
    for (position, byte) in quoted.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => {
                let rest = quoted.get(position + 1..)?.trim_start();
                return Some((name.trim(), quoted.get(..position)?, rest.strip_prefix(',').unwrap_or(rest)));
            }
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Option<(String, f64, Option<String>)> {
        let line = lines(text, 200).next()?;
        Some((line.name.into(), line.value, line.label("topic").map(Cow::into_owned)))
    }

    #[test]
    fn samples_are_parsed() {
        for (text, name, value, topic) in [
            ("a 1", "a", 1.0, None),
            ("a{} 1", "a", 1.0, None),
            ("a{topic=\"x\"} 1.5E7 1700000000000", "a", 1.5e7, Some("x")),
            ("a{cluster=\"c\", topic=\"x{1},\",} 2\r", "a", 2.0, Some("x{1},")),
            ("a{topic=\"x\\\"\\n\\\\\"} 2", "a", 2.0, Some("x\"\n\\")),
            ("a_b:c{xtopic=\"y\",topic=\"x\"} +Inf", "a_b:c", f64::INFINITY, Some("x")),
        ] {
            assert_eq!(one(text), Some((name.into(), value, topic.map(Into::into))), "{text}");
        }
        assert!(one("a NaN").unwrap().1.is_nan());
    }

    #[test]
    fn malformed_lines_are_skipped() {
        for text in
            ["", "# HELP a b", "a", "a{", "a{x=\"y} 1", "a x", "{} 1", "ä 1", "a{topic=\"x\"}", "a \u{0}"]
        {
            assert_eq!(one(text), None, "{text}");
        }
        let long = format!("a{{topic=\"{}\"}} 1\nb 2", "x".repeat(300));
        assert_eq!(one(&long), Some(("b".into(), 2.0, None)));
    }
}
