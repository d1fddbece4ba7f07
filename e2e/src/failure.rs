//! Injected failures of pods: a network partition, a killed process.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;

use crate::{Harness, Scenario};

/// Elements of the set expire, so the partition ends even if the scenario ends first.
const TABLE: &str = "add table inet function_mesh_e2e; \
    add set inet function_mesh_e2e partitioned { type ipv4_addr; flags timeout; }; \
    add chain inet function_mesh_e2e from { type filter hook prerouting priority raw; }; \
    add chain inet function_mesh_e2e to { type filter hook postrouting priority raw; }; \
    flush chain inet function_mesh_e2e from; \
    flush chain inet function_mesh_e2e to; \
    add rule inet function_mesh_e2e from ip saddr @partitioned drop; \
    add rule inet function_mesh_e2e to ip daddr @partitioned drop";

impl Scenario {
    /// Drops all packets from and to a pod for this duration.
    pub async fn partition(&self, pod: &str, time: Duration) -> Result<()> {
        let pod = self.api::<Pod>().get(pod).await?;
        let address = pod.status.and_then(|status| status.pod_ip).context("the pod has no address")?;
        let element = format!("{{ {address} timeout {}s }}", time.as_secs());
        let rules = format!("{TABLE}; add element inet function_mesh_e2e partitioned {element}");
        self.harness.inside(&["nft", &rules]).await.map(|_| ())
    }

    /// Kills the pod's processes whose command lines contain this word, as the kernel's OOM killer does.
    pub async fn kill(&self, pod: &str, word: &str) -> Result<()> {
        let uid = self.api::<Pod>().get(pod).await?.metadata.uid.context("a pod without UID")?;
        let processes = processes(&uid, word)?;
        ensure!(!processes.is_empty(), "{pod} runs nothing like {word}");
        let mut arguments = vec!["-KILL"];
        arguments.extend(processes.iter().map(String::as_str));
        self.harness.run("/bin/kill", &arguments, "").await.map(|_| ())
    }
}

impl Harness {
    /// Whether a pod is partitioned.
    pub async fn is_partitioned(&self) -> Result<bool> {
        Ok(self
            .inside(&["nft", "list", "set", "inet", "function_mesh_e2e", "partitioned"])
            .await?
            .contains("elements"))
    }
}

/// PIDs on this machine of the pod's processes whose command lines contain this word.
fn processes(uid: &str, word: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // The files of a process that ends meanwhile are empty.
        let read = |file: &str| fs::read(path.join(file)).unwrap_or_default();
        let (groups, command) = (read("cgroup"), read("cmdline"));
        if String::from_utf8_lossy(&groups).contains(uid) && String::from_utf8_lossy(&command).contains(word)
        {
            found.extend(path.file_name().and_then(|name| name.to_str()).map(str::to_owned));
        }
    }
    Ok(found)
}
