//! Self-signed certificates with a real API server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod harness;
mod load;
mod permissions;
mod tls;

use anyhow::ensure;
use function_mesh_testkit::{PATIENCE, eventually};
use harness::{Harness, SECRET, Validity};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Number of certificates in a PEM text.
fn count(pem: &str) -> usize {
    pem.matches("BEGIN CERTIFICATE").count()
}

fn der(pem: &str) -> anyhow::Result<Vec<u8>> {
    Ok(CertificateDer::from_pem_slice(pem.as_bytes())?.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_agree_and_restore_the_bundle() -> anyhow::Result<()> {
    let harness = Harness::new("agree").await?;
    harness.put_secret(&[]).await?;
    harness.configure().await?;
    let kubeconfig = harness.plane.kubeconfig();
    let (one, two) = tokio::try_join!(
        harness.replica(kubeconfig, &Validity::LONG),
        harness.replica(kubeconfig, &Validity::LONG)
    )?;
    one.is_ready().await?;
    two.is_ready().await?;
    harness.wait_in_sync().await?;
    harness.wait_admits().await?;
    assert_eq!(count(&harness.entry("ca.crt").await?), 1);
    let served = der(&harness.entry("tls.crt").await?)?;
    assert_eq!((one.served().await?, two.served().await?), (served.clone(), served));
    let mut bootstraps = 0;
    for replica in [&one, &two] {
        bootstraps += replica.metric("function_mesh_webhook_ca_rotations_total{step=\"bootstrap\"}").await?;
        eventually(PATIENCE, async || {
            ensure!(replica.metric("function_mesh_webhook_ca_bundle_in_sync").await? == 1, "not in sync");
            Ok(())
        })
        .await?;
    }
    assert_eq!(bootstraps, 1, "only one replica bootstraps");

    harness.wipe_bundles().await?;
    harness.wait_in_sync().await?;
    harness.wait_admits().await?;

    // The webhook owns no field but caBundle.
    let api = Api::<MutatingWebhookConfiguration>::all(harness.client.clone());
    let managed = api.get(&harness.mutating()).await?.metadata.managed_fields.unwrap_or_default();
    let own = managed.iter().filter(|it| it.manager.as_deref() == Some("functionmesh.io/cert-rotator"));
    let own = serde_json::to_string(&own.map(|it| &it.fields_v1).collect::<Vec<_>>())?;
    for (field, times) in [("f:caBundle", 5), ("f:clientConfig", 5), ("f:name", 5), ("f:", 16)] {
        assert_eq!(own.matches(field).count(), times, "{field}: {own}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_replica_rejoins_after_a_rotation() -> anyhow::Result<()> {
    let harness = Harness::new("killed").await?;
    harness.put_secret(&[]).await?;
    harness.configure().await?;
    let kubeconfig = harness.plane.kubeconfig();
    let one = harness.replica(kubeconfig, &Validity::SHORT).await?;
    let two = harness.replica(kubeconfig, &Validity::SHORT).await?;
    two.is_ready().await?;
    let first = harness.entry("current-ca.crt").await?;
    one.kill(&harness);
    eventually(PATIENCE, async || {
        ensure!(harness.entry("current-ca.crt").await? != first, "not rotated");
        Ok(())
    })
    .await?;
    harness.wait_admits().await?;
    let one = harness.replica(kubeconfig, &Validity::SHORT).await?;
    one.is_ready().await?;
    eventually(PATIENCE, async || {
        let served = der(&harness.entry("tls.crt").await?)?;
        ensure!(one.served().await? == served && two.served().await? == served, "replicas differ");
        Ok(())
    })
    .await?;
    harness.wait_admits().await
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_of_another_program_is_not_changed() -> anyhow::Result<()> {
    let harness = Harness::new("foreign").await?;
    harness.put_secret(&[("password", "secret")]).await?;
    harness.configure().await?;
    let before = harness.secret().await?;
    let replica = harness.replica(harness.plane.kubeconfig(), &Validity::LONG).await?;
    eventually(PATIENCE, async || {
        ensure!(
            replica.metric("function_mesh_webhook_ca_rotation_failures_total").await? >= 2,
            "no failures"
        );
        Ok(())
    })
    .await?;
    assert_eq!(replica.readiness().await?, "not ready: certificate\n");
    assert!(replica.served().await.is_err(), "nothing is served");
    assert_eq!(harness.secret().await?, before);
    assert!(harness.bundles().await?.iter().all(String::is_empty));
    // An emptied Secret is adopted.
    harness.put_secret(&[]).await?;
    replica.is_ready().await?;
    harness.wait_admits().await
}

#[tokio::test(flavor = "multi_thread")]
async fn corrupt_secret_is_repaired_and_deleted_one_rotates() -> anyhow::Result<()> {
    let harness = Harness::new("spoilt").await?;
    harness.put_secret(&[("current-ca.crt", "no certificate"), ("current-ca.key", "no key")]).await?;
    harness.configure().await?;
    let replica = harness.replica(harness.plane.kubeconfig(), &Validity::LONG).await?;
    replica.is_ready().await?;
    harness.wait_in_sync().await?;
    let first = harness.entry("current-ca.crt").await?;
    let served = harness.entry("tls.crt").await?;

    // Only the serving certificate is corrupt: the CA stays.
    let key = harness.entry("current-ca.key").await?;
    harness.put_secret(&[("current-ca.crt", &first), ("current-ca.key", &key), ("tls.crt", "x")]).await?;
    eventually(PATIENCE, async || {
        let now = harness.entry("tls.crt").await?;
        ensure!(now != served && replica.served().await? == der(&now)?, "not repaired");
        Ok(())
    })
    .await?;
    assert_eq!(harness.entry("current-ca.crt").await?, first);

    harness.secrets().delete(SECRET, &kube::api::DeleteParams::default()).await?;
    eventually(PATIENCE, async || {
        ensure!(harness.entry("ca.crt").await?.starts_with(&first), "the old CA is not trusted");
        ensure!(count(&harness.entry("ca.crt").await?) == 2, "the new CA is not trusted");
        Ok(())
    })
    .await?;
    eventually(PATIENCE, async || {
        let (now, trusted) = (harness.entry("current-ca.crt").await?, harness.entry("ca.crt").await?);
        ensure!(now != first && trusted == now, "not done");
        Ok(())
    })
    .await?;
    harness.wait_in_sync().await?;
    harness.wait_admits().await
}
