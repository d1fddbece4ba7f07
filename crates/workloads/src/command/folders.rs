//! Folders for the files that the start command writes: the usual one in the image, or one below `/tmp` if the user of
//! the container must not write there.

use crate::shell::{Script, ShellWord};

/// Shell function: prints the first of two folders that can be written, and makes it. The folders are writable for any
/// user, since another one may share or inherit their volume.
const FUNCTION: &str = "folder() { for at do { (umask 0 && mkdir -p \"$at\") && test -w \"$at\"; } 2> /dev/null && \
    { echo \"$at\"; return; }; done; echo \"none of these folders is writable: $*\" >&2; return 1; }";

/// A folder for files of the start command. The prefix of its variable keeps variables of the user as they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folder {
    variable: &'static str,
    usual: &'static str,
    fallback: &'static str,
}

impl Folder {
    pub(crate) const JAVA_LOG_CONFIG: Self =
        Self::new("FM_CONF_DIR", "/pulsar/conf/java-log", "/tmp/function-mesh/conf");
    pub(crate) const PYTHON_LOG_CONFIG: Self =
        Self::new("FM_CONF_DIR", "/pulsar/conf/python-log", "/tmp/function-mesh/conf");
    /// Where the runner writes the log file of the component, and the sidecar reads it.
    pub(crate) const LOGS: Self = Self::new("FM_LOG_DIR", "logs/functions", "/tmp/function-mesh/logs");
    pub(crate) const GC_LOGS: Self = Self::new("FM_GC_LOG_DIR", "/pulsar/logs", "/tmp/function-mesh/gc");

    const fn new(variable: &'static str, usual: &'static str, fallback: &'static str) -> Self {
        Self { variable, usual, fallback }
    }

    /// The variable that holds the folder.
    pub(crate) const fn variable(self) -> &'static str {
        self.variable
    }

    /// A file in the folder, or the folder itself.
    pub(crate) fn file(self, name: &str) -> ShellWord {
        let folder = ShellWord::variable(self.variable);
        if name.is_empty() { folder } else { folder.then(format!("/{name}")) }
    }
}

/// Appends the commands that choose folders.
pub(crate) fn choose(script: Script, folders: &[Folder]) -> Script {
    let choose = |script: Script, it: &Folder| {
        script.run(format!("{}=$(folder {} {})", it.variable, it.usual, it.fallback))
    };
    folders.iter().fold(script.run(FUNCTION), choose)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run;

    fn chosen(usual: &str, fallback: &str) -> String {
        let script = format!("{FUNCTION} && DIR=$(folder '{usual}' '{fallback}') && printf %s \"$DIR\"");
        run("sh", &script, &[])
    }

    #[test]
    fn usual_folder_unless_it_cannot_be_written() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
        assert_eq!(chosen(&at("a b/c"), &at("d")), at("a b/c"));
        assert!(!root.path().join("d").exists());
        std::fs::write(at("file"), "").unwrap();
        assert_eq!(chosen(&at("file/c"), &at("d/e")), at("d/e"));
    }

    #[test]
    fn folders_are_writable_for_any_user() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let made = root.path().join("a/b");
        chosen(made.to_str().unwrap(), "/tmp");
        for folder in [made.as_path(), made.parent().unwrap()] {
            assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o777);
        }
    }
}
