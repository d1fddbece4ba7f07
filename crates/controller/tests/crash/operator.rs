//! The operator under test: started, stopped, and killed in the middle of a request.

use anyhow::Context;
use function_mesh_controller::{CONTROLLERS, Options, ProtectedNamespaces, run};
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_serving::Readiness;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_testkit::PATIENCE;
use function_mesh_testkit::faults::Faults;
use function_mesh_workloads::Settings;
use kube::Config;
use tokio::task::JoinHandle;

/// An operator for one namespace. One runs at a time.
pub(crate) struct Operator {
    pub(crate) settings: Settings,
    config: Config,
    namespace: String,
    faults: Faults,
    running: Option<Running>,
}

struct Running {
    end: CancellationToken,
    readiness: Readiness,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Operator {
    pub(crate) fn new(config: Config, namespace: String, faults: Faults) -> Self {
        Self { settings: Settings::default(), config, namespace, faults, running: None }
    }

    /// Starts the operator with its own connection, without waiting for it.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let client = self.faults.client(self.config.clone())?;
        let options = Options {
            settings: self.settings.clone(),
            namespaces: Namespaces::single(&self.namespace),
            protected: ProtectedNamespaces::default(),
            concurrency: 4,
            pause_rollout: false,
            candidate: None,
            publish_settings: None,
            observer: None,
        };
        let end = CancellationToken::new();
        let readiness = Readiness::new(end.clone());
        let (token, ready) = (end.clone(), readiness.clone());
        readiness.gate(CONTROLLERS);
        let task =
            tokio::spawn(
                async move { run(client, options, &prometheus::Registry::new(), &ready, token).await },
            );
        self.running = Some(Running { end, readiness, task });
        Ok(())
    }

    /// Stops the operator gracefully.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(Running { end, task, .. }) = self.running.take() else { return Ok(()) };
        end.cancel();
        tokio::time::timeout(PATIENCE, task).await.context("the operator does not stop")??
    }

    /// Kills the operator in the middle of its work.
    pub(crate) async fn kill(&mut self) {
        let Some(Running { end, task, .. }) = self.running.take() else { return };
        task.abort();
        _ = task.await;
        // Last, so that it has no time to clean up. Its spawned tasks depend on this.
        end.cancel();
    }

    /// Whether it runs and its caches have synced.
    pub(crate) fn is_ready(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.readiness.missing().is_empty())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.task.abort();
            running.end.cancel();
        }
    }
}
