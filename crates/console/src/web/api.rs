//! The pages as JSON, and the exchange of the one-time token.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use function_mesh_api::printable;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::App;
use super::access::{Access, Permissions};
use super::error::ApiError;
use crate::hub::Subject;
use crate::link::LinkTemplate;
use crate::state::State as PageState;
use crate::store::MeshKey;

/// What exchanges a token.
#[derive(Deserialize)]
pub(super) struct Exchange {
    token: String,
}

/// The token of the session.
#[derive(Serialize)]
pub(super) struct Session {
    token: String,
}

/// Who has signed in, and what holds for all pages.
#[derive(Serialize)]
pub(super) struct SignedIn {
    /// Null where there is one user only.
    user: Option<String>,
    /// The template of links from components.
    dashboard: Option<LinkTemplate>,
    /// Whether there are actions.
    actions: bool,
}

pub(super) async fn session(
    State(app): State<App>,
    Json(exchange): Json<Exchange>,
) -> Result<Json<Session>, ApiError> {
    let Access::Loopback(loopback) = &*app.access else {
        return Err(ApiError::not_found("one-time tokens are not used here"));
    };
    let token = loopback.exchange(&exchange.token).ok_or_else(|| {
        let text = "the token of this URL was used already; run `kubectl mesh ui` again for another one";
        ApiError::new(StatusCode::UNAUTHORIZED, text)
    })?;
    Ok(Json(Session { token }))
}

pub(super) async fn signed_in(
    State(app): State<App>,
    Extension(permissions): Extension<Permissions>,
) -> Json<SignedIn> {
    let user = permissions.user_name().map(|name| printable(name).into_owned());
    let actions = matches!(*app.access, Access::Loopback(_));
    Json(SignedIn { user, dashboard: app.dashboard, actions })
}

pub(super) async fn meshes(
    State(app): State<App>,
    Extension(permissions): Extension<Permissions>,
) -> Result<Json<PageState>, ApiError> {
    app.hub.wait_synced().await;
    let visible = permissions.overview(&app.hub).await?;
    Ok(Json(app.hub.state(&Subject::Overview, &visible)))
}

pub(super) async fn mesh(
    State(app): State<App>,
    Extension(permissions): Extension<Permissions>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<PageState>, ApiError> {
    let visible = permissions.namespace(&namespace).await?;
    app.hub.wait_synced().await;
    let state = app.hub.state(&Subject::Mesh(MeshKey { namespace, name }), &visible);
    let is_there = |field: &str| state.head.get(field) == Some(&Value::Bool(true));
    if is_there("synced") && !is_there("exists") {
        return Err(ApiError::not_found("no such mesh"));
    }
    Ok(Json(state))
}
