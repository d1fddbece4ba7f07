//! Every request to the API server: counted, timed, and never waited for without end.
//!
//! ```text
//! kube's Api ──> Limit ──> retries ──> Count ──> connection
//! ```
//!
//! Each attempt is counted, also those that kube sends again since the API server was busy; the limit holds for
//! all attempts of a request together.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use tower::buffer::BufferLayer;
use tower::layer::layer_fn;
use tower::retry::RetryLayer;
use tower::{BoxError, Service};

/// How long a request may take, from its first attempt to the last byte of the answer. Of a watch the answer has
/// to begin by then, and of a list; how long either stays quiet is limited where it is read.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Requests under way at a time, far above what the controllers send.
const UNDER_WAY: usize = 1024;

/// A request takes milliseconds; seconds mean a busy API server, or a slow webhook.
const BUCKETS: [f64; 10] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// What the operator reads and writes. Anything else is counted as `other`.
const RESOURCES: [&str; 17] = [
    "backendconfigs",
    "configmaps",
    "events",
    "functionmeshes",
    "functions",
    "horizontalpodautoscalers",
    "jobs",
    "leases",
    "namespaces",
    "persistentvolumeclaims",
    "pods",
    "secrets",
    "services",
    "sinks",
    "sources",
    "statefulsets",
    "verticalpodautoscalers",
];

/// Outcomes of an attempt. Absence and conflicts are everyday answers, so they do not count among the other
/// refusals.
const CODES: [&str; 7] = ["2xx", "404", "409", "429", "4xx", "5xx", "error"];

/// The metrics of requests.
#[derive(Clone, Debug)]
pub struct Requests {
    total: IntCounterVec,
    seconds: HistogramVec,
}

impl Requests {
    /// Makes the metrics and registers them.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let total =
            Opts::new("function_mesh_api_requests_total", "Requests to the API server, each attempt.");
        let total = IntCounterVec::new(total, &["verb", "resource", "code"])?;
        let seconds = HistogramOpts::new(
            "function_mesh_api_request_duration_seconds",
            "Time until the last byte of an answer of the API server, watches excepted.",
        );
        let seconds = HistogramVec::new(seconds.buckets(BUCKETS.to_vec()), &["verb"])?;
        registry.register(Box::new(total.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self { total, seconds })
    }

    /// A client whose requests are counted and limited.
    pub fn client(&self, mut config: Config) -> Result<Client, kube::Error> {
        // kube's own retries would stand below what counts.
        config.default_retry = false;
        Ok(self.wrap(ClientBuilder::try_from(config)?))
    }

    fn wrap<S, B>(&self, builder: ClientBuilder<S>) -> Client
    where
        S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError> + Send + Sync,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        builder
            .with_layer(&layer_fn(|inner| Count { inner, requests: self.clone() }))
            .with_layer(&BufferLayer::new(UNDER_WAY))
            .with_layer(&RetryLayer::new(RetryPolicy::server_retry()))
            .with_layer(&layer_fn(|inner| Limit { inner }))
            .build()
    }
}

/// What a request is about, in words of which there are few.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Subject {
    verb: &'static str,
    resource: String,
}

impl Subject {
    fn of<B>(request: &Request<B>) -> Self {
        let path: Vec<_> = request.uri().path().split('/').filter(|part| !part.is_empty()).collect();
        // /api/v1/… or /apis/group/version/…, and then namespaces/<name>/… for what is in one.
        let path = match path.first() {
            Some(&"api") => path.get(2..),
            Some(&"apis") => path.get(3..),
            _ => None,
        };
        let path = match path {
            Some(["namespaces", _, rest @ ..]) if !rest.is_empty() => Some(rest),
            path => path,
        };
        let known = |resource: &str| RESOURCES.contains(&resource);
        let (resource, is_one) = match path {
            Some([resource]) if known(resource) => ((*resource).to_owned(), false),
            Some([resource, _]) if known(resource) => ((*resource).to_owned(), true),
            Some([resource, _, part @ ("status" | "scale")]) if known(resource) => {
                (format!("{resource}/{part}"), true)
            }
            _ => ("other".to_owned(), true),
        };
        let mut query = request.uri().query().unwrap_or_default().split('&');
        let verb = match (request.method(), is_one) {
            (&Method::GET, _) if query.any(|pair| matches!(pair, "watch=true" | "watch=1")) => "watch",
            (&Method::GET, true) => "get",
            (&Method::GET, false) => "list",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, true) => "delete",
            (&Method::DELETE, false) => "deletecollection",
            _ => "other",
        };
        Self { verb, resource }
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..300 => "2xx",
        404 => "404",
        409 => "409",
        429 => "429",
        400..500 => "4xx",
        500..600 => "5xx",
        _ => "error",
    }
}

/// One attempt; it is counted when this goes, so also when nobody waits for it any more.
#[derive(Debug)]
struct Attempt {
    requests: Requests,
    subject: Subject,
    code: &'static str,
    begun: Instant,
}

impl Attempt {
    fn new(requests: Requests, subject: Subject) -> Self {
        // With its first request a series of zeros begins for each outcome, so that the first fault is an increase.
        for code in CODES {
            requests.total.with_label_values(&[subject.verb, &subject.resource, code]);
        }
        Self { requests, subject, code: "error", begun: Instant::now() }
    }

    fn is_watch(&self) -> bool {
        self.subject.verb == "watch"
    }

    fn is_stream(&self) -> bool {
        matches!(self.subject.verb, "list" | "watch")
    }

    fn answered(&mut self, status: StatusCode) {
        self.code = class(status);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let Self { requests, subject: Subject { verb, resource }, code, begun } = self;
        requests.total.with_label_values(&[*verb, resource, code]).inc();
        if *verb != "watch" {
            requests.seconds.with_label_values(&[*verb]).observe(begun.elapsed().as_secs_f64());
        }
    }
}

/// An answer: read to its end, or the stream of a list or a watch.
type Answer<B> = Response<Either<Full<Bytes>, Stream<B>>>;

/// A list or a watch as it arrives: neither is ever in memory as a whole.
#[derive(Debug)]
struct Stream<B> {
    body: Pin<Box<B>>,
    /// A list counts until its last byte.
    attempt: Option<Attempt>,
}

impl<B> HttpBody for Stream<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = self.body.as_mut().poll_frame(context);
        match &frame {
            Poll::Ready(None) => self.attempt = None,
            Poll::Ready(Some(Err(_))) => {
                if let Some(attempt) = &mut self.attempt {
                    attempt.code = "error";
                }
            }
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        frame.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }
}

/// Counts each attempt.
#[derive(Debug)]
struct Count<S> {
    inner: S,
    requests: Requests,
}

impl<S, B> Service<Request<Body>> for Count<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Answer<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Answer<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut attempt = Attempt::new(self.requests.clone(), Subject::of(&request));
        let response = self.inner.call(request);
        async move {
            let (parts, body) = response.await.map_err(Into::into)?.into_parts();
            if attempt.is_stream() && parts.status.is_success() {
                attempt.answered(parts.status);
                let attempt = Some(attempt).filter(|attempt| !attempt.is_watch());
                let body = Either::Right(Stream { body: Box::pin(body), attempt });
                return Ok(Response::from_parts(parts, body));
            }
            let body = body.collect().await.map_err(Into::into)?.to_bytes();
            attempt.answered(parts.status);
            Ok(Response::from_parts(parts, Either::Left(Full::new(body))))
        }
        .boxed()
    }
}

/// The API server did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error(
    "no answer to {verb} {resource} for {LIMIT:?}: the API server cannot be reached, or is too busy; it is tried again"
)]
struct Late {
    verb: &'static str,
    resource: String,
}

/// Ends what takes too long.
#[derive(Debug)]
struct Limit<S> {
    inner: S,
}

impl<S, B> Service<Request<Body>> for Limit<S>
where
    S: Service<Request<Body>, Response = Answer<B>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Answer<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Answer<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Subject { verb, resource } = Subject::of(&request);
        let answer = tokio::time::timeout(LIMIT, self.inner.call(request));
        async move { answer.await.map_err(|_| BoxError::from(Late { verb, resource }))? }.boxed()
    }
}

#[cfg(test)]
mod tests;
