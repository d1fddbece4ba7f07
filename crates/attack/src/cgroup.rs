//! Memory cgroups: the limit that the kubelet would set, and what the kernel says of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// Kills what is left in the groups and removes them, once nobody holds its standard input any more.
const KEEPER: &str = r#"
cat >/dev/null
for group in "$@"; do
  while read -r pid; do kill -KILL "$pid"; done <"$group/cgroup.procs"
  for _ in 1 2 3 4 5 6 7 8 9 10; do rmdir "$group" && break; sleep 0.1; done
done 2>/dev/null
"#;

/// The two versions of cgroups name their files differently.
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
    /// Creates a group; an error says why this machine lets us enforce no limit.
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
        // Without swap the limit is the end, as it is for a container. The file is missing where there is no swap.
        let swap = match self.version {
            Version::One => ("memory.memsw.limit_in_bytes", limit),
            Version::Two => ("memory.swap.max", 0),
        };
        _ = fs::write(self.folder.join(swap.0), swap.1.to_string());
        Ok(())
    }

    /// The file that a process writes its number to in order to join.
    pub(crate) fn members(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// How often the kernel killed a process because the limit was reached.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or_default()
    }
}

/// Removes the groups when it is dropped, or when this process ends in whatever way.
#[derive(Debug)]
pub(crate) struct Keeper(Child);

impl Keeper {
    pub(crate) fn start<'a>(groups: impl Iterator<Item = &'a Group>) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt;
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .args(groups.map(|group| &group.folder))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Ctrl-C in a terminal reaches a whole process group; the keeper has work left to do then.
            .process_group(0)
            .spawn()
            .context("cannot start a shell")?;
        Ok(Self(keeper))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        _ = self.0.wait();
    }
}
