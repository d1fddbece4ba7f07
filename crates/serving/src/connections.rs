//! Limits open connections, in total and per client address, by eviction.
//!
//! A new connection is always accepted. At the limit it evicts the least useful connection: first one that has sent
//! no complete request and is stalled, then the longest idle one, and last one with a request in progress. So no
//! client blocks others by holding connections open, and an evicted idle client just reconnects.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::http::Request;
use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tower::Service;

use crate::shutdown::CancellationToken;

/// A connection without received bytes for this long is stalled.
const STALL_TIMEOUT: Duration = Duration::from_millis(300);

/// Limits on the connections of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections in total. Each takes up to 64 KiB of memory.
    pub total: usize,
    /// Connections per client address. An API server opens one per concurrent request.
    pub per_address: usize,
    /// Time for a client to accept more of a response.
    pub write_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { total: 256, per_address: 192, write_timeout: Duration::from_secs(5) }
    }
}

/// The open connections of a listener.
#[derive(Clone, Debug)]
pub(crate) struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: ConnectionLimits,
    since: Instant,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
}

/// One connection, available as an extension of its requests.
#[derive(Debug)]
pub struct Connection {
    address: IpAddr,
    since: Instant,
    /// Milliseconds after `since`.
    last_read: AtomicU64,
    completed: AtomicUsize,
    in_flight: AtomicUsize,
    busy: AtomicUsize,
    evicted: CancellationToken,
}

/// Protects a connection from eviction while a request is being processed.
#[derive(Debug)]
pub struct BusyGuard(Arc<Connection>);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Relaxed);
    }
}

impl Connection {
    /// The client's address. All addresses of an IPv6 /64 count as one client.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Marks the connection as busy: a complete request is being processed.
    #[must_use]
    pub fn mark_busy(self: &Arc<Self>) -> BusyGuard {
        self.busy.fetch_add(1, Relaxed);
        BusyGuard(Arc::clone(self))
    }

    fn idle_time(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_millis(self.last_read.load(Relaxed)))
    }

    /// Order of eviction, lowest first.
    fn eviction_rank(&self) -> u8 {
        let is_receiving = self.completed.load(Relaxed) == 0 || self.in_flight.load(Relaxed) > 0;
        match () {
            () if self.busy.load(Relaxed) > 0 => 3,
            () if is_receiving && self.idle_time() >= STALL_TIMEOUT => 0,
            () if is_receiving => 2,
            () => 1,
        }
    }
}

impl Connections {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        let (open, next) = (Mutex::default(), AtomicU64::new(0));
        Self(Arc::new(Inner { limits, since: Instant::now(), open, next }))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, address: IpAddr) -> Registration {
        let connection = Arc::new(Connection {
            address: client(address),
            since: self.0.since,
            last_read: AtomicU64::new(millis(self.0.since)),
            completed: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            evicted: CancellationToken::new(),
        });
        let mut open = self.open();
        if let Some(id) = eviction_candidate(&open, self.0.limits, connection.address)
            && let Some(connection) = open.remove(&id)
        {
            tracing::debug!(client = %connection.address, "connection evicted: limit reached");
            connection.evicted.cancel();
        }
        let id = self.0.next.fetch_add(1, Relaxed);
        open.insert(id, Arc::clone(&connection));
        Registration { id, connection, connections: self.clone() }
    }
}

/// The connection to evict for a new one from `address`; None below the limits.
fn eviction_candidate(
    open: &HashMap<u64, Arc<Connection>>,
    limits: ConnectionLimits,
    address: IpAddr,
) -> Option<u64> {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for connection in open.values() {
        *counts.entry(connection.address).or_default() += 1;
    }
    let from = if counts.get(&address).is_some_and(|count| *count >= limits.per_address) {
        address
    } else if open.len() >= limits.total {
        // The client with the most connections loses one, so clients with few are never crowded out.
        counts.into_iter().max_by_key(|(_, count)| *count)?.0
    } else {
        return None;
    };
    let candidates = open.iter().filter(|(_, connection)| connection.address == from);
    candidates
        .min_by_key(|(_, connection)| (connection.eviction_rank(), connection.last_read.load(Relaxed)))
        .map(|(id, _)| *id)
}

fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Keeps a connection registered until it is dropped.
#[derive(Debug)]
struct Registration {
    id: u64,
    connection: Arc<Connection>,
    connections: Connections,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connections.open().remove(&self.id);
    }
}

impl<S> Accept<TcpStream, S> for Connections {
    type Stream = LimitedStream<TcpStream>;
    type Service = TrackedService<S>;
    type Future = std::future::Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        std::future::ready(stream.peer_addr().map(|peer| {
            let registration = self.register(peer.ip());
            let connection = Arc::clone(&registration.connection);
            let evicted = Box::pin(connection.evicted.clone().cancelled_owned());
            let write_timeout = self.0.limits.write_timeout;
            let stream = LimitedStream { stream, registration, evicted, write_timeout, write_deadline: None };
            (stream, TrackedService { service, connection })
        }))
    }
}

/// A stream that ends on eviction and on a write timeout.
pub(crate) struct LimitedStream<I> {
    stream: I,
    registration: Registration,
    evicted: Pin<Box<tokio_util::sync::WaitForCancellationFutureOwned>>,
    write_timeout: Duration,
    write_deadline: Option<Pin<Box<Sleep>>>,
}

impl<I> LimitedStream<I> {
    fn check_evicted(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.evicted.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "connection evicted")),
            Poll::Pending => Ok(()),
        }
    }

    fn with_timeout<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_deadline = None;
            return written;
        }
        let timeout = self.write_timeout;
        let deadline = self.write_deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "write timeout: the client stopped reading")))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for LimitedStream<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_evicted(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            let connection = &self.registration.connection;
            connection.last_read.store(millis(connection.since), Relaxed);
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for LimitedStream<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.check_evicted(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buffer);
        self.with_timeout(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.with_timeout(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.with_timeout(cx, closed)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_evicted(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.with_timeout(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Counts the requests of a connection, and adds the connection to their extensions.
#[derive(Clone, Debug)]
pub(crate) struct TrackedService<S> {
    service: S,
    connection: Arc<Connection>,
}

impl<S, B> Service<Request<B>> for TrackedService<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(Arc::clone(&self.connection));
        let in_flight = InFlight::new(&self.connection);
        let response = self.service.call(request);
        Box::pin(async move {
            let _in_flight = in_flight;
            response.await
        })
    }
}

struct InFlight(Arc<Connection>);

impl InFlight {
    fn new(connection: &Arc<Connection>) -> Self {
        connection.in_flight.fetch_add(1, Relaxed);
        Self(Arc::clone(connection))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
        self.0.completed.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn connections(total: usize, per_address: usize) -> Connections {
        Connections::new(ConnectionLimits { total, per_address, ..ConnectionLimits::default() })
    }

    #[test]
    fn s14_new_connection_evicts_stalled_then_idle_ones() {
        let all = connections(8, 3);
        let (idle, stalled, busy) = (all.register(A), all.register(A), all.register(A));
        idle.connection.completed.store(1, Relaxed);
        let _busy = busy.connection.mark_busy();
        std::thread::sleep(STALL_TIMEOUT + Duration::from_millis(50));
        let _fourth = all.register(A);
        assert!(stalled.connection.evicted.is_cancelled());
        assert!(!idle.connection.evicted.is_cancelled() && !busy.connection.evicted.is_cancelled());
        let _fifth = all.register(A);
        assert!(idle.connection.evicted.is_cancelled(), "then an idle one");
        assert!(!busy.connection.evicted.is_cancelled());
    }

    #[test]
    fn total_limit_evicts_from_the_client_with_most() {
        let all = connections(4, 4);
        let other = all.register(B);
        let many: Vec<_> = (0..3).map(|_| all.register(A)).collect();
        let _new = all.register(B);
        assert!(!other.connection.evicted.is_cancelled());
        assert_eq!(many.iter().filter(|it| it.connection.evicted.is_cancelled()).count(), 1);
        assert_eq!(all.open().len(), 4);
        drop(many);
        assert_eq!(all.open().len(), 2, "closed connections are unregistered");
    }

    #[test]
    fn ipv6_prefix_counts_as_one_client() {
        let address = |text: &str| client(text.parse().unwrap());
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:192.0.2.1"), A);
    }
}
