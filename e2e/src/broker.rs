//! Brokers: the shared one that `hack/up` started, and separate ones for single tests.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::harness::ROOT;
use crate::{Harness, Pulsar};

/// A broker beside the pods.
#[derive(Clone)]
pub struct Broker {
    /// `webServiceURL` of the ConfigMap, as pods reach it.
    pub web_service_url: String,
    /// `brokerServiceURL` of the ConfigMap, as pods reach it.
    pub broker_service_url: String,
    /// Its web service URL on this machine.
    web: String,
    /// The administrator's token.
    token: Option<String>,
    own: Option<Own>,
}

/// What is needed to restart a broker.
#[derive(Clone)]
struct Own {
    harness: Harness,
    dir: PathBuf,
    arguments: Vec<String>,
}

/// Settings of a separate broker.
#[derive(Clone, Debug, Default)]
pub struct BrokerPlan {
    /// Its port; the web port is 1000 above. Each test has a different one, from 7000 on.
    pub port: u16,
    /// More options of `hack/pulsar/broker up`.
    pub options: Vec<String>,
    /// The administrator's token.
    pub token: Option<String>,
}

impl Broker {
    pub(crate) fn shared(harness: &Harness) -> Self {
        Self {
            web_service_url: "http://10.254.0.1:8080".to_owned(),
            broker_service_url: "pulsar://10.254.0.1:6650".to_owned(),
            web: harness.web.clone(),
            token: None,
            own: None,
        }
    }

    /// Starts a separate broker. Its data survive until `stop`.
    pub async fn start(harness: &Harness, plan: BrokerPlan) -> Result<Self> {
        let (port, web_port) = (plan.port, plan.port + 1000);
        let dir = harness.state.join("brokers").join(port.to_string());
        let mut arguments = vec!["--advertise".to_owned(), "10.254.0.1".to_owned()];
        arguments.extend(["--port".to_owned(), port.to_string()]);
        arguments.extend(["--web-port".to_owned(), web_port.to_string(), "--keep".to_owned()]);
        arguments.extend(plan.options);
        let own = Own { harness: harness.clone(), dir, arguments };
        // A broker that a killed run left has other keys.
        own.command("down", &[], None).await?;
        own.command("up", &own.arguments, plan.token.as_deref()).await?;
        let to = format!("10.254.0.1:{web_port}");
        let address = harness.cluster("forward", &["--listen", "127.0.0.1:0", "--to", &to]).await?;
        Ok(Self {
            web_service_url: format!("http://10.254.0.1:{web_port}"),
            broker_service_url: format!("pulsar://10.254.0.1:{port}"),
            web: format!("http://{}", address.trim()),
            token: plan.token,
            own: Some(own),
        })
    }

    /// Runs a test with a broker that it may kill.
    pub async fn run(port: u16, test: impl AsyncFnOnce(&Harness, &Self) -> Result<()>) -> Result<()> {
        let harness = Harness::find().await?;
        let broker = Self::start(&harness, BrokerPlan { port, ..BrokerPlan::default() }).await?;
        let result = test(&harness, &broker).await;
        broker.stop().await?;
        result
    }

    /// Creates a namespace.
    pub async fn namespace(&self, name: &str) -> Result<Pulsar> {
        Pulsar::namespace(&self.web, name, self.token.clone()).await
    }

    /// Kills its process and keeps its data.
    pub async fn kill(&self) -> Result<()> {
        self.own()?.command("kill", &[], None).await
    }

    /// Starts it again with its data and returns when it is ready.
    pub async fn restart(&self) -> Result<()> {
        let own = self.own()?;
        own.command("up", &own.arguments, self.token.as_deref()).await
    }

    /// Stops it and deletes its data.
    pub async fn stop(&self) -> Result<()> {
        self.own()?.command("down", &[], None).await
    }

    fn own(&self) -> Result<&Own> {
        self.own.as_ref().context("the shared broker must not be stopped")
    }
}

impl Own {
    async fn command(&self, command: &str, arguments: &[String], token: Option<&str>) -> Result<()> {
        let script = PathBuf::from(ROOT).join("hack/pulsar/broker");
        let cluster = std::env::var("FUNCTION_MESH_CLUSTER")
            .context("set FUNCTION_MESH_CLUSTER to what hack/cluster/build prints")?;
        let mut program = Command::new(cluster);
        program.arg("exec").arg("--dir").arg(self.harness.state.join("cluster")).arg("--");
        program.arg(script).arg(command).arg("--dir").arg(&self.dir).args(arguments).kill_on_drop(true);
        if let Some(token) = token {
            program.env("PULSAR_TOKEN", token);
        }
        let run = program.output().await?;
        let output = String::from_utf8_lossy(&run.stderr);
        anyhow::ensure!(run.status.success(), "broker {command}: {output}");
        Ok(())
    }
}
