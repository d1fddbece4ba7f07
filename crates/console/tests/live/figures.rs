//! Figures of a mesh of 1,000 nodes: the memory of the program, the time from a change to the screen, and bytes.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_console::hub::Times;
use function_mesh_testkit::PATIENCE;
use futures::{StreamExt, TryStreamExt, stream};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::browser::Browser;
use crate::harness::{Console, Harness, Stream};
use crate::users::everything;

const COMPONENTS: usize = 500;
/// What the program may need.
const MOST_KIB: u64 = 64 << 10;
const UPDATES: u64 = 6;

fn function(n: usize) -> Value {
    json!({
        "name": format!("f{n}"), "className": "C", "java": { "jar": "/a.jar" }, "pulsar": { "pulsarConfig": "p" },
        "input": { "topics": [format!("t{}", n / 3)] }, "output": { "topic": format!("t{}", n + 1) },
    })
}

impl Harness {
    /// A mesh of so many components and one topic more, and its objects.
    async fn nodes(&self, components: usize) -> anyhow::Result<()> {
        let functions: Vec<_> = (0..components).map(function).collect();
        let mesh = json!({
            "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh",
            "metadata": { "name": "m", "namespace": self.namespace }, "spec": { "functions": functions },
        });
        let mesh: FunctionMesh = self.create(&serde_json::from_value(mesh)?).await?;
        let uid = mesh.uid();
        let api = "compute.functionmesh.io/v1alpha1";
        let owner = json!([{ "apiVersion": api, "kind": "FunctionMesh", "name": "m", "uid": uid, "controller": true }]);
        let create = |n: usize| {
            let metadata = json!({
                "name": format!("m-f{n}"), "ownerReferences": owner,
                "labels": { "compute.functionmesh.io/mesh": "m" },
            });
            let mut spec = function(n);
            spec.as_object_mut().and_then(|spec| spec.remove("name"));
            let object = json!({ "apiVersion": api, "kind": "Function", "metadata": metadata, "spec": spec });
            async move {
                self.create_manifest(&object).await?;
                self.count(n, 0).await
            }
        };
        stream::iter((0..components).map(create)).buffer_unordered(8).try_collect().await
    }

    /// Reports this backlog of a component.
    async fn count(&self, n: usize, backlog: u64) -> anyhow::Result<()> {
        let traffic = json!({ "backlog": backlog, "inRate": 45.5, "outRate": 45.5, "lagSeconds": 1 });
        let status = json!({
            "phase": "Ready", "observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2,
            "traffic": traffic,
        });
        self.report(&format!("function/m-f{n}"), &status).await
    }
}

/// The program as a process, with the environment of the chart: that of `FUNCTION_MESH_CONSOLE`, such as a release build, or
/// the one of this test's profile.
struct Program {
    child: Child,
    console: Console,
}

impl Program {
    async fn start(kubeconfig: &Path) -> anyhow::Result<Self> {
        let program = std::env::var_os("FUNCTION_MESH_CONSOLE");
        let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_function-mesh-console").into());
        let mut child = Command::new(program)
            .args(["--console-addr=127.0.0.1:0", "--health-probe-addr=0", "--metrics-addr=0"])
            .args(["--log-format=json", "--kubeconfig"])
            .arg(kubeconfig)
            .env("MALLOC_ARENA_MAX", "2")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("no output")?).lines();
        let address = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await? {
                let line: Value = serde_json::from_str(&line)?;
                let fields = if line["fields"].is_object() { &line["fields"] } else { &line };
                if fields["message"] == "listening" && fields["listener"] == "console" {
                    return Ok(fields["addr"].as_str().context("no address")?.to_owned());
                }
            }
            anyhow::bail!("the program has ended")
        });
        let address = address.await??;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, console: Console::at(address) })
    }

    /// Memory in KiB: what the program has allocated, and what it maps of its own file, which is large in a debug build.
    fn memory(&self) -> anyhow::Result<[u64; 2]> {
        let id = self.child.id().context("the program has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context(status.clone())?;
            Ok::<_, anyhow::Error>(line.trim().trim_end_matches(" kB").parse()?)
        };
        Ok([field("RssAnon:")?, field("RssFile:")?])
    }
}

#[tokio::test]
#[ignore = "takes minutes, for figures"]
#[allow(clippy::print_stderr, reason = "figures for people")]
async fn a_hundred_viewers_fit_in_64_mib() -> anyhow::Result<()> {
    let harness = Harness::empty("memory").await?;
    harness.nodes(COMPONENTS).await?;
    let program = Program::start(&harness.console_account(&[]).await?).await?;
    let token = format!("Bearer {}", harness.user("viewer", &everything()).await?);
    let path = format!("/api/v1/meshes/{}/m/events", harness.namespace);
    let mut update = 0;
    eprintln!("| viewers | allocated | program |\n|---|---|---|");
    for viewers in [1, 10, 100] {
        let mut streams = Vec::new();
        for _ in 0..viewers {
            let headers = [("authorization", token.as_str())];
            streams.push(Stream::new(program.console.get(&path, &headers).await?));
        }
        let readers: Vec<_> =
            streams.into_iter().map(|mut it| tokio::spawn(async move { it.rest().await })).collect();
        // A tenth of the components change in each update; there are two a second.
        for _ in 0..UPDATES {
            update += 1;
            let changed = (0..COMPONENTS).skip(usize::try_from(update % 10)?).step_by(10);
            stream::iter(changed.map(|n| harness.count(n, update)))
                .buffer_unordered(8)
                .try_collect::<()>()
                .await?;
        }
        let [allocated, mapped] = program.memory()?;
        eprintln!("| {viewers} | {} MiB | {} MiB |", allocated >> 10, mapped >> 10);
        ensure!(allocated < MOST_KIB, "{allocated} KiB with {viewers} viewers");
        for reader in readers {
            reader.abort();
        }
    }
    Ok(())
}

/// Times from a change in the cluster to the screen, in order.
async fn changes(harness: &Harness, components: usize, rounds: usize) -> anyhow::Result<Vec<Duration>> {
    let client = Client::try_from(harness.plane.config().await?)?;
    let console = Console::with_times(client, &harness.namespace, Times::default()).await?;
    let mut browser = Browser::start().await?;
    let origin = format!("http://{}/", console.host);
    browser.open(&format!("{origin}#/{}/m?token={}", harness.namespace, console.one_time)).await?;
    browser.until(&format!("document.querySelectorAll('svg .component').length === {components}")).await?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        // Until two frames after the number is in the document: it is on the screen then.
        let wait = "globalThis.painted = 0; \
             globalThis.watcher = new MutationObserver(() => { \
               if (!document.querySelector('svg').textContent.includes('92k') || globalThis.painted) return; \
               watcher.disconnect(); \
               requestAnimationFrame(() => requestAnimationFrame(() => { globalThis.painted = Date.now(); })); \
             }); \
             watcher.observe(document.querySelector('svg'), { subtree: true, childList: true, characterData: true }); 0";
        browser.eval(wait).await?;
        let begun = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        harness.count(7, 92_000).await?;
        browser.until("globalThis.painted").await?;
        let painted = browser.eval("globalThis.painted").await?.as_f64().context("no time")?;
        times.push(Duration::from_secs_f64(painted / 1000.0).saturating_sub(begun));
        harness.count(7, 0).await?;
        browser.until("!document.querySelector('svg').textContent.includes('92k')").await?;
    }
    times.sort();
    let files = "performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))";
    let of_page =
        "filter((it) => !it.name.includes('/api/')).reduce((sum, it) => sum + it.encodedBodySize, 0)";
    report(components, &times, &browser.eval(&format!("{files}.{of_page}")).await?);
    browser.check(&origin).await?;
    Ok(times)
}

#[allow(clippy::print_stderr, reason = "figures for people")]
fn report(components: usize, times: &[Duration], bytes: &Value) {
    let (first, last) = (times.first().unwrap(), times.last().unwrap());
    let middle = times[times.len() / 2];
    eprintln!(
        "{components} components: change to screen {first:.1?} to {last:.1?}, median {middle:.1?}; files of the page {bytes} bytes"
    );
}

/// How long it takes depends on the machine: the figures are for people, and the test is that every change arrives.
#[tokio::test]
#[ignore = "takes minutes, for figures"]
async fn changes_reach_the_screen() -> anyhow::Result<()> {
    let small = Harness::empty("pixel").await?;
    small.nodes(10).await?;
    assert_eq!(changes(&small, 10, 10).await?.len(), 10);
    let large = Harness::empty("pixels").await?;
    large.nodes(COMPONENTS).await?;
    assert_eq!(changes(&large, COMPONENTS, 3).await?.len(), 3);
    Ok(())
}
