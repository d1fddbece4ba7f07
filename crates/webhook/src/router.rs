//! The HTTP routes of the webhook.

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
use crate::body::{BodyError, BodyReader, ReceivedBody};
use crate::decision_pool::DecisionPool;
use crate::kinds::TrustedBackendConfig;
use crate::response::status::{failure, overloaded};
use crate::response::{encode, send};
use crate::{AdmissionKind, Authorizer, Endpoint, Limits, Metrics, review};

/// State shared by all requests.
#[derive(Clone, Debug)]
pub struct AppState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    metrics: Metrics,
    limits: Limits,
    bodies: BodyReader,
    decisions: DecisionPool,
}

impl AppState {
    /// A webhook without an authorizer.
    pub fn new(metrics: Metrics, limits: Limits) -> Self {
        Self::with_authorizer(metrics, limits, None)
    }

    /// A webhook with an authorizer for valid objects.
    pub fn with_authorizer(
        metrics: Metrics,
        limits: Limits,
        authorizer: Option<Arc<dyn Authorizer>>,
    ) -> Self {
        let bodies = BodyReader::new(limits, &metrics.body_bytes);
        let decisions = DecisionPool::new(limits, metrics.abandoned.clone(), authorizer);
        Self(Arc::new(Shared { metrics, limits, bodies, decisions }))
    }
}

/// The routes of all kinds.
pub fn router(state: AppState) -> Router {
    route::<BackendConfig>(components()).with_state(state)
}

/// The routes of all kinds, with `--allow-unsafe-backend-config`.
pub fn unsafe_config_router(state: AppState) -> Router {
    route::<TrustedBackendConfig>(components()).with_state(state)
}

fn components() -> Router<AppState> {
    let router = Router::new();
    let router = route::<Function>(router);
    let router = route::<Source>(router);
    let router = route::<Sink>(router);
    route::<FunctionMesh>(router)
}

fn route<K: AdmissionKind>(router: Router<AppState>) -> Router<AppState> {
    let endpoint = Endpoint::of::<K>();
    router
        .route(&endpoint.path(Action::Mutate), handler::<K>(Action::Mutate))
        .route(&endpoint.path(Action::Validate), handler::<K>(Action::Validate))
}

fn handler<K: AdmissionKind>(action: Action) -> MethodRouter<AppState> {
    post(move |State(state): State<AppState>, connection: Option<Extension<Arc<Connection>>>, body: Body| {
        handle::<K>(action, state, connection.map(|Extension(connection)| connection), body)
    })
}

async fn handle<K: AdmissionKind>(
    action: Action,
    AppState(shared): AppState,
    connection: Option<Arc<Connection>>,
    body: Body,
) -> response::Response {
    let started = Instant::now();
    let mut received = ReceivedBody::default();
    let verdict = shared.admit::<K>(action, connection.as_ref(), body, &mut received).await;
    shared.metrics.observe(action, &K::kind(&()), &verdict, started.elapsed());
    let response = encode(&verdict.response);
    // From here on the reservation covers the response.
    let reservation = received.reservation.inspect(|reservation| reservation.complete(response.len()));
    send(response, reservation)
}

impl Shared {
    async fn admit<K: AdmissionKind>(
        &self,
        action: Action,
        connection: Option<&Arc<Connection>>,
        body: Body,
        received: &mut ReceivedBody,
    ) -> Verdict {
        let until = Instant::now() + self.limits.deadline;
        let client = connection.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |connection| connection.address());
        let deadline = self.limits.deadline;
        let read = tokio::time::timeout_at(until, self.bodies.read(client, body, received)).await;
        let error = match read.unwrap_or(Err(BodyError::Timeout(deadline))) {
            Ok(()) => {
                // A connection that waits for a decision must not be evicted.
                let _busy = connection.map(Connection::mark_busy);
                match self.decisions.decide::<K>(action, received, until).await {
                    Ok(verdict) => return verdict,
                    Err(_) => BodyError::Timeout(deadline),
                }
            }
            Err(error) => error,
        };
        tracing::warn!(webhook = %action, kind = %K::kind(&()), %error, "admission review rejected");
        let message = error.to_string();
        let (status, outcome) = match error {
            BodyError::TooLarge(_) => (failure(413, "RequestEntityTooLarge", message), Outcome::Malformed),
            BodyError::Incomplete(_) | BodyError::NotAReview => {
                (failure(400, "BadRequest", message), Outcome::Malformed)
            }
            BodyError::Timeout(_) | BodyError::TooSlow(_) => {
                (overloaded(504, "Timeout", message), Outcome::Overloaded)
            }
            BodyError::Evicted => (overloaded(503, "ServiceUnavailable", message), Outcome::Overloaded),
        };
        Verdict::rejected(review::denial(&received.head, status), outcome)
    }
}
