//! Certificates of the program's own making, with a real API server that trusts them or does not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so when it fails")]

mod load;
mod rights;
mod tls;
mod world;

use anyhow::ensure;
use function_mesh_testkit::{SECONDS_30, eventually};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use world::{Lives, Nothing, SECRET, World};

/// How many certificates a text holds.
fn count(pem: &str) -> usize {
    pem.matches("BEGIN CERTIFICATE").count()
}

fn der(pem: &str) -> anyhow::Result<Vec<u8>> {
    Ok(CertificateDer::from_pem_slice(pem.as_bytes())?.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_agree_and_the_bundle_is_put_back() -> Nothing {
    let world = World::new("agree").await?;
    world.put_secret(&[]).await?;
    world.configure().await?;
    let kubeconfig = world.plane.kubeconfig();
    let (one, two) =
        tokio::try_join!(world.replica(kubeconfig, &Lives::LONG), world.replica(kubeconfig, &Lives::LONG))?;
    one.is_ready().await?;
    two.is_ready().await?;
    world.trusts().await?;
    world.admits().await?;
    assert_eq!(count(&world.entry("ca.crt").await?), 1);
    let served = der(&world.entry("tls.crt").await?)?;
    assert_eq!((one.served().await?, two.served().await?), (served.clone(), served));
    let mut made = 0;
    for replica in [&one, &two] {
        made += replica.metric("function_mesh_authority_steps_total{step=\"all\"}").await?;
        eventually(SECONDS_30, async || {
            ensure!(replica.metric("function_mesh_authority_trusted").await? == 1, "not trusted");
            Ok(())
        })
        .await?;
    }
    assert_eq!(made, 1, "one of them made it");

    world.wipe_bundles().await?;
    world.trusts().await?;
    world.admits().await?;

    // Nothing but the bundles is this program's.
    let api = Api::<MutatingWebhookConfiguration>::all(world.client.clone());
    let managed = api.get(&world.mutating()).await?.metadata.managed_fields.unwrap_or_default();
    let own = managed.iter().filter(|it| it.manager.as_deref() == Some("functionmesh.io/authority"));
    let own = serde_json::to_string(&own.map(|it| &it.fields_v1).collect::<Vec<_>>())?;
    for (field, times) in [("f:caBundle", 5), ("f:clientConfig", 5), ("f:name", 5), ("f:", 16)] {
        assert_eq!(own.matches(field).count(), times, "{field}: {own}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_is_not_missed_and_comes_back_to_what_is_there() -> Nothing {
    let world = World::new("killed").await?;
    world.put_secret(&[]).await?;
    world.configure().await?;
    let kubeconfig = world.plane.kubeconfig();
    let one = world.replica(kubeconfig, &Lives::SHORT).await?;
    let two = world.replica(kubeconfig, &Lives::SHORT).await?;
    two.is_ready().await?;
    let first = world.entry("authority.crt").await?;
    one.kill(&world);
    eventually(SECONDS_30, async || {
        ensure!(world.entry("authority.crt").await? != first, "the authority is the first");
        Ok(())
    })
    .await?;
    world.admits().await?;
    let one = world.replica(kubeconfig, &Lives::SHORT).await?;
    one.is_ready().await?;
    eventually(SECONDS_30, async || {
        let served = der(&world.entry("tls.crt").await?)?;
        ensure!(one.served().await? == served && two.served().await? == served, "they differ");
        Ok(())
    })
    .await?;
    world.admits().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_somebody_else_is_left_alone() -> Nothing {
    let world = World::new("foreign").await?;
    world.put_secret(&[("password", "secret")]).await?;
    world.configure().await?;
    let before = world.secret().await?;
    let replica = world.replica(world.plane.kubeconfig(), &Lives::LONG).await?;
    eventually(SECONDS_30, async || {
        ensure!(replica.metric("function_mesh_authority_failures_total").await? >= 2, "none");
        Ok(())
    })
    .await?;
    assert_eq!(replica.readiness().await?, "not ready: certificate\n");
    assert!(replica.served().await.is_err(), "nothing is served");
    assert_eq!(world.secret().await?, before);
    assert!(world.bundles().await?.iter().all(String::is_empty));
    // Once it is emptied it may be used.
    world.put_secret(&[]).await?;
    replica.is_ready().await?;
    world.admits().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spoilt_secret_is_mended_and_an_emptied_one_brings_a_new_authority() -> Nothing {
    let world = World::new("spoilt").await?;
    world.put_secret(&[("authority.crt", "no certificate"), ("authority.key", "no key")]).await?;
    world.configure().await?;
    let replica = world.replica(world.plane.kubeconfig(), &Lives::LONG).await?;
    replica.is_ready().await?;
    world.trusts().await?;
    let first = world.entry("authority.crt").await?;
    let served = world.entry("tls.crt").await?;

    // The certificate alone is spoilt: the authority stays.
    let key = world.entry("authority.key").await?;
    world.put_secret(&[("authority.crt", &first), ("authority.key", &key), ("tls.crt", "x")]).await?;
    eventually(SECONDS_30, async || {
        let now = world.entry("tls.crt").await?;
        ensure!(now != served && replica.served().await? == der(&now)?, "not mended");
        Ok(())
    })
    .await?;
    assert_eq!(world.entry("authority.crt").await?, first);

    world.secrets().delete(SECRET, &kube::api::DeleteParams::default()).await?;
    eventually(SECONDS_30, async || {
        ensure!(world.entry("ca.crt").await?.starts_with(&first), "the old one is trusted no longer");
        ensure!(count(&world.entry("ca.crt").await?) == 2, "the new one is not trusted");
        Ok(())
    })
    .await?;
    eventually(SECONDS_30, async || {
        let (now, trusted) = (world.entry("authority.crt").await?, world.entry("ca.crt").await?);
        ensure!(now != first && trusted == now, "not done");
        Ok(())
    })
    .await?;
    world.trusts().await?;
    world.admits().await
}
