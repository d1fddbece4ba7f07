//! The pages as server-sent events: a snapshot, then deltas.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use function_mesh_serving::{BusyGuard, Connection};
use futures::{Stream, future, stream};
use tokio::time::{Instant, sleep_until, timeout};

use super::App;
use super::access::Permissions;
use super::error::ApiError;
use crate::hub::{Subject, Viewer};
use crate::store::MeshKey;
use crate::visible::Visible;

/// What a viewer gets if nothing has happened: it shows that the connection works.
const HEARTBEAT: &str = ": heartbeat\n\n";

const LAST_EVENT_ID: &str = "last-event-id";

pub(super) async fn overview(
    State(app): State<App>,
    Extension(permissions): Extension<Permissions>,
    connection: Option<Extension<Arc<Connection>>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    app.hub.wait_synced().await;
    let visible = permissions.overview(&app.hub).await?;
    events(app, &Subject::Overview, &visible, connection, &headers)
}

pub(super) async fn mesh(
    State(app): State<App>,
    Extension(permissions): Extension<Permissions>,
    Path((namespace, name)): Path<(String, String)>,
    connection: Option<Extension<Arc<Connection>>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let visible = permissions.namespace(&namespace).await?;
    app.hub.wait_synced().await;
    events(app, &Subject::Mesh(MeshKey { namespace, name }), &visible, connection, &headers)
}

fn events(
    app: App,
    subject: &Subject,
    visible: &Visible,
    connection: Option<Extension<Arc<Connection>>>,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let busy = || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open; try again later");
    let viewer = app.hub.view(subject, visible, last).ok_or_else(busy)?;
    let head = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // Proxies that buffer would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let busy = connection.map(|Extension(connection)| connection.mark_busy());
    Ok((head, Body::from_stream(stream(app, viewer, busy))).into_response())
}

/// The events of a viewer. The next ones are fetched when the connection can take them. Meanwhile it is not evicted.
fn stream(
    app: App,
    viewer: Viewer,
    busy: Option<BusyGuard>,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let end = app.hub.times().permissions.map(|time| Instant::now() + time);
    stream::unfold((app, viewer, busy), move |(app, mut viewer, busy)| async move {
        let ended = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => future::pending().await,
            }
        };
        let next = tokio::select! {
            () = app.shutdown.cancelled() => return None,
            () = ended => return None,
            next = timeout(app.hub.times().heartbeat, viewer.next()) => next,
        };
        let bytes = match next {
            Ok(Some(events)) => Bytes::from(events.concat()),
            Ok(None) => return None,
            Err(_) => Bytes::from_static(HEARTBEAT.as_bytes()),
        };
        Some((Ok(bytes), (app, viewer, busy)))
    })
}
