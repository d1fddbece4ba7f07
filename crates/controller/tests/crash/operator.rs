//! The operator under test: started, stopped, and killed in the middle of a request.

use function_mesh_controller::Options;
use function_mesh_testkit::faults::Faults;
use function_mesh_testkit::{ControllerHarness, test_options};
use kube::Config;

/// An operator for one namespace. One runs at a time.
pub(crate) struct Operator {
    /// Options of the next start.
    pub(crate) options: Options,
    config: Config,
    faults: Faults,
    running: Option<ControllerHarness>,
}

impl Operator {
    pub(crate) fn new(config: Config, namespace: &str, faults: Faults) -> Self {
        Self { options: test_options(&[namespace]), config, faults, running: None }
    }

    /// Starts the operator with its own connection, without waiting for it.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let client = self.faults.client(self.config.clone())?;
        self.running = Some(ControllerHarness::start(client, self.options.clone()));
        Ok(())
    }

    /// Stops the operator gracefully.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.stop().await
    }

    /// Kills the operator in the middle of its work.
    pub(crate) async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill().await;
        }
    }

    /// Whether it runs and its caches have synced.
    pub(crate) fn is_ready(&self) -> bool {
        self.running.as_ref().is_some_and(ControllerHarness::is_ready)
    }
}
