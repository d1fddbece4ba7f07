//! Reading bodies, before anybody decides on them: within a size, a rate and a budget of bytes.
//!
//! Bodies of up to 64 KiB have a budget that larger ones cannot take. All the bytes that a body announces are taken
//! from it when its first piece is there: before that it costs nothing, and after it no two bodies wait for each other.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use futures::StreamExt;
use futures::future::pending;
use prometheus::IntGaugeVec;
use tokio::time::Instant;

use crate::Limits;
use crate::budget::{Budget, Lease};
use crate::limits::SMALL;

/// The uid of a request stands within so many bytes.
const HEAD: usize = 1024;
/// Time for a client to begin, before its rate counts.
const GRACE: Duration = Duration::from_millis(500);

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the admission review is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body is no admission review: it does not begin with {{")]
    NotAReview,
    #[error("the admission review did not arrive whole: {0}")]
    Broken(axum::Error),
    #[error(
        "no decision within {0:?}: the request arrived slowly, or too many others are waiting; try again"
    )]
    Late(Duration),
    #[error("the request arrived more slowly than {0} bytes a second; try again")]
    Slow(usize),
    #[error("the request stood still while others waited for its room; try again")]
    CutOff,
}

/// A body, with the bytes of the budget that it takes.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    /// Its beginning, where the uid stands, for when there is no decision.
    pub(crate) head: Vec<u8>,
    pub(crate) lease: Option<Lease>,
}

impl Received {
    pub(crate) fn is_small(&self) -> bool {
        self.bytes.len() <= SMALL
    }
}

/// The budgets.
#[derive(Debug)]
pub(crate) struct Bodies {
    limits: Limits,
    small: Budget,
    large: Budget,
}

impl Bodies {
    pub(crate) fn new(limits: Limits, used: &IntGaugeVec) -> Self {
        let budget = |size: &str, bytes| Budget::new(bytes, used.with_label_values(&[size]));
        let (small, large) = (budget("small", limits.small_budget()), budget("large", limits.large_budget()));
        Self { limits, small, large }
    }

    /// Reads a body into `received`, which on failure holds what has arrived: the uid stands in the first bytes.
    pub(crate) async fn receive(
        &self,
        client: IpAddr,
        body: Body,
        received: &mut Received,
    ) -> Result<(), Fault> {
        let limit = self.limits.body;
        let announced = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(Fault::TooLarge(limit));
        }
        let mut chunks = body.into_data_stream();
        let mut rate = Rate::new(self.limits.min_body_rate);
        let mut lease: Option<Lease> = None;
        loop {
            let cut_off = async {
                match &lease {
                    Some(lease) => lease.progress().cut_off().await,
                    None => pending().await,
                }
            };
            let next = tokio::select! {
                biased;
                () = cut_off => return Err(Fault::CutOff),
                chunk = chunks.next() => chunk,
                () = tokio::time::sleep_until(rate.due) => return Err(Fault::Slow(rate.least)),
            };
            let Some(chunk) = next else { break };
            let chunk: Bytes = chunk.map_err(Fault::Broken)?;
            let missing = HEAD.saturating_sub(received.head.len()).min(chunk.len());
            received.head.extend_from_slice(chunk.get(..missing).unwrap_or_default());
            let size = received.bytes.len() + chunk.len();
            if size > limit {
                return Err(Fault::TooLarge(limit));
            }
            if let Some(lease) = &lease {
                lease.progress().note();
            } else {
                if chunk.first().is_some_and(|byte| !b"{ \t\r\n".contains(byte)) {
                    return Err(Fault::NotAReview);
                }
                // Nothing is reserved for a client that has sent nothing. While it waits, this one piece is held.
                let waiting = Instant::now();
                let size = announced.unwrap_or(limit).max(size);
                let budget = if size <= SMALL { &self.small } else { &self.large };
                let new = budget.lease(client);
                new.grow(size).await;
                rate.forgive(waiting.elapsed());
                received.bytes.reserve_exact(size);
                lease = Some(new);
            }
            received.bytes.extend_from_slice(&chunk);
            rate.note(chunk.len());
        }
        if let Some(lease) = &lease {
            lease.settle(received.bytes.capacity());
        }
        received.lease = lease;
        Ok(())
    }
}

/// By when more must have arrived.
struct Rate {
    least: usize,
    due: Instant,
}

impl Rate {
    fn new(least: usize) -> Self {
        Self { least: least.max(1), due: Instant::now() + GRACE }
    }

    /// What arrives early is no credit: a burst must not buy seconds of silence.
    fn note(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let least = u32::try_from(self.least).unwrap_or(u32::MAX);
        let earned = Duration::from_secs(1).mul_f64(f64::from(bytes) / f64::from(least));
        self.due = (self.due + earned).min(Instant::now() + GRACE);
    }

    /// Waiting for room is not the client's fault.
    fn forgive(&mut self, waited: Duration) {
        self.due += waited;
    }
}
