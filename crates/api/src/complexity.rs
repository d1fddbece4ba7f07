//! Complexity limits of objects, checked on the JSON text before it is parsed.
//!
//! Parsing can multiply memory: `{"":0}` is 6 bytes of text and 660 bytes in memory, and `{}` as a component of a mesh
//! takes more than 4000. The size of a request does not limit that, so every program checks objects first. [`check`] is
//! a single pass without recursion or allocation per value. It is not a parser: invalid JSON can pass, and fails in the
//! parser.
//!
//! The weight of a value is the maximum memory that it takes as a `serde_json::Value` or as a type of this crate, in
//! units of [`STEP`] bytes. `metadata.managedFields` does not count, since only the API server writes it. Readers must
//! skip it as well: its depth and size are unchecked.

use std::fmt::{self, Write};

use crate::printable;

/// Maximum weight of an object, 25 MB. A mesh of 2000 ordinary components, about the maximum that the API server can
/// store, has this weight.
pub const MAX_VALUES: usize = 400_000;
/// Maximum nesting of lists and maps, including the object itself.
pub const MAX_DEPTH: usize = 64;
/// Bytes of memory for one unit of weight.
pub const STEP: usize = 64;

/// Weight of a string, number, boolean, null or key.
const SCALAR: usize = 1;
/// Weight of a list.
const LIST: usize = 3;
/// Weight of a map, whose first entry allocates space for eleven.
const MAP: usize = 11;
/// Weight of an item in the list of this name, whose type has space for all its optional fields.
const ITEMS: [(&[u8], usize); 9] = [
    (b"functions", 72),
    (b"sources", 72),
    (b"sinks", 72),
    (b"volumes", 52),
    (b"initContainers", 34),
    (b"sidecars", 34),
    (b"containers", 34),
    (b"volumeClaimTemplates", 64),
    (b"autoScalingMetrics", 52),
];
/// Weight of the map of this name, whose first entry allocates space for eleven large values.
const MAPS: [(&[u8], usize); 1] = [(b"sourceSpecs", 54)];

/// Maximum length of a key in a field path of an error.
const MAX_SHOWN_KEY: usize = 40;
/// Maximum depth of a field path in an error.
const MAX_SHOWN_STEPS: usize = 8;

/// The error of an object beyond a limit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TooComplex {
    limit: Limit,
    field: String,
}

/// The limit that an object exceeds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// [`MAX_VALUES`].
    Values,
    /// [`MAX_DEPTH`].
    Depth,
}

impl TooComplex {
    /// The limit that the object exceeds.
    pub const fn limit(&self) -> Limit {
        self.limit
    }

    /// The field at which the limit is exceeded. Long paths and keys are truncated.
    pub fn field(&self) -> &str {
        &self.field
    }
}

impl fmt::Display for TooComplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = &self.field;
        match self.limit {
            Limit::Values => write!(
                f,
                "object has too many values: the limit of {MAX_VALUES} is exceeded at `{field}`; move large \
                 configuration into a ConfigMap, or split the mesh"
            ),
            Limit::Depth => {
                write!(f, "object is nested more than {MAX_DEPTH} levels deep at `{field}`; flatten it")
            }
        }
    }
}

impl std::error::Error for TooComplex {}

/// Rejects an object that would need too much memory or stack when parsed.
///
/// ```
/// use function_mesh_api::complexity::check;
///
/// assert!(check(br#"{ "spec": { "funcConfig": { "a": [1, 2, 3] } } }"#).is_ok());
/// let deep = format!(r#"{{ "spec": {}{} }}"#, "[".repeat(100), "]".repeat(100));
/// assert!(check(deep.as_bytes()).unwrap_err().to_string().contains("64 levels deep"));
/// ```
pub fn check(json: &[u8]) -> Result<(), TooComplex> {
    weigh(json).map(drop)
}

/// The weight of an object, in units of [`STEP`] bytes.
pub fn weigh(json: &[u8]) -> Result<usize, TooComplex> {
    scan(json, true)
}

/// Like [`check`], for a field of an object, in which every value counts.
pub(crate) fn check_part(json: &[u8]) -> Result<(), TooComplex> {
    scan(json, false).map(drop)
}

fn scan(json: &[u8], is_object: bool) -> Result<usize, TooComplex> {
    let mut scan = Scan { json, is_object, at: 0, weight: 0, open: Vec::with_capacity(MAX_DEPTH) };
    scan.run().map_err(|limit| TooComplex { limit, field: scan.path() })?;
    Ok(scan.weight)
}

/// An open list or map.
struct Open<'a> {
    is_map: bool,
    /// Whether the next string is a key.
    is_key_next: bool,
    /// The key of the current entry.
    key: &'a [u8],
    /// The index of the current item.
    index: usize,
    /// Weight of a map as an item of this list.
    item: usize,
}

struct Scan<'a> {
    json: &'a [u8],
    is_object: bool,
    at: usize,
    weight: usize,
    open: Vec<Open<'a>>,
}

impl<'a> Scan<'a> {
    fn run(&mut self) -> Result<(), Limit> {
        while let Some(byte) = self.json.get(self.at).copied() {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' | b':' => self.at += 1,
                b',' => {
                    self.at += 1;
                    if let Some(open) = self.open.last_mut() {
                        open.index += 1;
                        open.is_key_next = open.is_map;
                    }
                }
                b'}' | b']' => {
                    self.at += 1;
                    self.open.pop();
                }
                b'{' | b'[' if self.is_object && self.is_managed_fields() => self.skip(),
                b'{' | b'[' => self.begin(byte == b'{')?,
                b'"' => {
                    let text = self.text();
                    if let Some(open) = self.open.last_mut().filter(|open| open.is_key_next) {
                        open.is_key_next = false;
                        open.key = text;
                    }
                    self.add(SCALAR)?;
                }
                _ => {
                    self.word();
                    self.add(SCALAR)?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, weight: usize) -> Result<(), Limit> {
        self.weight += weight;
        if self.weight > MAX_VALUES { Err(Limit::Values) } else { Ok(()) }
    }

    fn begin(&mut self, is_map: bool) -> Result<(), Limit> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Limit::Depth);
        }
        let within = self.open.last();
        let key = within.filter(|open| open.is_map).map(|open| open.key);
        let (weight, item) = match (is_map, key) {
            (true, Some(key)) => (weight_of(key, &MAPS), MAP),
            (true, None) => (within.map_or(MAP, |list| list.item), MAP),
            (false, Some(key)) => (LIST, weight_of(key, &ITEMS)),
            (false, None) => (LIST, MAP),
        };
        self.add(weight)?;
        self.at += 1;
        self.open.push(Open { is_map, is_key_next: is_map, key: b"", index: 0, item });
        Ok(())
    }

    fn is_managed_fields(&self) -> bool {
        matches!(self.open.as_slice(), [object, metadata] if object.is_map && metadata.is_map
            && object.key == b"metadata" && metadata.key == b"managedFields")
    }

    /// Skips a list or map with its contents.
    fn skip(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.json.get(self.at) {
            match byte {
                b'"' => {
                    self.text();
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// Skips a string and returns its raw contents, escapes included.
    fn text(&mut self) -> &'a [u8] {
        let start = self.at + 1;
        let mut end = start;
        while let Some(byte) = self.json.get(end) {
            match byte {
                b'"' => break,
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
        let end = end.min(self.json.len());
        self.at = (end + 1).min(self.json.len());
        self.json.get(start..end).unwrap_or_default()
    }

    /// Skips a number, `true`, `false` or `null`.
    fn word(&mut self) {
        let rest = self.json.get(self.at..).unwrap_or_default();
        let is_end = |byte: &u8| {
            matches!(byte, b',' | b'}' | b']' | b'{' | b'[' | b'"' | b':' | b' ' | b'\t' | b'\n' | b'\r')
        };
        self.at += rest.iter().position(is_end).unwrap_or(rest.len()).max(1);
    }

    /// The path of the current field.
    fn path(&self) -> String {
        let mut path = String::new();
        for (position, open) in self.open.iter().enumerate() {
            if position >= MAX_SHOWN_STEPS {
                path.push('…');
                break;
            }
            if open.is_map {
                let key = String::from_utf8_lossy(open.key.get(..MAX_SHOWN_KEY).unwrap_or(open.key));
                let dot = if path.is_empty() { "" } else { "." };
                let cut = if open.key.len() > MAX_SHOWN_KEY { "…" } else { "" };
                let _ = write!(path, "{dot}{}{cut}", printable(&key));
            } else {
                let _ = write!(path, "[{}]", open.index);
            }
        }
        if path.is_empty() { ".".to_owned() } else { path }
    }
}

/// The weight by field name. A key with escapes can be any name, so it gets the largest weight.
fn weight_of(key: &[u8], fields: &[(&[u8], usize)]) -> usize {
    if key.contains(&b'\\') {
        return fields.iter().map(|(_, weight)| *weight).max().unwrap_or(MAP);
    }
    fields.iter().find(|(field, _)| *field == key).map_or(MAP, |(_, weight)| *weight)
}

#[cfg(test)]
mod tests;
