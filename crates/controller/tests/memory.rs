//! Memory of the controller with hostile objects: below half of the chart's limit.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::{Function, FunctionSpec};
use function_mesh_testkit::{ControlPlane, Kind, apply, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, Client};
use serde_json::{Value, from_value, json};

/// Half of the chart's memory limit.
const MOST: u64 = 128 << 20;

/// The controller as a process; dropping this kills it.
struct Controller {
    child: Child,
    health: String,
    metrics: String,
}

impl Controller {
    fn start(plane: &ControlPlane, namespace: &str) -> anyhow::Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_function-mesh-controller-manager"))
            .arg(format!("--kubeconfig={}", plane.kubeconfig().display()))
            .arg(format!("--watched-namespace={namespace}"))
            .args(["--metrics-addr=127.0.0.1:0", "--metrics-secure=false", "--health-probe-addr=127.0.0.1:0"])
            .arg("--log-format=json")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut log = BufReader::new(child.stderr.take().context("no log")?).lines();
        let (mut health, mut metrics) = (None, None);
        for line in log.by_ref().map_while(Result::ok) {
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            let address = line["addr"].as_str().filter(|_| line["message"] == "listening").map(str::to_owned);
            match line["listener"].as_str() {
                Some("health") => health = address,
                Some("metrics") => metrics = address,
                _ => {}
            }
            if health.is_some() && metrics.is_some() {
                break;
            }
        }
        // The rest of the log is drained, so that the process does not block.
        std::thread::spawn(move || log.for_each(drop));
        let (health, metrics) = health.zip(metrics).context("it does not listen")?;
        Ok(Self { child, health, metrics })
    }

    async fn ready(&self) -> anyhow::Result<()> {
        eventually(Duration::from_mins(1), async || {
            let answer = reqwest::get(format!("http://{}/readyz", self.health)).await?.text().await?;
            ensure!(answer.trim() == "ok", "{answer}");
            Ok(())
        })
        .await
    }

    /// Functions that were reconciled, by their resulting phase.
    async fn looked_at(&self) -> anyhow::Result<u32> {
        let page = reqwest::get(format!("http://{}/metrics", self.metrics)).await?.text().await?;
        let lines = page.lines().filter(|line| line.starts_with("function_mesh_objects{kind=\"Function\""));
        let counts =
            lines.filter(|line| !line.contains("\"Pending\"")).filter_map(|line| line.split(' ').next_back());
        Ok(counts.filter_map(|count| count.parse::<u32>().ok()).sum())
    }

    /// Peak memory, in bytes.
    fn peak(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("it has exited")?;
        let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kilobytes << 10)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

async fn create<K: Kind>(client: &Client, namespace: &str, object: Value) -> anyhow::Result<()> {
    Api::<K>::namespaced(client.clone(), namespace)
        .create(&PostParams::default(), &from_value(object)?)
        .await?;
    Ok(())
}

fn function(config: Value) -> anyhow::Result<FunctionSpec> {
    let mut spec = fixtures::java_function("x");
    spec.func_config = from_value(config)?;
    Ok(spec)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controller_memory_stays_below_half_of_its_limit() -> anyhow::Result<()> {
    let plane = ControlPlane::shared().await?;
    let client = plane.client().await?;
    let namespace = plane.namespace(&client, "memory").await?;
    let empty = Controller::start(plane, &namespace)?;
    empty.ready().await?;
    let at_rest = empty.peak()?;
    drop(empty);

    // Values that take eighty times their text as a tree.
    let pairs = |bytes: usize| json!({ "a": vec![json!({ "": 0 }); bytes / 7] });
    for number in 0..12 {
        let name = format!("pairs-{number}");
        apply(&client, &namespace, &Function::new(&name, function(pairs(100_000))?)).await?;
    }
    // Too complex for our types: it is stored as any user could without the webhook.
    let mut huge = serde_json::to_value(Function::new("pairs", fixtures::java_function("x")))?;
    huge["spec"]["funcConfig"] = pairs(1_300_000);
    let kind = ApiResource::erase::<Function>(&());
    let huge: DynamicObject = from_value(huge)?;
    Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &kind)
        .create(&PostParams::default(), &huge)
        .await?;
    for number in 0..50 {
        let name = format!("plain-{number}");
        let spec = function(json!({ "a": "x".repeat(1_400_000) }))?;
        apply(&client, &namespace, &Function::new(&name, spec)).await?;
    }
    for number in 0..10 {
        let metadata = json!({ "name": format!("nobody-{number}"), "labels": {
            "compute.functionmesh.io/component": "function", "compute.functionmesh.io/name": "nobody",
        } });
        let env = json!([{ "name": "A", "value": "x".repeat(1_200_000) }]);
        let pod = json!({ "containers": [{ "name": "c", "image": "i", "env": env }] });
        create::<Pod>(&client, &namespace, json!({ "metadata": metadata, "spec": pod })).await?;
        create::<StatefulSet>(
            &client,
            &namespace,
            json!({ "metadata": metadata, "spec": {
            "replicas": 0, "serviceName": "s", "selector": { "matchLabels": { "a": "b" } },
            "template": { "metadata": { "labels": { "a": "b" } }, "spec": pod },
        } }),
        )
        .await?;
        let mut annotated = metadata;
        annotated["annotations"] = json!({ "a": "x".repeat(250_000) });
        create::<Service>(
            &client,
            &namespace,
            json!({ "metadata": annotated, "spec": { "ports": [{ "port": 1 }] } }),
        )
        .await?;
    }

    let controller = Controller::start(plane, &namespace)?;
    controller.ready().await?;
    let filled = controller.peak()?;
    let bystander = Function::new("bystander", fixtures::java_function("x"));
    apply(&client, &namespace, &bystander).await?;
    let sets = Api::<StatefulSet>::namespaced(client.clone(), &namespace);
    eventually(Duration::from_mins(2), async || Ok(sets.get("bystander-function").await?)).await?;
    // A debug build takes seconds for each, two at a time: enough of them to show growth.
    eventually(Duration::from_mins(4), async || {
        let looked_at = controller.looked_at().await?;
        ensure!(looked_at > 20, "only {looked_at} were reconciled");
        Ok(())
    })
    .await?;
    let peak = controller.peak()?;
    let mebibytes = |bytes: u64| bytes >> 20;
    let (at_rest, filled, peak) = (mebibytes(at_rest), mebibytes(filled), mebibytes(peak));
    println!("peak memory: {at_rest} MiB empty, {filled} MiB with full caches, {peak} MiB during reconciles");
    ensure!(peak <= mebibytes(MOST), "{peak} MiB, of them {filled} by the caches and {at_rest} with nothing");
    Ok(())
}
