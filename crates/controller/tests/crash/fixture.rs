//! A fixture: a namespace with its own operator and a fake kubelet, and the steps of flows.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use function_mesh_testkit::faults::Faults;
use function_mesh_testkit::{ControlPlane, Kind, TestNamespace};
use futures::future::BoxFuture;
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::operator::Operator;
use crate::snapshot::Snapshot;

/// Timeout of a start, and of the recovery from a fault, backoff included. Beside other suites it may take a minute.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);
/// How long no request must have been sent before the state is checked.
const CALM: Duration = Duration::from_millis(250);
/// How long a state must stay unchanged to be final.
const STAY: Duration = Duration::from_millis(400);
/// Poll interval.
const PAUSE: Duration = Duration::from_millis(120);

/// A background task that acts as another client or controller until the end of the point.
pub(crate) type Helper = fn(Client, String) -> BoxFuture<'static, ()>;

/// The fixture; clones share it.
#[derive(Clone)]
pub(crate) struct Fixture {
    test: TestNamespace,
    /// Injects faults between the operator and the API server.
    pub(crate) faults: Faults,
    pub(crate) operator: Arc<Mutex<Operator>>,
    _helper: Arc<Helping>,
}

impl Deref for Fixture {
    type Target = TestNamespace;

    fn deref(&self) -> &TestNamespace {
        &self.test
    }
}

struct Helping(AbortHandle);

impl Drop for Helping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Fixture {
    /// A namespace with a fake kubelet; the operator does not run yet.
    pub(crate) async fn new(
        plane: &'static ControlPlane,
        name: &str,
        helper: Helper,
    ) -> anyhow::Result<Self> {
        let test = TestNamespace::on(plane, name).await?;
        let faults = Faults::default();
        let operator = Operator::new(plane.config().await?, &test.namespace, faults.clone());
        let helping = tokio::spawn(helper(test.client.clone(), test.namespace.clone())).abort_handle();
        let operator = Arc::new(Mutex::new(operator));
        Ok(Self { test, faults, operator, _helper: Arc::new(Helping(helping)) })
    }

    pub(crate) async fn start(&self) -> anyhow::Result<()> {
        self.operator.lock().await.start()
    }

    /// Stops the operator gracefully and starts it again.
    pub(crate) async fn restart(&self) -> anyhow::Result<()> {
        let mut operator = self.operator.lock().await;
        operator.stop().await?;
        operator.start()
    }

    /// Kills the operator and starts another one.
    pub(crate) async fn replace_killed(&self) -> anyhow::Result<()> {
        let mut operator = self.operator.lock().await;
        operator.kill().await;
        operator.start()
    }

    /// Applies a manifest, as a step of a flow.
    pub(crate) async fn apply<K: Kind>(&self, object: &K) -> anyhow::Result<()> {
        self.test.apply(object).await.map(drop)
    }

    /// Removes owner references and finalizers, as a restore from a backup does.
    pub(crate) async fn strip<K: Kind>(&self, name: &str) -> anyhow::Result<()> {
        let change = json!({ "metadata": { "ownerReferences": null, "finalizers": null } });
        self.patch::<K>(name, change).await.map(drop)
    }

    /// Scales as `kubectl scale` does.
    pub(crate) async fn scale<K: Kind>(&self, name: &str, replicas: i32) -> anyhow::Result<()> {
        let scale = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        self.api::<K>().patch_scale(name, &PatchParams::default(), &scale).await?;
        Ok(())
    }

    pub(crate) async fn look(&self) -> anyhow::Result<Snapshot> {
        Snapshot::take(&self.client, &self.namespace).await
    }

    /// Waits until nothing is pending, except what `ignored` names, and stays so.
    pub(crate) async fn settle(
        &self,
        limit: Duration,
        stay: Duration,
        ignored: &[&str],
    ) -> anyhow::Result<Snapshot> {
        self.until(limit, stay, |snapshot| {
            let is_ignored = |what: &String| ignored.iter().any(|name| what.contains(name));
            snapshot.unsettled.iter().filter(|what| !is_ignored(what)).cloned().collect()
        })
        .await
    }

    /// Waits until all is as expected, and stays so.
    pub(crate) async fn converge(&self, expected: &Snapshot, limit: Duration) -> anyhow::Result<()> {
        self.until(limit, STAY, |found| expected.differences(found)).await.map(|_| ())
    }

    async fn until(
        &self,
        limit: Duration,
        stay: Duration,
        missing: impl Fn(&Snapshot) -> Vec<String>,
    ) -> anyhow::Result<Snapshot> {
        let end = Instant::now() + limit;
        let mut since: Option<(Instant, Snapshot)> = None;
        loop {
            sleep(PAUSE).await;
            let is_over = Instant::now() > end;
            if !is_over && !self.is_calm().await {
                since = None;
                continue;
            }
            if !is_over && since.as_ref().is_some_and(|(since, _)| since.elapsed() < stay) {
                continue;
            }
            let found = self.look().await?;
            let missing = missing(&found);
            match since.take() {
                Some((_, before)) if missing.is_empty() && before == found && self.is_calm().await => {
                    return Ok(found);
                }
                _ if is_over && missing.is_empty() => bail!("it does not come to rest within {limit:?}"),
                _ if is_over => bail!("{}", missing.join("\n")),
                _ => since = missing.is_empty().then(|| (Instant::now(), found)),
            }
        }
    }

    async fn is_calm(&self) -> bool {
        self.faults.quiet_for() >= CALM && self.operator.lock().await.is_ready()
    }
}
