//! Fault injection between a client and its API server: requests are counted, and a planned one, or random ones, are
//! lost, rejected, delayed or duplicated.
//!
//! Faults are below the client's retries, like those of a network and an API server. A fault may also disconnect the
//! client: from then on no request passes, as if the process had been killed in the middle of the request.

mod body;
mod plan;
mod request;

use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use function_mesh_serving::shutdown::CancellationToken;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Bytes};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::retry::RetryLayer;
use tower::{BoxError, Layer, Service};

pub use self::body::ResponseBody;
use self::body::{breakable, connection_reset, error_response, gone, shortened, whole};
use self::plan::{Decision, Plan, Planned};
pub use self::plan::{Fault, Rates, WatchFault};
pub use self::request::{Purpose, RequestInfo};

/// Faults of the clients that it creates, one at a time. Clones share all state.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
    triggered: Arc<Mutex<CancellationToken>>,
    /// Cancelled when watches of the disconnected namespace break.
    broken: Arc<Mutex<Broken>>,
}

/// Breaks running watches of a namespace.
type Broken = BTreeMap<String, CancellationToken>;

impl Faults {
    /// A client whose requests are counted and may get a fault. It is disconnected alone.
    pub fn client(&self, mut config: Config) -> anyhow::Result<Client> {
        // Retries are part of the client and see the faults, so they are above them.
        config.default_retry = false;
        let retries = RetryLayer::new(RetryPolicy::server_retry());
        Ok(ClientBuilder::try_from(config)?.with_layer(&self.layer()).with_layer(&retries).build())
    }

    /// The layer, for a client with other layers.
    pub fn layer(&self) -> FaultLayer {
        let (faults, is_disconnected) = (self.clone(), AtomicBool::default());
        FaultLayer { connection: Arc::new(Connection { faults, is_disconnected }) }
    }

    /// Resets the counters.
    pub fn watch_only(&self) {
        let mut plan = self.plan();
        plan.requests.clear();
        (plan.watches, plan.request, plan.watch, plan.victim) = (0, None, None, None);
        *locked(&self.triggered) = CancellationToken::new();
    }

    /// Resets the counters and injects the fault into the n-th counted request.
    pub fn inject(&self, at: usize, fault: Fault) {
        self.watch_only();
        self.plan().request = Some(Planned { at, fault, crash: false });
    }

    /// The same, and disconnects the client with the fault.
    pub fn inject_crash(&self, at: usize, fault: Fault) {
        self.watch_only();
        self.plan().request = Some(Planned { at, fault, crash: true });
    }

    /// Resets the counters and injects the fault into the n-th watch.
    pub fn inject_watch(&self, at: usize, fault: WatchFault) {
        self.watch_only();
        self.plan().watch = Some(Planned { at, fault, crash: false });
    }

    /// Injects random faults from now on; the same seed and requests give the same faults.
    pub fn inject_randomly(&self, seed: u64, rates: Rates) {
        self.plan().chance = Some((fastrand::Rng::with_seed(seed), rates));
    }

    /// Disconnects the watches of a namespace: they break now, and events until the reconnection are expired by then.
    /// Single objects can still be read and written.
    pub fn disconnect_watches(&self, namespace: &str) {
        self.plan().disconnected = Some(namespace.to_owned());
        if let Some(token) = locked(&self.broken).remove(namespace) {
            token.cancel();
        }
    }

    /// Watches may start again.
    pub fn connect(&self) {
        self.plan().disconnected = None;
    }

    /// Injects no more faults.
    pub fn disarm(&self) {
        let mut plan = self.plan();
        (plan.request, plan.watch, plan.chance) = (None, None, None);
    }

    /// Cancelled when the armed fault is injected; for one that drops the response, after the server has processed the
    /// request.
    pub fn triggered(&self) -> CancellationToken {
        locked(&self.triggered).clone()
    }

    /// The request that got the planned fault.
    pub fn victim(&self) -> Option<RequestInfo> {
        self.plan().victim.clone()
    }

    /// Counted requests since the last reset.
    pub fn requests(&self) -> Vec<RequestInfo> {
        self.plan().requests.clone()
    }

    /// Watches since the last reset.
    pub fn watches(&self) -> usize {
        self.plan().watches
    }

    /// Total number of injections, by fault.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.plan().counts.clone()
    }

    /// Time since a counted request was last sent or in flight.
    pub fn quiet_for(&self) -> Duration {
        let plan = self.plan();
        match plan.last_activity {
            _ if plan.in_flight > 0 => Duration::ZERO,
            Some(last) => last.elapsed(),
            None => Duration::MAX,
        }
    }

    /// Time since the last write, without Events.
    pub fn unchanged_for(&self) -> Duration {
        self.plan().last_change.map_or(Duration::MAX, |last| last.elapsed())
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        locked(&self.plan)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The connection of one client.
#[derive(Debug)]
struct Connection {
    faults: Faults,
    is_disconnected: AtomicBool,
}

impl Connection {
    fn inject(&self, decision: Decision) {
        if matches!(decision, Decision::Crash(_)) {
            self.is_disconnected.store(true, Ordering::SeqCst);
        }
        if self.faults.plan().victim.is_some() {
            self.faults.triggered().cancel();
        }
    }
}

/// Counts a request as in flight until it is dropped, even if it is cancelled.
struct InFlight(Faults, RequestInfo);

impl InFlight {
    fn new(faults: &Faults, info: RequestInfo) -> Self {
        let mut plan = faults.plan();
        if info.is_counted() {
            plan.in_flight += 1;
            plan.last_activity = Some(Instant::now());
        }
        if info.is_change() {
            plan.last_change = Some(Instant::now());
        }
        drop(plan);
        Self(faults.clone(), info)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.1.is_counted() {
            let mut plan = self.0.plan();
            plan.in_flight -= 1;
            plan.last_activity = Some(Instant::now());
        }
    }
}

/// Injects faults between a client and its API server.
#[derive(Clone, Debug)]
pub struct FaultLayer {
    connection: Arc<Connection>,
}

impl<S> Layer<S> for FaultLayer {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty { inner: Arc::new(tokio::sync::Mutex::new(inner)), connection: Arc::clone(&self.connection) }
    }
}

/// A connection with faults.
#[derive(Debug)]
pub struct Faulty<S> {
    inner: Arc<tokio::sync::Mutex<S>>,
    connection: Arc<Connection>,
}

impl<S> Clone for Faulty<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), connection: Arc::clone(&self.connection) }
    }
}

impl<S, B> Service<Request<Body>> for Faulty<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        if this.connection.is_disconnected.load(Ordering::SeqCst) {
            return Box::pin(pending());
        }
        let info = RequestInfo::of(&request);
        let decision = this.connection.faults.plan().decide(&info);
        let in_flight = InFlight::new(&this.connection.faults, info);
        let executed_first = matches!(decision, Decision::Crash(Fault::DropResponse));
        if decision != Decision::Pass && !executed_first {
            this.connection.inject(decision);
        }
        Box::pin(async move {
            let _under_way = in_flight;
            let answer = this.execute(decision, request).await;
            if executed_first {
                this.connection.inject(decision);
            }
            answer
        })
    }
}

impl<S, B> Faulty<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    async fn execute(
        &self,
        decision: Decision,
        request: Request<Body>,
    ) -> Result<Response<ResponseBody>, BoxError> {
        match decision {
            Decision::Pass => {
                let info = RequestInfo::of(&request);
                let answer = self.send(request).await?;
                let watched = info.namespace.filter(|_| info.purpose == Purpose::Watch);
                let Some(namespace) = watched else { return Ok(answer) };
                let broken = locked(&self.connection.faults.broken).entry(namespace).or_default().clone();
                Ok(answer.map(|body| breakable(body, Box::pin(broken.cancelled_owned()))))
            }
            Decision::Inject(fault) | Decision::Crash(fault) => match fault {
                Fault::Reject(code) => Ok(error_response(code)),
                Fault::Lose => Err(connection_reset()),
                Fault::DropResponse => {
                    self.send(request).await?.into_body().collect().await?;
                    Err(connection_reset())
                }
                Fault::Delay(duration) => {
                    tokio::time::sleep(duration).await;
                    self.send(request).await
                }
                Fault::Duplicate => {
                    let Some(copy) = clone_request(&request) else { return self.send(request).await };
                    self.send(copy).await?.into_body().collect().await?;
                    self.send(request).await
                }
            },
            Decision::InjectWatch(fault) => match fault {
                WatchFault::Gone => Ok(gone()),
                WatchFault::End(after) => self.shorten(request, after, true).await,
                WatchFault::Break(after) => self.shorten(request, after, false).await,
            },
        }
    }

    async fn shorten(
        &self,
        request: Request<Body>,
        events: usize,
        in_order: bool,
    ) -> Result<Response<ResponseBody>, BoxError> {
        Ok(self.send(request).await?.map(|body| shortened(body, events, in_order)))
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<ResponseBody>, BoxError> {
        let answer = {
            let mut inner = self.inner.lock().await;
            poll_fn(|context| inner.poll_ready(context)).await.map_err(Into::into)?;
            inner.call(request)
        };
        Ok(answer.await.map_err(Into::into)?.map(whole))
    }
}

fn clone_request(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

#[cfg(test)]
mod tests;
