//! An HTTP server for an axum router, with or without TLS, with limits on slow clients and graceful shutdown.
//!
//! HTTP/1.1 only, which API servers use for webhooks, kubelets for probes, and Prometheus when nothing else is
//! offered: it bounds the memory of a connection to one buffer, where HTTP/2 has a window per stream.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Version;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::connections::{ConnectionLimits, Connections};
use crate::listen::ListenAddr;
use crate::shutdown::CancellationToken;
use crate::tls::{Certificates, TlsError};

/// The transport of a listener.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Without TLS.
    Plain,
    /// TLS with the certificate that is current when a connection opens.
    Tls(Arc<Certificates>),
}

/// Timeouts and connection limits of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Time for the TLS handshake, and then for the header of the first request.
    pub first_request: Duration,
    /// Time from one request to the header of the next. Longer than clients keep idle connections (Go: 90 s), or the
    /// server would close a connection just as the client reuses it.
    pub next_request: Duration,
    /// Time to accept connections after the shutdown signal: endpoints and load balancers learn of the shutdown at the
    /// same time, and need a moment to stop routing here.
    pub shutdown_delay: Duration,
    /// Time for open requests to finish after that.
    pub drain: Duration,
    /// Limits on concurrent connections.
    pub connections: ConnectionLimits,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_request: Duration::from_secs(10),
            next_request: Duration::from_secs(100),
            shutdown_delay: Duration::ZERO,
            drain: Duration::from_secs(5),
            connections: ConnectionLimits::default(),
        }
    }
}

/// Read buffer of a connection, which bounds the request header and unconsumed body bytes.
const BUFFER: usize = 16 * 1024;

/// Errors of a listener.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Binding the port failed.
    #[error("failed to listen on {addr} for {name}: {source}")]
    Bind {
        /// Name of the listener.
        name: &'static str,
        /// The address.
        addr: ListenAddr,
        /// The cause.
        source: io::Error,
    },
    /// TLS is required but no certificate is configured.
    #[error("{name} requires TLS but no certificate is configured; set --cert-dir")]
    NoCertificate {
        /// Name of the listener.
        name: &'static str,
    },
    /// TLS setup failed.
    #[error("failed to set up TLS for {name}: {source}")]
    Tls {
        /// Name of the listener.
        name: &'static str,
        /// The cause.
        source: TlsError,
    },
    /// The listener stopped without a shutdown signal.
    #[error("the listener for {name} stopped unexpectedly: {source}")]
    Ended {
        /// Name of the listener.
        name: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// A running listener. Dropping the handle does not stop it.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    addr: SocketAddr,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Binds the port and serves until `shutdown` is cancelled; None when the listener is disabled.
    pub async fn start(
        name: &'static str,
        listen: &ListenAddr,
        router: Router,
        transport: Transport,
        timeouts: Timeouts,
        shutdown: &CancellationToken,
    ) -> Result<Option<Self>, ServeError> {
        let bind = |source| ServeError::Bind { name, addr: listen.clone(), source };
        let Some(listener) = listen.bind().await.map_err(bind)? else {
            return Ok(None);
        };
        let addr = listener.local_addr().map_err(bind)?;
        let listener = listener.into_std().map_err(bind)?;
        let handle = Handle::new();
        let mut server = axum_server::from_tcp(listener)
            .map_err(bind)?
            .handle(handle.clone())
            .http1_only()
            .first_request_timeout(timeouts.first_request);
        server.http_builder().http1().header_read_timeout(timeouts.next_request).max_buf_size(BUFFER);
        // A failed handshake is the only sign of a client that does not trust the certificate.
        let server = server.accept_error_handler(move |peer, error| {
            tracing::debug!(listener = name, ?peer, %error, "failed to accept connection");
        });
        let service =
            router.layer(from_fn_with_state(shutdown.clone(), close_on_shutdown)).into_make_service();
        let tls = matches!(transport, Transport::Tls(_));
        let connections = Connections::new(timeouts.connections);
        let task = match transport {
            Transport::Plain => tokio::spawn(server.acceptor(connections).serve(service)),
            Transport::Tls(certificates) => {
                let config =
                    certificates.server_config().map_err(|source| ServeError::Tls { name, source })?;
                let config = RustlsConfig::from_config(config);
                let acceptor = RustlsAcceptor::new(config)
                    .handshake_timeout(timeouts.first_request)
                    .acceptor(connections);
                tokio::spawn(server.acceptor(acceptor).serve(service))
            }
        };
        tracing::info!(listener = name, %addr, tls, "listening");
        tokio::spawn(shut_down(name, handle, timeouts, shutdown.clone()));
        Ok(Some(Self { name, addr, task }))
    }

    /// As [`Self::start`], on its own thread: it responds even while all other threads are busy.
    pub async fn start_on_thread(
        name: &'static str,
        listen: &ListenAddr,
        router: Router,
        transport: Transport,
        timeouts: Timeouts,
        shutdown: &CancellationToken,
    ) -> Result<Option<Self>, ServeError> {
        let (listen, shutdown) = (listen.clone(), shutdown.clone());
        let bind = |source| ServeError::Bind { name, addr: listen.clone(), source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(bind)?;
        let (started, start) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let serve = {
            let listen = listen.clone();
            async move {
                let server = Self::start(name, &listen, router, transport, timeouts, &shutdown).await;
                let (addr, task) = match server {
                    Ok(Some(server)) => (Ok(Some(server.addr)), Some(server.task)),
                    Ok(None) => (Ok(None), None),
                    Err(error) => (Err(error), None),
                };
                // The receiver is gone when the process exits right away.
                let _ = started.send(addr);
                if let Some(task) = task {
                    let _ = end.send(task.await.map_err(io::Error::other).and_then(|result| result));
                }
            }
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || runtime.block_on(serve))
            .map_err(bind)?;
        let addr = start.await.map_err(|error| bind(io::Error::other(error)))??;
        let task =
            tokio::spawn(async move { ended.await.map_err(io::Error::other).and_then(|result| result) });
        Ok(addr.map(|addr| Self { name, addr, task }))
    }

    /// The bound address, with the actual port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until the listener has stopped: after the last open request, or with an error.
    pub async fn finished(self) -> Result<(), ServeError> {
        let ended = self.task.await.map_err(io::Error::other).and_then(|result| result);
        ended.map_err(|source| ServeError::Ended { name: self.name, source })
    }
}

/// During shutdown, closes each connection with its next response, so that the client reconnects to another replica.
/// A kept connection would be closed under a request that is already sent.
async fn close_on_shutdown(
    State(shutdown): State<CancellationToken>,
    request: Request,
    next: Next,
) -> Response {
    let keeps_alive = request.version() == Version::HTTP_11;
    let mut response = next.run(request).await;
    if keeps_alive && shutdown.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn shut_down(
    name: &'static str,
    handle: Handle<SocketAddr>,
    timeouts: Timeouts,
    shutdown: CancellationToken,
) {
    shutdown.cancelled().await;
    tokio::time::sleep(timeouts.shutdown_delay).await;
    tracing::debug!(listener = name, open = handle.connection_count(), "draining connections");
    handle.graceful_shutdown(Some(timeouts.drain));
}
