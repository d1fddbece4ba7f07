//! Nothing is written by who does not lead: every write passes the fence, and one that is under way is dropped when
//! leadership ends. Reads pass always: who waits fills its caches.

use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tower::{BoxError, Service};

/// Whether, and until when, this program may write. Clones share it.
#[derive(Clone, Debug)]
pub struct Fence {
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Another one leads.
    Closed,
    /// Leadership is certain until then.
    OpenUntil(Instant),
    /// There is no other one.
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
    /// Of a program that is alone.
    pub fn open() -> Self {
        Self { state: watch::Sender::new(State::Open) }
    }

    /// Of one that does not lead yet.
    pub(crate) fn closed() -> Self {
        Self { state: watch::Sender::new(State::Closed) }
    }

    /// Leadership is certain until then.
    pub(crate) fn open_until(&self, deadline: Instant) {
        self.state.send_replace(State::OpenUntil(deadline));
    }

    /// Leadership is over.
    pub(crate) fn close(&self) {
        self.state.send_replace(State::Closed);
    }

    /// A client whose writes pass the fence.
    pub fn client(&self, client: Client) -> Client {
        if *self.state.borrow() == State::Open {
            return client;
        }
        let namespace = client.default_namespace().to_owned();
        Client::new(Fenced { inner: client, fence: self.clone() }, namespace)
    }

    /// Waits until leadership has ended.
    async fn is_closed(&self) {
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

/// A write of a program that does not lead.
#[derive(Debug, thiserror::Error)]
#[error("not the leader: the write was not sent, or its answer not waited for")]
pub struct NotLeader;

#[derive(Clone)]
struct Fenced {
    inner: Client,
    fence: Fence,
}

impl Service<Request<Body>> for Fenced {
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
                () = fence.is_closed() => Err(NotLeader.into()),
                answer = inner.send(request) => Ok(answer?),
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

    /// A client whose requests are counted and never answered.
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
    async fn a_write_without_leadership_is_never_sent() {
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
    async fn a_write_under_way_is_dropped_at_the_deadline_and_a_renewal_moves_it() {
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
    async fn who_is_alone_writes_as_long_as_it_likes() {
        let (api, sent) = silent(&Fence::open());
        let params = PostParams::default();
        let object = ConfigMap::default();
        let write = api.create(&params, &object);
        assert!(tokio::time::timeout(Duration::from_hours(1), write).await.is_err());
        assert_eq!(sent.load(Ordering::SeqCst), 1);
    }
}
