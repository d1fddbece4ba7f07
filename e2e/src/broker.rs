//! Brokers: the one that `hack/up` started, and those that a story has to itself.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::world::ROOT;
use crate::{Pulsar, World};

/// A broker beside the pods.
#[derive(Clone)]
pub struct Broker {
    /// Where pods find it, for a ConfigMap's `webServiceURL`.
    pub web_service_url: String,
    /// Where pods find it, for a ConfigMap's `brokerServiceURL`.
    pub broker_service_url: String,
    /// Its web address on this machine.
    web: String,
    /// What proves who asks.
    token: Option<String>,
    own: Option<Own>,
}

/// What it takes to start a broker again.
#[derive(Clone)]
struct Own {
    world: World,
    dir: PathBuf,
    arguments: Vec<String>,
}

/// How a story wants its own broker.
#[derive(Clone, Debug, Default)]
pub struct BrokerPlan {
    /// Its port; the web port is 1000 above. Each story has its own, from 7000 on.
    pub port: u16,
    /// More options of `hack/pulsar/broker up`.
    pub options: Vec<String>,
    /// What the story shows to be let in as administrator.
    pub token: Option<String>,
}

impl Broker {
    pub(crate) fn shared(world: &World) -> Self {
        Self {
            web_service_url: "http://10.254.0.1:8080".to_owned(),
            broker_service_url: "pulsar://10.254.0.1:6650".to_owned(),
            web: world.web.clone(),
            token: None,
            own: None,
        }
    }

    /// Starts a broker for one story. What it holds survives its end.
    pub async fn start(world: &World, plan: BrokerPlan) -> Result<Self> {
        let (port, web_port) = (plan.port, plan.port + 1000);
        let dir = world.state.join("brokers").join(port.to_string());
        let mut arguments = vec!["--advertise".to_owned(), "10.254.0.1".to_owned()];
        arguments.extend(["--port".to_owned(), port.to_string()]);
        arguments.extend(["--web-port".to_owned(), web_port.to_string(), "--keep".to_owned()]);
        arguments.extend(plan.options);
        let own = Own { world: world.clone(), dir, arguments };
        // One that a killed run has left has other secrets.
        own.command("down", &[], None).await?;
        own.command("up", &own.arguments, plan.token.as_deref()).await?;
        let to = format!("10.254.0.1:{web_port}");
        let address = world.cluster("forward", &["--listen", "127.0.0.1:0", "--to", &to]).await?;
        Ok(Self {
            web_service_url: format!("http://10.254.0.1:{web_port}"),
            broker_service_url: format!("pulsar://10.254.0.1:{port}"),
            web: format!("http://{}", address.trim()),
            token: plan.token,
            own: Some(own),
        })
    }

    /// Makes a namespace of this name there.
    pub async fn namespace(&self, name: &str) -> Result<Pulsar> {
        Pulsar::namespace(&self.web, name, self.token.clone()).await
    }

    /// Kills its process; what it holds stays.
    pub async fn kill(&self) -> Result<()> {
        self.own()?.command("kill", &[], None).await
    }

    /// Starts it again with what it holds, and returns when it serves.
    pub async fn start_again(&self) -> Result<()> {
        let own = self.own()?;
        own.command("up", &own.arguments, self.token.as_deref()).await
    }

    /// Ends it and removes what it holds.
    pub async fn end(&self) -> Result<()> {
        self.own()?.command("down", &[], None).await
    }

    fn own(&self) -> Result<&Own> {
        self.own.as_ref().context("this broker belongs to all stories")
    }
}

impl Own {
    async fn command(&self, command: &str, arguments: &[String], token: Option<&str>) -> Result<()> {
        let script = PathBuf::from(ROOT).join("hack/pulsar/broker");
        let cluster =
            std::env::var("FUNCTION_MESH_CLUSTER").context("FUNCTION_MESH_CLUSTER names no program")?;
        let mut program = Command::new(cluster);
        program.arg("exec").arg("--dir").arg(self.world.state.join("cluster")).arg("--");
        program.arg(script).arg(command).arg("--dir").arg(&self.dir).args(arguments).kill_on_drop(true);
        if let Some(token) = token {
            program.env("PULSAR_TOKEN", token);
        }
        let run = program.output().await?;
        let said = String::from_utf8_lossy(&run.stderr);
        anyhow::ensure!(run.status.success(), "broker {command}: {said}");
        Ok(())
    }
}
