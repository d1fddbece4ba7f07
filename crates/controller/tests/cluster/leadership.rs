//! Leadership never overlaps, and does not depend on reconciles.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use function_mesh_api::Function;
use function_mesh_controller::{Options, ProtectedNamespaces, run, run_on};
use function_mesh_kube::leader_election::{Candidate, LEASE_DURATION, RENEW_DEADLINE};
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_serving::Readiness;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_testkit::{PATIENCE, eventually, fixtures};
use k8s_openapi::api::coordination::v1::Lease;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;

use crate::connection::{Connection, Fault};
use crate::harness::{Harness, TestResult};

fn options(harness: &Harness, identity: &str) -> Options {
    Options {
        settings: harness.settings.clone(),
        namespaces: Namespaces::single(&harness.namespace),
        protected: ProtectedNamespaces::default(),
        concurrency: 4,
        pause_rollout: false,
        publish_settings: None,
        observer: None,
        candidate: Some(Candidate {
            namespace: harness.namespace.clone(),
            lease: "leader".to_owned(),
            identity: identity.to_owned(),
            owner: None,
        }),
    }
}

async fn start(
    harness: &Harness,
    identity: &str,
    connection: &Connection,
) -> anyhow::Result<JoinHandle<TestResult>> {
    let (client, options) = (connection.client(harness.plane.config().await?)?, options(harness, identity));
    let end = CancellationToken::new();
    Ok(tokio::spawn(async move {
        run(client, options, &prometheus::Registry::new(), &Readiness::new(end.clone()), end).await
    }))
}

async fn leads(harness: &Harness, identity: &str, within: Duration) -> TestResult {
    eventually(within, async || {
        let lease: Lease = harness.get("leader").await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        ensure!(holder.as_deref() == Some(identity), "{holder:?} leads");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn follower_leads_after_a_stalled_leader_stopped() -> TestResult {
    let harness = Harness::without_controller("held").await?;
    let (first, second) = (Connection::default(), Connection::default());
    let leading = start(&harness, "first", &first).await?;
    leads(&harness, "first", PATIENCE).await?;
    let waiting = start(&harness, "second", &second).await?;
    // Causes continuous writes.
    let functions = harness.client.clone();
    let namespace = harness.namespace.clone();
    let busy = tokio::spawn(async move {
        for index in 0.. {
            let function: Function = fixtures::function(fixtures::python_function(&format!("f{index}")))?;
            function_mesh_testkit::apply(&functions, &namespace, &function).await?;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        anyhow::Ok(())
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    first.fault("/leases/", Fault::Hold);
    let held = Instant::now();
    let ended = tokio::time::timeout(PATIENCE, leading).await.context("it did not stop")??;
    let error = ended.err().context("it returned without an error")?.to_string();
    ensure!(error.contains("failed to renew the lease within 8s"), "{error}");
    eventually(PATIENCE, async || {
        ensure!(!second.writes().is_empty(), "the follower does not lead yet");
        Ok(())
    })
    .await?;
    busy.abort();
    waiting.abort();
    let last = *first.writes().last().context("it never wrote")?;
    let begun = *second.writes().first().context("it never wrote")?;
    println!(
        "last write {:.2} s and the other's first {:.2} s after requests were held",
        last.duration_since(held).as_secs_f64(),
        begun.duration_since(held).as_secs_f64()
    );
    ensure!(last > held, "it did not write while it still led");
    ensure!(last.duration_since(held) <= RENEW_DEADLINE, "it wrote for too long");
    // Half a second for the latency of requests.
    let gap = begun.duration_since(last) + Duration::from_millis(500) + RENEW_DEADLINE;
    ensure!(gap >= LEASE_DURATION, "only {:?} between them", begun.duration_since(last));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocked_reconcile_threads_do_not_lose_the_lease() -> TestResult {
    const THREADS: usize = 2;
    let harness = Harness::without_controller("blocked").await?;
    let back = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let client = || async {
        let config = harness.plane.config().await?;
        anyhow::Ok(Connection::default().client(config)?)
    };
    let election_client = client().await?;
    let work_client = {
        let config = harness.plane.config().await?;
        let _runtime = back.enter();
        Connection::default().client(config)?
    };
    let (options, handle, end) =
        (options(&harness, "blocked"), back.handle().clone(), CancellationToken::new());
    let leading = tokio::spawn(async move {
        let (registry, readiness) = (prometheus::Registry::new(), Readiness::new(end.clone()));
        run_on((&handle, work_client), election_client, options, &registry, &readiness, end).await
    });
    leads(&harness, "blocked", PATIENCE).await?;
    let blocked = LEASE_DURATION + Duration::from_secs(4);
    for _ in 0..THREADS {
        back.spawn(async move { std::thread::sleep(blocked) });
    }
    let other = start(&harness, "other", &Connection::default()).await?;
    tokio::time::sleep(blocked).await;
    leads(&harness, "blocked", Duration::from_secs(1)).await?;
    ensure!(!leading.is_finished(), "it must lose the lease");
    leading.abort();
    other.abort();
    back.shutdown_background();
    Ok(())
}
