//! Manifests as people keep them: files, folders and standard input, in YAML or JSON, with several documents
//! in a file and lists in a document. Every value remembers where it was written.

mod loader;
mod scalar;
mod tree;

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;

pub use loader::{Syntax, load};
pub use scalar::resolve as meaning;
pub use tree::{Entry, Node, Tree};

/// Which manifests are read.
#[derive(Args, Debug)]
pub struct Files {
    /// A file or folder with manifests in YAML or JSON; `-` is standard input. May be given several times
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    paths: Vec<PathBuf>,

    /// Look into folders within folders too
    #[arg(short = 'R', long)]
    recursive: bool,

    /// Namespace of objects that name none, and to look into in a cluster [default: default, or of the context]
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

impl Files {
    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Namespace of objects that name none, offline.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }

    /// Other files, with the rest as it is here.
    #[must_use]
    pub fn with_paths(&self, paths: Vec<PathBuf>) -> Self {
        Self { paths, recursive: self.recursive, namespace: self.namespace.clone() }
    }
}

/// A text with manifests, and how to call it.
#[derive(Debug)]
pub struct Source {
    /// Path of the file, or `<stdin>`.
    pub name: String,
    /// What it says.
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
    /// Where it was written.
    pub source: Rc<Source>,
    /// What it says.
    pub node: Node,
}

impl Document {
    /// The text of a top-level field, if it is one.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        path.iter().try_fold(&self.node, |node, key| node.get(key))?.as_str()
    }

    /// The kind, if it says one.
    pub fn kind(&self) -> &str {
        self.text(&["kind"]).unwrap_or_default()
    }

    /// Whether it is one of this project's kinds, by its API group.
    pub fn is_ours(&self) -> bool {
        let group = self.text(&["apiVersion"]).and_then(|version| version.split_once('/'));
        group.is_some_and(|(group, _)| group == function_mesh_api::labels::GROUP)
    }

    /// Kind and name, for people: `FunctionMesh pipe`.
    pub fn title(&self) -> String {
        let name = self.text(&["metadata", "name"]).or_else(|| self.text(&["metadata", "generateName"]));
        format!("{} {}", self.kind(), name.unwrap_or("(without a name)"))
    }
}

/// Why manifests could not be read.
#[derive(Debug)]
pub enum InputError {
    /// No manifest is named.
    None,
    /// The system refuses a file or folder.
    Io {
        /// Its path.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A folder holds no manifest.
    Empty {
        /// Its path.
        path: String,
    },
    /// An address in place of a file.
    Address {
        /// The address.
        path: String,
    },
    /// A text is neither YAML nor JSON.
    Syntax {
        /// The text.
        source: Rc<Source>,
        /// What is wrong with it.
        message: String,
        /// Where.
        at: Range<usize>,
    },
}

impl std::error::Error for InputError {}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(
                f,
                "say what to read: --filename FILE, a folder, or `-` for standard input{}",
                if cfg!(feature = "cluster") { "; or --from-cluster where the command has it" } else { "" }
            ),
            Self::Io { path, source } => write!(f, "cannot read {path}: {source}"),
            Self::Empty { path } => write!(
                f,
                "{path} holds no .yaml, .yml or .json file; add --recursive to look into the folders in it"
            ),
            Self::Address { path } => write!(
                f,
                "{path} is an address, and this command works offline: download it, or pipe it in with `-f -`"
            ),
            Self::Syntax { source, message, at } => {
                let (line, column) = source.position(at.start);
                write!(f, "{}:{line}:{column}: {message}", source.name)
            }
        }
    }
}

/// Reads all documents, in order. What cannot be read is told beside what can.
pub fn read(files: &Files) -> (Vec<Document>, Vec<InputError>) {
    let (mut documents, mut errors) = (Vec::new(), Vec::new());
    if files.is_empty() {
        errors.push(InputError::None);
    }
    for path in &files.paths {
        match sources(path, files.recursive) {
            Ok(sources) => {
                for source in sources {
                    let (found, fault) = parse(source);
                    documents.extend(found);
                    errors.extend(fault);
                }
            }
            Err(error) => errors.push(error),
        }
    }
    (documents, errors)
}

/// Reads all documents, or says why one cannot be read.
pub fn read_all(files: &Files) -> Result<Vec<Document>, InputError> {
    let (documents, errors) = read(files);
    errors.into_iter().next().map_or(Ok(documents), Err)
}

/// The documents of a text, those before a mistake included.
pub fn parse(source: Source) -> (Vec<Document>, Option<InputError>) {
    let source = Rc::new(source);
    let (nodes, fault) = load(&source.text);
    let mut documents = Vec::new();
    for node in nodes {
        flatten(node, &source, &mut documents);
    }
    let fault =
        fault.map(|Syntax { message, at }| InputError::Syntax { source: Rc::clone(&source), message, at });
    (documents, fault)
}

/// Takes lists apart, as `kubectl get -o yaml` prints them. Empty documents are nothing.
fn flatten(mut node: Node, source: &Rc<Source>, documents: &mut Vec<Document>) {
    if node.is_null() {
        return;
    }
    let is_list = node.get("kind").and_then(Node::as_str).is_some_and(|kind| kind.ends_with("List"));
    if is_list && let Some(items) = node.take_items("items") {
        for item in items {
            flatten(item, source, documents);
        }
        return;
    }
    // The status is the cluster's word, not the author's.
    if let Tree::Map(entries) = &mut node.tree {
        entries.retain(|entry| entry.key != "status");
    }
    documents.push(Document { source: Rc::clone(source), node });
}

fn sources(path: &Path, recursive: bool) -> Result<Vec<Source>, InputError> {
    let name = path.display().to_string();
    if name == "-" {
        let mut bytes = Vec::new();
        let read = io::stdin().lock().read_to_end(&mut bytes);
        return Ok(vec![text("<stdin>".to_owned(), read.map(|_| bytes))?]);
    }
    if name.starts_with("http://") || name.starts_with("https://") {
        return Err(InputError::Address { path: name });
    }
    if !path.is_dir() {
        return Ok(vec![text(name, std::fs::read(path))?]);
    }
    let mut files = Vec::new();
    folder(path, recursive, &mut files).map_err(|source| InputError::Io { path: name.clone(), source })?;
    if files.is_empty() {
        return Err(InputError::Empty { path: name });
    }
    files.sort();
    files.into_iter().map(|file| text(file.display().to_string(), std::fs::read(&file))).collect()
}

fn folder(path: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let path = entry.path();
        // Links to folders are not followed: they may lead in a circle.
        if recursive && entry.file_type()?.is_dir() {
            folder(&path, recursive, files)?;
        }
        let is_manifest = path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml" || ext == "json");
        if is_manifest && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn text(name: String, read: io::Result<Vec<u8>>) -> Result<Source, InputError> {
    let fail = |source| InputError::Io { path: name.clone(), source };
    let text = String::from_utf8(read.map_err(fail)?)
        .map_err(|error| fail(io::Error::new(io::ErrorKind::InvalidData, format!("not UTF-8: {error}"))))?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok(Source { name, text })
}
