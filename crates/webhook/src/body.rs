//! Reads request bodies within limits: size, rate, and a memory budget.
//!
//! Bodies of up to 64 KiB have their own budget. A body reserves its whole content length with its first chunk: before
//! that it costs nothing, and after that two bodies cannot deadlock on the budget.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use futures::StreamExt;
use futures::future::pending;
use prometheus::IntGaugeVec;
use tokio::time::Instant;

use crate::Limits;
use crate::budget::{MemoryBudget, Reservation};
use crate::limits::SMALL_BODY;

/// The uid of a request lies within this many bytes.
const HEAD: usize = 1024;
/// Time before the minimum rate applies. An API server short of processors sends header and body more than half a second
/// apart. Meanwhile a client that has sent nothing reserves nothing, and a stalled one is evicted when others wait.
const RATE_GRACE: Duration = Duration::from_secs(2);

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("admission review too large: more than {0} bytes")]
    TooLarge(usize),
    #[error("invalid admission review: it does not start with {{")]
    NotAReview,
    #[error("incomplete admission review: {0}")]
    Incomplete(axum::Error),
    #[error("no decision within {0:?}: the request arrived slowly or the webhook is overloaded; retry")]
    Timeout(Duration),
    #[error("request slower than {0} bytes per second; retry")]
    TooSlow(usize),
    #[error("request stalled while others waited for memory; retry")]
    Evicted,
}

/// A body and its reservation of the memory budget.
#[derive(Debug, Default)]
pub(crate) struct ReceivedBody {
    pub(crate) bytes: Vec<u8>,
    /// Its first bytes, with the uid for an error response.
    pub(crate) head: Vec<u8>,
    pub(crate) reservation: Option<Reservation>,
}

impl ReceivedBody {
    pub(crate) fn is_small(&self) -> bool {
        self.bytes.len() <= SMALL_BODY
    }
}

/// Reads bodies within the limits.
#[derive(Debug)]
pub(crate) struct BodyReader {
    limits: Limits,
    small: MemoryBudget,
    large: MemoryBudget,
}

impl BodyReader {
    pub(crate) fn new(limits: Limits, used: &IntGaugeVec) -> Self {
        let budget = |size: &str, bytes| MemoryBudget::new(bytes, used.with_label_values(&[size]));
        let (small, large) = (budget("small", limits.small_budget()), budget("large", limits.large_budget()));
        Self { limits, small, large }
    }

    /// Reads a body into `received`, which holds the received part on failure, for the uid.
    pub(crate) async fn read(
        &self,
        client: IpAddr,
        body: Body,
        received: &mut ReceivedBody,
    ) -> Result<(), BodyError> {
        let limit = self.limits.body;
        let content_length = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
        if content_length.is_some_and(|length| length > limit) {
            return Err(BodyError::TooLarge(limit));
        }
        let mut chunks = body.into_data_stream();
        let mut rate = Rate::new(self.limits.min_body_rate);
        let mut reservation: Option<Reservation> = None;
        loop {
            let evicted = async {
                match &reservation {
                    Some(reservation) => reservation.progress().evicted().await,
                    None => pending().await,
                }
            };
            let next = tokio::select! {
                biased;
                () = evicted => return Err(BodyError::Evicted),
                chunk = chunks.next() => chunk,
                () = tokio::time::sleep_until(rate.deadline) => return Err(BodyError::TooSlow(rate.minimum)),
            };
            let Some(chunk) = next else { break };
            let chunk: Bytes = chunk.map_err(BodyError::Incomplete)?;
            let missing = HEAD.saturating_sub(received.head.len()).min(chunk.len());
            received.head.extend_from_slice(chunk.get(..missing).unwrap_or_default());
            let size = received.bytes.len() + chunk.len();
            if size > limit {
                return Err(BodyError::TooLarge(limit));
            }
            if let Some(reservation) = &reservation {
                reservation.progress().record();
            } else {
                if chunk.first().is_some_and(|byte| !b"{ \t\r\n".contains(byte)) {
                    return Err(BodyError::NotAReview);
                }
                // A client that has sent nothing reserves nothing. While waiting, only this chunk is in memory.
                let waiting = Instant::now();
                let size = content_length.unwrap_or(limit).max(size);
                let budget = if size <= SMALL_BODY { &self.small } else { &self.large };
                let new = budget.reservation(client);
                new.grow(size).await;
                rate.extend(waiting.elapsed());
                received.bytes.reserve_exact(size);
                reservation = Some(new);
            }
            received.bytes.extend_from_slice(&chunk);
            rate.record(chunk.len());
        }
        if let Some(reservation) = &reservation {
            reservation.complete(received.bytes.capacity());
        }
        received.reservation = reservation;
        Ok(())
    }
}

/// The deadline for the next bytes at the minimum rate.
struct Rate {
    minimum: usize,
    deadline: Instant,
}

impl Rate {
    fn new(minimum: usize) -> Self {
        Self { minimum: minimum.max(1), deadline: Instant::now() + RATE_GRACE }
    }

    /// Extends the deadline for received bytes. It is capped, so that a burst does not pay for seconds of silence.
    fn record(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let minimum = u32::try_from(self.minimum).unwrap_or(u32::MAX);
        let earned = Duration::from_secs(1).mul_f64(f64::from(bytes) / f64::from(minimum));
        self.deadline = (self.deadline + earned).min(Instant::now() + RATE_GRACE);
    }

    /// Extends the deadline by time that the server, not the client, has spent.
    fn extend(&mut self, waited: Duration) {
        self.deadline += waited;
    }
}
