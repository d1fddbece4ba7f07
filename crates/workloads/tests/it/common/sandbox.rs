//! Runs the command of a container in a real shell, with stubs instead of Pulsar's programs and a temporary directory
//! instead of `/pulsar`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Writes its name and arguments to a file and succeeds.
const STUB: &str =
    "#!/bin/sh\nset -- \"${0##*/}\" \"$@\"\nprintf '%s\\0' \"$@\" > \"$CALLS/$(ls \"$CALLS\" | wc -l)\"\n";

/// Stubbed programs.
const PROGRAMS: [&str; 5] = ["java", "python", "pulsarctl", "wget", "pulsar_rust_instance"];

/// A recorded call of a program.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
}

impl Call {
    /// The value of an option: the argument after it.
    pub(crate) fn value(&self, option: &str) -> &str {
        let place = self.args.iter().position(|arg| arg == option).expect(option);
        self.args.get(place + 1).expect(option)
    }
}

/// A temporary root directory with stubs.
#[derive(Debug)]
pub(crate) struct Sandbox {
    root: TempDir,
    /// User and group of the commands, if they are others than those of the test.
    user: Option<(u32, u32)>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let sandbox = Self { root: tempfile::tempdir().expect("a directory"), user: None };
        for program in PROGRAMS {
            sandbox.stub(&format!("bin/{program}"));
        }
        sandbox.stub("pulsar/bin/pulsar-admin");
        fs::create_dir_all(sandbox.path("pulsar/lib")).expect("a directory");
        for jar in
            ["com.fasterxml.jackson.dataformat-jackson-dataformat-yaml-1.jar", "org.yaml-snakeyaml-1.jar"]
        {
            fs::write(sandbox.path("pulsar/lib").join(jar), "").expect("a file");
        }
        let runner = sandbox.path("pulsar/instances/python-instance");
        fs::create_dir_all(&runner).expect("a directory");
        fs::write(runner.join("log.py"), "if True:\n  Log.setLevel(1)\n").expect("a file");
        sandbox
    }

    /// Runs commands as a user who may write to `/tmp`, and to `/pulsar` only with the group of the image. If the test
    /// does not run as root, it stays the same user, whose right to write to `/pulsar` is taken.
    pub(crate) fn run_as(&mut self, user: u32, group: u32) {
        let set =
            |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
        fs::create_dir_all(self.path("tmp")).expect("a directory");
        fs::create_dir_all(self.path("calls")).expect("a directory");
        let is_root = self.root.path().metadata().expect("a directory").uid() == 0;
        self.user = is_root.then_some((user, group));
        let mut folders = vec![self.path("pulsar")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a directory") {
                folders.extend(entry.ok().map(|entry| entry.path()).filter(|path| path.is_dir()));
            }
            set(&folder, if group == 0 { 0o775 } else { 0o555 });
        }
        set(self.root.path(), 0o755);
        set(&self.path("tmp"), 0o777);
        set(&self.path("calls"), 0o777);
    }

    /// The path of a file or directory in the sandbox.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// Creates a stub.
    pub(crate) fn stub(&self, path: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(&path, STUB).expect("a stub");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    }

    /// Runs a command like Kubernetes and a shell, and returns the recorded calls.
    pub(crate) fn run(&self, command: &[String], env: &[(&str, &str)]) -> Vec<Call> {
        let calls = self.path("calls");
        fs::create_dir_all(&calls).expect("a directory");
        for call in fs::read_dir(&calls).expect("a directory") {
            fs::remove_file(call.expect("a file").path()).expect("a file");
        }
        let root = self.root.path().to_str().expect("a path");
        let command: Vec<_> = command
            .iter()
            .map(|word| expand(word, env).replace("/tmp/function-mesh", &format!("{root}/tmp/function-mesh")))
            .map(|word| word.replace("/pulsar/", &format!("{root}/pulsar/")))
            .collect();
        let (shell, args) = command.split_first().expect("a shell");
        let path = format!("{root}/bin:{}", std::env::var("PATH").unwrap_or_default());
        let mut program = Command::new(shell);
        if let Some((user, group)) = self.user {
            program.uid(user).gid(group);
        }
        let output = program
            .args(args)
            .env_clear()
            .envs([("PATH", path.as_str()), ("POD_NAME", "f-function-0"), ("HOME", root)])
            .env("CALLS", &calls)
            .envs(env.iter().copied())
            .current_dir(self.path("pulsar"))
            .output()
            .expect("a shell");
        assert!(output.status.success(), "{command:#?}\n{}", String::from_utf8_lossy(&output.stderr));
        (0..).map_while(|number| call(&calls.join(number.to_string()))).collect()
    }
}

fn call(file: &Path) -> Option<Call> {
    let text = String::from_utf8(fs::read(file).ok()?).expect("text");
    let mut words = text.strip_suffix('\0').expect("words").split('\0').map(str::to_owned);
    Some(Call { program: words.next().expect("a name"), args: words.collect() })
}

/// Kubernetes' expansion of a command: `$(NAME)` becomes the value of a known variable, and `$$` becomes `$`.
fn expand(text: &str, env: &[(&str, &str)]) -> String {
    let mut read = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        read += before;
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            read.push('$');
            rest = after;
            continue;
        }
        let name = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let known = name.and_then(|(name, after)| {
            env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value, after))
        });
        if let Some((value, after)) = known {
            read += value;
            rest = after;
        } else {
            read.push('$');
        }
    }
    read + rest
}
