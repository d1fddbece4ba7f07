//! A client with metrics and a timeout for every request to the API server.
//!
//! ```text
//! kube's Api ──> TimeoutService ──> retries ──> MetricsService ──> connection
//! ```
//!
//! The metrics count every attempt, kube's retries on a busy API server included; the timeout covers all attempts of a
//! request.

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

/// Timeout of a request, from its first attempt to the last byte of the response. Of a list or a watch it covers the
/// response headers; the reader of the body has an idle timeout.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Concurrent requests, far above what the controllers send.
const MAX_IN_FLIGHT: usize = 1024;

/// Seconds: a request takes milliseconds; seconds indicate a busy API server or a slow webhook.
const BUCKETS: [f64; 10] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Resources that the operator reads and writes. Others are counted as `other`.
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

/// Values of the label `code`. 404 and 409 are separate from `4xx`, since both are expected.
const CODES: [&str; 7] = ["2xx", "404", "409", "429", "4xx", "5xx", "error"];

/// Request metrics.
#[derive(Clone, Debug)]
pub struct ClientMetrics {
    total: IntCounterVec,
    seconds: HistogramVec,
}

impl ClientMetrics {
    /// Creates and registers the metrics.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let total =
            Opts::new("function_mesh_api_requests_total", "Requests to the API server; each attempt counts.");
        let total = IntCounterVec::new(total, &["verb", "resource", "code"])?;
        let seconds = HistogramOpts::new(
            "function_mesh_api_request_duration_seconds",
            "Time until the last byte of a response of the API server, without watches.",
        );
        let seconds = HistogramVec::new(seconds.buckets(BUCKETS.to_vec()), &["verb"])?;
        registry.register(Box::new(total.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self { total, seconds })
    }

    /// A client with metrics and timeouts.
    pub fn client(&self, mut config: Config) -> Result<Client, kube::Error> {
        // kube's own retry layer is below the metrics, which would count all attempts as one.
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
            .with_layer(&layer_fn(|inner| MetricsService { inner, metrics: self.clone() }))
            .with_layer(&BufferLayer::new(MAX_IN_FLIGHT))
            .with_layer(&RetryLayer::new(RetryPolicy::server_retry()))
            .with_layer(&layer_fn(|inner| TimeoutService { inner }))
            .build()
    }
}

/// The labels of a request, from fixed sets.
#[derive(Clone, Debug, Eq, PartialEq)]
struct RequestInfo {
    verb: &'static str,
    resource: String,
}

impl RequestInfo {
    fn of<B>(request: &Request<B>) -> Self {
        let path: Vec<_> = request.uri().path().split('/').filter(|part| !part.is_empty()).collect();
        // /api/v1/… or /apis/group/version/…, then namespaces/<name>/… for namespaced resources.
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

fn status_class(status: StatusCode) -> &'static str {
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

/// One attempt. It is counted on drop, so cancelled requests count too.
#[derive(Debug)]
struct Attempt {
    metrics: ClientMetrics,
    info: RequestInfo,
    code: &'static str,
    started: Instant,
}

impl Attempt {
    fn new(metrics: ClientMetrics, info: RequestInfo) -> Self {
        // Initialises all codes to zero, so that the first error is an increase.
        for code in CODES {
            metrics.total.with_label_values(&[info.verb, &info.resource, code]);
        }
        Self { metrics, info, code: "error", started: Instant::now() }
    }

    fn is_watch(&self) -> bool {
        self.info.verb == "watch"
    }

    fn is_stream(&self) -> bool {
        matches!(self.info.verb, "list" | "watch")
    }

    fn set_status(&mut self, status: StatusCode) {
        self.code = status_class(status);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let Self { metrics, info: RequestInfo { verb, resource }, code, started } = self;
        metrics.total.with_label_values(&[*verb, resource, code]).inc();
        if *verb != "watch" {
            metrics.seconds.with_label_values(&[*verb]).observe(started.elapsed().as_secs_f64());
        }
    }
}

/// A response: a complete body, or the stream of a list or a watch.
type ClientResponse<B> = Response<Either<Full<Bytes>, StreamBody<B>>>;

/// The body of a list or a watch, streamed: it is never in memory as a whole.
#[derive(Debug)]
struct StreamBody<B> {
    body: Pin<Box<B>>,
    /// A list is measured until its last byte.
    attempt: Option<Attempt>,
}

impl<B> HttpBody for StreamBody<B>
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

/// Counts and measures each attempt.
#[derive(Debug)]
struct MetricsService<S> {
    inner: S,
    metrics: ClientMetrics,
}

impl<S, B> Service<Request<Body>> for MetricsService<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = ClientResponse<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<ClientResponse<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut attempt = Attempt::new(self.metrics.clone(), RequestInfo::of(&request));
        let response = self.inner.call(request);
        async move {
            let (parts, body) = response.await.map_err(Into::into)?.into_parts();
            if attempt.is_stream() && parts.status.is_success() {
                attempt.set_status(parts.status);
                let attempt = Some(attempt).filter(|attempt| !attempt.is_watch());
                let body = Either::Right(StreamBody { body: Box::pin(body), attempt });
                return Ok(Response::from_parts(parts, body));
            }
            let body = body.collect().await.map_err(Into::into)?.to_bytes();
            attempt.set_status(parts.status);
            Ok(Response::from_parts(parts, Either::Left(Full::new(body))))
        }
        .boxed()
    }
}

/// The API server did not respond in time.
#[derive(Debug, thiserror::Error)]
#[error(
    "request timed out after {REQUEST_TIMEOUT:?}: {verb} {resource}; retrying; check that the API server is reachable"
)]
struct Timeout {
    verb: &'static str,
    resource: String,
}

/// Fails requests that exceed the timeout.
#[derive(Debug)]
struct TimeoutService<S> {
    inner: S,
}

impl<S, B> Service<Request<Body>> for TimeoutService<S>
where
    S: Service<Request<Body>, Response = ClientResponse<B>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = ClientResponse<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<ClientResponse<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let RequestInfo { verb, resource } = RequestInfo::of(&request);
        let response = tokio::time::timeout(REQUEST_TIMEOUT, self.inner.call(request));
        async move { response.await.map_err(|_| BoxError::from(Timeout { verb, resource }))? }.boxed()
    }
}

#[cfg(test)]
mod tests;
