//! Errors as JSON with a message for people.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::{IntoResponse, Response};
use function_mesh_api::printable;
use serde_json::json;

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    /// Whether a token would help.
    needs_token: bool,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), needs_token: false }
    }

    /// There is no valid bearer token.
    pub(crate) fn unauthenticated(message: impl Into<String>) -> Self {
        Self { needs_token: true, ..Self::new(StatusCode::UNAUTHORIZED, message) }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }
}

impl ApiError {
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

/// An error of the API server: what it rejects is rejected here, with its words.
impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let code = StatusCode::from_u16(status.code).ok().filter(StatusCode::is_client_error);
                // The page would take 401 for the end of its own session.
                let code = code.filter(|code| *code != StatusCode::UNAUTHORIZED);
                Self::new(code.unwrap_or(StatusCode::BAD_GATEWAY), status.message)
            }
            error => {
                tracing::debug!(%error, "request to the API server failed");
                Self::new(StatusCode::BAD_GATEWAY, "no answer from the API server")
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = (self.status, Json(json!({ "message": printable(&self.message) })));
        if self.needs_token {
            // The page shows its form where it finds this header.
            return ([(WWW_AUTHENTICATE, "Bearer realm=\"function-mesh\"")], body).into_response();
        }
        body.into_response()
    }
}

pub(super) async fn not_found() -> ApiError {
    ApiError::not_found("no such page")
}
