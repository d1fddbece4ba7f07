//! The page and its data over HTTP.
//!
//! | path | |
//! |---|---|
//! | `GET /`, `GET /assets/…` | the page; it has no data of the cluster |
//! | `POST /api/v1/session` | exchanges the one-time token for that of the session |
//! | `GET /api/v1/session` | who has signed in |
//! | `GET /api/v1/meshes` | all meshes |
//! | `GET /api/v1/events` | the same as events |
//! | `GET /api/v1/meshes/{namespace}/{name}` | one mesh as its graph |
//! | `GET /api/v1/meshes/{namespace}/{name}/events` | the same as events |
//! | `GET /api/v1/components/{namespace}/{kind}/{name}` | conditions, Events, pods and YAML of a component |
//! | `GET /api/v1/components/{namespace}/{kind}/{name}/history` | its samples of the last hour |
//! | `GET /api/v1/components/{namespace}/{kind}/{name}/logs` | logs of its pods |
//! | `GET /api/v1/components/{namespace}/{kind}/{name}/exceptions` | the last exceptions in these logs |
//! | `GET`, `POST /api/v1/actions/{namespace}/{kind}/{name}` | what can be done to an object, and doing it; not in the cluster |

pub mod access;
mod actions;
mod api;
mod assets;
mod detail;
mod error;
mod exceptions;
mod guard;
mod logs;
mod pods;
mod sse;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use kube::Client;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::access::Access;
use self::actions::Actions;
use crate::hub::Hub;
use crate::link::LinkTemplate;

/// What requests are answered from.
#[derive(Clone)]
pub struct App {
    /// The objects and the pages.
    pub hub: Hub,
    /// Reads details and logs, with the permissions of its credentials.
    pub client: Client,
    /// Who may ask.
    pub access: Arc<Access>,
    /// Ends streams of events.
    pub shutdown: CancellationToken,
    /// Where a component links to.
    pub dashboard: Option<LinkTemplate>,
    actions: Arc<Actions>,
    log_permits: Arc<Semaphore>,
}

impl App {
    /// Answers until shutdown.
    pub fn new(hub: Hub, client: Client, access: Access, shutdown: CancellationToken) -> Self {
        let log_permits = Arc::new(Semaphore::new(logs::AT_A_TIME));
        let (access, actions) = (Arc::new(access), Actions::new(Vec::new()));
        Self { hub, client, access, shutdown, dashboard: None, actions, log_permits }
    }

    /// With flags in the commands that are shown, which select the cluster.
    #[must_use]
    pub fn with_flags(self, flags: Vec<String>) -> Self {
        Self { actions: Actions::new(flags), ..self }
    }
}

/// The routes.
pub fn router(app: App) -> Router {
    let component = "/api/v1/components/{namespace}/{kind}/{name}";
    let routes = Router::new()
        .route("/", get(assets::index))
        .route("/assets/{name}", get(assets::asset))
        .route("/api/v1/session", post(api::session).get(api::signed_in))
        .route("/api/v1/meshes", get(api::meshes))
        .route("/api/v1/events", get(sse::overview))
        .route("/api/v1/meshes/{namespace}/{name}", get(api::mesh))
        .route("/api/v1/meshes/{namespace}/{name}/events", get(sse::mesh))
        .route(component, get(detail::component))
        .route(&format!("{component}/history"), get(detail::history))
        .route(&format!("{component}/logs"), get(logs::logs))
        .route(&format!("{component}/exceptions"), get(exceptions::exceptions));
    // The console in the cluster cannot write: it does not have these routes.
    let routes = match &*app.access {
        Access::Loopback(_) => routes.merge(actions::routes()),
        Access::Reviews(_) => routes,
    };
    routes.fallback(error::not_found).layer(from_fn_with_state(app.clone(), guard::guard)).with_state(app)
}
