//! The crash points: every request of a flow, struck in every way.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_testkit::ControlPlane;
use function_mesh_testkit::faults::{Asked, Fault, WatchFault};
use futures::future::try_join_all;
use http::StatusCode;

use crate::flows::Flow;
use crate::operator::Nothing;
use crate::snapshot::Snapshot;
use crate::stage::Stage;

/// Enough for a start, and for what follows a fault: some waits after failures among it.
const LIMIT: Duration = Duration::from_secs(40);
/// How long an undisturbed run must stay at its end. A component that is not ready is looked at every five
/// seconds, but at its end a flow has none.
const LONG_STAY: Duration = Duration::from_millis(1500);
const SHORT_STAY: Duration = Duration::from_millis(200);

/// Runs of a flow without faults.
const UNDISTURBED: usize = 3;

/// In which way a request is struck, and what the operator does then.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// The operator is killed in that moment, and another one started.
    Kill(Fault),
    /// The operator goes on.
    Go(Fault),
    /// The n-th watch is struck, not the n-th request.
    Watch(WatchFault),
}

impl Mode {
    /// What is done to requests.
    pub(crate) const OF_REQUESTS: [Self; 7] = [
        Self::Kill(Fault::Lose),
        Self::Kill(Fault::DropAnswer),
        Self::Go(Fault::Refuse(StatusCode::INTERNAL_SERVER_ERROR)),
        Self::Go(Fault::Refuse(StatusCode::CONFLICT)),
        Self::Go(Fault::Refuse(StatusCode::TOO_MANY_REQUESTS)),
        Self::Go(Fault::Delay(Duration::from_millis(700))),
        Self::Go(Fault::Duplicate),
    ];
    /// What is done to watches.
    pub(crate) const OF_WATCHES: [Self; 3] =
        [Self::Watch(WatchFault::Gone), Self::Watch(WatchFault::Break(1)), Self::Watch(WatchFault::End(1))];
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(fault) => write!(f, "{fault} + crash"),
            Self::Go(fault) => fault.fmt(f),
            Self::Watch(fault) => fault.fmt(f),
        }
    }
}

/// A flow that nothing disturbed.
pub(crate) struct Reference {
    plane: &'static ControlPlane,
    pub(crate) flow: Flow,
    pub(crate) asked: Vec<Asked>,
    /// WatchMetrics that were begun.
    pub(crate) watches: usize,
    pub(crate) end: Snapshot,
}

/// What became of a point.
pub(crate) enum Outcome {
    /// All came out well.
    Green,
    /// The flow had fewer requests this time.
    NotStruck,
    /// It came out otherwise.
    Red {
        /// The request that was struck.
        victim: String,
        why: String,
    },
}

impl Reference {
    /// Runs the flow some times. What is gathered into one request differs, so the longest run counts; the end
    /// must not differ.
    pub(crate) async fn of(plane: &'static ControlPlane, flow: Flow) -> anyhow::Result<Self> {
        let runs = try_join_all((0..UNDISTURBED).map(|_| Self::once(plane, flow))).await?;
        let mut runs = runs.into_iter();
        let mut longest = runs.next().context("no run")?;
        for run in runs {
            let differences = longest.end.differences(&run.end);
            ensure!(differences.is_empty(), "two runs end differently:\n{}", differences.join("\n"));
            if run.asked.len() > longest.asked.len() {
                longest = run;
            }
        }
        Ok(longest)
    }

    async fn once(plane: &'static ControlPlane, flow: Flow) -> anyhow::Result<Self> {
        let stage = started(plane, flow).await?;
        stage.faults.watch_only();
        (flow.action)(stage.clone()).await?;
        let end = stage.settle(LIMIT, LONG_STAY, &[]).await?;
        let (asked, watches) = (stage.faults.asked(), stage.faults.watches());
        check_writes(flow, &asked)?;
        stage.operator.lock().await.stop().await?;
        Ok(Self { plane, flow, asked, watches, end })
    }

    /// Strikes the n-th request. Their number and order are not always the same, so it may take two runs.
    pub(crate) async fn strike(&self, n: usize, mode: Mode) -> Outcome {
        let first = self.try_strike(n, mode).await;
        let last = if let Ok(Outcome::NotStruck) = first { self.try_strike(n, mode).await } else { first };
        match last {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Red { victim: "none".to_owned(), why: format!("{error:#}") },
        }
    }

    async fn try_strike(&self, n: usize, mode: Mode) -> anyhow::Result<Outcome> {
        let stage = started(self.plane, self.flow).await.context("at the start")?;
        let faults = &stage.faults;
        match mode {
            Mode::Kill(fault) => faults.arm_crash(n, fault),
            Mode::Go(fault) => faults.arm(n, fault),
            Mode::Watch(fault) => faults.arm_watch(n, fault),
        }
        let struck = faults.struck();
        let killing = matches!(mode, Mode::Kill(_)).then(|| {
            let (stage, struck) = (stage.clone(), struck.clone());
            tokio::spawn(async move {
                struck.cancelled().await;
                stage.replace_killed().await
            })
        });
        (self.flow.action)(stage.clone()).await.context("in the action")?;
        let end = stage.converge(&self.end, LIMIT).await;
        let victim = faults.victim();
        if let Some(killing) = killing {
            if struck.is_cancelled() {
                killing.await??;
            } else {
                killing.abort();
            }
        }
        stage.operator.lock().await.stop().await?;
        if self.flow.is_quiet {
            check_writes(self.flow, &faults.asked())?;
        }
        Ok(match (end, victim) {
            (Ok(()), Some(_)) => Outcome::Green,
            (Ok(()), None) => Outcome::NotStruck,
            (Err(why), victim) => {
                let victim = victim.map_or_else(|| "none".to_owned(), |victim| victim.to_string());
                Outcome::Red { victim, why: format!("{why:#}") }
            }
        })
    }
}

fn check_writes(flow: Flow, asked: &[Asked]) -> Nothing {
    let writes: Vec<_> = asked.iter().filter(|asked| asked.is_change()).map(ToString::to_string).collect();
    ensure!(!flow.is_quiet || writes.is_empty(), "nothing was to be written, but: {writes:?}");
    Ok(())
}

async fn started(plane: &ControlPlane, flow: Flow) -> anyhow::Result<Stage> {
    let stage = Stage::new(plane, "crash", flow.helper).await?;
    stage.start().await?;
    (flow.start)(stage.clone()).await?;
    stage.settle(LIMIT, SHORT_STAY, &[]).await?;
    Ok(stage)
}
