//! What the pages say of the program, its sources and its tests is so.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says so when it fails")]

mod contributors;
mod users;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
