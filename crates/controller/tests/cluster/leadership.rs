//! Leadership never overlaps, and does not depend on reconciles.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use function_mesh_api::Function;
use function_mesh_controller::run_on;
use function_mesh_kube::leader_election::{LEASE_DURATION, RENEW_DEADLINE};
use function_mesh_serving::Readiness;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_testkit::{ControllerHarness, PATIENCE, TestNamespace, eventually, fixtures};
use k8s_openapi::api::coordination::v1::Lease;
use tokio::runtime::Builder;

use crate::connection::{Connection, Fault};
use crate::election::candidate;
use crate::harness::TestResult;

async fn start(
    test: &TestNamespace,
    identity: &str,
    connection: &Connection,
) -> anyhow::Result<ControllerHarness> {
    let client = connection.client(test.plane.config().await?)?;
    Ok(ControllerHarness::start(client, candidate(test, identity, None)))
}

async fn leads(test: &TestNamespace, identity: &str, within: Duration) -> TestResult {
    eventually(within, async || {
        let lease: Lease = test.get("leader").await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        ensure!(holder.as_deref() == Some(identity), "{holder:?} leads");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn follower_leads_after_a_stalled_leader_stopped() -> TestResult {
    let test = TestNamespace::new("held").await?;
    let (first, second) = (Connection::default(), Connection::default());
    let leading = start(&test, "first", &first).await?;
    leads(&test, "first", PATIENCE).await?;
    let waiting = start(&test, "second", &second).await?;
    // Causes continuous writes.
    let namespace = test.clone();
    let busy = tokio::spawn(async move {
        for index in 0.. {
            let function: Function = fixtures::function(fixtures::python_function(&format!("f{index}")))?;
            namespace.apply(&function).await?;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        anyhow::Ok(())
    });
    // The Lease may name it before it knows that it leads.
    eventually(PATIENCE, async || {
        ensure!(!first.writes().is_empty(), "the leader writes nothing");
        Ok(())
    })
    .await?;
    first.fault("/leases/", Fault::Hold);
    let held = Instant::now();
    let error = leading.ends().await.err().context("it returned without an error")?.to_string();
    ensure!(error.contains("failed to renew the lease within 8s"), "{error}");
    eventually(PATIENCE, async || {
        ensure!(!second.writes().is_empty(), "the follower does not lead yet");
        Ok(())
    })
    .await?;
    busy.abort();
    waiting.kill().await;
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
    let test = TestNamespace::new("blocked").await?;
    let back = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let client = || async {
        let config = test.plane.config().await?;
        anyhow::Ok(Connection::default().client(config)?)
    };
    let election_client = client().await?;
    let work_client = {
        let config = test.plane.config().await?;
        let _runtime = back.enter();
        Connection::default().client(config)?
    };
    let (options, handle, end) =
        (candidate(&test, "blocked", None), back.handle().clone(), CancellationToken::new());
    let leading = tokio::spawn(async move {
        let (registry, readiness) = (prometheus::Registry::new(), Readiness::new(end.clone()));
        run_on((&handle, work_client), election_client, options, &registry, &readiness, end).await
    });
    leads(&test, "blocked", PATIENCE).await?;
    let blocked = LEASE_DURATION + Duration::from_secs(4);
    for _ in 0..THREADS {
        back.spawn(async move { std::thread::sleep(blocked) });
    }
    let other = start(&test, "other", &Connection::default()).await?;
    tokio::time::sleep(blocked).await;
    leads(&test, "blocked", Duration::from_secs(1)).await?;
    ensure!(!leading.is_finished(), "it must lose the lease");
    leading.abort();
    other.kill().await;
    back.shutdown_background();
    Ok(())
}
