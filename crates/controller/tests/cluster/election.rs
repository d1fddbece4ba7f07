//! Of several controllers one acts.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use function_mesh_api::Function;
use function_mesh_controller::{Options, Protected, run};
use function_mesh_kube::leader_election::Candidate;
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_serving::Readiness;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_testkit::{Recorder, SECONDS_10, SECONDS_30, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use tokio::task::JoinHandle;

use crate::world::{Nothing, World};

/// What nobody should wait longer for than this after a leader was killed.
const TAKEOVER: Duration = Duration::from_secs(15);

struct Replica {
    writes: Recorder,
    end: CancellationToken,
    readiness: Readiness,
    task: JoinHandle<Nothing>,
}

async fn replica(world: &World, identity: &str) -> anyhow::Result<Replica> {
    let writes = Recorder::default();
    let client = writes.client(world.plane.config().await?)?;
    let candidate = Candidate {
        namespace: world.namespace.clone(),
        lease: "leader".to_owned(),
        identity: identity.to_owned(),
    };
    let options = Options {
        settings: world.settings.clone(),
        namespaces: Namespaces::one(&world.namespace),
        protected: Protected::default(),
        concurrency: 4,
        pause_rollout: false,
        candidate: Some(candidate),
    };
    let end = CancellationToken::new();
    let readiness = Readiness::new(end.clone());
    let (token, ready) = (end.clone(), readiness.clone());
    let task =
        tokio::spawn(async move { run(client, options, &prometheus::Registry::new(), &ready, token).await });
    Ok(Replica { writes, end, readiness, task })
}

impl Replica {
    /// Kinds of objects that it wrote, the Lease apart.
    fn wrote(&self) -> BTreeSet<String> {
        self.writes.take().into_iter().map(|write| write.resource).filter(|kind| kind != "leases").collect()
    }
}

async fn leader(world: &World) -> anyhow::Result<String> {
    let lease: Lease = world.get("leader").await?;
    Ok(lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default())
}

#[tokio::test]
async fn one_acts_and_the_other_takes_over_when_it_is_killed_or_goes() -> Nothing {
    let world = World::without_controller("election").await?;
    let first = replica(&world, "first").await?;
    eventually(SECONDS_10, async || {
        ensure!(leader(&world).await? == "first");
        Ok(())
    })
    .await?;
    let second = replica(&world, "second").await?;
    world.apply::<Function>(&fixtures::function(fixtures::python_function("a"))?).await?;
    world.appears::<StatefulSet>("a-function").await?;
    eventually(SECONDS_10, async || {
        ensure!(second.readiness.missing().is_empty(), "{:?}", second.readiness.missing());
        Ok(())
    })
    .await
    .context("one that waits is ready")?;
    let written = second.wrote();
    ensure!(written.is_empty(), "one that waits wrote {written:?}");

    // As kill -9 would: nothing is given back.
    first.task.abort();
    let killed = Instant::now();
    world.apply::<Function>(&fixtures::function(fixtures::python_function("b"))?).await?;
    eventually(SECONDS_30, async || world.get::<StatefulSet>("b-function").await).await?;
    let taken = killed.elapsed();
    println!("taken over after {:.1} s", taken.as_secs_f64());
    ensure!(taken <= TAKEOVER, "taken over after {taken:?}");
    ensure!(leader(&world).await? == "second");

    // In good order: the next one need not wait.
    let third = replica(&world, "third").await?;
    second.end.cancel();
    second.task.await??;
    let given = Instant::now();
    eventually(SECONDS_10, async || {
        ensure!(leader(&world).await? == "third");
        Ok(())
    })
    .await?;
    println!("handed over after {:.1} s", given.elapsed().as_secs_f64());
    third.end.cancel();
    third.task.await?
}

#[tokio::test]
async fn a_leader_whose_lease_is_taken_ends_and_writes_no_more() -> Nothing {
    let world = World::without_controller("deposed").await?;
    let replica = replica(&world, "old").await?;
    eventually(SECONDS_10, async || {
        ensure!(leader(&world).await? == "old");
        Ok(())
    })
    .await?;
    world.patch::<Lease>("leader", serde_json::json!({ "spec": { "holderIdentity": "new" } })).await?;
    let ended = tokio::time::timeout(SECONDS_10, replica.task).await.context("it goes on")??;
    let error = ended.err().context("it ended without an error")?;
    ensure!(error.to_string().contains("\"new\" took over the lease"), "{error}");
    replica.writes.take();
    world.apply::<Function>(&fixtures::function(fixtures::python_function("a"))?).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(replica.writes.is_empty() && world.find::<StatefulSet>("a-function").await?.is_none());
    Ok(())
}
