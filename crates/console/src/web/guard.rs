//! Checks every request before its route, and sets the headers that limit what the page can do.

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::access::{Access, Permissions, bearer};
use super::error::ApiError;

/// Scripts, styles and requests of this origin only, none of them inline, and no text is ever parsed as HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The only route of data without the token of the session.
const SESSION: &str = "/api/v1/session";

pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut response = match check(&app, &parts).await {
        Ok(permissions) => {
            // Routes without permissions have no data of the cluster.
            if let Some(permissions) = permissions {
                parts.extensions.insert(permissions);
            }
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What a request may see; None where none are needed.
async fn check(app: &App, request: &Parts) -> Result<Option<Permissions>, ApiError> {
    let headers = &request.headers;
    let path = request.uri.path();
    let is_data = path.starts_with("/api/");
    match &*app.access {
        Access::Reviews(reviews) if is_data => {
            Ok(Some(Permissions::Of(reviews.user(bearer(headers)).await?)))
        }
        Access::Reviews(_) => Ok(None),
        Access::Loopback(loopback) => {
            let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            if !loopback.is_host(host) {
                let text = "this server has another name: use the URL that it printed";
                return Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, text));
            }
            if !is_data || (path == SESSION && request.method == Method::POST) {
                return Ok(None);
            }
            if bearer(headers).is_some_and(|token| loopback.is_session(token)) {
                return Ok(Some(Permissions::Own));
            }
            let text = "no session: open the URL that `kubectl mesh ui` printed";
            Err(ApiError::new(StatusCode::UNAUTHORIZED, text))
        }
    }
}
