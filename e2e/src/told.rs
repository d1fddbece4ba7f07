//! What a story is told: by a mesh, by a process and by the broker.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use function_mesh_api::FunctionMesh;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::Story;

/// A condition of a mesh.
pub fn condition<'m>(mesh: &'m FunctionMesh, type_: &str) -> Option<&'m Condition> {
    let mut conditions = mesh.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == type_)
}

/// Why a mesh is not ready; None when it is, or says nothing.
pub fn not_ready(mesh: &FunctionMesh) -> Option<&Condition> {
    condition(mesh, "Ready").filter(|ready| ready.status == "False")
}

impl Story {
    /// The variables of the process that runs a function, `NAME=VALUE`.
    pub async fn environment(&self, pod: &str) -> Result<BTreeSet<String>> {
        let all = self.exec(pod, "pulsar-function", &["cat", "/proc/1/environ"]).await?;
        Ok(all.split('\0').map(str::to_owned).collect())
    }

    /// How many messages a topic was given since its broker started.
    pub async fn came_out(&self, topic: &str) -> Result<u64> {
        let stats = self.pulsar.stats(topic).await?.unwrap_or_default();
        Ok(stats["msgInCounter"].as_u64().unwrap_or_default())
    }

    /// Waits until somebody reads a topic, and all who do have acknowledged all of it.
    pub async fn await_read(&self, topic: &str, patience: Duration) -> Result<()> {
        let is_read = async || {
            let stats = self.pulsar.stats(topic).await?.unwrap_or_default();
            let readers = stats["subscriptions"].as_object().cloned().unwrap_or_default();
            Ok(!readers.is_empty() && readers.values().all(|reader| reader["msgBacklog"] == 0))
        };
        self.eventually(&format!("{topic} is read to its end"), patience, is_read).await
    }
}
