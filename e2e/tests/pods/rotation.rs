//! Rotation of certificates while the API server sends the webhook 200 concurrent reviews: none may fail, with either
//! provider of certificates. The output compares latencies with and without a rotation.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_e2e::{OPERATOR, Scenario};
use function_mesh_testkit::{Load, LoadReport};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::sleep;

const TIMEOUT: Duration = Duration::from_mins(2);
const WITHOUT: Duration = Duration::from_secs(6);

/// When the certificates that the webhook's pods serve end, in seconds since 1970: as the pods themselves say.
async fn served(scenario: &Scenario) -> Result<BTreeSet<String>> {
    let mut served = BTreeSet::new();
    for name in webhooks(scenario).await? {
        let path = format!("/api/v1/namespaces/{OPERATOR}/pods/{name}:8443/proxy/metrics");
        let request = http::Request::get(path).body(Vec::new())?;
        let metrics = scenario.harness.client.request_text(request).await?;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("function_mesh_certificate_expiration_timestamp_seconds"));
        served.insert(line.context("a webhook serves no certificate")?.to_owned());
    }
    Ok(served)
}

async fn webhooks(scenario: &Scenario) -> Result<Vec<String>> {
    let pods = Api::<Pod>::namespaced(scenario.harness.client.clone(), OPERATOR);
    let label = ListParams::default().labels("app.kubernetes.io/component=admission-webhook");
    let pods = pods.list(&label).await?.into_iter();
    Ok(pods.filter(|pod| pod.metadata.deletion_timestamp.is_none()).map(|pod| pod.name_any()).collect())
}

async fn loaded(scenario: &Scenario, title: &str, meanwhile: impl Future<Output = ()>) -> Result<LoadReport> {
    let report =
        Load::new(scenario.harness.config.clone(), &scenario.namespace).run(title, meanwhile).await?;
    ensure!(report.failures.is_empty(), "{title}: {:?}", report.failures);
    Ok(report)
}

/// Deletes the certificate, as a user does for a new one, and waits until all pods serve the new one.
async fn renewed_by_cert_manager(scenario: &Scenario) -> Result<()> {
    let before = served(scenario).await?;
    let secret = "function-mesh-admission-webhook-server-cert";
    let secrets = Api::<Secret>::namespaced(scenario.harness.client.clone(), OPERATOR);
    let old = secrets.get(secret).await?.uid();
    secrets.delete(secret, &kube::api::DeleteParams::default()).await?;
    let made = async || {
        let new = secrets.get_opt(secret).await?;
        Ok(new
            .is_some_and(|new| new.uid() != old && new.data.is_some_and(|data| data.contains_key("tls.crt"))))
    };
    scenario.eventually("cert-manager makes another certificate", TIMEOUT, made).await?;
    // A kubelet looks for new contents of volumes about once a minute, and whenever something about a pod changes.
    let pods = Api::<Pod>::namespaced(scenario.harness.client.clone(), OPERATOR);
    let look = json!({ "metadata": { "annotations": { "e2e/look": old } } });
    for name in webhooks(scenario).await? {
        pods.patch(&name, &PatchParams::default(), &Patch::Merge(&look)).await?;
    }
    let taken_up = async || Ok(served(scenario).await?.is_disjoint(&before));
    scenario.eventually("all pods serve it", TIMEOUT, taken_up).await?;
    // Open connections keep the old certificate; new connections must work as well.
    sleep(Duration::from_secs(3)).await;
    Ok(())
}

async fn replaced_and_renewed(scenario: &Scenario, values: &[&str]) -> Result<()> {
    scenario.harness.install("helm", values).await?;
    let before = served(scenario).await?;
    let renewed = async || Ok(served(scenario).await?.is_disjoint(&before));
    scenario.eventually("the webhook renews its certificate", TIMEOUT, renewed).await?;
    sleep(Duration::from_secs(3)).await;
    Ok(())
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "the figures are for people")]
async fn certificates_of_cert_manager_are_renewed_under_load_without_a_failed_request() -> Result<()> {
    Scenario::run("renewed", async |scenario| {
        let without = loaded(scenario, "cert-manager, without rotation", sleep(WITHOUT)).await?;
        let mut result = Ok(());
        let with = loaded(scenario, "cert-manager, with rotation", async {
            result = renewed_by_cert_manager(scenario).await;
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
    Scenario::run("own", async |scenario| {
        let provider = "admissionWebhook.certificate.provider=self-signed";
        scenario.harness.install("helm", &[provider]).await?;
        let without = loaded(scenario, "self-signed, without rotation", sleep(WITHOUT)).await?;
        // Pods whose certificates are renewed after 20 seconds. A rotation of the CA takes minutes; the webhook's own tests
        // cover it with shorter periods.
        let mut result = Ok(());
        let with = loaded(scenario, "self-signed, with other pods and rotation", async {
            result = replaced_and_renewed(scenario, &[provider, "admissionWebhook.certificate.duration=30s"])
                .await;
        })
        .await?;
        result?;
        println!("{}\n{without}\n{with}", LoadReport::HEAD);
        scenario.harness.install("helm", &[]).await
    })
    .await
}
