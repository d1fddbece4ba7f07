//! The addresses that reviews arrive at, and the limits that hold for each.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use function_mesh_api::{BackendConfig, Function, FunctionMesh, Sink, Source};
use futures::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::admission::{Action, Outcome, Verdict, decide};
use crate::denial::failure;
use crate::{Admitted, Endpoint, Meters, review};

/// What one request may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a body. A review of an update holds the object twice, and the API server takes objects of up
    /// to 3 MiB; the original's limit is the same.
    pub body: usize,
    /// Time for an answer. Below the five seconds after which the API server gives up, so that the answer
    /// arrives and says why.
    pub deadline: Duration,
    /// Requests that are read and decided at a time; others wait, within their deadline.
    pub concurrency: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body: 7 * 1024 * 1024, deadline: Duration::from_secs(4), concurrency: 32 }
    }
}

#[derive(Debug)]
struct Desk {
    meters: Meters,
    limits: Limits,
    seats: Semaphore,
}

/// The addresses of all kinds.
pub fn router(meters: Meters, limits: Limits) -> Router {
    let desk = Arc::new(Desk { meters, limits, seats: Semaphore::new(limits.concurrency) });
    let router = Router::new();
    let router = route::<Function>(router);
    let router = route::<Source>(router);
    let router = route::<Sink>(router);
    let router = route::<FunctionMesh>(router);
    route::<BackendConfig>(router).with_state(desk)
}

fn route<K: Admitted>(router: Router<Arc<Desk>>) -> Router<Arc<Desk>> {
    let endpoint = Endpoint::of::<K>();
    router
        .route(&endpoint.path(Action::Mutate), handler::<K>(Action::Mutate))
        .route(&endpoint.path(Action::Validate), handler::<K>(Action::Validate))
}

fn handler<K: Admitted>(action: Action) -> MethodRouter<Arc<Desk>> {
    post(async move |State(desk): State<Arc<Desk>>, body: Body| -> Response {
        let begun = Instant::now();
        let verdict = desk.admit::<K>(action, body).await;
        desk.meters.note(action, &K::kind(&()), &verdict, begun.elapsed());
        review::answer(verdict.response)
    })
}

impl Desk {
    async fn admit<K: Admitted>(&self, action: Action, body: Body) -> Verdict {
        // Kept outside of what the deadline may cut off: the uid stands in the first bytes.
        let mut bytes = Vec::new();
        let read = async {
            let seat = self.seats.acquire().await;
            receive(body, self.limits.body, &mut bytes).await.map(|()| seat)
        };
        let fault = match tokio::time::timeout(self.limits.deadline, read).await {
            Ok(Ok(_seat)) => return decide::<K>(action, &bytes),
            Ok(Err(fault)) => fault,
            Err(_) => Fault::Late(self.limits.deadline),
        };
        tracing::warn!(webhook = %action, kind = %K::kind(&()), %fault, "refused a request unread");
        let (code, reason, outcome) = match fault {
            Fault::TooLarge(_) => (413, "RequestEntityTooLarge", Outcome::Malformed),
            Fault::Broken(_) => (400, "BadRequest", Outcome::Malformed),
            Fault::Late(_) => (504, "Timeout", Outcome::Overloaded),
        };
        Verdict::refused(review::refusal(&bytes, failure(code, reason, fault.to_string())), outcome)
    }
}

/// Why a request was not read.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the admission review is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the admission review did not arrive whole: {0}")]
    Broken(axum::Error),
    #[error(
        "no decision within {0:?}: the request arrived slowly, or too many others are waiting; try again"
    )]
    Late(Duration),
}

async fn receive(body: Body, limit: usize, bytes: &mut Vec<u8>) -> Result<(), Fault> {
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(Fault::Broken)?;
        let room = limit - bytes.len();
        bytes.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if chunk.len() > room {
            return Err(Fault::TooLarge(limit));
        }
    }
    Ok(())
}
