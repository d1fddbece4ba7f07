//! Where decisions are made: on threads of their own, so that those that serve go on serving.
//!
//! Small objects have places that large ones cannot take; of the large ones there is one at a time, since one alone
//! may take all the memory that is kept for objects.

use std::sync::Arc;

use function_mesh_api::complexity::{STEP, weigh};
use prometheus::IntCounter;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::admission::{Action, Outcome, Verdict, decide};
use crate::bodies::Received;
use crate::response::Response;
use crate::rights::Reviewer;
use crate::{Admitted, Limits, review};

/// Bytes of memory up to which an object is a small one.
const LIGHT: usize = 2 * 1024 * 1024;

/// The places.
#[derive(Debug)]
pub(crate) struct Desk {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    abandoned: IntCounter,
    reviewer: Option<Arc<dyn Reviewer>>,
}

/// There was no decision in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Late;

impl Desk {
    pub(crate) fn new(limits: Limits, abandoned: IntCounter, reviewer: Option<Arc<dyn Reviewer>>) -> Self {
        let small = Arc::new(Semaphore::new(limits.concurrency.max(1)));
        Self { small, large: Arc::new(Semaphore::new(1)), abandoned, reviewer }
    }

    /// Decides until the deadline. What is begun then is let go on: its cost is bounded, and it keeps its place.
    pub(crate) async fn decide<K: Admitted>(
        &self,
        action: Action,
        received: &mut Received,
        until: Instant,
    ) -> Result<Verdict, Late> {
        // The weight counts too: a few bytes can become much.
        let is_light = received.is_small()
            && weigh(&received.bytes).is_ok_and(|weight| weight.saturating_mul(STEP) <= LIGHT);
        let places = if is_light { &self.small } else { &self.large };
        let place = timeout_at(until, Arc::clone(places).acquire_owned()).await;
        // The places are never closed.
        let place = place.map_err(|_| Late)?.map_err(|_| Late)?;
        let bytes = std::mem::take(&mut received.bytes);
        let lease = received.lease.take();
        let deciding = tokio::task::spawn_blocking(move || {
            let _place = place;
            let verdict = decide::<K>(action, &bytes);
            (verdict, bytes, lease)
        });
        let Ok(decided) = timeout_at(until, deciding).await else {
            self.abandoned.inc();
            return Err(Late);
        };
        // It was neither cancelled, nor does a decision panic: then the program would have ended.
        let (verdict, bytes, lease) = decided.map_err(|_| Late)?;
        (received.bytes, received.lease) = (bytes, lease);
        match &self.reviewer {
            Some(reviewer) if action == Action::Validate && verdict.outcome == Outcome::Allowed => {
                self::review(reviewer.as_ref(), &received.bytes, verdict, until).await
            }
            _ => Ok(verdict),
        }
    }
}

/// Asks about the rights of who requests it.
async fn review(
    reviewer: &dyn Reviewer,
    bytes: &[u8],
    verdict: Verdict,
    until: Instant,
) -> Result<Verdict, Late> {
    let Ok(request) = review::read(bytes) else { return Ok(verdict) };
    match timeout_at(until, reviewer.review(request)).await {
        Err(_) => Err(Late),
        Ok(Ok(())) => Ok(verdict),
        Ok(Err(status)) => {
            let Response { version, uid, .. } = &verdict.response;
            let response = Response::deny(version, uid, *status);
            Ok(Verdict { response, outcome: Outcome::Denied, ..verdict })
        }
    }
}
