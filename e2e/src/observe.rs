//! Conditions of a mesh, the environment of a process, and counters of the broker.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use function_mesh_api::component::Component;
use function_mesh_api::types::{ComponentStatus, TrafficStatus};
use function_mesh_api::{Function, FunctionMesh};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use tokio::time::sleep;

use crate::Scenario;

/// A condition of a mesh.
pub fn condition<'m>(mesh: &'m FunctionMesh, type_: &str) -> Option<&'m Condition> {
    let mut conditions = mesh.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == type_)
}

/// The condition Ready of a mesh if its status is False.
pub fn not_ready(mesh: &FunctionMesh) -> Option<&Condition> {
    condition(mesh, "Ready").filter(|ready| ready.status == "False")
}

impl Scenario {
    /// The environment of a function's process, as `NAME=VALUE`.
    pub async fn environment(&self, pod: &str) -> Result<BTreeSet<String>> {
        let all = self.exec(pod, "pulsar-function", &["cat", "/proc/1/environ"]).await?;
        Ok(all.split('\0').map(str::to_owned).collect())
    }

    /// Number of messages published to a topic since its broker started.
    pub async fn published(&self, topic: &str) -> Result<u64> {
        let stats = self.pulsar.stats(topic).await?.unwrap_or_default();
        Ok(stats["msgInCounter"].as_u64().unwrap_or_default())
    }

    /// Waits until a topic has a subscription, and no subscription has a backlog.
    pub async fn await_read(&self, topic: &str, timeout: Duration) -> Result<()> {
        let is_read = async || {
            let stats = self.pulsar.stats(topic).await?.unwrap_or_default();
            let readers = stats["subscriptions"].as_object().cloned().unwrap_or_default();
            Ok(!readers.is_empty() && readers.values().all(|reader| reader["msgBacklog"] == 0))
        };
        self.eventually(&format!("{topic} is read to its end"), timeout, is_read).await
    }

    /// The status of a function.
    pub async fn status(&self, function: &str) -> Result<ComponentStatus> {
        self.status_of::<Function>(function).await
    }

    /// The status of a component of this kind.
    pub async fn status_of<K: Component>(&self, name: &str) -> Result<ComponentStatus> {
        self.api::<K>().get(name).await?.status().cloned().context("no status")
    }

    /// Waits until the traffic of a function passes a check, and returns it.
    pub async fn await_traffic(
        &self,
        function: &str,
        what: &str,
        check: impl Fn(&TrafficStatus) -> bool,
    ) -> Result<TrafficStatus> {
        let (began, timeout) = (Instant::now(), Duration::from_mins(3));
        loop {
            let traffic = self.status(function).await?.traffic;
            if let Some(traffic) = traffic.as_ref().filter(|traffic| check(traffic)) {
                return Ok(traffic.clone());
            }
            ensure!(began.elapsed() < timeout, "{function}: {what}: not after {timeout:?}: {traffic:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until a function has the condition Stalled with this status and one of these reasons. Prints how long it took,
    /// and returns the message.
    pub async fn await_stalled(&self, function: &str, wanted: &str, reasons: &[&str]) -> Result<String> {
        self.await_stalled_of::<Function>(function, wanted, reasons).await
    }

    /// The same for a component of this kind.
    #[allow(clippy::print_stdout, reason = "the times are what the test shows")]
    pub async fn await_stalled_of<K: Component>(
        &self,
        name: &str,
        wanted: &str,
        reasons: &[&str],
    ) -> Result<String> {
        let (began, timeout) = (Instant::now(), Duration::from_mins(6));
        let mut message = String::new();
        let what = format!("{name} is Stalled={wanted} with {reasons:?}");
        while message.is_empty() {
            let found = self.api::<K>().get(name).await?;
            let all = found.status().map(|status| status.standard_conditions.clone()).unwrap_or_default();
            let found = all.into_iter().find(|it| it.type_ == "Stalled");
            if let Some(found) =
                found.filter(|it| it.status == wanted && reasons.contains(&it.reason.as_str()))
            {
                let seconds = began.elapsed().as_secs();
                println!("{name}: Stalled={wanted} {} after {seconds} s: {}", found.reason, found.message);
                message = found.message;
            } else {
                ensure!(began.elapsed() < timeout, "{what}: still not so after {timeout:?}");
                sleep(Duration::from_millis(500)).await;
            }
        }
        Ok(message)
    }
}
