//! CA and certificate rotation under load: no request fails.

use std::time::Duration;

use anyhow::ensure;
use function_mesh_testkit::{Load, LoadReport, PATIENCE, eventually};
use tokio::time::{Instant, sleep};

use crate::harness::{Harness, Replica, Validity};
use crate::{count, der};

const TIME: Duration = Duration::from_secs(12);
const MANY: usize = 200;

/// Two replicas behind one Service.
struct Pair {
    replicas: [Replica; 2],
    /// Dropped last: it holds the machine exclusively.
    harness: Harness,
}

impl Pair {
    async fn start(validity: &Validity) -> anyhow::Result<Self> {
        let harness = Harness::alone("load").await?;
        harness.put_secret(&[]).await?;
        harness.configure().await?;
        let kubeconfig = harness.plane.kubeconfig();
        let replicas =
            [harness.replica(kubeconfig, validity).await?, harness.replica(kubeconfig, validity).await?];
        for replica in &replicas {
            replica.is_ready().await?;
        }
        harness.wait_in_sync().await?;
        harness.wait_admits().await?;
        Ok(Self { replicas, harness })
    }

    async fn load(&self, concurrency: usize) -> anyhow::Result<Load> {
        let config = self.harness.plane.config().await?;
        Ok(Load { concurrency, ..Load::new(config, &self.harness.namespace) })
    }

    async fn rotations(&self, step: &str) -> anyhow::Result<u64> {
        let series = format!("function_mesh_webhook_ca_rotations_total{{step=\"{step}\"}}");
        Ok(self.replicas[0].metric(&series).await? + self.replicas[1].metric(&series).await?)
    }

    /// Empties the Secret, which triggers a CA rotation, and waits for its end.
    async fn rotate_ca(&self) -> anyhow::Result<()> {
        let before = self.harness.entry("current-ca.crt").await?;
        self.harness.put_secret(&[]).await?;
        eventually(PATIENCE, async || {
            let now = self.harness.entry("current-ca.crt").await?;
            ensure!(now != before && count(&self.harness.entry("ca.crt").await?) == 1, "not yet");
            let newest = der(&self.harness.entry("tls.crt").await?)?;
            for replica in &self.replicas {
                ensure!(replica.served().await? == newest, "not yet served");
            }
            Ok(())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_rotation_fails_none_of_200_concurrent_requests() -> anyhow::Result<()> {
    let pair = Pair::start(&Validity { propagation_delay: "900ms", ..Validity::LONG }).await?;
    let load = pair.load(MANY).await?;
    let calm = load.run_for("without rotation", TIME).await?;
    ensure!(pair.rotations("promote").await? == 0, "no rotation is due");
    let mut changes = Ok(0);
    let change = async {
        let end = Instant::now() + TIME;
        changes = async {
            let mut count = 0;
            // Two at least, however slow the machine is.
            while Instant::now() < end || count < 2 {
                pair.rotate_ca().await?;
                count += 1;
            }
            anyhow::Ok(count)
        }
        .await;
    };
    let rotating = load.run("with rotation", change).await?;
    let changes = changes?;
    println!("{}\n{calm}\n{rotating}", LoadReport::HEAD);
    println!("with rotation: {changes} CA rotations in {:.1?}", rotating.took);
    ensure!(calm.failed() + rotating.failed() == 0, "requests failed");
    ensure!(calm.requests() > 0 && rotating.requests() > 0, "there were no requests");
    ensure!(changes >= 2 && pair.rotations("promote").await? == changes, "{changes} rotations");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_validity_fails_no_request() -> anyhow::Result<()> {
    let pair = Pair::start(&Validity { certificate: "6s", ca: "9s", propagation_delay: "600ms" }).await?;
    let duration = async {
        // Twice the validity period of a CA.
        sleep(Duration::from_secs(18)).await;
    };
    let report = pair.load(10).await?.run("short validity", duration).await?;
    let (issued, promoted) = (pair.rotations("issue").await?, pair.rotations("promote").await?);
    println!("{}\n{report}", LoadReport::HEAD);
    println!("short validity: {} certificates of {} CAs", 1 + issued + promoted, 1 + promoted);
    ensure!(report.failed() == 0 && report.requests() > 0, "requests failed");
    ensure!(promoted >= 2, "{promoted} CA rotations");
    ensure!(pair.rotations("bootstrap").await? == 1, "bootstrapped again");
    Ok(())
}
