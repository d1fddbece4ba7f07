//! A listener: an axum router over TLS or without, with limits on slow clients and an orderly end.
//!
//! It speaks HTTP/1.1 only, as API servers do with webhooks, kubelets with probes and Prometheus where nothing else is
//! offered: what one connection can hold in memory is then one buffer, not a window for each stream.

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

/// How bytes travel.
#[derive(Clone, Debug)]
pub enum Transport {
    /// As they are.
    Plain,
    /// Over TLS, with whichever certificate is current when a connection opens.
    Tls(Arc<Certificates>),
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From a new connection, its TLS handshake aside, to its first whole request header; also the bound of
    /// the handshake.
    pub first_request: Duration,
    /// From one request on a connection to the next one's whole header. Idle connections count, so this is
    /// longer than clients keep those (Go: 90 s); otherwise we would close one as it is taken up again.
    pub next_request: Duration,
    /// How long to accept connections after the program was asked to stop. Whoever routes to it learns of
    /// the end at the same time, and needs a moment to stop sending.
    pub linger: Duration,
    /// How long open requests may take to finish after that.
    pub drain: Duration,
    /// How many connections there may be at a time.
    pub connections: ConnectionLimits,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_request: Duration::from_secs(10),
            next_request: Duration::from_secs(100),
            linger: Duration::ZERO,
            drain: Duration::from_secs(5),
            connections: ConnectionLimits::default(),
        }
    }
}

/// Bytes of a request's header, and of a body that were read and not yet taken.
const BUFFER: usize = 16 * 1024;

/// Why a listener could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port could not be taken.
    #[error("cannot listen on {addr} for {name}: {source}")]
    Bind {
        /// What was to be served.
        name: &'static str,
        /// Where.
        addr: ListenAddr,
        /// Why not.
        source: io::Error,
    },
    /// TLS was asked for without a certificate.
    #[error("{name} are to be served over TLS, and no certificate is given; name its folder with --cert-dir")]
    NoCertificate {
        /// What was to be served.
        name: &'static str,
    },
    /// TLS could not be set up.
    #[error("cannot serve {name} over TLS: {source}")]
    Tls {
        /// What was to be served.
        name: &'static str,
        /// Why not.
        source: TlsError,
    },
    /// The listener ended before it was asked to.
    #[error("the listener for {name} ended: {source}")]
    Ended {
        /// What was served.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// A running listener. It goes on when this is dropped.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    addr: SocketAddr,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Takes the port and serves until `shutdown` is cancelled. None when the address is off.
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
        // Refused handshakes are the only sign of a client that does not trust the certificate.
        let server = server.accept_error_handler(move |peer, error| {
            tracing::debug!(listener = name, ?peer, %error, "connection refused");
        });
        let service =
            router.layer(from_fn_with_state(shutdown.clone(), last_on_connection)).into_make_service();
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
        tokio::spawn(end(name, handle, timeouts, shutdown.clone()));
        Ok(Some(Self { name, addr, task }))
    }

    /// As [`Self::start`], on a thread of its own: it answers whatever the other threads are busy with.
    pub async fn start_apart(
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
                // Nobody waits when the program ends at once.
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

    /// The address that it listens on; with the port that the system chose if none was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits for its end: in order once the last open request is answered, or with the error that ended it.
    pub async fn finished(self) -> Result<(), ServeError> {
        let ended = self.task.await.map_err(io::Error::other).and_then(|result| result);
        ended.map_err(|source| ServeError::Ended { name: self.name, source })
    }
}

/// Once the program was asked to stop, each answer over HTTP/1 is the last one on its connection, so that its client
/// opens another one, to somebody else. A connection that is kept would be closed under a request that is on its way.
async fn last_on_connection(
    State(shutdown): State<CancellationToken>,
    request: Request,
    next: Next,
) -> Response {
    let kept = request.version() == Version::HTTP_11;
    let mut response = next.run(request).await;
    if kept && shutdown.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn end(
    name: &'static str,
    handle: Handle<SocketAddr>,
    timeouts: Timeouts,
    shutdown: CancellationToken,
) {
    shutdown.cancelled().await;
    tokio::time::sleep(timeouts.linger).await;
    tracing::debug!(listener = name, open = handle.connection_count(), "taking no more connections");
    handle.graceful_shutdown(Some(timeouts.drain));
}
