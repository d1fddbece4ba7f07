//! Prints findings in the style of a compiler: the message, and the source line below it.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::input::Source;
use crate::screen;

use super::Severity;

/// A finding as text for a terminal.
pub(crate) fn show(
    severity: Severity,
    title: &str,
    source: &Source,
    at: &Range<usize>,
    note: Option<&str>,
    colour: bool,
) -> String {
    let level = match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let snippet = Snippet::source(source.text.as_str())
        .path(source.name.as_str())
        .annotation(AnnotationKind::Primary.span(first_line(&source.text, at)));
    let mut group = level.primary_title(title).element(snippet);
    if let Some(note) = note {
        group = group.element(Level::NOTE.message(note));
    }
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    // The renderer replaces escape sequences, but not invisible and bidirectional characters.
    screen::styled(&renderer.render(&[group]))
}

/// The part of a range on its first line, on character boundaries.
fn first_line(text: &str, at: &Range<usize>) -> Range<usize> {
    let mut start = at.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = at.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let shown = text.get(start..end).unwrap_or_default();
    let line = shown.find('\n').unwrap_or(shown.len());
    start..start + shown.get(..line).unwrap_or_default().trim_end().len()
}
