//! What a large mesh and many viewers cost: prints the time of an update, its bytes, and the memory of the process.
//!
//! `cargo bench -p function-mesh-console --bench viewers`

#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, reason = "a program that prints figures")]

use std::time::{Duration, Instant};

use function_mesh_console::hub::{Hub, Subject, Times};
use function_mesh_console::store::{Change, KINDS, MeshKey};
use function_mesh_console::visible::Visible;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const UPDATES: usize = 100;

fn main() {
    println!("components  vertices  viewers  update      bytes  resident");
    for components in [10, 500, 1000] {
        for viewers in [1, 10, 100] {
            // A process for each row would measure memory better; the rows grow instead.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(measure(components, viewers));
        }
    }
}

async fn measure(components: usize, viewers: usize) {
    let interval = Duration::ZERO;
    let hub = Hub::new(Vec::new(), Times { interval, ..Times::default() });
    let shutdown = CancellationToken::new();
    let functions: Vec<Value> = (0..components)
        .map(|n| {
            let topics = [format!("t{}", n / 3), format!("x{}", n % 7)];
            json!({ "name": format!("f{n}"), "input": { "topics": topics }, "output": { "topic": format!("t{}", n + 1) } })
        })
        .collect();
    let metadata = |name: String| json!({ "namespace": "shop", "name": name, "uid": "u", "generation": 1 });
    let mesh = json!({ "metadata": metadata("m".to_owned()), "spec": { "functions": functions } });
    hub.apply(Change::Apply(KINDS[0].into(), Box::new(mesh)));
    let function = |n: usize, backlog: usize| {
        let mut metadata = metadata(format!("m-f{n}"));
        metadata["labels"] = json!({ "compute.functionmesh.io/mesh": "m" });
        metadata["ownerReferences"] =
            json!([{ "kind": "FunctionMesh", "name": "m", "uid": "u", "controller": true }]);
        let traffic = json!({ "backlog": backlog, "inRate": 45.5, "outRate": 45.5, "lagSeconds": 1 });
        let status = json!({ "phase": "Ready", "observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "traffic": traffic });
        Change::Apply(KINDS[1].into(), Box::new(json!({ "metadata": metadata, "status": status })))
    };
    for n in 0..components {
        hub.apply(function(n, 0));
    }
    let subject = Subject::Mesh(MeshKey { namespace: "shop".to_owned(), name: "m".to_owned() });
    let visible = Visible::all();
    let vertices = hub.state(&subject, &visible).items.values().filter(|item| item["type"] != "edge").count();
    let mut views: Vec<_> = (0..viewers).map(|_| hub.view(&subject, &visible, None).unwrap()).collect();
    for view in &mut views {
        view.next().await;
    }
    tokio::spawn(hub.clone().run(shutdown.clone()));
    let (mut spent, mut bytes) = (Duration::ZERO, 0);
    for update in 1..=UPDATES {
        // A tenth of the components change in each update.
        for n in (0..components).skip(update % 10).step_by(10) {
            hub.apply(function(n, update));
        }
        let begun = Instant::now();
        for view in &mut views {
            bytes += view.next().await.unwrap().iter().map(|event| event.len()).sum::<usize>();
        }
        spent += begun.elapsed();
    }
    shutdown.cancel();
    let update = spent / u32::try_from(UPDATES).unwrap();
    let bytes = bytes / UPDATES / viewers;
    println!("{components:>10}  {vertices:>8}  {viewers:>7}  {update:>8.1?}  {bytes:>8}  {}", resident());
}

/// The memory of this process.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap_or("unknown").trim().to_owned()
}
