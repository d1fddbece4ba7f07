//! A client whose requests can be held or slowed down, and whose writes are noted with their time.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use http::{Method, Request};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::Service;
use tower::layer::layer_fn;

/// What happens to requests whose path has this text in it, watches excepted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// They are never sent.
    Hold,
    /// They are sent after this time.
    Delay(Duration),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    fault: Arc<Mutex<Option<(String, Fault)>>>,
    writes: Arc<Mutex<Vec<Instant>>>,
}

impl Line {
    pub(crate) fn client(&self, config: Config) -> anyhow::Result<Client> {
        let line = self.clone();
        let layer = layer_fn(move |inner| Lined { inner, line: line.clone() });
        Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
    }

    pub(crate) fn fault(&self, path: &str, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some((path.to_owned(), fault));
    }

    /// When it wrote, Leases and Events apart.
    pub(crate) fn writes(&self) -> Vec<Instant> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Clone)]
struct Lined<S> {
    inner: S,
    line: Line,
}

impl<S> Service<Request<Body>> for Lined<S>
where
    S: Service<Request<Body>>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default());
        let is_watch = query.contains("watch=");
        let is_noted =
            *request.method() != Method::GET && !path.contains("/leases") && !path.contains("/events");
        let fault = self.line.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fault = fault.filter(|(text, _)| !is_watch && path.contains(text)).map(|(_, fault)| fault);
        if is_noted {
            self.line.writes.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        }
        let answer = self.inner.call(request);
        async move {
            match fault {
                None => {}
                Some(Fault::Hold) => pending().await,
                // A request is sent when its answer is waited for.
                Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
            }
            answer.await
        }
        .boxed()
    }
}
