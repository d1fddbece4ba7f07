//! A namespace with a mesh, a console of it, and a plain HTTP client.

use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use function_mesh_api::{Component, Function, Sink, Source, Spec};
use function_mesh_console::cli::{self, Cli};
use function_mesh_console::hub::Times;
use function_mesh_console::local::Local;
use function_mesh_console::state::{Delta, State};
use function_mesh_testkit::fixtures::Part;
use function_mesh_testkit::{Kind, PATIENCE, TestNamespace, fixtures};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

pub(crate) struct Harness(TestNamespace);

impl Deref for Harness {
    type Target = TestNamespace;

    fn deref(&self) -> &TestNamespace {
        &self.0
    }
}

impl Harness {
    /// A namespace with the mesh `m`: function `shout`, then function `scream`. The objects of both exist.
    pub(crate) async fn new(name: &str) -> anyhow::Result<Self> {
        let harness = Self::empty(name).await?;
        let parts = vec![fixtures::java_function("shout").into(), fixtures::python_function("scream").into()];
        Box::pin(harness.mesh("m", parts)).await?;
        Ok(harness)
    }

    /// An empty namespace.
    pub(crate) async fn empty(name: &str) -> anyhow::Result<Self> {
        Ok(Self(TestNamespace::new(name).await?))
    }

    /// Creates a mesh and its components, as the operator does.
    pub(crate) async fn mesh(&self, name: &str, parts: Vec<Part>) -> anyhow::Result<()> {
        let mesh = self.apply(&fixtures::mesh(name, parts.clone())?).await?;
        let owner = json!({
            "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh", "name": name,
            "uid": mesh.metadata.uid, "controller": true,
        });
        for part in parts {
            match part {
                Part::Function(spec) => Box::pin(self.component::<Function>(name, spec, &owner)).await?,
                Part::Source(spec) => Box::pin(self.component::<Source>(name, spec, &owner)).await?,
                Part::Sink(spec) => Box::pin(self.component::<Sink>(name, spec, &owner)).await?,
            }
        }
        Ok(())
    }

    async fn component<C: Component + Kind>(
        &self,
        mesh: &str,
        spec: C::Spec,
        owner: &Value,
    ) -> anyhow::Result<()> {
        let name = format!("{mesh}-{}", spec.view().common.name.unwrap_or_default());
        let mut object = C::with_spec(&name, spec);
        object.meta_mut().labels =
            Some([("compute.functionmesh.io/mesh".to_owned(), mesh.to_owned())].into());
        object.meta_mut().owner_references = serde_json::from_value(json!([owner]))?;
        self.apply(&object).await.map(drop)
    }

    /// Reports this backlog of the function `m-shout`.
    pub(crate) async fn report_backlog(&self, backlog: u64) -> anyhow::Result<()> {
        self.report("function/m-shout", &component(&json!({ "backlog": backlog, "inRate": 45 }))).await
    }

    /// A console of this namespace with the permissions of an administrator.
    pub(crate) async fn console(&self) -> anyhow::Result<Console> {
        Console::start(self.plane.kubeconfig(), &self.namespace).await
    }
}

/// A status of a component with two ready pods.
pub(crate) fn component(traffic: &Value) -> Value {
    json!({
        "phase": "Ready", "observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2,
        "selector": "app=shout", "traffic": traffic,
    })
}

/// Times for tests: updates and signs of life are soon.
pub(crate) fn times() -> Times {
    Times {
        interval: Duration::from_millis(1),
        heartbeat: Duration::from_millis(300),
        idle: Duration::from_secs(30),
        first_list: Duration::from_secs(3),
        samples: Duration::from_millis(200),
        permissions: None,
    }
}

/// A running console. It ends when this is dropped.
pub(crate) struct Console {
    pub(crate) host: String,
    pub(crate) one_time: String,
    shutdown: CancellationToken,
}

impl Drop for Console {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Console {
    pub(crate) async fn start(kubeconfig: &Path, namespace: &str) -> anyhow::Result<Self> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Self::with(Client::try_from(config)?, namespace).await
    }

    /// A console with the permissions of a client.
    pub(crate) async fn with(client: Client, namespace: &str) -> anyhow::Result<Self> {
        Self::with_times(client, namespace, times()).await
    }

    /// One that runs elsewhere.
    pub(crate) fn at(host: String) -> Self {
        Self { host, one_time: String::new(), shutdown: CancellationToken::new() }
    }

    pub(crate) async fn with_times(client: Client, namespace: &str, times: Times) -> anyhow::Result<Self> {
        let local = Local::listen(0).await?;
        let url = local.url("");
        let (host, token) =
            url.strip_prefix("http://").and_then(|it| it.split_once("/#/?token=")).context("a URL")?;
        let shutdown = CancellationToken::new();
        let console = Self { host: host.to_owned(), one_time: token.to_owned(), shutdown: shutdown.clone() };
        tokio::spawn(local.serve(client, Some(namespace.to_owned()), times, shutdown));
        Ok(console)
    }

    /// The console in the cluster, with the permissions of a kubeconfig. Permissions count for half a second.
    pub(crate) async fn in_cluster(kubeconfig: &Path, args: &[&str]) -> anyhow::Result<Self> {
        let listen = ["console", "--console-addr=127.0.0.1:0", "--health-probe-addr=0", "--metrics-addr=0"];
        let kubeconfig = kubeconfig.display().to_string();
        let own = ["--kubeconfig", kubeconfig.as_str()];
        let cli = Cli::try_parse_from([&listen[..], &own, args].concat())?;
        let shutdown = CancellationToken::new();
        let times = Times { permissions: Some(Duration::from_millis(500)), ..times() };
        let running = cli::start(cli, times, shutdown.clone()).await?;
        Ok(Self { host: running.addr().to_string(), one_time: String::new(), shutdown })
    }

    /// Status and body of the answer to a request with this token.
    pub(crate) async fn ask(&self, path: &str, token: &str) -> anyhow::Result<(u16, Value)> {
        let token = format!("Bearer {token}");
        json(self.get(path, &[("authorization", &token)]).await?).await
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        let stream = TcpStream::connect(&self.host).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(tokio::time::timeout(PATIENCE, sender.send_request(request)).await??)
    }

    /// Asks for a path, with headers.
    pub(crate) async fn get(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::get(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", &self.host);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::default())?).await
    }

    /// Exchanges a one-time token.
    pub(crate) async fn exchange(&self, token: &str) -> anyhow::Result<(u16, Value)> {
        let request = Request::post("/api/v1/session")
            .header("host", &self.host)
            .header("content-type", "application/json")
            .body(Full::from(json!({ "token": token }).to_string()))?;
        json(self.send(request).await?).await
    }

    /// A session as the value of its header.
    pub(crate) async fn session(&self) -> anyhow::Result<String> {
        let (status, answer) = self.exchange(&self.one_time).await?;
        ensure!(status == 200, "{status} {answer}");
        Ok(format!("Bearer {}", answer["token"].as_str().context("no token")?))
    }
}

/// Status and body of a response.
pub(crate) async fn json(response: Response<Incoming>) -> anyhow::Result<(u16, Value)> {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, serde_json::from_slice(&body).with_context(|| String::from_utf8_lossy(&body).into_owned())?))
}

/// What a viewer has got.
pub(crate) struct Stream {
    body: Incoming,
    text: String,
    pub(crate) last_id: String,
    pub(crate) names: Vec<String>,
    pub(crate) state: State,
    pub(crate) heartbeats: usize,
}

impl Stream {
    pub(crate) fn new(response: Response<Incoming>) -> Self {
        Self {
            body: response.into_body(),
            text: String::new(),
            last_id: String::new(),
            names: Vec::new(),
            state: State::default(),
            heartbeats: 0,
        }
    }

    /// Reads until what was read fulfils a condition.
    pub(crate) async fn until(&mut self, is_done: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let reading = async {
            while !is_done(self) {
                let frame = self.body.frame().await.context("the stream has ended")??;
                self.take(frame)?;
            }
            Ok::<_, anyhow::Error>(())
        };
        let done = tokio::time::timeout(PATIENCE, reading).await;
        done.map_err(|_| anyhow::anyhow!("not within 30 s: {:?} {:?}", self.names, self.state))?
    }

    /// Reads to the end of the stream. The result is the ID of the last event.
    pub(crate) async fn rest(&mut self) -> anyhow::Result<String> {
        let reading = async {
            while let Some(frame) = self.body.frame().await {
                self.take(frame?)?;
            }
            Ok::<_, anyhow::Error>(self.last_id.clone())
        };
        tokio::time::timeout(PATIENCE, reading).await.context("the stream does not end")?
    }

    fn take(&mut self, frame: Frame<Bytes>) -> anyhow::Result<()> {
        let data = frame.into_data().ok().context("no data")?;
        self.text.push_str(std::str::from_utf8(&data)?);
        while let Some((block, rest)) = self.text.split_once("\n\n") {
            let (block, rest) = (block.to_owned(), rest.to_owned());
            self.text = rest;
            self.read(&block)?;
        }
        Ok(())
    }

    fn read(&mut self, block: &str) -> anyhow::Result<()> {
        if block == ": heartbeat" {
            self.heartbeats += 1;
            return Ok(());
        }
        let field =
            |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).context(block.to_owned());
        let (name, data) = (field("event: ")?, field("data: ")?);
        field("id: ")?.clone_into(&mut self.last_id);
        match name {
            "snapshot" => self.state = serde_json::from_str(data)?,
            "delta" => self.state.apply(serde_json::from_str::<Delta>(data)?),
            other => anyhow::bail!("unknown event {other}"),
        }
        self.names.push(name.to_owned());
        Ok(())
    }

    /// The backlog that is shown of the function `m-shout`.
    pub(crate) fn backlog(&self) -> Option<u64> {
        self.state.items.get("function/m-shout")?.get("backlog")?.as_u64()
    }
}
