//! A namespace of a real control plane without nodes, and the program as a user runs it there.

#![allow(dead_code, reason = "each suite uses a part")]

use std::process::Command;

use anyhow::Context;
use function_mesh_testkit::{ControlPlane, Kind, apply};
use kube::Client;

pub(crate) struct Harness {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Harness {
    pub(crate) async fn new(name: &str) -> anyhow::Result<Self> {
        let plane = ControlPlane::shared().await?;
        let client = plane.client().await?;
        let namespace = plane.namespace(&client, name).await?;
        Ok(Self { plane, client, namespace })
    }

    /// Applies an object in the namespace.
    pub(crate) async fn apply<K: Kind>(&self, object: &K) -> anyhow::Result<K> {
        apply(&self.client, &self.namespace, object).await
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

    /// Exit code, standard output and standard error of a command.
    pub(crate) fn run(&self, arguments: &[&str]) -> anyhow::Result<(i32, String, String)> {
        let output = self.command(arguments).output()?;
        let status = output.status.code().context("killed by a signal")?;
        Ok((status, String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
    }
}
