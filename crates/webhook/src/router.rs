//! The addresses that reviews arrive at.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response;
use axum::routing::{MethodRouter, post};
use function_mesh_api::{BackendConfig, Function, FunctionMesh, Sink, Source};
use function_mesh_serving::Connection;
use tokio::time::Instant;

use crate::admission::{Action, Outcome, Verdict};
use crate::bodies::{Bodies, Fault, Received};
use crate::denial::{failure, overloaded};
use crate::desk::Desk;
use crate::kinds::TrustedBackendConfig;
use crate::response::{encode, send};
use crate::rights::Reviewer;
use crate::{Admitted, Endpoint, Limits, Metrics, review};

/// What all requests share.
#[derive(Clone, Debug)]
pub struct AppState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    metrics: Metrics,
    limits: Limits,
    bodies: Bodies,
    desk: Desk,
}

impl AppState {
    /// A webhook within limits.
    pub fn new(metrics: Metrics, limits: Limits) -> Self {
        Self::with_reviewer(metrics, limits, None)
    }

    /// A webhook that asks `reviewer` about what the rules let pass.
    pub fn with_reviewer(metrics: Metrics, limits: Limits, reviewer: Option<Arc<dyn Reviewer>>) -> Self {
        let bodies = Bodies::new(limits, &metrics.body_bytes);
        let desk = Desk::new(limits, metrics.abandoned.clone(), reviewer);
        Self(Arc::new(Shared { metrics, limits, bodies, desk }))
    }
}

/// The addresses of all kinds.
pub fn router(state: AppState) -> Router {
    route::<BackendConfig>(components()).with_state(state)
}

/// The same where BackendConfigs may run code in pods.
pub fn trusting_router(state: AppState) -> Router {
    route::<TrustedBackendConfig>(components()).with_state(state)
}

fn components() -> Router<AppState> {
    let router = Router::new();
    let router = route::<Function>(router);
    let router = route::<Source>(router);
    let router = route::<Sink>(router);
    route::<FunctionMesh>(router)
}

fn route<K: Admitted>(router: Router<AppState>) -> Router<AppState> {
    let endpoint = Endpoint::of::<K>();
    router
        .route(&endpoint.path(Action::Mutate), handler::<K>(Action::Mutate))
        .route(&endpoint.path(Action::Validate), handler::<K>(Action::Validate))
}

fn handler<K: Admitted>(action: Action) -> MethodRouter<AppState> {
    post(move |State(state): State<AppState>, connection: Option<Extension<Arc<Connection>>>, body: Body| {
        handle::<K>(action, state, connection.map(|Extension(connection)| connection), body)
    })
}

async fn handle<K: Admitted>(
    action: Action,
    AppState(shared): AppState,
    connection: Option<Arc<Connection>>,
    body: Body,
) -> response::Response {
    let begun = Instant::now();
    let mut received = Received::default();
    let verdict = shared.admit::<K>(action, connection.as_ref(), body, &mut received).await;
    shared.metrics.note(action, &K::kind(&()), &verdict, begun.elapsed());
    let answer = encode(&verdict.response);
    // What is held from now on is the answer.
    let lease = received.lease.inspect(|lease| lease.settle(answer.len()));
    send(answer, lease)
}

impl Shared {
    async fn admit<K: Admitted>(
        &self,
        action: Action,
        connection: Option<&Arc<Connection>>,
        body: Body,
        received: &mut Received,
    ) -> Verdict {
        let until = Instant::now() + self.limits.deadline;
        let client = connection.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |connection| connection.address());
        let late = Fault::Late(self.limits.deadline);
        let read = tokio::time::timeout_at(until, self.bodies.receive(client, body, received)).await;
        let fault = match read.unwrap_or(Err(late)) {
            Ok(()) => {
                // Whoever waits for a decision is not to lose the connection to a newcomer.
                let _working = connection.map(Connection::work);
                match self.desk.decide::<K>(action, received, until).await {
                    Ok(verdict) => return verdict,
                    Err(_) => Fault::Late(self.limits.deadline),
                }
            }
            Err(fault) => fault,
        };
        tracing::warn!(webhook = %action, kind = %K::kind(&()), %fault, "refused a request unread");
        let message = fault.to_string();
        let (status, outcome) = match fault {
            Fault::TooLarge(_) => (failure(413, "RequestEntityTooLarge", message), Outcome::Malformed),
            Fault::Broken(_) | Fault::NotAReview => (failure(400, "BadRequest", message), Outcome::Malformed),
            Fault::Late(_) | Fault::Slow(_) => (overloaded(504, "Timeout", message), Outcome::Overloaded),
            Fault::CutOff => (overloaded(503, "ServiceUnavailable", message), Outcome::Overloaded),
        };
        Verdict::refused(review::refusal(&received.head, status), outcome)
    }
}
