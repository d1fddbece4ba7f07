//! Probes: live while the process responds, ready once all readiness gates are open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use crate::shutdown::CancellationToken;

/// Readiness of the process. Clones share the gates.
///
/// ```
/// use function_mesh_serving::Readiness;
/// use function_mesh_serving::shutdown::CancellationToken;
///
/// let readiness = Readiness::new(CancellationToken::new());
/// let caches = readiness.gate("caches");
/// assert_eq!(readiness.missing(), ["caches"]);
/// caches.set(true);
/// assert!(readiness.missing().is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct Readiness {
    gates: Arc<Mutex<BTreeMap<String, bool>>>,
    shutdown: CancellationToken,
}

/// A precondition of readiness, initially closed.
#[derive(Clone, Debug)]
pub struct Gate {
    name: String,
    gates: Arc<Mutex<BTreeMap<String, bool>>>,
}

impl Readiness {
    /// Readiness without gates. It turns false with `shutdown`, so that no new requests are routed here.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { gates: Arc::default(), shutdown }
    }

    /// Adds a closed gate. Gates with the same name are one gate.
    pub fn gate(&self, name: &str) -> Gate {
        locked(&self.gates).entry(name.to_owned()).or_insert(false);
        Gate { name: name.to_owned(), gates: Arc::clone(&self.gates) }
    }

    /// The names of closed gates; empty when ready.
    pub fn missing(&self) -> Vec<String> {
        if self.shutdown.is_cancelled() {
            return vec!["shutting down".to_owned()];
        }
        locked(&self.gates).iter().filter(|(_, open)| !**open).map(|(name, _)| name.clone()).collect()
    }
}

impl Gate {
    /// Opens or closes the gate.
    pub fn set(&self, ready: bool) {
        locked(&self.gates).insert(self.name.clone(), ready);
    }
}

/// A poisoned lock is fine: each change of the map is a single insert.
fn locked(gates: &Mutex<BTreeMap<String, bool>>) -> MutexGuard<'_, BTreeMap<String, bool>> {
    gates.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pages `/healthz` and `/readyz`.
pub fn routes(readiness: Readiness) -> Router {
    Router::new().route("/healthz", get("ok\n")).route("/readyz", get(async move || ready(&readiness)))
}

fn ready(readiness: &Readiness) -> (StatusCode, String) {
    let missing = readiness.missing();
    if missing.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", missing.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn get(routes: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = routes.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let text = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(text.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readyz_lists_closed_gates() {
        let token = CancellationToken::new();
        let readiness = Readiness::new(token.clone());
        let (caches, lease) = (readiness.gate("caches"), readiness.gate("lease"));
        let routes = routes(readiness);
        assert_eq!(get(&routes, "/healthz").await, (StatusCode::OK, "ok\n".into()));
        let expected = (StatusCode::SERVICE_UNAVAILABLE, "not ready: caches, lease\n".into());
        assert_eq!(get(&routes, "/readyz").await, expected);
        caches.set(true);
        lease.set(true);
        assert_eq!(get(&routes, "/readyz").await, (StatusCode::OK, "ok\n".into()));
        lease.set(false);
        let expected = (StatusCode::SERVICE_UNAVAILABLE, "not ready: lease\n".into());
        assert_eq!(get(&routes, "/readyz").await, expected);
    }

    #[tokio::test]
    async fn shutting_down_is_live_but_not_ready() {
        let token = CancellationToken::new();
        let routes = routes(Readiness::new(token.clone()));
        assert_eq!(get(&routes, "/readyz").await.0, StatusCode::OK);
        token.cancel();
        assert_eq!(get(&routes, "/healthz").await.0, StatusCode::OK);
        let expected = (StatusCode::SERVICE_UNAVAILABLE, "not ready: shutting down\n".into());
        assert_eq!(get(&routes, "/readyz").await, expected);
    }
}
