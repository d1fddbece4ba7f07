//! Sanitizes untrusted text for terminals, statuses and Events: replaces control, bidirectional, line-breaking and
//! invisible characters.
//!
//! The author of an object and its reader are different people. An escape sequence in a name must not reach the
//! reader's terminal, and a direction mark must not make one text look like another.

use std::borrow::Cow;

/// Replaces each character that is not printable.
pub const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Sanitizes a single line: replaces every character that is not [printable](is_printable), line breaks included.
///
/// ```
/// use function_mesh_api::printable;
///
/// assert_eq!(printable("a topic"), "a topic");
/// assert_eq!(printable("a\u{1b}[2Jb\r\nc\u{202e}d"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}d");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    replace_unless(text, is_printable)
}

/// Sanitizes several lines: like [`printable`], but keeps line feeds and tabs. A carriage return is replaced, since it
/// overwrites the line in a terminal.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    replace_unless(text, |letter| matches!(letter, '\n' | '\t') || is_printable(letter))
}

/// Whether a character is visible and affects no other character.
///
/// Not printable are control characters, line and paragraph separators, noncharacters, interlinear annotations, and
/// default ignorable code points: direction marks, zero-width and tag characters, variation selectors, fillers.
pub const fn is_printable(letter: char) -> bool {
    let code = letter as u32;
    let is_control = matches!(code, 0..=0x1f | 0x7f..=0x9f);
    let is_line_break = matches!(code, 0x2028 | 0x2029);
    let is_annotation = matches!(code, 0xfff9..=0xfffb);
    let is_noncharacter = matches!(code, 0xfdd0..=0xfdef) || code & 0xfffe == 0xfffe;
    !(is_control || is_line_break || is_annotation || is_noncharacter || is_default_ignorable(code))
}

/// Unicode's property `Default_Ignorable_Code_Point`, unassigned code points included.
const fn is_default_ignorable(code: u32) -> bool {
    matches!(
        code,
        0xad | 0x34f
            | 0x61c
            | 0x115f..=0x1160
            | 0x17b4..=0x17b5
            | 0x180b..=0x180f
            | 0x200b..=0x200f
            | 0x202a..=0x202e
            | 0x2060..=0x206f
            | 0x3164
            | 0xfe00..=0xfe0f
            | 0xfeff
            | 0xffa0
            | 0xfff0..=0xfff8
            | 0x1bca0..=0x1bca3
            | 0x1d173..=0x1d17a
            | 0xe0000..=0xe0fff
    )
}

fn replace_unless(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&is_kept) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|letter| if is_kept(letter) { letter } else { REPLACEMENT }).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn replaces_control_and_invisible_characters() {
        for letter in [
            '\0',
            '\u{7}',
            '\u{8}',
            '\r',
            '\n',
            '\t',
            '\u{1b}',
            '\u{7f}',
            '\u{80}',
            '\u{85}',
            '\u{9b}',
            '\u{9d}',
            '\u{ad}',
            '\u{61c}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{206f}',
            '\u{3164}',
            '\u{fdd0}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{fff9}',
            '\u{fffe}',
            '\u{ffff}',
            '\u{1ffff}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e01ef}',
            '\u{10ffff}',
        ] {
            assert!(!is_printable(letter), "{letter:?}");
            assert_eq!(printable(&format!("a{letter}b")), "a\u{fffd}b");
        }
    }

    #[test]
    fn borrows_printable_text_of_all_scripts() {
        for text in ["", "plain", "grün", "日本語", "עברית", "हिन्दी", "e\u{301}", "🙂", "a b", "\u{fffd}"]
        {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn printable_lines_keeps_line_feeds_and_tabs() {
        assert_eq!(printable_lines("a\n\tb\r\nc\u{1b}[0m"), "a\n\tb\u{fffd}\nc\u{fffd}[0m");
        assert!(matches!(printable_lines("a\n\tb"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn replaces_one_character_by_one(text in "\\PC*|.*") {
            let shown = printable(&text);
            prop_assert_eq!(shown.chars().count(), text.chars().count());
            prop_assert!(shown.chars().all(is_printable));
            prop_assert_eq!(printable(&shown), shown.as_ref());
        }
    }
}
