//! Accidents of pods that nobody orders: a network that is gone for a while, a process that is killed.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;

use crate::{Story, World};

/// Its set forgets an address by itself, so a network is whole again even when a story ends before that.
const TABLE: &str = "add table inet accident; \
    add set inet accident away { type ipv4_addr; flags timeout; }; \
    add chain inet accident from { type filter hook prerouting priority raw; }; \
    add chain inet accident to { type filter hook postrouting priority raw; }; \
    flush chain inet accident from; \
    flush chain inet accident to; \
    add rule inet accident from ip saddr @away drop; \
    add rule inet accident to ip daddr @away drop";

impl Story {
    /// Cuts a pod off for so long: no packet leaves it or reaches it.
    pub async fn cut_off(&self, pod: &str, time: Duration) -> Result<()> {
        let pod = self.api::<Pod>().get(pod).await?;
        let address = pod.status.and_then(|status| status.pod_ip).context("the pod has no address")?;
        let element = format!("{{ {address} timeout {}s }}", time.as_secs());
        let rules = format!("{TABLE}; add element inet accident away {element}");
        self.world.inside(&["nft", &rules]).await.map(|_| ())
    }

    /// Kills the processes of a pod whose command lines have this word, as the kernel does when memory runs out.
    pub async fn kill(&self, pod: &str, word: &str) -> Result<()> {
        let uid = self.api::<Pod>().get(pod).await?.metadata.uid.context("a pod without UID")?;
        let processes = processes(&uid, word)?;
        ensure!(!processes.is_empty(), "{pod} runs nothing like {word}");
        let mut arguments = vec!["-KILL"];
        arguments.extend(processes.iter().map(String::as_str));
        self.world.run("/bin/kill", &arguments, "").await.map(|_| ())
    }
}

impl World {
    /// Whether some pod is cut off.
    pub async fn is_cut(&self) -> Result<bool> {
        Ok(self.inside(&["nft", "list", "set", "inet", "accident", "away"]).await?.contains("elements"))
    }
}

/// Processes of this machine, by number, that belong to the pod and have this word in their command lines.
fn processes(uid: &str, word: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // One that ends meanwhile has nothing to read any more.
        let read = |file: &str| fs::read(path.join(file)).unwrap_or_default();
        let (groups, command) = (read("cgroup"), read("cmdline"));
        if String::from_utf8_lossy(&groups).contains(uid) && String::from_utf8_lossy(&command).contains(word)
        {
            found.extend(path.file_name().and_then(|name| name.to_str()).map(str::to_owned));
        }
    }
    Ok(found)
}
