//! Crash points: every request of a flow with every fault.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_testkit::ControlPlane;
use function_mesh_testkit::faults::{Fault, RequestInfo, WatchFault};
use futures::future::try_join_all;
use http::StatusCode;

use crate::fixture::{Fixture, LIMIT};
use crate::flows::Flow;
use crate::snapshot::Snapshot;

/// How long an undisturbed run must stay in its final state. A component that is not ready is rechecked every five
/// seconds, but at the end of a flow there is none.
const LONG_STAY: Duration = Duration::from_millis(1500);
const SHORT_STAY: Duration = Duration::from_millis(200);

/// Runs of a flow without faults.
const UNDISTURBED: usize = 3;

/// The fault of a request, and the reaction of the operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// The operator is killed at that moment, and another one started.
    Kill(Fault),
    /// The operator continues.
    Go(Fault),
    /// The fault applies to the n-th watch, not the n-th request.
    Watch(WatchFault),
}

impl Mode {
    /// Faults of requests.
    pub(crate) const OF_REQUESTS: [Self; 7] = [
        Self::Kill(Fault::Lose),
        Self::Kill(Fault::DropResponse),
        Self::Go(Fault::Reject(StatusCode::INTERNAL_SERVER_ERROR)),
        Self::Go(Fault::Reject(StatusCode::CONFLICT)),
        Self::Go(Fault::Reject(StatusCode::TOO_MANY_REQUESTS)),
        Self::Go(Fault::Delay(Duration::from_millis(700))),
        Self::Go(Fault::Duplicate),
    ];
    /// Faults of watches.
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

/// An undisturbed flow.
pub(crate) struct Reference {
    plane: &'static ControlPlane,
    pub(crate) flow: Flow,
    pub(crate) requests: Vec<RequestInfo>,
    /// Watches that were started.
    pub(crate) watches: usize,
    pub(crate) end: Snapshot,
}

/// The result of a point.
pub(crate) enum Outcome {
    /// The final state is as expected.
    Green,
    /// This run had fewer requests.
    NotTriggered,
    /// The final state differs.
    Red {
        /// The request with the fault.
        victim: String,
        why: String,
    },
}

impl Reference {
    /// Runs the flow several times. The number of requests varies with debouncing, so the longest run counts; the final
    /// state must not vary.
    pub(crate) async fn of(plane: &'static ControlPlane, flow: Flow) -> anyhow::Result<Self> {
        let runs = try_join_all((0..UNDISTURBED).map(|_| Self::once(plane, flow))).await?;
        let mut runs = runs.into_iter();
        let mut longest = runs.next().context("no run")?;
        for run in runs {
            let differences = longest.end.differences(&run.end);
            ensure!(differences.is_empty(), "two runs end differently:\n{}", differences.join("\n"));
            if run.requests.len() > longest.requests.len() {
                longest = run;
            }
        }
        Ok(longest)
    }

    async fn once(plane: &'static ControlPlane, flow: Flow) -> anyhow::Result<Self> {
        let fixture = started(plane, flow).await?;
        fixture.faults.watch_only();
        (flow.action)(fixture.clone()).await?;
        let end = fixture.settle(LIMIT, LONG_STAY, &[]).await?;
        let (requests, watches) = (fixture.faults.requests(), fixture.faults.watches());
        check_writes(flow, &requests)?;
        fixture.operator.lock().await.stop().await?;
        Ok(Self { plane, flow, requests, watches, end })
    }

    /// Injects a fault into the n-th request. Number and order of requests vary, so it may take two runs.
    pub(crate) async fn inject(&self, n: usize, mode: Mode) -> Outcome {
        let first = self.try_inject(n, mode).await;
        let last = if let Ok(Outcome::NotTriggered) = first { self.try_inject(n, mode).await } else { first };
        match last {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Red { victim: "none".to_owned(), why: format!("{error:#}") },
        }
    }

    async fn try_inject(&self, n: usize, mode: Mode) -> anyhow::Result<Outcome> {
        let fixture = started(self.plane, self.flow).await.context("at the start")?;
        let faults = &fixture.faults;
        match mode {
            Mode::Kill(fault) => faults.inject_crash(n, fault),
            Mode::Go(fault) => faults.inject(n, fault),
            Mode::Watch(fault) => faults.inject_watch(n, fault),
        }
        let triggered = faults.triggered();
        let killing = matches!(mode, Mode::Kill(_)).then(|| {
            let (fixture, triggered) = (fixture.clone(), triggered.clone());
            tokio::spawn(async move {
                triggered.cancelled().await;
                fixture.replace_killed().await
            })
        });
        (self.flow.action)(fixture.clone()).await.context("in the action")?;
        let end = fixture.converge(&self.end, LIMIT).await;
        let victim = faults.victim();
        if let Some(killing) = killing {
            if triggered.is_cancelled() {
                killing.await??;
            } else {
                killing.abort();
            }
        }
        fixture.operator.lock().await.stop().await?;
        if self.flow.is_quiet {
            check_writes(self.flow, &faults.requests())?;
        }
        Ok(match (end, victim) {
            (Ok(()), Some(_)) => Outcome::Green,
            (Ok(()), None) => Outcome::NotTriggered,
            (Err(why), victim) => {
                let victim = victim.map_or_else(|| "none".to_owned(), |victim| victim.to_string());
                Outcome::Red { victim, why: format!("{why:#}") }
            }
        })
    }
}

fn check_writes(flow: Flow, requests: &[RequestInfo]) -> anyhow::Result<()> {
    let writes: Vec<_> =
        requests.iter().filter(|request| request.is_change()).map(ToString::to_string).collect();
    ensure!(!flow.is_quiet || writes.is_empty(), "unexpected writes: {writes:?}");
    Ok(())
}

async fn started(plane: &'static ControlPlane, flow: Flow) -> anyhow::Result<Fixture> {
    let fixture = Fixture::new(plane, "crash", flow.helper).await?;
    fixture.start().await?;
    (flow.start)(fixture.clone()).await?;
    fixture.settle(LIMIT, SHORT_STAY, &[]).await?;
    Ok(fixture)
}
