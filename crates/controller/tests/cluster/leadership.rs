//! Leadership does not overlap, and does not depend on what reconciles do.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use function_mesh_api::Function;
use function_mesh_controller::{Options, Protected, run, run_on};
use function_mesh_kube::leader_election::{Candidate, LEASE_DURATION, RENEW_DEADLINE};
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_serving::Readiness;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_testkit::{SECONDS_10, SECONDS_30, eventually, fixtures};
use k8s_openapi::api::coordination::v1::Lease;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;

use crate::line::{Fault, Line};
use crate::world::{Nothing, World};

fn options(world: &World, identity: &str) -> Options {
    Options {
        settings: world.settings.clone(),
        namespaces: Namespaces::one(&world.namespace),
        protected: Protected::default(),
        concurrency: 4,
        pause_rollout: false,
        candidate: Some(Candidate {
            namespace: world.namespace.clone(),
            lease: "leader".to_owned(),
            identity: identity.to_owned(),
        }),
    }
}

async fn start(world: &World, identity: &str, line: &Line) -> anyhow::Result<JoinHandle<Nothing>> {
    let (client, options) = (line.client(world.plane.config().await?)?, options(world, identity));
    let end = CancellationToken::new();
    Ok(tokio::spawn(async move {
        run(client, options, &prometheus::Registry::new(), &Readiness::new(end.clone()), end).await
    }))
}

async fn leads(world: &World, identity: &str, within: Duration) -> Nothing {
    eventually(within, async || {
        let lease: Lease = world.get("leader").await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        ensure!(holder.as_deref() == Some(identity), "{holder:?} leads");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_other_begins_after_a_leader_whose_lease_requests_are_held_has_stopped() -> Nothing {
    let world = World::without_controller("held").await?;
    let (first, second) = (Line::default(), Line::default());
    let leading = start(&world, "first", &first).await?;
    leads(&world, "first", SECONDS_10).await?;
    let waiting = start(&world, "second", &second).await?;
    // There is something to write all the time.
    let functions = world.client.clone();
    let namespace = world.namespace.clone();
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
    let ended = tokio::time::timeout(SECONDS_30, leading).await.context("it goes on")??;
    let error = ended.err().context("it ended without an error")?.to_string();
    ensure!(error.contains("failed to renew the lease within 8s"), "{error}");
    eventually(SECONDS_30, async || {
        ensure!(!second.writes().is_empty(), "the other one has not begun");
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
    // Half a second for the way of the requests.
    let gap = begun.duration_since(last) + Duration::from_millis(500) + RENEW_DEADLINE;
    ensure!(gap >= LEASE_DURATION, "only {:?} between them", begun.duration_since(last));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_reconcile_threads_are_all_blocked_renews_its_lease() -> Nothing {
    const THREADS: usize = 2;
    let world = World::without_controller("blocked").await?;
    let back = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let client = || async {
        let config = world.plane.config().await?;
        anyhow::Ok(Line::default().client(config)?)
    };
    let election_client = client().await?;
    let work_client = {
        let config = world.plane.config().await?;
        let _runtime = back.enter();
        Line::default().client(config)?
    };
    let (options, handle, end) =
        (options(&world, "blocked"), back.handle().clone(), CancellationToken::new());
    let leading = tokio::spawn(async move {
        let (registry, readiness) = (prometheus::Registry::new(), Readiness::new(end.clone()));
        run_on((&handle, work_client), election_client, options, &registry, &readiness, end).await
    });
    leads(&world, "blocked", SECONDS_10).await?;
    let blocked = LEASE_DURATION + Duration::from_secs(4);
    for _ in 0..THREADS {
        back.spawn(async move { std::thread::sleep(blocked) });
    }
    let other = start(&world, "other", &Line::default()).await?;
    tokio::time::sleep(blocked).await;
    leads(&world, "blocked", Duration::from_secs(1)).await?;
    ensure!(!leading.is_finished(), "it lost the lease");
    leading.abort();
    other.abort();
    back.shutdown_background();
    Ok(())
}
