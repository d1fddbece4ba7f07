//! Reads manifests: files, directories and standard input, in YAML or JSON, with multiple documents and Lists. Every
//! value keeps its source location.

mod loader;
mod scalar;
mod tree;

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;

pub use loader::{Loaded, Repeated, Syntax, load};
pub use scalar::resolve as resolve_scalar;
pub use tree::{Entry, Node, Tree};

/// The manifests to read.
#[derive(Args, Debug)]
pub struct Files {
    /// File or directory of manifests in YAML or JSON; `-` for standard input; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    paths: Vec<PathBuf>,

    /// Read subdirectories too
    #[arg(short = 'R', long)]
    recursive: bool,

    /// Namespace of objects without one, and of objects in the cluster [default: the context's, offline `default`]
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

impl Files {
    /// Whether no file is given.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Namespace of objects without one, offline.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }

    /// The same with other files.
    #[must_use]
    pub fn with_paths(&self, paths: Vec<PathBuf>) -> Self {
        Self { paths, recursive: self.recursive, namespace: self.namespace.clone() }
    }
}

/// A source text.
#[derive(Debug)]
pub struct Source {
    /// Path of the file, or `<stdin>`.
    pub name: String,
    /// The content.
    pub text: String,
}

impl Source {
    /// Line and column of a byte, both counted from 1.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let mut end = byte.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = self.text.get(..end).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        (before.matches('\n').count() + 1, column + 1)
    }
}

/// One object of a manifest.
#[derive(Clone, Debug)]
pub struct Document {
    /// The source text.
    pub source: Rc<Source>,
    /// The content.
    pub node: Node,
    /// The keys that are there twice.
    pub repeated: Vec<Repeated>,
}

impl Document {
    /// The keys that are there twice: field, location, and what counts.
    pub fn repetitions(&self) -> impl Iterator<Item = (String, Range<usize>, String)> {
        self.repeated.iter().map(|Repeated { key, at, ignored, is_merged }| {
            // JSON that is no YAML has no locations.
            let earlier = match self.source.position(ignored.start) {
                _ if ignored.is_empty() => "the earlier one".to_owned(),
                (line, _) => format!("that on line {line}"),
            };
            let advice =
                if *is_merged { "; the merge key `<<` after it counts, so put that first" } else { "" };
            let message = format!("duplicate key: {earlier} is ignored, as by kubectl{advice}");
            let at = if *is_merged { ignored } else { at };
            let holder = self.node.path_at(at.start);
            let field = if holder.is_empty() { key.clone() } else { format!("{holder}.{key}") };
            (field, at.clone(), message)
        })
    }

    /// The string at a path.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        path.iter().try_fold(&self.node, |node, key| node.get(key))?.as_str()
    }

    /// The kind, or an empty string.
    pub fn kind(&self) -> &str {
        self.text(&["kind"]).unwrap_or_default()
    }

    /// Whether it is of a Function Mesh kind, by API group.
    pub fn is_mesh_kind(&self) -> bool {
        let group = self.text(&["apiVersion"]).and_then(|version| version.split_once('/'));
        group.is_some_and(|(group, _)| group == function_mesh_api::labels::GROUP)
    }

    /// Kind and name for messages: `FunctionMesh pipe`.
    pub fn title(&self) -> String {
        let name = self.text(&["metadata", "name"]).or_else(|| self.text(&["metadata", "generateName"]));
        format!("{} {}", self.kind(), name.unwrap_or("(no name)"))
    }
}

/// Why manifests could not be read.
#[derive(Debug)]
pub enum InputError {
    /// No file is given.
    None,
    /// An I/O error of a file or directory.
    Io {
        /// The path.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// A directory has no manifests.
    Empty {
        /// The path.
        path: String,
    },
    /// A URL instead of a file.
    Url {
        /// The URL.
        path: String,
    },
    /// Neither YAML nor JSON.
    Syntax {
        /// The source text.
        source: Rc<Source>,
        /// The message.
        message: String,
        /// Location as a byte range.
        at: Range<usize>,
    },
}

impl std::error::Error for InputError {}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(
                f,
                "no input: set --filename to a file, a directory, or `-` for standard input{}",
                if cfg!(feature = "cluster") { "; or use --from-cluster if the command has it" } else { "" }
            ),
            Self::Io { path, source } => write!(f, "failed to read {path}: {source}"),
            Self::Empty { path } => {
                write!(f, "{path} has no .yaml, .yml or .json files; use --recursive to read subdirectories")
            }
            Self::Url { path } => write!(
                f,
                "{path} is a URL, but this command works offline: download the file, or pipe it to `-f -`"
            ),
            Self::Syntax { source, message, at } => {
                let (line, column) = source.position(at.start);
                write!(f, "{}:{line}:{column}: {message}", source.name)
            }
        }
    }
}

/// Reads all documents in order, and all errors.
pub fn read(files: &Files) -> (Vec<Document>, Vec<InputError>) {
    let (mut documents, mut errors) = (Vec::new(), Vec::new());
    if files.is_empty() {
        errors.push(InputError::None);
    }
    for path in &files.paths {
        match sources(path, files.recursive) {
            Ok(sources) => {
                for source in sources {
                    let (found, error) = parse(source);
                    documents.extend(found);
                    errors.extend(error);
                }
            }
            Err(error) => errors.push(error),
        }
    }
    (documents, errors)
}

/// Reads all documents, or returns the first error.
pub fn read_all(files: &Files) -> Result<Vec<Document>, InputError> {
    let (documents, errors) = read(files);
    errors.into_iter().next().map_or(Ok(documents), Err)
}

/// The documents of a text, up to the first syntax error.
pub fn parse(source: Source) -> (Vec<Document>, Option<InputError>) {
    let source = Rc::new(source);
    let Loaded { documents: nodes, repeated, error } = load(&source.text);
    let mut documents = Vec::new();
    for node in nodes {
        flatten(node, &source, &mut documents);
    }
    // A key of a List itself belongs to its first item.
    for repeated in repeated {
        let holder = documents.iter().position(|document: &Document| {
            document.node.at.start <= repeated.at.start && repeated.at.end <= document.node.at.end
        });
        if let Some(document) = documents.get_mut(holder.unwrap_or_default()) {
            document.repeated.push(repeated);
        }
    }
    let error =
        error.map(|Syntax { message, at }| InputError::Syntax { source: Rc::clone(&source), message, at });
    (documents, error)
}

/// Flattens Lists, as `kubectl get -o yaml` prints them. Empty documents are skipped.
fn flatten(mut node: Node, source: &Rc<Source>, documents: &mut Vec<Document>) {
    if node.is_null() {
        return;
    }
    let is_list = node.get("kind").and_then(Node::as_str).is_some_and(|kind| kind.ends_with("List"));
    if is_list && let Some(items) = node.take_items("items") {
        for mut item in items {
            item.inherit_type(&node);
            flatten(item, source, documents);
        }
        return;
    }
    // The status is written by the operator, not by the user.
    if let Tree::Map(entries) = &mut node.tree {
        entries.retain(|entry| entry.key != "status");
    }
    documents.push(Document { source: Rc::clone(source), node, repeated: Vec::new() });
}

fn sources(path: &Path, recursive: bool) -> Result<Vec<Source>, InputError> {
    let name = path.display().to_string();
    if name == "-" {
        let mut bytes = Vec::new();
        let read = io::stdin().lock().read_to_end(&mut bytes);
        return Ok(vec![text("<stdin>".to_owned(), read.map(|_| bytes))?]);
    }
    if name.starts_with("http://") || name.starts_with("https://") {
        return Err(InputError::Url { path: name });
    }
    if !path.is_dir() {
        return Ok(vec![text(name, std::fs::read(path))?]);
    }
    let mut files = Vec::new();
    list_files(path, recursive, &mut files)
        .map_err(|source| InputError::Io { path: name.clone(), source })?;
    if files.is_empty() {
        return Err(InputError::Empty { path: name });
    }
    files.sort();
    files.into_iter().map(|file| text(file.display().to_string(), std::fs::read(&file))).collect()
}

fn list_files(path: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let path = entry.path();
        // Symlinks to directories are not followed, since they may form a cycle.
        if recursive && entry.file_type()?.is_dir() {
            list_files(&path, recursive, files)?;
        }
        let is_manifest = path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml" || ext == "json");
        if is_manifest && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn text(name: String, read: io::Result<Vec<u8>>) -> Result<Source, InputError> {
    match read.and_then(decode) {
        Ok(text) => Ok(Source { name, text }),
        Err(source) => Err(InputError::Io { path: name, source }),
    }
}

/// Decodes UTF-8, or UTF-16 with a byte order mark, which PowerShell writes and `kubectl` reads.
fn decode(bytes: Vec<u8>) -> io::Result<String> {
    let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (units, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = units.iter().copied().map(unit).collect();
        let text = String::from_utf16(&units).ok().filter(|_| rest.is_empty());
        text.ok_or_else(|| invalid("not UTF-16, which its byte order mark announces".to_owned()))
    };
    match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => {
            let text = String::from_utf8(bytes).map_err(|error| invalid(format!("not UTF-8: {error}")))?;
            Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_kubectl_decodes() {
        let text = "a: \"\u{e4}\u{1f600}\"\n";
        let units: Vec<u16> = text.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        for bytes in [
            text.as_bytes().to_vec(),
            [&[0xef, 0xbb, 0xbf], text.as_bytes()].concat(),
            [&[0xff, 0xfe], little.as_slice()].concat(),
            [&[0xfe, 0xff], big.as_slice()].concat(),
        ] {
            assert_eq!(decode(bytes.clone()).expect("text"), text, "{bytes:?}");
        }
        assert_eq!(decode(Vec::new()).expect("text"), "");
        for bytes in [&[0xe4][..], &[0xff, 0xfe, 0x61], &[0xff, 0xfe, 0x00, 0xd8], &[0xff]] {
            assert!(decode(bytes.to_vec()).is_err(), "{bytes:?}");
        }
    }
}
