//! Memory cgroups: set the container's memory limit and read the kernel's OOM counter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// Waits for the end of its standard input, then kills the processes of the groups and removes the groups.
const CLEANUP_SCRIPT: &str = r#"
cat >/dev/null
for group in "$@"; do
  while read -r pid; do kill -KILL "$pid"; done <"$group/cgroup.procs"
  for _ in 1 2 3 4 5 6 7 8 9 10; do rmdir "$group" && break; sleep 0.1; done
done 2>/dev/null
"#;

/// Version of the cgroup hierarchy: the file names differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Version {
    One,
    Two,
}

/// A group with a memory limit.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    folder: PathBuf,
    version: Version,
}

impl Group {
    /// Creates a group with a memory limit in bytes; fails where cgroups are not writable.
    pub(crate) fn create(name: &str, limit: u64) -> anyhow::Result<Self> {
        let (root, version) = if Path::new("/sys/fs/cgroup/memory/cgroup.procs").exists() {
            ("/sys/fs/cgroup/memory", Version::One)
        } else {
            ("/sys/fs/cgroup", Version::Two)
        };
        let folder = Path::new(root).join(format!("function-mesh-attack-{}-{name}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let group = Self { folder, version };
        let set = group.set_limit(limit);
        if set.is_err() {
            _ = fs::remove_dir(&group.folder);
        }
        set.map(|()| group)
    }

    fn set_limit(&self, limit: u64) -> anyhow::Result<()> {
        let file = match self.version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        let file = self.folder.join(file);
        fs::write(&file, limit.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
        // Disable swap, as for a container. The file does not exist on kernels without swap accounting.
        let swap = match self.version {
            Version::One => ("memory.memsw.limit_in_bytes", limit),
            Version::Two => ("memory.swap.max", 0),
        };
        _ = fs::write(self.folder.join(swap.0), swap.1.to_string());
        Ok(())
    }

    /// The file `cgroup.procs`: a process joins the group when it writes its PID there.
    pub(crate) fn members(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// Number of processes of the group that the OOM killer has killed.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or_default()
    }
}

/// Removes the groups on drop. A child process does it, so that it also happens when this process is killed.
#[derive(Debug)]
pub(crate) struct CleanupGuard(Child);

impl CleanupGuard {
    pub(crate) fn start<'a>(groups: impl Iterator<Item = &'a Group>) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt;
        let cleanup = Command::new("sh")
            .args(["-c", CLEANUP_SCRIPT, "cleanup"])
            .args(groups.map(|group| &group.folder))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // A separate process group: Ctrl-C signals the foreground group, and the cleanup must survive it.
            .process_group(0)
            .spawn()
            .context("cannot start a shell")?;
        Ok(Self(cleanup))
    }
}

impl Drop for CleanupGuard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        _ = self.0.wait();
    }
}
