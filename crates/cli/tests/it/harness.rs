//! A namespace of a real control plane without nodes, and the program as a user runs it there.

use std::ops::Deref;
use std::process::Command;

use anyhow::{Context, ensure};
use function_mesh_testkit::TestNamespace;
use serde_json::Value;

pub(crate) struct Harness(TestNamespace);

impl Deref for Harness {
    type Target = TestNamespace;

    fn deref(&self) -> &TestNamespace {
        &self.0
    }
}

impl Harness {
    pub(crate) async fn new(name: &str) -> anyhow::Result<Self> {
        Ok(Self(TestNamespace::new(name).await?))
    }

    /// A command for the namespace, unless the arguments name another one. Nothing comes from the environment of the test.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-mesh"));
        command.args(arguments).arg("--kubeconfig").arg(self.plane.kubeconfig());
        if !["-A", "-n"].iter().any(|flag| arguments.contains(flag)) {
            command.args(["-n", &self.namespace]);
        }
        for variable in [
            "CONFIG_FILE",
            "GLOBAL_BACKEND_CONFIG",
            "NAMESPACED_BACKEND_CONFIG",
            "KUBECONFIG",
            "PULSAR_TOKEN",
        ] {
            command.env_remove(variable);
        }
        // The operator's settings are in the same namespace.
        command.env("FUNCTION_MESH_OPERATOR", &self.namespace);
        command
    }

    /// What `render` prints for the objects in the cluster, and whether each is a component.
    pub(crate) fn rendered(&self) -> anyhow::Result<Vec<(Value, bool)>> {
        let (status, out, err) = self.run(&["render", "--from-cluster", "-o", "json"])?;
        ensure!(status == 0, "{err}");
        let list: Value = serde_json::from_str(&out)?;
        let with_role = |item: &Value| {
            let is_component = ["Function", "Source", "Sink"].iter().any(|kind| item["kind"] == *kind);
            (item.clone(), is_component)
        };
        Ok(list["items"].as_array().context("no items")?.iter().map(with_role).collect())
    }

    /// Exit code, standard output and standard error of a command.
    pub(crate) fn run(&self, arguments: &[&str]) -> anyhow::Result<(i32, String, String)> {
        let output = self.command(arguments).output()?;
        let status = output.status.code().context("killed by a signal")?;
        Ok((status, String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
    }
}
