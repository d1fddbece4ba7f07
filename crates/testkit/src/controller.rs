//! A running controller: a test starts it with a client, and stops it or kills it in the middle of its work.

use anyhow::{Context, ensure};
use function_mesh_controller::{CONTROLLERS, Options, ProtectedNamespaces, run};
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_serving::Readiness;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_workloads::Settings;
use kube::Client;
use prometheus::Registry;
use tokio::task::JoinHandle;

use crate::wait::{PATIENCE, eventually};

/// Options of a controller that watches these namespaces, or all if there are none. A test names only what is special
/// about its controller: `Options { concurrency: 2, ..test_options(&["a"]) }`.
pub fn test_options(namespaces: &[&str]) -> Options {
    Options {
        settings: Settings::default(),
        namespaces: namespaces.iter().map(|name| Namespaces::single(name)).collect(),
        protected: ProtectedNamespaces::default(),
        concurrency: 4,
        pause_rollout: false,
        candidate: None,
        publish_settings: None,
        observer: None,
    }
}

/// A running controller. Dropping it kills it.
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// use function_mesh_testkit::{ControllerHarness, Recorder, TestNamespace, test_options};
///
/// let test = TestNamespace::new("example").await?;
/// let recorder = Recorder::default();
/// let client = recorder.client(test.plane.config().await?)?;
/// let controller = ControllerHarness::start(client, test_options(&[&test.namespace]));
/// controller.becomes_ready().await?;
/// assert_eq!(recorder.take(), []);
/// controller.stop().await
/// # }
/// ```
#[derive(Debug)]
pub struct ControllerHarness {
    /// Its metrics.
    pub registry: Registry,
    readiness: Readiness,
    end: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl ControllerHarness {
    /// Starts a controller without waiting for it. The client may record its requests or have faults.
    pub fn start(client: Client, options: Options) -> Self {
        let (registry, end) = (Registry::new(), CancellationToken::new());
        let readiness = Readiness::new(end.clone());
        readiness.gate(CONTROLLERS);
        let task = {
            let (registry, readiness, end) = (registry.clone(), readiness.clone(), end.clone());
            tokio::spawn(async move { run(client, options, &registry, &readiness, end).await })
        };
        Self { registry, readiness, end, task }
    }

    /// What it still waits for before it is ready.
    pub fn missing(&self) -> Vec<String> {
        self.readiness.missing()
    }

    /// Whether its caches have synced.
    pub fn is_ready(&self) -> bool {
        self.missing().is_empty()
    }

    /// Waits until it is ready.
    pub async fn becomes_ready(&self) -> anyhow::Result<()> {
        eventually(PATIENCE, async || {
            let missing = self.missing();
            ensure!(missing.is_empty(), "not ready: {missing:?}");
            Ok(())
        })
        .await
    }

    /// Whether it has ended without being stopped.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it ends without being stopped, and returns its result.
    pub async fn ends(mut self) -> anyhow::Result<()> {
        tokio::time::timeout(PATIENCE, &mut self.task).await.context("the controller does not stop")??
    }

    /// Stops it gracefully.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.end.cancel();
        self.ends().await
    }

    /// Kills it in the middle of its work.
    pub async fn kill(mut self) {
        self.task.abort();
        _ = (&mut self.task).await;
    }
}

impl Drop for ControllerHarness {
    fn drop(&mut self) {
        self.task.abort();
        // Last, so that it has no time to clean up. Its spawned tasks depend on this.
        self.end.cancel();
    }
}
