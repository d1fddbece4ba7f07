//! Leader election: one of several controllers is active.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use function_mesh_api::Function;
use function_mesh_controller::{Options, ProtectedNamespaces, run};
use function_mesh_kube::leader_election::Candidate;
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_kube::service_account;
use function_mesh_serving::Readiness;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_testkit::{PATIENCE, Recorder, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use tokio::task::JoinHandle;

use crate::harness::{Harness, TestResult};

/// Maximum time until another replica leads after a leader was killed.
const TAKEOVER: Duration = Duration::from_secs(15);

struct Replica {
    writes: Recorder,
    end: CancellationToken,
    readiness: Readiness,
    task: JoinHandle<TestResult>,
}

async fn replica(harness: &Harness, identity: &str) -> anyhow::Result<Replica> {
    replica_of(harness, identity, None).await
}

async fn replica_of(
    harness: &Harness,
    identity: &str,
    owner: Option<OwnerReference>,
) -> anyhow::Result<Replica> {
    let writes = Recorder::default();
    let client = writes.client(harness.plane.config().await?)?;
    let candidate = Candidate {
        namespace: harness.namespace.clone(),
        lease: "leader".to_owned(),
        identity: identity.to_owned(),
        owner,
    };
    let options = Options {
        settings: harness.settings.clone(),
        namespaces: Namespaces::single(&harness.namespace),
        protected: ProtectedNamespaces::default(),
        concurrency: 4,
        pause_rollout: false,
        candidate: Some(candidate),
        publish_settings: None,
        observer: None,
    };
    let end = CancellationToken::new();
    let readiness = Readiness::new(end.clone());
    let (token, ready) = (end.clone(), readiness.clone());
    let task =
        tokio::spawn(async move { run(client, options, &prometheus::Registry::new(), &ready, token).await });
    Ok(Replica { writes, end, readiness, task })
}

impl Replica {
    /// Kinds of the objects that it wrote, without the Lease.
    fn wrote(&self) -> BTreeSet<String> {
        self.writes.take().into_iter().map(|write| write.resource).filter(|kind| kind != "leases").collect()
    }
}

async fn leader(harness: &Harness) -> anyhow::Result<String> {
    let lease: Lease = harness.get("leader").await?;
    Ok(lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default())
}

#[tokio::test]
async fn follower_takes_over_after_kill_or_shutdown() -> TestResult {
    let harness = Harness::without_controller("election").await?;
    let first = replica(&harness, "first").await?;
    eventually(PATIENCE, async || {
        ensure!(leader(&harness).await? == "first");
        Ok(())
    })
    .await?;
    let second = replica(&harness, "second").await?;
    harness.apply::<Function>(&fixtures::function(fixtures::python_function("a"))?).await?;
    harness.appears::<StatefulSet>("a-function").await?;
    eventually(PATIENCE, async || {
        ensure!(second.readiness.missing().is_empty(), "{:?}", second.readiness.missing());
        Ok(())
    })
    .await
    .context("one that waits is ready")?;
    let written = second.wrote();
    ensure!(written.is_empty(), "one that waits wrote {written:?}");

    // As kill -9: the Lease is not released.
    first.task.abort();
    let killed = Instant::now();
    harness.apply::<Function>(&fixtures::function(fixtures::python_function("b"))?).await?;
    eventually(PATIENCE, async || harness.get::<StatefulSet>("b-function").await).await?;
    let taken = killed.elapsed();
    println!("taken over after {:.1} s", taken.as_secs_f64());
    ensure!(taken <= TAKEOVER, "taken over after {taken:?}");
    ensure!(leader(&harness).await? == "second");

    // A graceful shutdown: the next leader does not have to wait.
    let third = replica(&harness, "third").await?;
    second.end.cancel();
    second.task.await??;
    let given = Instant::now();
    eventually(PATIENCE, async || {
        ensure!(leader(&harness).await? == "third");
        Ok(())
    })
    .await?;
    println!("handed over after {:.1} s", given.elapsed().as_secs_f64());
    third.end.cancel();
    third.task.await?
}

#[tokio::test]
async fn leader_stops_writing_after_losing_its_lease() -> TestResult {
    let harness = Harness::without_controller("deposed").await?;
    let replica = replica(&harness, "old").await?;
    eventually(PATIENCE, async || {
        ensure!(leader(&harness).await? == "old");
        Ok(())
    })
    .await?;
    harness.patch::<Lease>("leader", serde_json::json!({ "spec": { "holderIdentity": "new" } })).await?;
    let ended = tokio::time::timeout(PATIENCE, replica.task).await.context("it did not stop")??;
    let error = ended.err().context("it returned without an error")?;
    ensure!(error.to_string().contains("\"new\" took over the lease"), "{error}");
    replica.writes.take();
    harness.apply::<Function>(&fixtures::function(fixtures::python_function("a"))?).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(replica.writes.is_empty() && harness.find::<StatefulSet>("a-function").await?.is_none());
    Ok(())
}

/// A reference to a new ServiceAccount, read from a token of it as in a pod.
async fn account(harness: &Harness, accounts: &Api<ServiceAccount>) -> anyhow::Result<OwnerReference> {
    let metadata = ObjectMeta { name: Some("operator".to_owned()), ..ObjectMeta::default() };
    let account = ServiceAccount { metadata, ..ServiceAccount::default() };
    let account = accounts.create(&PostParams::default(), &account).await?;
    let (params, request) = (PostParams::default(), TokenRequest::default());
    let issued = accounts.create_token_request("operator", &params, &request).await?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), issued.status.context("no token")?.token)?;
    let mut config = harness.plane.config().await?;
    config.auth_info.token_file = file.path().to_str().map(str::to_owned);
    let owner = service_account::owner_reference(&config, &harness.namespace).context("no owner")?;
    ensure!(Some(&owner.uid) == account.metadata.uid.as_ref(), "{owner:?}");
    Ok(owner)
}

#[tokio::test]
async fn reinstallation_leads_at_once() -> TestResult {
    let harness = Harness::without_controller("reinstalled").await?;
    let accounts = Api::namespaced(harness.client.clone(), &harness.namespace);
    let first = replica_of(&harness, "first", Some(account(&harness, &accounts).await?)).await?;
    eventually(PATIENCE, async || {
        ensure!(leader(&harness).await? == "first");
        Ok(())
    })
    .await?;
    // The Lease stays while its owner exists.
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(leader(&harness).await? == "first");
    // As `helm uninstall`: without permissions the leader cannot release the Lease.
    first.task.abort();
    accounts.delete("operator", &DeleteParams::default()).await?;
    eventually(PATIENCE, async || {
        ensure!(harness.find::<Lease>("leader").await?.is_none(), "the Lease is there");
        Ok(())
    })
    .await?;
    let started = Instant::now();
    let second = replica_of(&harness, "second", Some(account(&harness, &accounts).await?)).await?;
    eventually(PATIENCE, async || {
        ensure!(leader(&harness).await? == "second");
        Ok(())
    })
    .await?;
    println!("leads after {:.1} s", started.elapsed().as_secs_f64());
    ensure!(started.elapsed() < Duration::from_secs(5), "leads after {:?}", started.elapsed());
    second.end.cancel();
    second.task.await?
}
