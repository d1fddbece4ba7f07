//! New certificates while the API server asks the webhook about 200 objects at a time, on real pods: none of the
//! requests may fail, whoever makes the certificates. How long they took is printed, with and without.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_e2e::{OPERATOR, Story};
use function_mesh_testkit::{Load, LoadReport};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_mins(2);
const WITHOUT: Duration = Duration::from_secs(6);

/// When the certificates that the webhook's pods serve end, in seconds since 1970: as the pods themselves say.
async fn served(story: &Story) -> Result<BTreeSet<String>> {
    let mut served = BTreeSet::new();
    for name in webhooks(story).await? {
        let path = format!("/api/v1/namespaces/{OPERATOR}/pods/{name}:8443/proxy/metrics");
        let request = http::Request::get(path).body(Vec::new())?;
        let metrics = story.world.client.request_text(request).await?;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("function_mesh_certificate_expiration_timestamp_seconds"));
        served.insert(line.context("a webhook serves no certificate")?.to_owned());
    }
    Ok(served)
}

async fn webhooks(story: &Story) -> Result<Vec<String>> {
    let pods = Api::<Pod>::namespaced(story.world.client.clone(), OPERATOR);
    let label = ListParams::default().labels("app.kubernetes.io/component=admission-webhook");
    let pods = pods.list(&label).await?.into_iter();
    Ok(pods.filter(|pod| pod.metadata.deletion_timestamp.is_none()).map(|pod| pod.name_any()).collect())
}

async fn loaded(story: &Story, title: &str, meanwhile: impl Future<Output = ()>) -> Result<LoadReport> {
    let report = Load::new(story.world.config.clone(), &story.namespace).run(title, meanwhile).await?;
    ensure!(report.failures.is_empty(), "{title}: {:?}", report.failures);
    Ok(report)
}

/// Deletes the certificate, as somebody would who wants a new one, and waits until all pods serve another.
async fn renewed_by_cert_manager(story: &Story) -> Result<()> {
    let before = served(story).await?;
    let secret = "function-mesh-admission-webhook-server-cert";
    let secrets = Api::<Secret>::namespaced(story.world.client.clone(), OPERATOR);
    let old = secrets.get(secret).await?.uid();
    secrets.delete(secret, &kube::api::DeleteParams::default()).await?;
    let made = async || {
        let new = secrets.get_opt(secret).await?;
        Ok(new
            .is_some_and(|new| new.uid() != old && new.data.is_some_and(|data| data.contains_key("tls.crt"))))
    };
    story.eventually("cert-manager makes another certificate", PATIENCE, made).await?;
    // A kubelet looks for new contents of volumes about once a minute, and whenever something about a pod changes.
    let pods = Api::<Pod>::namespaced(story.world.client.clone(), OPERATOR);
    let look = json!({ "metadata": { "annotations": { "e2e/look": old } } });
    for name in webhooks(story).await? {
        pods.patch(&name, &PatchParams::default(), &Patch::Merge(&look)).await?;
    }
    let taken_up = async || Ok(served(story).await?.is_disjoint(&before));
    story.eventually("all pods serve it", PATIENCE, taken_up).await?;
    // Connections that were open go on with it; new ones must hold as well.
    sleep(Duration::from_secs(3)).await;
    Ok(())
}

async fn replaced_and_renewed(story: &Story, values: &[&str]) -> Result<()> {
    story.world.install("helm", values).await?;
    let before = served(story).await?;
    let renewed = async || Ok(served(story).await?.is_disjoint(&before));
    story.eventually("the webhook renews its certificate", PATIENCE, renewed).await?;
    sleep(Duration::from_secs(3)).await;
    Ok(())
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "the figures are for people")]
async fn certificates_of_cert_manager_are_renewed_under_load_without_a_failed_request() -> Result<()> {
    Story::tell("renewed", async |story| {
        let without = loaded(story, "cert-manager, without rotation", sleep(WITHOUT)).await?;
        let mut result = Ok(());
        let with = loaded(story, "cert-manager, with rotation", async {
            result = renewed_by_cert_manager(story).await;
        })
        .await?;
        result?;
        println!("{}\n{without}\n{with}", LoadReport::HEAD);
        Ok(())
    })
    .await
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "the figures are for people")]
async fn certificates_of_the_webhooks_own_are_renewed_under_load_without_a_failed_request() -> Result<()> {
    Story::tell("own", async |story| {
        let provider = "admissionWebhook.certificate.provider=self-signed";
        story.world.install("helm", &[provider]).await?;
        let without = loaded(story, "self-signed, without rotation", sleep(WITHOUT)).await?;
        // Other pods, whose certificates are renewed after 20 seconds. Another authority takes minutes, since all must
        // have heard of it: the webhook's own tests do that, with shorter times.
        let mut result = Ok(());
        let with = loaded(story, "self-signed, with other pods and rotation", async {
            result =
                replaced_and_renewed(story, &[provider, "admissionWebhook.certificate.duration=30s"]).await;
        })
        .await?;
        result?;
        println!("{}\n{without}\n{with}", LoadReport::HEAD);
        story.world.install("helm", &[]).await
    })
    .await
}
