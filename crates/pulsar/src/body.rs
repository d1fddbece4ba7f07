//! What is kept of the body of an answer while it is read.

use crate::FetchError;

/// What is kept of a body.
#[derive(Clone, Copy, Debug)]
pub enum Keep {
    /// All of it, if it has at most so many bytes.
    All(usize),
    /// Some of its lines.
    Lines(KeptLines),
}

/// The lines to keep of a body that is too large to be kept as a whole.
#[derive(Clone, Copy, Debug)]
pub struct KeptLines {
    /// Which lines.
    pub is_kept: fn(&[u8]) -> bool,
    /// Most bytes of them together.
    pub max_bytes: usize,
    /// Most bytes of one; longer ones are dropped.
    pub max_line: usize,
    /// Most bytes of the whole body.
    pub max_read: usize,
}

/// A body that is being read.
pub(crate) struct Body {
    keep: Keep,
    kept: Vec<u8>,
    read: usize,
    /// The line that is not complete yet.
    line: Vec<u8>,
    is_too_long: bool,
}

impl Body {
    pub(crate) const fn new(keep: Keep) -> Self {
        Self { keep, kept: Vec::new(), read: 0, line: Vec::new(), is_too_long: false }
    }

    /// Takes the next part.
    pub(crate) fn take(&mut self, part: &[u8]) -> Result<(), FetchError> {
        self.read += part.len();
        match self.keep {
            Keep::All(most) => self.push(part, most),
            Keep::Lines(lines) if self.read > lines.max_read => Err(FetchError::TooLarge(lines.max_read)),
            Keep::Lines(lines) => part
                .split_inclusive(|byte| *byte == b'\n')
                .try_for_each(|piece| self.take_piece(piece, &lines)),
        }
    }

    /// The body.
    pub(crate) fn end(mut self) -> Result<Vec<u8>, FetchError> {
        if let Keep::Lines(lines) = self.keep {
            self.end_line(&lines)?;
        }
        Ok(self.kept)
    }

    fn take_piece(&mut self, piece: &[u8], lines: &KeptLines) -> Result<(), FetchError> {
        self.is_too_long |= self.line.len() + piece.len() > lines.max_line;
        if !self.is_too_long {
            self.line.extend_from_slice(piece);
        }
        if piece.ends_with(b"\n") { self.end_line(lines) } else { Ok(()) }
    }

    fn end_line(&mut self, lines: &KeptLines) -> Result<(), FetchError> {
        let line = std::mem::take(&mut self.line);
        let is_kept = !std::mem::take(&mut self.is_too_long) && (lines.is_kept)(&line);
        if is_kept {
            self.push(&line, lines.max_bytes)?;
        }
        // Its memory serves the next line.
        self.line = line;
        self.line.clear();
        Ok(())
    }

    fn push(&mut self, part: &[u8], most: usize) -> Result<(), FetchError> {
        if self.kept.len() + part.len() > most {
            return Err(FetchError::TooLarge(most));
        }
        self.kept.extend_from_slice(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: KeptLines =
        KeptLines { is_kept: |line| line.starts_with(b"a"), max_bytes: 10, max_line: 6, max_read: 40 };

    /// The same for every way to cut the body into parts.
    fn kept(body: &str) -> Result<String, String> {
        let read = |size: usize| {
            let mut reading = Body::new(Keep::Lines(LINES));
            body.as_bytes().chunks(size).try_for_each(|part| reading.take(part))?;
            reading.end()
        };
        let text = |size| {
            let kept = read(size).map_err(|error: FetchError| error.to_string())?;
            Ok(String::from_utf8(kept).unwrap_or_default())
        };
        let whole = text(body.len().max(1));
        for size in 1..body.len() {
            assert_eq!(text(size), whole, "{body:?} in parts of {size}");
        }
        whole
    }

    #[test]
    fn lines_are_kept_however_the_body_comes_in_parts() {
        for (body, expected) in [
            ("", ""),
            ("a 1\nb 2\na 3\n", "a 1\na 3\n"),
            ("b\n\na 4", "a 4"),
            ("a too long\na 5\n", "a 5\n"),
            ("b too long", ""),
        ] {
            assert_eq!(kept(body), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn what_is_kept_and_what_is_read_are_limited() {
        assert_eq!(kept("a 1\na 2\na 3\n"), Err(FetchError::TooLarge(10).to_string()));
        assert_eq!(kept(&"b 1\n".repeat(11)), Err(FetchError::TooLarge(40).to_string()));
        let mut whole = Body::new(Keep::All(3));
        assert!(whole.take(b"abc").is_ok() && whole.take(b"d").is_err());
    }
}
