//! An attacker's access: two accounts with permissions in one namespace, and the network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request};
use kube::client::Body;
use kube::{Client, Config};
use tokio::time::{Instant, sleep};

use crate::measure::Measure;
use crate::program::Restarter;

/// How long a planned restart of the controller may take, including the acquisition of the Lease.
const RESTART_ALLOWANCE: Duration = Duration::from_secs(5);

/// Clients, addresses and time limit of an attack.
#[derive(Clone)]
pub(crate) struct Target {
    /// Has all verbs on Functions and FunctionMeshes of the namespace.
    pub(crate) mallory: Client,
    /// Has all verbs on Services, Pods, StatefulSets, HorizontalPodAutoscalers and Jobs of the namespace.
    pub(crate) carl: Client,
    pub(crate) namespace: String,
    pub(crate) webhook: SocketAddr,
    pub(crate) metrics: [SocketAddr; 2],
    end: Instant,
    controller: Restarter,
    measure: Measure,
    done: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// The parts of a target that do not depend on the attackers' runtime.
pub(crate) struct TargetConfig {
    pub(crate) mallory: Config,
    pub(crate) carl: Config,
    pub(crate) namespace: String,
    pub(crate) webhook: SocketAddr,
    pub(crate) metrics: [SocketAddr; 2],
    pub(crate) duration: Duration,
    pub(crate) controller: Restarter,
    pub(crate) measure: Measure,
    pub(crate) done: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl TargetConfig {
    /// Must be called in the attackers' runtime: a client belongs to the runtime that creates it.
    pub(crate) fn connect(self) -> anyhow::Result<Target> {
        Ok(Target {
            mallory: Client::try_from(self.mallory)?,
            carl: Client::try_from(self.carl)?,
            namespace: self.namespace,
            webhook: self.webhook,
            metrics: self.metrics,
            end: Instant::now() + self.duration,
            controller: self.controller,
            measure: self.measure,
            done: self.done,
        })
    }
}

impl Target {
    /// Whether the attack's duration has passed.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Waits for the end of the attack.
    pub(crate) async fn wait_until_over(&self) {
        tokio::time::sleep_until(self.end).await;
    }

    /// Path of a Function Mesh resource in the namespace.
    pub(crate) fn path(&self, plural: &str) -> String {
        format!("/apis/compute.functionmesh.io/v1alpha1/namespaces/{}/{plural}", self.namespace)
    }

    /// Restarts the controller, as an upgrade does.
    pub(crate) async fn restart_controller(&self) {
        self.measure.allow_downtime(RESTART_ALLOWANCE);
        self.controller.restart().await;
    }

    /// Counts an outcome.
    pub(crate) fn count(&self, outcome: String) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_default() += 1;
    }

    /// Creates an object and returns whether it succeeded; the client disconnects after `timeout`.
    pub(crate) async fn create(&self, client: &Client, path: &str, body: String, timeout: Duration) -> bool {
        self.send(client, Method::POST, path, "application/json", body, timeout).await
    }

    /// Sends a JSON merge patch and returns whether it succeeded.
    pub(crate) async fn patch(&self, client: &Client, path: &str, body: String) -> bool {
        let timeout = Duration::from_secs(10);
        self.send(client, Method::PATCH, path, "application/merge-patch+json", body, timeout).await
    }

    async fn send(
        &self,
        client: &Client,
        method: Method,
        path: &str,
        content_type: &str,
        body: String,
        timeout: Duration,
    ) -> bool {
        let verb = if method == Method::POST { "create" } else { "patch" };
        let request = Request::builder().method(method).uri(path).header("content-type", content_type);
        let Ok(request) = request.body(Body::from(body.into_bytes())) else { return false };
        let answer = tokio::time::timeout(timeout, client.send(request)).await;
        let (outcome, is_done) = match &answer {
            Ok(Ok(answer)) => (answer.status().as_u16().to_string(), answer.status().is_success()),
            Ok(Err(_)) => ("failed".to_owned(), false),
            Err(_) => ("timed out".to_owned(), false),
        };
        self.count(format!("{verb} {outcome}"));
        if !is_done {
            // Limit the rate of requests that fail immediately.
            sleep(Duration::from_millis(20)).await;
        }
        is_done
    }
}
