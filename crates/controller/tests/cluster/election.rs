//! Leader election: one of several controllers is active.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use function_mesh_api::Function;
use function_mesh_controller::Options;
use function_mesh_kube::leader_election::Candidate;
use function_mesh_kube::service_account;
use function_mesh_testkit::{
    ControllerHarness, PATIENCE, Recorder, TestNamespace, eventually, fixtures, test_options,
};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use crate::harness::TestResult;

/// Maximum time until another replica leads after a leader was killed.
const TAKEOVER: Duration = Duration::from_secs(15);

struct Replica {
    writes: Recorder,
    controller: ControllerHarness,
}

/// Options of a candidate for the Lease `leader`.
pub(crate) fn candidate(test: &TestNamespace, identity: &str, owner: Option<OwnerReference>) -> Options {
    let candidate = Candidate {
        namespace: test.namespace.clone(),
        lease: "leader".to_owned(),
        identity: identity.to_owned(),
        owner,
    };
    Options { candidate: Some(candidate), ..test_options(&[&test.namespace]) }
}

async fn replica(test: &TestNamespace, identity: &str) -> anyhow::Result<Replica> {
    replica_of(test, identity, None).await
}

async fn replica_of(
    test: &TestNamespace,
    identity: &str,
    owner: Option<OwnerReference>,
) -> anyhow::Result<Replica> {
    let writes = Recorder::default();
    let client = writes.client(test.plane.config().await?)?;
    let controller = ControllerHarness::start(client, candidate(test, identity, owner));
    Ok(Replica { writes, controller })
}

impl Replica {
    /// Kinds of the objects that it wrote, without the Lease.
    fn wrote(&self) -> BTreeSet<String> {
        self.writes.take().into_iter().map(|write| write.resource).filter(|kind| kind != "leases").collect()
    }
}

async fn leader(test: &TestNamespace) -> anyhow::Result<String> {
    let lease: Lease = test.get("leader").await?;
    Ok(lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default())
}

#[tokio::test]
async fn follower_takes_over_after_kill_or_shutdown() -> TestResult {
    let test = TestNamespace::new("election").await?;
    let first = replica(&test, "first").await?;
    eventually(PATIENCE, async || {
        ensure!(leader(&test).await? == "first");
        Ok(())
    })
    .await?;
    let second = replica(&test, "second").await?;
    test.apply::<Function>(&fixtures::function(fixtures::python_function("a"))?).await?;
    test.appears::<StatefulSet>("a-function").await?;
    second.controller.becomes_ready().await.context("one that waits is ready")?;
    let written = second.wrote();
    ensure!(written.is_empty(), "one that waits wrote {written:?}");

    // As kill -9: the Lease is not released.
    first.controller.kill().await;
    let killed = Instant::now();
    test.apply::<Function>(&fixtures::function(fixtures::python_function("b"))?).await?;
    eventually(PATIENCE, async || test.get::<StatefulSet>("b-function").await).await?;
    let taken = killed.elapsed();
    println!("taken over after {:.1} s", taken.as_secs_f64());
    ensure!(taken <= TAKEOVER, "taken over after {taken:?}");
    ensure!(leader(&test).await? == "second");

    // A graceful shutdown: the next leader does not have to wait.
    let third = replica(&test, "third").await?;
    second.controller.stop().await?;
    let given = Instant::now();
    eventually(PATIENCE, async || {
        ensure!(leader(&test).await? == "third");
        Ok(())
    })
    .await?;
    println!("handed over after {:.1} s", given.elapsed().as_secs_f64());
    third.controller.stop().await
}

#[tokio::test]
async fn leader_stops_writing_after_losing_its_lease() -> TestResult {
    let test = TestNamespace::new("deposed").await?;
    let replica = replica(&test, "old").await?;
    eventually(PATIENCE, async || {
        ensure!(leader(&test).await? == "old");
        Ok(())
    })
    .await?;
    test.patch::<Lease>("leader", serde_json::json!({ "spec": { "holderIdentity": "new" } })).await?;
    let error = replica.controller.ends().await.err().context("it returned without an error")?;
    ensure!(error.to_string().contains("\"new\" took over the lease"), "{error}");
    replica.writes.take();
    test.apply::<Function>(&fixtures::function(fixtures::python_function("a"))?).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(replica.writes.is_empty() && test.find::<StatefulSet>("a-function").await?.is_none());
    Ok(())
}

/// A reference to a new ServiceAccount, read from a token of it as in a pod.
async fn account(test: &TestNamespace, accounts: &Api<ServiceAccount>) -> anyhow::Result<OwnerReference> {
    let metadata = ObjectMeta { name: Some("operator".to_owned()), ..ObjectMeta::default() };
    let account = ServiceAccount { metadata, ..ServiceAccount::default() };
    let account = accounts.create(&PostParams::default(), &account).await?;
    let (params, request) = (PostParams::default(), TokenRequest::default());
    let issued = accounts.create_token_request("operator", &params, &request).await?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), issued.status.context("no token")?.token)?;
    let mut config = test.plane.config().await?;
    config.auth_info.token_file = file.path().to_str().map(str::to_owned);
    let owner = service_account::owner_reference(&config, &test.namespace).context("no owner")?;
    ensure!(Some(&owner.uid) == account.metadata.uid.as_ref(), "{owner:?}");
    Ok(owner)
}

#[tokio::test]
async fn reinstallation_leads_at_once() -> TestResult {
    let test = TestNamespace::new("reinstalled").await?;
    let accounts = test.api();
    let first = replica_of(&test, "first", Some(account(&test, &accounts).await?)).await?;
    eventually(PATIENCE, async || {
        ensure!(leader(&test).await? == "first");
        Ok(())
    })
    .await?;
    // The Lease stays while its owner exists.
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(leader(&test).await? == "first");
    // As `helm uninstall`: without permissions the leader cannot release the Lease.
    first.controller.kill().await;
    accounts.delete("operator", &DeleteParams::default()).await?;
    eventually(PATIENCE, async || {
        ensure!(test.find::<Lease>("leader").await?.is_none(), "the Lease is there");
        Ok(())
    })
    .await?;
    let started = Instant::now();
    let second = replica_of(&test, "second", Some(account(&test, &accounts).await?)).await?;
    eventually(PATIENCE, async || {
        ensure!(leader(&test).await? == "second");
        Ok(())
    })
    .await?;
    println!("leads after {:.1} s", started.elapsed().as_secs_f64());
    ensure!(started.elapsed() < Duration::from_secs(5), "leads after {:?}", started.elapsed());
    second.controller.stop().await
}
