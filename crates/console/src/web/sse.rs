//! The pages as server-sent events: a snapshot, then deltas.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use futures::{Stream, stream};
use tokio::time::timeout;

use super::App;
use crate::hub::{Subject, Viewer};
use crate::store::MeshKey;

/// What a viewer gets if nothing has happened: it shows that the connection works.
const HEARTBEAT: &str = ": heartbeat\n\n";

const LAST_EVENT_ID: &str = "last-event-id";

pub(super) async fn overview(State(app): State<App>, headers: HeaderMap) -> Response {
    events(app, &Subject::Overview, &headers).await
}

pub(super) async fn mesh(
    State(app): State<App>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    events(app, &Subject::Mesh(MeshKey { namespace, name }), &headers).await
}

async fn events(app: App, subject: &Subject, headers: &HeaderMap) -> Response {
    app.hub.wait_synced().await;
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let viewer = app.hub.view(subject, last);
    let head = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // Proxies that buffer would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (head, Body::from_stream(stream(app, viewer))).into_response()
}

/// The events of a viewer. The next ones are fetched when the connection can take them.
fn stream(app: App, viewer: Viewer) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    stream::unfold((app, viewer), |(app, mut viewer)| async move {
        let next = tokio::select! {
            () = app.shutdown.cancelled() => return None,
            next = timeout(app.hub.times().heartbeat, viewer.next()) => next,
        };
        let bytes = match next {
            Ok(Some(events)) => Bytes::from(events.concat()),
            Ok(None) => return None,
            Err(_) => Bytes::from_static(HEARTBEAT.as_bytes()),
        };
        Some((Ok(bytes), (app, viewer)))
    })
}
