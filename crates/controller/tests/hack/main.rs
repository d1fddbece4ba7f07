//! The commands of hack/ with recorded programs instead of compilers, container engines and clusters.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says so when it fails")]

mod cluster_build;
mod progress;
mod suites;
mod up;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the root")
}

/// A folder with recorded programs, before those of the system in PATH.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("bin")).expect("bin");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds a program: it appends its name and arguments to `calls`, and then runs this script with the folder in `$dir`.
    fn program(&self, name: &str, script: &str) {
        let (file, dir) = (self.path("bin").join(name), self.folder.path().display());
        let text = format!("#!/bin/bash\ndir={dir}\necho \"{name} $*\" >>\"$dir/calls\"\n{script}\n");
        fs::write(&file, text).expect("a program");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("executable");
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.path("bin").display()))
            .env("HOME", self.folder.path())
            .env("FUNCTION_MESH_CACHE", self.path("cache"))
            .env("FUNCTION_MESH_STATE", self.path("state"))
            .env("CARGO_TARGET_DIR", self.path("target"));
        command
    }

    fn hack(&self, name: &str, arguments: &[&str]) -> Output {
        self.command(root().join("hack").join(name)).args(arguments).output().expect("it starts")
    }

    /// Runs a script that has sourced hack/progress.sh.
    fn script(&self, text: &str) -> Command {
        let source = root().join("hack/progress.sh");
        let mut command = self.command("bash");
        command.arg("-c").arg(format!("set -euo pipefail; source {}; {text}", source.display()));
        command
    }

    /// The calls since the last time.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        _ = fs::remove_file(self.path("calls"));
        calls.lines().map(str::to_owned).collect()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The standard error of a short command, with its times as on an idle machine.
fn stderr_at_once(output: &Output) -> String {
    let time = regex::Regex::new(r"(?m)^\[ *\d+ s\]").expect("valid");
    time.replace_all(&stderr(output), "[  0 s]").into_owned()
}

/// Fails unless these calls are there in this order, each found by its beginning.
fn assert_order(calls: &[String], expected: &[&str]) {
    let mut rest = calls.iter();
    for beginning in expected {
        assert!(rest.any(|call| call.starts_with(beginning)), "no {beginning:?} in its place: {calls:#?}");
    }
}
