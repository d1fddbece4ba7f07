//! Shortens names to fit into a graph or a table.

use function_mesh_api::{REPLACEMENT, is_printable};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A name in at most this many columns, with its middle elided. Unprintable and zero-width characters are replaced.
pub fn shorten(name: &str, columns: usize) -> String {
    let clean: String =
        name.chars().map(|letter| if is_drawn(letter) { letter } else { REPLACEMENT }).collect();
    if clean.width() <= columns {
        return clean;
    }
    let half = columns.saturating_sub(1) / 2;
    let head = fitting(clean.chars(), half + columns.saturating_sub(1) % 2);
    let tail: String = fitting(clean.chars().rev(), half).chars().rev().collect();
    format!("{head}…{tail}")
}

/// The width of a text in columns.
pub fn columns(text: &str) -> i32 {
    i32::try_from(text.width()).unwrap_or(i32::MAX / 1024)
}

fn fitting(letters: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    letters
        .take_while(|letter| {
            used += letter.width().unwrap_or_default();
            used <= columns
        })
        .collect()
}

/// Whether a character is printable and has a width.
fn is_drawn(letter: char) -> bool {
    is_printable(letter) && letter.width().is_some_and(|width| width > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_elided_and_sanitized() {
        assert_eq!(shorten("short", 10), "short");
        assert_eq!(shorten("abcdefghij", 7), "abc…hij");
        assert_eq!(shorten("a\nb\u{202e}c", 10), "a\u{fffd}b\u{fffd}c");
        assert!(shorten("日本語日本語日本語", 7).width() <= 7);
        assert_eq!(shorten("abc", 0), "…");
    }
}
