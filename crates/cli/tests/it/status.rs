//! `status`, `top` and `ui` with a real control plane, without nodes and without the operator: the tests write the statuses.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::labels::managers;
use function_mesh_testkit::{PATIENCE, fixtures};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::Harness;

/// A namespace with the mesh `m`: source `in`, function `shout`, sink `drain`.
struct Mesh(Harness);

impl Deref for Mesh {
    type Target = Harness;

    fn deref(&self) -> &Harness {
        &self.0
    }
}

impl Mesh {
    async fn new(name: &str) -> anyhow::Result<Self> {
        let harness = Harness::new(name).await?;
        let mut sink = fixtures::sink("drain");
        sink.input = fixtures::python_function("x").input;
        let parts = [fixtures::java_function("shout").into(), sink.into(), fixtures::source("in").into()];
        harness.apply(&fixtures::mesh("m", parts)?).await?;
        Ok(Self(harness))
    }

    /// Creates the components of the mesh, as the operator does.
    async fn create_components(&self) -> anyhow::Result<()> {
        for (item, _) in self.rendered()?.iter().filter(|(_, is_component)| *is_component) {
            self.apply_manifest(item, managers::MESH).await?;
        }
        Ok(())
    }

    /// Reports that everything is ready.
    async fn report_ready(&self) -> anyhow::Result<()> {
        let ready = condition("Ready", "True", "ComponentsReady", "all 3 components are ready");
        self.report("functionmesh/m", &json!({ "observedGeneration": 1, "conditions": [ready] })).await?;
        self.report("source/m-in", &component(&json!({ "outRate": 45, "observedAt": ago(10) }))).await?;
        let traffic =
            json!({ "backlog": 12, "lagSeconds": 1, "inRate": 45, "outRate": 45, "observedAt": ago(10) });
        self.report("function/m-shout", &component(&traffic)).await?;
        // Long ago, since nothing has changed from then on.
        self.report("sink/m-drain", &component(&json!({ "backlog": 0, "observedAt": ago(3600) }))).await
    }

    async fn report_stall(&self) -> anyhow::Result<()> {
        let mut status = component(&json!({
            "backlog": 1300, "lagSeconds": 200, "inRate": null, "outRate": 0, "observedAt": ago(10),
            "restarts": 2, "lastRestart": ago(7500),
        }));
        let message = "no consumer\u{1b}[2J is connected\u{202e}";
        // As the operator does.
        (status["phase"], status["message"]) = (json!("Degraded"), json!(message));
        status["standardConditions"] = json!([condition("Stalled", "True", "NoConsumers", message)]);
        self.report("function/m-shout", &status).await
    }
}

fn ago(seconds: i64) -> String {
    (Timestamp::now() - SignedDuration::from_secs(seconds)).to_string()
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": ago(720) })
}

/// The status of a component with two ready pods.
fn component(traffic: &Value) -> Value {
    json!({
        "observedGeneration": 1, "phase": "Ready", "replicas": 2, "readyReplicas": 2, "traffic": traffic,
    })
}

#[tokio::test]
async fn status_shows_what_the_operator_reports() -> anyhow::Result<()> {
    let harness = Mesh::new("status").await?;
    let namespace = &harness.namespace;
    let (status, out, err) = harness.run(&["status", "m"])?;
    assert_eq!((status, err.as_str()), (1, ""), "{out}");
    assert!(
        out.starts_with(&format!("FunctionMesh {namespace}/m: Pending, 0/3 components ready\n")),
        "{out}"
    );
    assert_eq!(out.matches("the object does not exist yet").count(), 3, "{out}");

    harness.create_components().await?;
    harness.report_ready().await?;
    let (status, out, err) = harness.run(&["status", "fm/m"])?;
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    let expected = format!(
        "\
FunctionMesh {namespace}/m: Ready for 12m, 3/3 components ready
│  HEALTH   COMPONENT         PODS  PHASE  IN/S  OUT/S  BACKLOG  LAG
├─ healthy  source/m-in        2/2  Ready   n/a     45      n/a  n/a
├─ healthy  function/m-shout   2/2  Ready    45     45       12   1s
└─ healthy  sink/m-drain       2/2  Ready     -      -        0    -
-  unknown
"
    );
    // The test itself may take a while.
    let settled = |text: &str| {
        text.split_once(" for 12m")
            .map(|(head, rest)| (head.to_owned(), rest.split_once(',').unwrap().1.to_owned()))
    };
    assert_eq!(settled(&out), settled(&expected), "{out}");

    harness.report_stall().await?;
    for (arguments, code) in
        [(["status", "m"], 1), (["status", "function/m-shout"], 1), (["status", "sink/m-drain"], 0)]
    {
        let (status, out, err) = harness.run(&arguments)?;
        assert_eq!((status, err.as_str()), (code, ""), "{out}");
        let cause = "stalled, NoConsumers: no consumer\u{fffd}[2J is connected\u{fffd}";
        assert_eq!(out.contains(cause), code == 1, "{out}");
        let restarts = "2 pods restarted in a row by onStall, the last one 2h5m ago\n";
        assert_eq!(out.contains(restarts), code == 1, "{out}");
    }
    Ok(())
}

#[tokio::test]
async fn explain_scaling_prints_the_decision_or_what_to_do() -> anyhow::Result<()> {
    let harness = Mesh::new("scaling").await?;
    let namespace = &harness.namespace;
    harness.create_components().await?;
    let (status, _, err) = harness.run(&["explain", "scaling", "m/shout"])?;
    assert_eq!(status, 2);
    assert!(err.contains(&format!("function {namespace}/m-shout has no spec.scaling")), "{err}");
    let (status, _, err) = harness.run(&["explain", "scaling", "m/none"])?;
    assert_eq!(status, 2);
    let missing =
        format!("component m-none not found in namespace {namespace}; no component has spec.scaling");
    assert!(err.contains(&missing), "{err}");

    let scaling = json!({ "spec": { "scaling": { "minReplicas": 0 } } }).to_string();
    let patch = ["patch", "function/m-shout", "-n", namespace, "--type=merge", "-p", &scaling];
    harness.plane.kubectl(&patch, "").await?;
    let (status, _, err) = harness.run(&["explain", "scaling", "function/m-shout"])?;
    assert_eq!(status, 2);
    assert!(err.contains("the operator does not observe Pulsar, or has not yet"), "{err}");

    let mut reported = component(&json!({ "backlog": 12 }));
    reported["observedGeneration"] = 2.into();
    reported["scaling"] = json!({
        "desiredReplicas": 4, "reason": "ScaleUp", "message": "more arrives", "explanation": ["Because."],
    });
    harness.report("function/m-shout", &reported).await?;
    for name in ["m/shout", "m-shout", "functions/m-shout"] {
        let (status, out, err) = harness.run(&["explain", "scaling", name])?;
        assert_eq!((status, err.as_str()), (0, ""), "{out}");
        let head = format!("Function {namespace}/m-shout, of FunctionMesh m\n  mode       Auto: ");
        assert!(out.starts_with(&head) && out.contains("\nWhy\n  Because.\n"), "{out}");
    }
    let (_, json, _) = harness.run(&["explain", "scaling", "m/shout", "-o", "json"])?;
    let view: Value = serde_json::from_str(&json)?;
    assert_eq!((&view["status"]["desiredReplicas"], &view["idleAfter"]), (&json!(4), &json!("5m")));
    assert_eq!(view["scaleDownWindow"], "5m");
    let (_, out, _) = harness.run(&["status", "function/m-shout"])?;
    assert!(out.contains("4 replicas wanted, ScaleUp: more arrives"), "{out}");
    Ok(())
}

#[tokio::test]
async fn status_and_top_print_data() -> anyhow::Result<()> {
    let harness = Mesh::new("data").await?;
    harness.create_components().await?;
    harness.report_ready().await?;
    harness.report_stall().await?;
    let (status, json, _) = harness.run(&["status", "m", "-o", "json"])?;
    assert_eq!(status, 1);
    assert!(!json.contains(['\u{1b}', '\u{202e}']), "{json:?}");
    let view: Value = serde_json::from_str(&json)?;
    assert_eq!((&view["health"], &view["mesh"]["ready"]), (&json!("Stalled"), &json!(2)));
    let shout = &view["components"][1];
    assert_eq!(shout["traffic"]["lagSeconds"], 200);
    assert_eq!(shout["traffic"]["inRate"], Value::Null);
    assert_eq!(shout["traffic"]["restarts"], 2);
    assert_eq!(shout["stalled"]["message"], "no consumer\u{1b}[2J is connected\u{202e}");
    let (_, yaml, _) = harness.run(&["status", "m", "-o", "yaml"])?;
    let same: Value = serde_saphyr::from_str(&yaml)?;
    assert_eq!(same["components"][1]["traffic"], *shout.get("traffic").unwrap());

    for (arguments, first) in [
        (&["top"][..], "m-shout"),
        (&["top", "m"], "m-shout"),
        (&["top", "--sort", "name"], "m-shout"),
        (&["top", "--sort", "out"], "m-in"),
        (&["top", "m", "-A"], "m-shout"),
    ] {
        let (status, out, err) = harness.run(arguments)?;
        assert_eq!((status, err.as_str()), (0, ""), "{out}");
        let row = out.lines().find(|line| line.contains(" m-")).unwrap();
        assert!(row.contains(first), "{arguments:?}: {out}");
        assert_eq!(out.starts_with("NAMESPACE  "), arguments.contains(&"-A"), "{out}");
    }
    let (_, json, _) = harness.run(&["top", "-A", "-o", "json"])?;
    let view: Value = serde_json::from_str(&json)?;
    let mine = view["components"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["namespace"] == harness.namespace.as_str());
    assert_eq!(mine.count(), 3);
    let (_, out, _) = harness.run(&["top"])?;
    assert!(out.contains("Stalled: NoConsumers") && !out.contains("old"), "{out}");
    Ok(())
}

#[tokio::test]
async fn errors_exit_with_2() -> anyhow::Result<()> {
    let harness = Mesh::new("errors").await?;
    harness.create_components().await?;
    for (arguments, message) in [
        (&["status", "none"][..], "FunctionMesh none not found in namespace errors-"),
        (&["status", "none"], "; available: m\n"),
        (&["status", "shout"], "; did you mean function/m-shout?\n"),
        (&["status", "function/shout"], "; did you mean function/m-shout?\n"),
        (&["status", "pod/m"], "use KIND/NAME"),
        (&["status", "backendconfig/m"], "a BackendConfig has no status"),
        (&["status", "m\u{1b}[2J"], "use lowercase letters"),
        (&["status"], "required arguments"),
        (&["status", "m", "--context", "none"], "failed to load current context: none; check --kubeconfig"),
        (&["status", "none", "--watch"], "FunctionMesh none not found"),
        (&["top", "none"], "FunctionMesh none not found in namespace errors-"),
        (&["top", "--sort", "size"], "invalid value 'size'"),
    ] {
        let (status, out, err) = harness.run(arguments)?;
        assert_eq!((status, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.contains(message) && !err.contains('\u{1b}'), "{arguments:?}: {err}");
    }
    let (status, out, err) = harness.run(&["top", "-n", "nowhere"])?;
    assert_eq!((status, out.as_str(), err.as_str()), (0, "", "no components in namespace nowhere\n"));
    Ok(())
}

/// A running `--watch`, which ends with the test.
struct Watched {
    child: Child,
    lines: Receiver<String>,
}

impl Watched {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let out = BufReader::new(child.stdout.take().context("no standard output")?);
        let (sender, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Ok(Self { child, lines })
    }

    /// The lines up to one that contains this text.
    fn until(&self, text: &str) -> anyhow::Result<Vec<String>> {
        let mut seen = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE).with_context(|| format!("{seen:?}"))?;
            seen.push(line);
            if seen.last().is_some_and(|line| line.contains(text)) {
                return Ok(seen);
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[tokio::test]
async fn watch_prints_a_block_when_something_changes() -> anyhow::Result<()> {
    let harness = Mesh::new("watch").await?;
    harness.create_components().await?;
    harness.report_ready().await?;
    let watched = Watched::start(harness.command(&["status", "m", "--watch"]))?;
    let first = watched.until("-  unknown")?;
    assert!(first.iter().any(|line| line.contains("Ready for")), "{first:?}");
    // Two rounds without a change.
    let more = watched.lines.recv_timeout(Duration::from_secs(5));
    assert_eq!(more, Err(RecvTimeoutError::Timeout));
    harness.report_stall().await?;
    let second = watched.until("stalled, NoConsumers")?;
    assert_eq!(second[0], "", "{second:?}");
    assert!(second[2].starts_with("FunctionMesh "), "{second:?}");
    Ok(())
}

/// Sends a request to a console, and returns the response as text.
fn ask(host: &str, head: &str, body: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(host)?;
    let length = body.len();
    write!(
        stream,
        "{head}\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

#[tokio::test]
async fn ui_serves_a_mesh_until_it_is_interrupted() -> anyhow::Result<()> {
    let harness = Mesh::new("ui").await?;
    let (status, out, err) = harness.run(&["ui", "--no-open", "shout"])?;
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(err.contains("FunctionMesh shout not found"), "{err}");

    let console = Watched::start(harness.command(&["ui", "--no-open", "m"]))?;
    let line = console.until("Console: http://127.0.0.1:")?.pop().context("no line")?;
    let url = line.trim_start_matches("Console: http://");
    let page = format!("/#/{}/m?token=", harness.namespace);
    let (host, token) = url.split_once(page.as_str()).with_context(|| url.to_owned())?;
    let body = json!({ "token": token }).to_string();
    let response = ask(host, "POST /api/v1/session HTTP/1.1", &body)?;
    let session = response.split('"').nth_back(1).context("no session")?.to_owned();
    let path = format!("/api/v1/meshes/{}/m", harness.namespace);
    let mesh = ask(host, &format!("GET {path} HTTP/1.1\r\nAuthorization: Bearer {session}"), "")?;
    assert!(mesh.starts_with("HTTP/1.1 200 ") && mesh.contains("\"function/m-shout\""), "{mesh}");
    assert!(ask(host, &format!("GET {path} HTTP/1.1"), "")?.starts_with("HTTP/1.1 401 "));

    let interrupted = Command::new("kill").args(["-INT", &console.child.id().to_string()]).status()?;
    ensure!(interrupted.success(), "{interrupted}");
    let wait = move || {
        let mut console = console;
        console.child.wait()
    };
    let ended = tokio::task::spawn_blocking(wait).await??;
    assert_eq!(ended.code(), Some(0), "Ctrl-C is how it ends");
    Ok(())
}
