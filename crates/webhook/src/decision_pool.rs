//! Runs decisions. A tiny object, as most are, is decided at once: that takes less time than to hand it to another thread.
//! Others are decided on blocking threads, so that the server threads stay responsive.
//!
//! Small objects have their own permits. Large objects run one at a time, since one may use all the memory reserved
//! for decoding.

use std::sync::Arc;

use function_mesh_api::complexity::{STEP, weigh};
use prometheus::IntCounter;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::admission::{Action, Outcome, Verdict, decide};
use crate::authorization::Authorizer;
use crate::body::ReceivedBody;
use crate::response::Response;
use crate::{AdmissionKind, Limits, review};

/// Estimated memory up to which an object is small, in bytes.
const SMALL_OBJECT: usize = 2 * 1024 * 1024;

/// Length of a body, and estimated memory, up to which an object is tiny, in bytes.
const TINY_BODY: usize = 8 * 1024;
const TINY_OBJECT: usize = 128 * 1024;

/// Permits for concurrent decisions.
#[derive(Debug)]
pub(crate) struct DecisionPool {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    abandoned: IntCounter,
    authorizer: Option<Arc<dyn Authorizer>>,
}

/// No decision before the deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadlineExceeded;

impl DecisionPool {
    pub(crate) fn new(
        limits: Limits,
        abandoned: IntCounter,
        authorizer: Option<Arc<dyn Authorizer>>,
    ) -> Self {
        let small = Arc::new(Semaphore::new(limits.concurrency.max(1)));
        Self { small, large: Arc::new(Semaphore::new(1)), abandoned, authorizer }
    }

    /// Decides until the deadline. A started decision runs on after it, with its permit: its cost is bounded.
    pub(crate) async fn decide<K: AdmissionKind>(
        &self,
        action: Action,
        received: &mut ReceivedBody,
        until: Instant,
    ) -> Result<Verdict, DeadlineExceeded> {
        // The decoded size counts too: few bytes can decode to much memory.
        let size = if received.is_small() { weigh(&received.bytes).ok() } else { None };
        let size = size.map_or(usize::MAX, |weight| weight.saturating_mul(STEP));
        if received.bytes.len() <= TINY_BODY && size <= TINY_OBJECT {
            let verdict = decide::<K>(action, &received.bytes);
            return self.authorized(action, &received.bytes, verdict, until).await;
        }
        let is_small = size <= SMALL_OBJECT;
        let permits = if is_small { &self.small } else { &self.large };
        let permit = timeout_at(until, Arc::clone(permits).acquire_owned()).await;
        // The semaphores are never closed.
        let permit = permit.map_err(|_| DeadlineExceeded)?.map_err(|_| DeadlineExceeded)?;
        let bytes = std::mem::take(&mut received.bytes);
        let reservation = received.reservation.take();
        let deciding = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let verdict = decide::<K>(action, &bytes);
            (verdict, bytes, reservation)
        });
        let Ok(decided) = timeout_at(until, deciding).await else {
            self.abandoned.inc();
            return Err(DeadlineExceeded);
        };
        // Neither cancelled nor panicked: a panic aborts the process.
        let (verdict, bytes, reservation) = decided.map_err(|_| DeadlineExceeded)?;
        (received.bytes, received.reservation) = (bytes, reservation);
        self.authorized(action, &received.bytes, verdict, until).await
    }

    /// The verdict, after the authorizer has checked an allowed object.
    async fn authorized(
        &self,
        action: Action,
        bytes: &[u8],
        verdict: Verdict,
        until: Instant,
    ) -> Result<Verdict, DeadlineExceeded> {
        match &self.authorizer {
            Some(authorizer) if action == Action::Validate && verdict.outcome == Outcome::Allowed => {
                authorize(authorizer.as_ref(), bytes, verdict, until).await
            }
            _ => Ok(verdict),
        }
    }
}

/// Authorizes an allowed request.
async fn authorize(
    authorizer: &dyn Authorizer,
    bytes: &[u8],
    verdict: Verdict,
    until: Instant,
) -> Result<Verdict, DeadlineExceeded> {
    let Ok(request) = review::read(bytes) else { return Ok(verdict) };
    match timeout_at(until, authorizer.authorize(request)).await {
        Err(_) => Err(DeadlineExceeded),
        Ok(Ok(())) => Ok(verdict),
        Ok(Err(status)) => {
            let Response { version, uid, .. } = &verdict.response;
            let response = Response::deny(version, uid, *status);
            Ok(Verdict { response, outcome: Outcome::Denied, ..verdict })
        }
    }
}
