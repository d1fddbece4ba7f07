//! Writes to terminals: text from clusters and manifests is sanitized, so that it cannot contain control sequences.
//!
//! Colours are added around sanitized text, and only [`redrawn`] moves the cursor; nothing else writes escape sequences.
//! JSON and YAML output does not pass here: both have their own escapes.

use std::io::{self, Write};

use function_mesh_api::{REPLACEMENT, is_printable, printable, printable_lines};
#[cfg(feature = "cluster")]
use unicode_width::UnicodeWidthChar;

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

/// The size of a terminal.
#[cfg(feature = "cluster")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

/// The size of the terminal that is the standard output; None if unknown.
#[cfg(feature = "cluster")]
pub(crate) fn size() -> Option<Size> {
    let (columns, rows) = terminal_size::terminal_size_of(io::stdout())?;
    Some(Size { rows: rows.0.into(), columns: columns.0.into() })
}

#[cfg(feature = "cluster")]
impl Size {
    /// The rows that sanitized lines take. A line that is too long for a row continues in the next one.
    pub(crate) fn rows_of(self, text: &str) -> usize {
        text.lines().map(|line| self.rows_of_line(line)).sum()
    }

    fn rows_of_line(self, line: &str) -> usize {
        let (mut rows, mut column) = (1, 0);
        let mut rest = line;
        while let Some(letter) = rest.chars().next() {
            let length = if let Some(code) = colour_code(rest) {
                code.len()
            } else {
                let width = letter.width().unwrap_or_default();
                if column + width > self.columns {
                    (rows, column) = (rows + 1, 0);
                }
                column += width;
                letter.len_utf8()
            };
            rest = rest.get(length..).unwrap_or_default();
        }
        rows
    }

    /// As many of the first lines as there is room for if other lines take `used` rows. `more` says how many lines are
    /// missing; it is always there.
    pub(crate) fn cut(self, text: &str, used: usize, more: impl Fn(usize) -> String) -> String {
        let room = self.rows.saturating_sub(used);
        if self.rows_of(text) <= room {
            return text.to_owned();
        }
        let count = text.lines().count();
        let mut room = room.saturating_sub(self.rows_of_line(&more(count)));
        let mut shown = String::new();
        let mut left = count;
        for line in text.lines() {
            let Some(rest) = room.checked_sub(self.rows_of_line(line)) else { break };
            (room, left) = (rest, left - 1);
            shown.push_str(line);
            shown.push('\n');
        }
        shown + &more(left) + "\n"
    }
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

    #[cfg(feature = "cluster")]
    #[test]
    fn long_lines_take_several_rows() {
        let size = Size { rows: 4, columns: 4 };
        for (text, rows) in [
            ("", 0),
            ("\n", 1),
            ("abcd", 1),
            ("abcde\n", 2),
            ("a\nb\n", 2),
            ("\u{1b}[31mabcd\u{1b}[0m", 1),
            // A letter of two columns does not fit into the last one.
            ("abc日", 2),
        ] {
            assert_eq!(size.rows_of(text), rows, "{text:?}");
        }
        let more = |count| format!("+{count}");
        assert_eq!(size.cut("a\nb\nc\n", 1, more), "a\nb\nc\n");
        assert_eq!(size.cut("a\nb\nc\n", 2, more), "a\n+2\n");
        assert_eq!(size.cut("a\nbbbbb\nc\n", 1, more), "a\n+2\n");
        assert_eq!(size.cut("a\nb\nc\n", 9, more), "+3\n");
    }
}
