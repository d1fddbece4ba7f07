//! Changes of certificates and authorities while requests are under way: none fails.

use std::time::Duration;

use anyhow::ensure;
use function_mesh_testkit::{Load, LoadReport, SECONDS_30, eventually};
use tokio::time::{Instant, sleep};

use crate::world::{Lives, Nothing, Replica, World};
use crate::{count, der};

const TIME: Duration = Duration::from_secs(12);
const MANY: usize = 200;

/// Two replicas that the API server asks.
struct Pair {
    replicas: [Replica; 2],
    /// Goes last, and lets others have their turn.
    world: World,
}

impl Pair {
    async fn start(lives: &Lives) -> anyhow::Result<Self> {
        let world = World::alone("load").await?;
        world.put_secret(&[]).await?;
        world.configure().await?;
        let kubeconfig = world.plane.kubeconfig();
        let replicas = [world.replica(kubeconfig, lives).await?, world.replica(kubeconfig, lives).await?];
        for replica in &replicas {
            replica.is_ready().await?;
        }
        world.trusts().await?;
        world.admits().await?;
        Ok(Self { replicas, world })
    }

    async fn load(&self, concurrency: usize) -> anyhow::Result<Load> {
        let config = self.world.plane.config().await?;
        Ok(Load { concurrency, ..Load::new(config, &self.world.namespace) })
    }

    async fn steps(&self, step: &str) -> anyhow::Result<u64> {
        let series = format!("function_mesh_authority_steps_total{{step=\"{step}\"}}");
        Ok(self.replicas[0].metric(&series).await? + self.replicas[1].metric(&series).await?)
    }

    /// Empties the Secret, which asks for a new authority, and waits until that one alone is there.
    async fn change_authority(&self) -> Nothing {
        let before = self.world.entry("authority.crt").await?;
        self.world.put_secret(&[]).await?;
        eventually(SECONDS_30, async || {
            let now = self.world.entry("authority.crt").await?;
            ensure!(now != before && count(&self.world.entry("ca.crt").await?) == 1, "not yet");
            let newest = der(&self.world.entry("tls.crt").await?)?;
            for replica in &self.replicas {
                ensure!(replica.served().await? == newest, "not yet served");
            }
            Ok(())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_of_200_at_a_time_fails_while_authorities_change() -> Nothing {
    let pair = Pair::start(&Lives { grace: "900ms", ..Lives::LONG }).await?;
    let load = pair.load(MANY).await?;
    let calm = load.run_for("without rotation", TIME).await?;
    ensure!(pair.steps("switch").await? == 0, "nothing was to change");
    let mut changes = Ok(0);
    let change = async {
        let end = Instant::now() + TIME;
        changes = async {
            let mut count = 0;
            while Instant::now() < end {
                pair.change_authority().await?;
                count += 1;
            }
            anyhow::Ok(count)
        }
        .await;
    };
    let rotating = load.run("with rotation", change).await?;
    let changes = changes?;
    println!("{}\n{calm}\n{rotating}", LoadReport::HEAD);
    println!("with rotation: {changes} times a new authority and certificate within {:.1?}", rotating.took);
    ensure!(calm.failed() + rotating.failed() == 0, "requests failed");
    ensure!(calm.requests() > 0 && rotating.requests() > 0, "there were no requests");
    ensure!(changes >= 2 && pair.steps("switch").await? == changes, "{changes} changes");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_short_lives_end_again_and_again() -> Nothing {
    let pair = Pair::start(&Lives { certificate: "6s", authority: "9s", grace: "600ms" }).await?;
    let lives = async {
        // At least twice the life of an authority, however slow the machine is.
        sleep(Duration::from_secs(18)).await;
    };
    let report = pair.load(10).await?.run("short lives", lives).await?;
    let (certificates, switches) = (pair.steps("certificate").await?, pair.steps("switch").await?);
    println!("{}\n{report}", LoadReport::HEAD);
    println!("short lives: {} certificates of {} authorities", 1 + certificates + switches, 1 + switches);
    ensure!(report.failed() == 0 && report.requests() > 0, "requests failed");
    ensure!(switches >= 2, "{switches} authorities took the place of others");
    ensure!(pair.steps("all").await? == 1, "all was made anew");
    Ok(())
}
