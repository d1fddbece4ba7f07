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

pub use self::body::AnswerBody;
use self::body::{breakable, connection_reset, gone, refusal, shortened, whole};
use self::plan::{Decision, Plan, Planned};
pub use self::plan::{Fault, Rates, WatchFault};
pub use self::request::{Asked, Purpose};

/// Faults of the clients that it creates, one at a time. Clones share all state.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
    struck: Arc<Mutex<CancellationToken>>,
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
        let (faults, is_cut) = (self.clone(), AtomicBool::default());
        FaultLayer { line: Arc::new(Line { faults, is_cut }) }
    }

    /// Resets the counters.
    pub fn watch_only(&self) {
        let mut plan = self.plan();
        plan.asked.clear();
        (plan.watches, plan.request, plan.watch, plan.victim) = (0, None, None, None);
        *locked(&self.struck) = CancellationToken::new();
    }

    /// Resets the counters and injects the fault into the n-th counted request.
    pub fn arm(&self, at: usize, fault: Fault) {
        self.watch_only();
        self.plan().request = Some(Planned { at, fault, crash: false });
    }

    /// The same, and disconnects the client with the fault.
    pub fn arm_crash(&self, at: usize, fault: Fault) {
        self.watch_only();
        self.plan().request = Some(Planned { at, fault, crash: true });
    }

    /// Resets the counters and injects the fault into the n-th watch.
    pub fn arm_watch(&self, at: usize, fault: WatchFault) {
        self.watch_only();
        self.plan().watch = Some(Planned { at, fault, crash: false });
    }

    /// Injects random faults from now on; the same seed and requests give the same faults.
    pub fn by_chance(&self, seed: u64, rates: Rates) {
        self.plan().chance = Some((fastrand::Rng::with_seed(seed), rates));
    }

    /// Disconnects the watches of a namespace: they break now, and events until the reconnection are expired by then.
    /// Single objects can still be read and written.
    pub fn cut_off(&self, namespace: &str) {
        self.plan().cut_off = Some(namespace.to_owned());
        if let Some(token) = locked(&self.broken).remove(namespace) {
            token.cancel();
        }
    }

    /// Watches may start again.
    pub fn connect(&self) {
        self.plan().cut_off = None;
    }

    /// Injects no more faults.
    pub fn disarm(&self) {
        let mut plan = self.plan();
        (plan.request, plan.watch, plan.chance) = (None, None, None);
    }

    /// Cancelled when the armed fault is injected; for one that drops the response, after the server has processed the
    /// request.
    pub fn struck(&self) -> CancellationToken {
        locked(&self.struck).clone()
    }

    /// The request that got the planned fault.
    pub fn victim(&self) -> Option<Asked> {
        self.plan().victim.clone()
    }

    /// Counted requests since the last reset.
    pub fn asked(&self) -> Vec<Asked> {
        self.plan().asked.clone()
    }

    /// Watches since the last reset.
    pub fn watches(&self) -> usize {
        self.plan().watches
    }

    /// Total number of injections, by fault.
    pub fn tally(&self) -> BTreeMap<String, usize> {
        self.plan().tally.clone()
    }

    /// Time since a counted request was last sent or in flight.
    pub fn quiet_for(&self) -> Duration {
        let plan = self.plan();
        match plan.last_activity {
            _ if plan.under_way > 0 => Duration::ZERO,
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
struct Line {
    faults: Faults,
    is_cut: AtomicBool,
}

impl Line {
    fn strike(&self, decision: Decision) {
        if matches!(decision, Decision::Crash(_)) {
            self.is_cut.store(true, Ordering::SeqCst);
        }
        if self.faults.plan().victim.is_some() {
            self.faults.struck().cancel();
        }
    }
}

/// Counts a request as in flight until it is dropped, even if it is cancelled.
struct UnderWay(Faults, Asked);

impl UnderWay {
    fn new(faults: &Faults, asked: Asked) -> Self {
        let mut plan = faults.plan();
        if asked.is_counted() {
            plan.under_way += 1;
            plan.last_activity = Some(Instant::now());
        }
        if asked.is_change() {
            plan.last_change = Some(Instant::now());
        }
        drop(plan);
        Self(faults.clone(), asked)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.1.is_counted() {
            let mut plan = self.0.plan();
            plan.under_way -= 1;
            plan.last_activity = Some(Instant::now());
        }
    }
}

/// Injects faults between a client and its API server.
#[derive(Clone, Debug)]
pub struct FaultLayer {
    line: Arc<Line>,
}

impl<S> Layer<S> for FaultLayer {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty { inner: Arc::new(tokio::sync::Mutex::new(inner)), line: Arc::clone(&self.line) }
    }
}

/// A connection with faults.
#[derive(Debug)]
pub struct Faulty<S> {
    inner: Arc<tokio::sync::Mutex<S>>,
    line: Arc<Line>,
}

impl<S> Clone for Faulty<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), line: Arc::clone(&self.line) }
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
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        if this.line.is_cut.load(Ordering::SeqCst) {
            return Box::pin(pending());
        }
        let asked = Asked::of(&request);
        let decision = this.line.faults.plan().decide(&asked);
        let under_way = UnderWay::new(&this.line.faults, asked);
        let executed_first = matches!(decision, Decision::Crash(Fault::DropAnswer));
        if decision != Decision::Pass && !executed_first {
            this.line.strike(decision);
        }
        Box::pin(async move {
            let _under_way = under_way;
            let answer = this.carry_out(decision, request).await;
            if executed_first {
                this.line.strike(decision);
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
    async fn carry_out(
        &self,
        decision: Decision,
        request: Request<Body>,
    ) -> Result<Response<AnswerBody>, BoxError> {
        match decision {
            Decision::Pass => {
                let asked = Asked::of(&request);
                let answer = self.send(request).await?;
                let watched = asked.namespace.filter(|_| asked.purpose == Purpose::Watch);
                let Some(namespace) = watched else { return Ok(answer) };
                let broken = locked(&self.line.faults.broken).entry(namespace).or_default().clone();
                Ok(answer.map(|body| breakable(body, Box::pin(broken.cancelled_owned()))))
            }
            Decision::Strike(fault) | Decision::Crash(fault) => match fault {
                Fault::Refuse(code) => Ok(refusal(code)),
                Fault::Lose => Err(connection_reset()),
                Fault::DropAnswer => {
                    self.send(request).await?.into_body().collect().await?;
                    Err(connection_reset())
                }
                Fault::Delay(duration) => {
                    tokio::time::sleep(duration).await;
                    self.send(request).await
                }
                Fault::Duplicate => {
                    let Some(twin) = twin(&request) else { return self.send(request).await };
                    self.send(twin).await?.into_body().collect().await?;
                    self.send(request).await
                }
            },
            Decision::StrikeWatch(fault) => match fault {
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
    ) -> Result<Response<AnswerBody>, BoxError> {
        Ok(self.send(request).await?.map(|body| shortened(body, events, in_order)))
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
        let answer = {
            let mut inner = self.inner.lock().await;
            poll_fn(|context| inner.poll_ready(context)).await.map_err(Into::into)?;
            inner.call(request)
        };
        Ok(answer.await.map_err(Into::into)?.map(whole))
    }
}

fn twin(request: &Request<Body>) -> Option<Request<Body>> {
    let mut twin = Request::new(request.body().try_clone()?);
    *twin.method_mut() = request.method().clone();
    *twin.uri_mut() = request.uri().clone();
    *twin.headers_mut() = request.headers().clone();
    Some(twin)
}

#[cfg(test)]
mod tests;
