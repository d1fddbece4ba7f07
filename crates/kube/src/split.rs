//! Cuts the answer to a list into its items while it arrives, so that no more than one of them is in memory.
//!
//! It looks at brackets and quotes alone: whether an item is JSON shows when it is decoded.

use crate::decode_error::DecodeError;

/// An item that is larger is passed over. The API server stores 1.5 MiB, which escapes make six times as large.
const LONGEST_ITEM: usize = 24 << 20;
/// Metadata of a list hold a version and a token.
const LONGEST_METADATA: usize = 256 << 10;
const LONGEST_KEY: usize = 64;

/// A part of a list.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Piece {
    /// An item.
    Item(Vec<u8>),
    /// An item that is too large to be read.
    TooLarge,
    /// What the list says of itself.
    Metadata(Vec<u8>),
}

/// Where in a list the next byte stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    Start,
    /// Before a key of the list, or its end.
    Key,
    InKey,
    Colon,
    /// Before a value of the list.
    Value,
    InValue,
    /// Before an item, or the end of the items.
    Item,
    InItem,
    End,
}

/// What of a list has arrived.
#[derive(Debug)]
pub(crate) struct Splitter {
    at: At,
    key: Vec<u8>,
    scan: Scan,
    value: Vec<u8>,
    is_too_large: bool,
    bytes: usize,
}

impl Splitter {
    pub(crate) fn new() -> Self {
        Self {
            at: At::Start,
            key: Vec::new(),
            scan: Scan::default(),
            value: Vec::new(),
            is_too_large: false,
            bytes: 0,
        }
    }

    /// Bytes of the item that has arrived in part.
    pub(crate) fn held(&self) -> usize {
        self.value.len()
    }

    /// Takes up more of the list, up to the end of the next piece, and leaves the rest.
    pub(crate) fn next(&mut self, rest: &mut &[u8]) -> Result<Option<Piece>, DecodeError> {
        while let Some((&byte, after)) = rest.split_first() {
            let before = rest.len();
            let piece = match self.at {
                At::InKey | At::InValue | At::InItem => self.inside(rest),
                _ => {
                    if !byte.is_ascii_whitespace() {
                        self.between(byte, rest)?;
                    }
                    // What begins a value is part of it.
                    if !matches!(self.at, At::InKey | At::InValue | At::InItem) {
                        *rest = after;
                    }
                    None
                }
            };
            self.bytes += before - rest.len();
            if piece.is_some() {
                return Ok(piece);
            }
        }
        Ok(None)
    }

    /// The list is to end here.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.at == At::End { Ok(()) } else { Err(DecodeError::of_list("it ends early", self.bytes)) }
    }

    /// A byte between values.
    fn between(&mut self, byte: u8, _rest: &[u8]) -> Result<(), DecodeError> {
        self.at = match (self.at, byte) {
            (At::Start, b'{') | (At::Key, b',') | (At::Item, b']') => At::Key,
            (At::Key, b'}') => At::End,
            (At::Key, b'"') => self.begin(At::InKey),
            (At::Colon, b':') => At::Value,
            (At::Value, b'[') if self.key == b"\"items\"" => At::Item,
            (At::Value, _) => self.begin(At::InValue),
            (At::Item, b',') => At::Item,
            (At::Item, _) => self.begin(At::InItem),
            _ => return Err(DecodeError::of_list("invalid JSON", self.bytes)),
        };
        Ok(())
    }

    fn begin(&mut self, at: At) -> At {
        self.scan = Scan::default();
        self.value = Vec::new();
        self.is_too_large = false;
        at
    }

    /// Bytes of a value.
    fn inside(&mut self, rest: &mut &[u8]) -> Option<Piece> {
        let end = self.scan.end(rest);
        let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
        *rest = after;
        let longest = match self.at {
            At::InKey => LONGEST_KEY,
            At::InItem => LONGEST_ITEM,
            _ if self.key == b"\"metadata\"" => LONGEST_METADATA,
            _ => 0,
        };
        if self.value.len() + part.len() > longest {
            self.is_too_large = true;
            self.value = Vec::new();
        }
        if !self.is_too_large {
            self.value.extend_from_slice(part);
        }
        end?;
        let value = std::mem::take(&mut self.value);
        match self.at {
            At::InKey => {
                self.key = value;
                self.at = At::Colon;
                None
            }
            At::InItem => {
                self.at = At::Item;
                Some(if self.is_too_large { Piece::TooLarge } else { Piece::Item(value) })
            }
            _ => {
                self.at = At::Key;
                (longest > 0 && !self.is_too_large).then_some(Piece::Metadata(value))
            }
        }
    }
}

/// Looks for the end of one value. It keeps a number, however deep the value is.
#[derive(Debug, Default)]
struct Scan {
    depth: usize,
    is_text: bool,
    is_escaped: bool,
    /// A number or a word, which ends where something else begins.
    is_bare: bool,
}

impl Scan {
    /// Where the value ends, if it does within these bytes.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, &byte) in bytes.iter().enumerate() {
            if self.is_escaped {
                self.is_escaped = false;
            } else if self.is_text {
                match byte {
                    b'\\' => self.is_escaped = true,
                    b'"' => {
                        self.is_text = false;
                        if self.depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
            } else {
                match byte {
                    b',' | b']' | b'}' | b':' if self.depth == 0 && self.is_bare => return Some(at),
                    b'"' => self.is_text = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth = self.depth.saturating_sub(1);
                        if self.depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ if self.depth == 0 => {
                        if self.is_bare && byte.is_ascii_whitespace() {
                            return Some(at);
                        }
                        self.is_bare = true;
                    }
                    _ => {}
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All pieces of a list that arrives in chunks of this size.
    fn pieces(list: &str, chunk: usize) -> Result<Vec<String>, DecodeError> {
        let (mut splitter, mut pieces) = (Splitter::new(), Vec::new());
        for mut part in list.as_bytes().chunks(chunk) {
            while let Some(piece) = splitter.next(&mut part)? {
                pieces.push(match piece {
                    Piece::Item(item) => String::from_utf8_lossy(&item).into_owned(),
                    Piece::Metadata(metadata) => format!("metadata {}", String::from_utf8_lossy(&metadata)),
                    Piece::TooLarge => "too large".to_owned(),
                });
            }
        }
        splitter.end().map(|()| pieces)
    }

    #[test]
    fn s1_items_are_cut_out_wherever_the_list_is_interrupted() {
        let list = r#" {"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1","continue":"a\"}"},
            "items":[{"a":"]}\\\""}, {} ,[[1],"x"],3,"\u0041,", null], "more":[{"items":[1]}], "n":-1e3} "#;
        let expected = [
            r#"metadata {"resourceVersion":"1","continue":"a\"}"}"#,
            r#"{"a":"]}\\\""}"#,
            "{}",
            r#"[[1],"x"]"#,
            "3",
            r#""\u0041,""#,
            "null",
        ];
        for chunk in 1..list.len() {
            assert_eq!(pieces(list, chunk).expect("a list"), expected, "{chunk}");
        }
        assert_eq!(pieces(r#"{"items":null,"metadata":{}}"#, 5).expect("a list"), ["metadata {}"]);
    }

    #[test]
    fn s1_depth_and_size_of_an_item_are_its_own_matter() {
        let deep = format!("{}{}", "[".repeat(300_000), "]".repeat(300_000));
        let large = format!("{:?}", "x".repeat(LONGEST_ITEM));
        let list = format!("{{\"items\":[{deep},{large},{{\"a\":1}}]}}");
        let found = pieces(&list, 8192).expect("a list");
        assert_eq!(
            (found[0].len(), found[1].as_str(), found[2].as_str()),
            (deep.len(), "too large", "{\"a\":1}")
        );
    }

    #[test]
    fn s9_what_is_no_list_is_told_by_its_position() {
        for (list, expected) in [
            ("<html>SECRET", "invalid JSON at byte 0"),
            ("[1]", "invalid JSON at byte 0"),
            (r#"{"items":[{"#, "it ends early at byte 11"),
            ("{SECRET", "invalid JSON at byte 1"),
            ("", "it ends early at byte 0"),
        ] {
            assert_eq!(pieces(list, 4).expect_err(list).to_string(), expected, "{list}");
        }
    }
}
