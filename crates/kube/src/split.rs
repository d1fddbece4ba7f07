//! Splits the response to a list request into items while it arrives, so that one item at a time is in memory.
//!
//! The splitter reads brackets and quotes only; whether an item is valid JSON is checked when it is decoded.

use crate::decode_error::DecodeError;

/// Largest item that is read, in bytes. The API server stores up to 1.5 MiB, which escapes can make six times as large.
const MAX_ITEM_LEN: usize = 24 << 20;
/// Largest list metadata, in bytes: a resource version and a continue token.
const MAX_METADATA_LEN: usize = 256 << 10;
const MAX_KEY_LEN: usize = 64;

/// A complete part of a list.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum ListPart {
    /// An item.
    Item(Vec<u8>),
    /// An item that exceeds the size limit.
    TooLarge,
    /// The metadata of the list.
    Metadata(Vec<u8>),
}

/// The context of the next byte in a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
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

/// An incremental parser of a list.
#[derive(Debug)]
pub(crate) struct Splitter {
    state: State,
    key: Vec<u8>,
    scan: Scan,
    value: Vec<u8>,
    is_too_large: bool,
    bytes: usize,
}

impl Splitter {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Start,
            key: Vec::new(),
            scan: Scan::default(),
            value: Vec::new(),
            is_too_large: false,
            bytes: 0,
        }
    }

    /// Bytes of the incomplete item.
    pub(crate) fn buffered(&self) -> usize {
        self.value.len()
    }

    /// Consumes bytes up to the end of the next part. None if the part is incomplete.
    pub(crate) fn next(&mut self, rest: &mut &[u8]) -> Result<Option<ListPart>, DecodeError> {
        while let Some((&byte, after)) = rest.split_first() {
            let before = rest.len();
            let part = match self.state {
                State::InKey | State::InValue | State::InItem => self.value_bytes(rest),
                _ => {
                    if !byte.is_ascii_whitespace() {
                        self.structural_byte(byte, rest)?;
                    }
                    // The first byte of a value is part of it.
                    if !matches!(self.state, State::InKey | State::InValue | State::InItem) {
                        *rest = after;
                    }
                    None
                }
            };
            self.bytes += before - rest.len();
            if part.is_some() {
                return Ok(part);
            }
        }
        Ok(None)
    }

    /// Checks that the list is complete.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.state == State::End {
            Ok(())
        } else {
            Err(DecodeError::in_list("unexpected end of list", self.bytes))
        }
    }

    /// A byte between values.
    fn structural_byte(&mut self, byte: u8, _rest: &[u8]) -> Result<(), DecodeError> {
        self.state = match (self.state, byte) {
            (State::Start, b'{') | (State::Key, b',') | (State::Item, b']') => State::Key,
            (State::Key, b'}') => State::End,
            (State::Key, b'"') => self.begin_value(State::InKey),
            (State::Colon, b':') => State::Value,
            (State::Value, b'[') if self.key == b"\"items\"" => State::Item,
            (State::Value, _) => self.begin_value(State::InValue),
            (State::Item, b',') => State::Item,
            (State::Item, _) => self.begin_value(State::InItem),
            _ => return Err(DecodeError::in_list("invalid JSON", self.bytes)),
        };
        Ok(())
    }

    fn begin_value(&mut self, state: State) -> State {
        self.scan = Scan::default();
        self.value = Vec::new();
        self.is_too_large = false;
        state
    }

    /// Bytes of a value.
    fn value_bytes(&mut self, rest: &mut &[u8]) -> Option<ListPart> {
        let end = self.scan.end(rest);
        let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
        *rest = after;
        let max_len = match self.state {
            State::InKey => MAX_KEY_LEN,
            State::InItem => MAX_ITEM_LEN,
            _ if self.key == b"\"metadata\"" => MAX_METADATA_LEN,
            _ => 0,
        };
        if self.value.len() + part.len() > max_len {
            self.is_too_large = true;
            self.value = Vec::new();
        }
        if !self.is_too_large {
            self.value.extend_from_slice(part);
        }
        end?;
        let value = std::mem::take(&mut self.value);
        match self.state {
            State::InKey => {
                self.key = value;
                self.state = State::Colon;
                None
            }
            State::InItem => {
                self.state = State::Item;
                Some(if self.is_too_large { ListPart::TooLarge } else { ListPart::Item(value) })
            }
            _ => {
                self.state = State::Key;
                (max_len > 0 && !self.is_too_large).then_some(ListPart::Metadata(value))
            }
        }
    }
}

/// Finds the end of one value, in constant memory for any depth.
#[derive(Debug, Default)]
struct Scan {
    depth: usize,
    is_string: bool,
    is_escaped: bool,
    /// A number, boolean or null, which ends at the next structural byte.
    is_scalar: bool,
}

impl Scan {
    /// The end of the value, if it is within these bytes.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (index, &byte) in bytes.iter().enumerate() {
            if self.is_escaped {
                self.is_escaped = false;
            } else if self.is_string {
                match byte {
                    b'\\' => self.is_escaped = true,
                    b'"' => {
                        self.is_string = false;
                        if self.depth == 0 {
                            return Some(index + 1);
                        }
                    }
                    _ => {}
                }
            } else {
                match byte {
                    b',' | b']' | b'}' | b':' if self.depth == 0 && self.is_scalar => return Some(index),
                    b'"' => self.is_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth = self.depth.saturating_sub(1);
                        if self.depth == 0 {
                            return Some(index + 1);
                        }
                    }
                    _ if self.depth == 0 => {
                        if self.is_scalar && byte.is_ascii_whitespace() {
                            return Some(index);
                        }
                        self.is_scalar = true;
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

    /// All parts of a list that arrives in chunks of this size.
    fn parts(list: &str, chunk: usize) -> Result<Vec<String>, DecodeError> {
        let (mut splitter, mut parts) = (Splitter::new(), Vec::new());
        for mut part in list.as_bytes().chunks(chunk) {
            while let Some(part) = splitter.next(&mut part)? {
                parts.push(match part {
                    ListPart::Item(item) => String::from_utf8_lossy(&item).into_owned(),
                    ListPart::Metadata(metadata) => {
                        format!("metadata {}", String::from_utf8_lossy(&metadata))
                    }
                    ListPart::TooLarge => "too large".to_owned(),
                });
            }
        }
        splitter.end().map(|()| parts)
    }

    #[test]
    fn splits_items_at_any_chunk_boundary() {
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
            assert_eq!(parts(list, chunk).expect("a list"), expected, "{chunk}");
        }
        assert_eq!(parts(r#"{"items":null,"metadata":{}}"#, 5).expect("a list"), ["metadata {}"]);
    }

    #[test]
    fn deep_and_oversized_items_do_not_affect_others() {
        let deep = format!("{}{}", "[".repeat(300_000), "]".repeat(300_000));
        let large = format!("{:?}", "x".repeat(MAX_ITEM_LEN));
        let list = format!("{{\"items\":[{deep},{large},{{\"a\":1}}]}}");
        let found = parts(&list, 8192).expect("a list");
        assert_eq!(
            (found[0].len(), found[1].as_str(), found[2].as_str()),
            (deep.len(), "too large", "{\"a\":1}")
        );
    }

    #[test]
    fn errors_give_a_position_and_no_content() {
        for (list, expected) in [
            ("<html>SECRET", "invalid JSON at byte 0"),
            ("[1]", "invalid JSON at byte 0"),
            (r#"{"items":[{"#, "unexpected end of list at byte 11"),
            ("{SECRET", "invalid JSON at byte 1"),
            ("", "unexpected end of list at byte 0"),
        ] {
            assert_eq!(parts(list, 4).expect_err(list).to_string(), expected, "{list}");
        }
    }
}
