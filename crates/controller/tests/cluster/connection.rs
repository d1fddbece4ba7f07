//! A client whose requests can be blocked or delayed, and which records the time of its writes.

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

/// A fault of requests with this text in their path, except watches.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The requests are never sent.
    Hold,
    /// The requests are sent after this delay.
    Delay(Duration),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Connection {
    fault: Arc<Mutex<Option<(String, Fault)>>>,
    writes: Arc<Mutex<Vec<Instant>>>,
}

impl Connection {
    pub(crate) fn client(&self, config: Config) -> anyhow::Result<Client> {
        let connection = self.clone();
        let layer = layer_fn(move |inner| Lined { inner, connection: connection.clone() });
        Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
    }

    pub(crate) fn fault(&self, path: &str, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some((path.to_owned(), fault));
    }

    /// The times of its writes, without Leases and Events.
    pub(crate) fn writes(&self) -> Vec<Instant> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Clone)]
struct Lined<S> {
    inner: S,
    connection: Connection,
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
        let fault = self.connection.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fault = fault.filter(|(text, _)| !is_watch && path.contains(text)).map(|(_, fault)| fault);
        if is_noted {
            self.connection.writes.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        }
        let answer = self.inner.call(request);
        async move {
            match fault {
                None => {}
                Some(Fault::Hold) => pending().await,
                // The request is sent when its future is polled.
                Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
            }
            answer.await
        }
        .boxed()
    }
}
