//! Meshes that are expensive to validate.

use std::time::Duration;

use futures::future::join_all;

use crate::generate;
use crate::manifest::UNADMITTED_LABEL;
use crate::target::Target;

/// The webhook's timeoutSeconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

fn label() -> String {
    format!(r#","labels":{{"{UNADMITTED_LABEL}":"true"}}"#)
}

/// Repeatedly sends these meshes in parallel, with dry-run.
async fn dry_run(target: &Target, meshes: Vec<String>) {
    let path = format!("{}?dryRun=All", target.path("functionmeshes"));
    let work = meshes.into_iter().map(|mesh| {
        let path = &path;
        async move {
            while !target.is_over() {
                target.create(&target.mallory, path, mesh.clone(), REQUEST_TIMEOUT).await;
            }
        }
    });
    join_all(work).await;
}

pub(super) async fn patterns(target: Target) {
    let path = target.path("functionmeshes");
    for (patterns, topics) in [(1, 100), (3, 100), (20, 100)] {
        let mesh = generate::patterns(&format!("slow-{patterns}"), "", patterns, topics);
        target.create(&target.mallory, &path, mesh, REQUEST_TIMEOUT).await;
    }
    let meshes = [(20, 1000), (20, 1000), (20, 1000), (3, 100), (256, 20)];
    let meshes = meshes.map(|(patterns, topics)| generate::patterns("slow", "", patterns, topics));
    dry_run(&target, meshes.into()).await;
}

pub(super) async fn stored(target: Target) {
    let path = target.path("functionmeshes");
    for number in 0..30 {
        let mesh = generate::patterns(&format!("slow-{number}"), &label(), 4, 100);
        target.create(&target.mallory, &path, mesh, REQUEST_TIMEOUT).await;
    }
    target
        .create(&target.mallory, &path, generate::patterns("slow", &label(), 20, 1000), REQUEST_TIMEOUT)
        .await;
    target.wait_until_over().await;
}

pub(super) async fn near_misses(target: Target) {
    let path = target.path("functionmeshes");
    target
        .create(&target.mallory, &path, generate::near_misses("stored", &label(), 1000, 600), REQUEST_TIMEOUT)
        .await;
    target.create(&target.mallory, &path, generate::one_topic("one", &label(), 1000), REQUEST_TIMEOUT).await;
    let near = generate::near_misses("near", "", 1000, 690);
    let meshes =
        vec![near.clone(), near, generate::one_topic("topic", "", 1000), generate::one_topic("t", "", 6000)];
    dry_run(&target, meshes).await;
}
