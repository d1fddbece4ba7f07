//! Inputs whose parsed form takes many times their size.

use std::time::Duration;

use futures::future::join_all;

use crate::generate;
use crate::manifest::UNADMITTED_LABEL;
use crate::raw_client::RawClient;
use crate::target::Target;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// `workers` workers repeatedly send the bodies to the webhook.
pub(super) async fn post(target: &Target, workers: usize, bodies: &[Vec<u8>]) {
    let Ok(client) = RawClient::new(target.webhook, b"http/1.1") else { return };
    let work = (0..workers).map(|worker| {
        let client = &client;
        async move {
            for body in bodies.iter().cycle().skip(worker) {
                if target.is_over() {
                    return;
                }
                let answer = tokio::time::timeout(REQUEST_TIMEOUT, client.post(body)).await;
                let answer = answer.map_or("timed out".to_owned(), |answer| {
                    answer.map_or("failed".to_owned(), |status| status.to_string())
                });
                if answer == "failed" {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                target.count(format!("post {answer}"));
            }
        }
    });
    join_all(work).await;
}

pub(super) async fn body(target: Target) {
    let list = generate::expensive_list(7 << 20);
    let deep = generate::deep_list(3 << 20);
    let review = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","object":{}}}}}"#,
        generate::expensive_list(6 << 20)
    );
    post(&target, 4, &[list.into_bytes(), review.into_bytes(), deep.into_bytes()]).await;
}

pub(super) async fn dry_run(target: Target) {
    let path = format!("{}?dryRun=All", target.path("functions"));
    let spec = format!(r#","funcConfig":{{"a":{}}}"#, generate::expensive_list(2_900_000));
    let body = generate::function("x", "", &spec);
    let work = (0..2).map(async |_| {
        while !target.is_over() {
            target.create(&target.mallory, &path, body.clone(), REQUEST_TIMEOUT).await;
        }
    });
    join_all(work).await;
}

/// Creates Functions with this configuration, without the webhook if it denies them, and restarts the controller.
async fn store(target: &Target, count: usize, config: &str) {
    let label = format!(r#","labels":{{"{UNADMITTED_LABEL}":"true"}}"#);
    let spec = format!(r#","funcConfig":{{"a":{config}}}"#);
    let path = target.path("functions");
    let work = (0..4).map(|worker| {
        let (path, spec, label) = (&path, &spec, &label);
        async move {
            for number in (worker..count).step_by(4) {
                let name = format!("big-{number}");
                let body = generate::function(&name, "", spec);
                if !target.create(&target.mallory, path, body, REQUEST_TIMEOUT).await {
                    let body = generate::function(&name, label, spec);
                    target.create(&target.mallory, path, body, REQUEST_TIMEOUT).await;
                }
            }
        }
    });
    join_all(work).await;
    target.restart_controller().await;
    target.wait_until_over().await;
    // Give the controller time to list all of them.
    tokio::time::sleep(Duration::from_secs(6)).await;
}

pub(super) async fn one_function(target: Target) {
    store(&target, 1, &generate::expensive_list(1_300_000)).await;
}

pub(super) async fn forty(target: Target) {
    store(&target, 40, &generate::expensive_list(100_000)).await;
}

pub(super) async fn plain_texts(target: Target) {
    store(&target, 50, &generate::plain_text(1_400_000)).await;
}

pub(super) async fn empty_items(target: Target) {
    let path = format!("{}?dryRun=All", target.path("functions"));
    let meshes = format!("{}?dryRun=All", target.path("functionmeshes"));
    let items = generate::repeated("{}", 1_000_000);
    let list = items.trim_start_matches('[').trim_end_matches(']');
    let pods = ["volumes", "tolerations", "sidecars", "initContainers", "env", "imagePullSecrets"];
    let mut inputs = vec![
        (meshes.clone(), generate::mesh("m", "", list, "")),
        (meshes, generate::mesh("m", "", "", list)),
        (path.clone(), generate::function("f", "", &format!(r#","volumeMounts":{items}"#))),
    ];
    for field in pods {
        let spec = format!(r#","pod":{{"{field}":{items}}}"#);
        inputs.push((path.clone(), generate::function("f", "", &spec)));
    }
    let work = (0..2_usize).map(|worker| {
        let (target, inputs) = (&target, &inputs);
        async move {
            for (path, body) in inputs.iter().cycle().skip(worker) {
                if target.is_over() {
                    return;
                }
                target.create(&target.mallory, path, body.clone(), REQUEST_TIMEOUT).await;
            }
        }
    });
    join_all(work).await;
    // Send the same to the webhook directly: the API server's schema rejects some of them first.
    let review = |object: &str| {
        format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","operation":"CREATE","object":{object}}}}}"#
        )
    };
    let bodies: Vec<_> = inputs.iter().map(|(_, body)| review(body).into_bytes()).collect();
    if let Ok(client) = RawClient::new(target.webhook, b"http/1.1") {
        for body in &bodies {
            let answer = tokio::time::timeout(REQUEST_TIMEOUT, client.post(body)).await;
            target.count(format!("post {}", answer.ok().and_then(Result::ok).unwrap_or_default()));
        }
    }
}
