//! What an attacker has: two accounts with few rights in one namespace, and the network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request};
use kube::client::Body;
use kube::{Client, Config};
use tokio::time::{Instant, sleep, timeout};

use crate::measure::Measure;
use crate::program::Restarter;

/// How long a planned restart of the controller may take: it has to get the Lease again.
const RESTART: Duration = Duration::from_secs(5);

/// What an attack is run with.
#[derive(Clone)]
pub(crate) struct Target {
    /// May do everything with Functions and FunctionMeshes of the namespace.
    pub(crate) mallory: Client,
    /// May create and patch Services, StatefulSets, autoscalers, Pods and Jobs of the namespace.
    pub(crate) carl: Client,
    pub(crate) namespace: String,
    pub(crate) webhook: SocketAddr,
    pub(crate) metrics: [SocketAddr; 2],
    end: Instant,
    controller: Restarter,
    measure: Measure,
    done: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// The parts of a target that do not belong to the runtime of the attackers.
pub(crate) struct Plan {
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

impl Plan {
    /// Clients belong to the runtime that they are made in.
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
    /// Whether the attack's time is over.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Waits for the end of the attack.
    pub(crate) async fn rest(&self) {
        tokio::time::sleep_until(self.end).await;
    }

    /// Where objects of our kinds are.
    pub(crate) fn path(&self, plural: &str) -> String {
        format!("/apis/compute.functionmesh.io/v1alpha1/namespaces/{}/{plural}", self.namespace)
    }

    /// Has the controller restarted, as an upgrade would.
    pub(crate) async fn restart_controller(&self) {
        self.measure.excuse(RESTART);
        self.controller.restart().await;
    }

    /// Counts what happened.
    pub(crate) fn note(&self, what: String) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    /// Creates an object; a client that leaves after `patience` counts as such.
    pub(crate) async fn create(&self, client: &Client, path: &str, body: String, patience: Duration) -> bool {
        self.send(client, Method::POST, path, "application/json", body, patience).await
    }

    /// Patches an object by merging.
    pub(crate) async fn patch(&self, client: &Client, path: &str, body: String) -> bool {
        let patience = Duration::from_secs(10);
        self.send(client, Method::PATCH, path, "application/merge-patch+json", body, patience).await
    }

    async fn send(
        &self,
        client: &Client,
        method: Method,
        path: &str,
        content_type: &str,
        body: String,
        patience: Duration,
    ) -> bool {
        let verb = if method == Method::POST { "create" } else { "patch" };
        let request = Request::builder().method(method).uri(path).header("content-type", content_type);
        let Ok(request) = request.body(Body::from(body.into_bytes())) else { return false };
        let answer = timeout(patience, client.send(request)).await;
        let (outcome, is_done) = match &answer {
            Ok(Ok(answer)) => (answer.status().as_u16().to_string(), answer.status().is_success()),
            Ok(Err(_)) => ("failed".to_owned(), false),
            Err(_) => ("left".to_owned(), false),
        };
        self.note(format!("{verb} {outcome}"));
        if !is_done {
            // What fails at once is not to be the whole load.
            sleep(Duration::from_millis(20)).await;
        }
        is_done
    }
}
