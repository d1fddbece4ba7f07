//! Blocks writes of replicas that do not lead: every write passes the fence, and a write in flight is cancelled when
//! leadership is lost. Reads always pass, so followers keep their caches synced.

use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tower::{BoxError, Service};

/// Whether, and until when, this replica may write. Clones share the state.
#[derive(Clone, Debug)]
pub struct Fence {
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// This replica does not lead.
    Closed,
    /// This replica leads until this deadline.
    OpenUntil(Instant),
    /// Leader election is off.
    Open,
}

impl State {
    fn is_open(self) -> bool {
        match self {
            Self::Closed => false,
            Self::OpenUntil(deadline) => Instant::now() < deadline,
            Self::Open => true,
        }
    }
}

impl Fence {
    /// A fence that is always open: leader election is off.
    pub fn open() -> Self {
        Self { state: watch::Sender::new(State::Open) }
    }

    /// A fence that is closed until this replica leads.
    pub(crate) fn closed() -> Self {
        Self { state: watch::Sender::new(State::Closed) }
    }

    /// Opens the fence until this deadline.
    pub(crate) fn open_until(&self, deadline: Instant) {
        self.state.send_replace(State::OpenUntil(deadline));
    }

    /// Closes the fence: leadership is lost.
    pub(crate) fn close(&self) {
        self.state.send_replace(State::Closed);
    }

    /// A client whose writes pass the fence.
    pub fn client(&self, client: Client) -> Client {
        if *self.state.borrow() == State::Open {
            return client;
        }
        let namespace = client.default_namespace().to_owned();
        Client::new(FencedService { inner: client, fence: self.clone() }, namespace)
    }

    /// Waits until the fence is closed.
    async fn wait_closed(&self) {
        let mut state = self.state.subscribe();
        loop {
            let now = *state.borrow_and_update();
            let deadline = match now {
                _ if !now.is_open() => return,
                State::OpenUntil(deadline) => Some(deadline),
                State::Closed | State::Open => None,
            };
            tokio::select! {
                changed = state.changed() => if changed.is_err() { return },
                () = async { sleep_until(deadline.unwrap_or_else(Instant::now)).await }, if deadline.is_some() => {}
            }
        }
    }
}

/// A write without leadership.
#[derive(Debug, thiserror::Error)]
#[error("not the leader: write blocked, or cancelled in flight")]
pub struct NotLeader;

#[derive(Clone)]
struct FencedService {
    inner: Client,
    fence: Fence,
}

impl Service<Request<Body>> for FencedService {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { inner, fence } = self.clone();
        async move {
            if matches!(*request.method(), Method::GET | Method::HEAD) {
                return Ok(inner.send(request).await?);
            }
            tokio::select! {
                biased;
                () = fence.wait_closed() => Err(NotLeader.into()),
                response = inner.send(request) => Ok(response?),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::PostParams;
    use tower::service_fn;

    use super::*;

    /// A client whose requests are counted and get no response.
    fn silent(fence: &Fence) -> (Api<ConfigMap>, Arc<AtomicUsize>) {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let server = service_fn(move |_: Request<Body>| {
            counted.fetch_add(1, Ordering::SeqCst);
            pending::<Result<Response<Body>, Infallible>>()
        });
        (Api::namespaced(fence.client(Client::new(server, "n")), "n"), sent)
    }

    #[tokio::test(start_paused = true)]
    async fn write_without_leadership_is_not_sent() {
        let fence = Fence::closed();
        let (api, sent) = silent(&fence);
        let error = api.create(&PostParams::default(), &ConfigMap::default()).await.unwrap_err();
        assert!(error.to_string().contains("not the leader"), "{error}");
        fence.open_until(Instant::now() - Duration::from_millis(1));
        assert!(api.create(&PostParams::default(), &ConfigMap::default()).await.is_err());
        assert_eq!(sent.load(Ordering::SeqCst), 0);
        assert!(tokio::time::timeout(Duration::from_secs(1), api.get("a")).await.is_err());
        assert_eq!(sent.load(Ordering::SeqCst), 1, "reads pass");
    }

    #[tokio::test(start_paused = true)]
    async fn write_in_flight_is_cancelled_at_the_renewed_deadline() {
        let fence = Fence::closed();
        let (api, sent) = silent(&fence);
        let start = Instant::now();
        fence.open_until(start + Duration::from_secs(8));
        let renewed = fence.clone();
        tokio::spawn(async move {
            sleep_until(start + Duration::from_secs(4)).await;
            renewed.open_until(start + Duration::from_secs(12));
        });
        let result = api.create(&PostParams::default(), &ConfigMap::default()).await;
        assert!(result.is_err());
        assert_eq!((sent.load(Ordering::SeqCst), start.elapsed().as_secs()), (1, 12));
    }

    #[tokio::test(start_paused = true)]
    async fn open_fence_has_no_deadline() {
        let (api, sent) = silent(&Fence::open());
        let params = PostParams::default();
        let object = ConfigMap::default();
        let write = api.create(&params, &object);
        assert!(tokio::time::timeout(Duration::from_hours(1), write).await.is_err());
        assert_eq!(sent.load(Ordering::SeqCst), 1);
    }
}
