//! Writes to terminals: text from clusters and manifests is sanitized, so that it cannot contain control sequences.
//!
//! Colours are added around sanitized text, and only [`redrawn`] moves the cursor; nothing else writes escape sequences.
//! JSON and YAML output does not pass here: both have their own escapes.

use std::io::{self, Write};

use function_mesh_api::{REPLACEMENT, is_printable, printable, printable_lines};

/// Writes one sanitized line.
pub(crate) fn line(out: &mut dyn Write, text: &str) -> io::Result<()> {
    writeln!(out, "{}", printable(text))
}

/// Writes sanitized lines.
pub(crate) fn lines(out: &mut dyn Write, text: &str) -> io::Result<()> {
    writeln!(out, "{}", printable_lines(text))
}

/// Sanitized text in a colour, by its SGR code.
pub(crate) fn painted(text: &str, code: &str, colour: bool) -> String {
    let text = printable(text);
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into_owned() }
}

/// Sanitized lines over those that the terminal shows: from its top, each to the end of its line, and nothing below.
#[cfg(feature = "cluster")]
pub(crate) fn redrawn(text: &str, is_first: bool) -> String {
    let clear = if is_first { "\x1b[2J" } else { "" };
    format!("{clear}\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

/// Sanitizes lines that already have colours, which are kept. Only for output of a renderer that itself escapes control
/// sequences of its input.
pub(crate) fn styled(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if let Some(code) = colour_code(rest) {
            shown.push_str(code);
            rest = rest.get(code.len()..).unwrap_or_default();
            continue;
        }
        shown.push(if is_printable(letter) || matches!(letter, '\n' | '\t') { letter } else { REPLACEMENT });
        rest = rest.get(letter.len_utf8()..).unwrap_or_default();
    }
    shown
}

/// The SGR sequence at the start of a text.
fn colour_code(text: &str) -> Option<&str> {
    let codes = text.strip_prefix("\x1b[")?;
    let end = codes.find(|letter: char| !letter.is_ascii_digit() && letter != ';')?;
    codes.get(end..)?.starts_with('m').then(|| text.get(..end + 3)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s15_only_own_colours_reach_the_terminal() {
        assert_eq!(painted("a\u{1b}[2Jb", "31", true), "\u{1b}[31ma\u{fffd}[2Jb\u{1b}[0m");
        assert_eq!(painted("a\rb", "31", false), "a\u{fffd}b");
        assert_eq!(
            styled("\u{1b}[1;31ma\u{1b}[0m\n\u{1b}[2J\u{1b}]0;x\u{7}"),
            "\u{1b}[1;31ma\u{1b}[0m\n\u{fffd}[2J\u{fffd}]0;x\u{fffd}"
        );
        assert_eq!(styled("\u{1b}[1"), "\u{fffd}[1");
    }
}
