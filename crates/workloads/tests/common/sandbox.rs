//! A place where a container's command runs under a real shell, with stubs in place of the programs of Pulsar
//! and a folder of its own in place of `/pulsar`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Writes its own name and all arguments into a file, and ends well.
const STUB: &str =
    "#!/bin/sh\nset -- \"${0##*/}\" \"$@\"\nprintf '%s\\0' \"$@\" > \"$CALLS/$(ls \"$CALLS\" | wc -l)\"\n";

/// Programs that an image has and this machine may not.
const PROGRAMS: [&str; 5] = ["java", "python", "pulsarctl", "wget", "pulsar_rust_instance"];

/// A program as it was called.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
}

impl Call {
    /// The argument behind this one.
    pub(crate) fn value(&self, option: &str) -> &str {
        let place = self.args.iter().position(|arg| arg == option).expect(option);
        self.args.get(place + 1).expect(option)
    }
}

/// The place.
#[derive(Debug)]
pub(crate) struct Sandbox(TempDir);

impl Sandbox {
    pub(crate) fn new() -> Self {
        let sandbox = Self(tempfile::tempdir().expect("a folder"));
        for program in PROGRAMS {
            sandbox.stub(&format!("bin/{program}"));
        }
        sandbox.stub("pulsar/bin/pulsar-admin");
        fs::create_dir_all(sandbox.path("pulsar/lib")).expect("a folder");
        for jar in
            ["com.fasterxml.jackson.dataformat-jackson-dataformat-yaml-1.jar", "org.yaml-snakeyaml-1.jar"]
        {
            fs::write(sandbox.path("pulsar/lib").join(jar), "").expect("a file");
        }
        let runner = sandbox.path("pulsar/instances/python-instance");
        fs::create_dir_all(&runner).expect("a folder");
        fs::write(runner.join("log.py"), "if True:\n  Log.setLevel(1)\n").expect("a file");
        sandbox
    }

    /// A file or folder, by its path with `/pulsar` as `pulsar`.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    /// Puts a stub there.
    pub(crate) fn stub(&self, path: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, STUB).expect("a stub");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    }

    /// Runs a container's command as Kubernetes and a shell would, and tells what it called.
    pub(crate) fn run(&self, command: &[String], env: &[(&str, &str)]) -> Vec<Call> {
        let calls = self.path("calls");
        _ = fs::remove_dir_all(&calls);
        fs::create_dir_all(&calls).expect("a folder");
        let root = self.0.path().to_str().expect("a path");
        let command: Vec<_> = command
            .iter()
            .map(|word| kubernetes(word, env).replace("/pulsar/", &format!("{root}/pulsar/")))
            .collect();
        let (shell, args) = command.split_first().expect("a shell");
        let path = format!("{root}/bin:{}", std::env::var("PATH").unwrap_or_default());
        let output = Command::new(shell)
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

/// What Kubernetes makes of a command before any shell sees it: `$(NAME)` becomes the value of a variable that
/// is known, and `$$` one `$`.
fn kubernetes(text: &str, env: &[(&str, &str)]) -> String {
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
