//! The operator under test: started, stopped, and killed in the middle of a request.

use anyhow::Context;
use function_mesh_controller::{CONTROLLERS, Options, Protected, run};
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_serving::Readiness;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_testkit::SECONDS_10;
use function_mesh_testkit::faults::Faults;
use function_mesh_workloads::Settings;
use kube::Config;
use tokio::task::JoinHandle;

pub(crate) type Nothing = anyhow::Result<()>;

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
    task: JoinHandle<Nothing>,
}

impl Operator {
    pub(crate) fn new(config: Config, namespace: String, faults: Faults) -> Self {
        Self { settings: Settings::default(), config, namespace, faults, running: None }
    }

    /// Starts it, with a connection of its own, and does not wait for it.
    pub(crate) fn start(&mut self) -> Nothing {
        let client = self.faults.client(self.config.clone())?;
        let options = Options {
            settings: self.settings.clone(),
            namespaces: Namespaces::one(&self.namespace),
            protected: Protected::default(),
            concurrency: 4,
            pause_rollout: false,
            candidate: None,
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

    /// Stops it in good order.
    pub(crate) async fn stop(&mut self) -> Nothing {
        let Some(Running { end, task, .. }) = self.running.take() else { return Ok(()) };
        end.cancel();
        tokio::time::timeout(SECONDS_10, task).await.context("the operator does not stop")??
    }

    /// Kills it: what it was doing stays undone.
    pub(crate) async fn kill(&mut self) {
        let Some(Running { end, task, .. }) = self.running.take() else { return };
        task.abort();
        _ = task.await;
        // Only now: it must not have time to tidy up. What it spawned waits for this.
        end.cancel();
    }

    /// Whether it runs and its caches are full.
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
