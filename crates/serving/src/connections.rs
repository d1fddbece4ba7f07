//! Open connections: how many there may be, in total and from one address, and which one gives way to a new one.
//!
//! A new connection is never refused. Where there is no room it takes the place of the one that is missed least:
//! one that has brought no request and stands still, then one that is idle, the longest first. One whose request is
//! being worked on goes last. So nobody keeps others out by holding connections open, and a client that was idle
//! connects again.

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

/// A connection that brings nothing for this long stands still.
const STILL: Duration = Duration::from_millis(300);

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// In total. Each takes up to 64 KiB.
    pub total: usize,
    /// From one address. An API server opens one for each request under way.
    pub per_address: usize,
    /// How long a client may take to accept more of an answer.
    pub write_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { total: 256, per_address: 192, write_timeout: Duration::from_secs(5) }
    }
}

/// The open connections of a listener.
#[derive(Clone, Debug)]
pub(crate) struct Connections(Arc<Registry>);

#[derive(Debug)]
struct Registry {
    limits: ConnectionLimits,
    since: Instant,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
}

/// One connection; an extension of each request on it.
#[derive(Debug)]
pub struct Connection {
    address: IpAddr,
    since: Instant,
    /// Milliseconds after `since`.
    last_read: AtomicU64,
    served: AtomicUsize,
    receiving: AtomicUsize,
    working: AtomicUsize,
    end: CancellationToken,
}

/// While it lives, the connection gives way to no other.
#[derive(Debug)]
pub struct Working(Arc<Connection>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Relaxed);
    }
}

impl Connection {
    /// The client. All addresses of an IPv6 network of one machine are one.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Notes that a request of it arrived whole and is being worked on.
    #[must_use]
    pub fn work(self: &Arc<Self>) -> Working {
        self.working.fetch_add(1, Relaxed);
        Working(Arc::clone(self))
    }

    fn idle(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_millis(self.last_read.load(Relaxed)))
    }

    /// How much it is missed, the least first.
    fn rank(&self) -> u8 {
        let is_unproven = self.served.load(Relaxed) == 0 || self.receiving.load(Relaxed) > 0;
        match () {
            () if self.working.load(Relaxed) > 0 => 3,
            () if is_unproven && self.idle() >= STILL => 0,
            () if is_unproven => 2,
            () => 1,
        }
    }
}

impl Connections {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        let (open, next) = (Mutex::default(), AtomicU64::new(0));
        Self(Arc::new(Registry { limits, since: Instant::now(), open, next }))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, address: IpAddr) -> Seat {
        let connection = Arc::new(Connection {
            address: client(address),
            since: self.0.since,
            last_read: AtomicU64::new(millis(self.0.since)),
            served: AtomicUsize::new(0),
            receiving: AtomicUsize::new(0),
            working: AtomicUsize::new(0),
            end: CancellationToken::new(),
        });
        let mut open = self.open();
        if let Some(id) = gives_way(&open, self.0.limits, connection.address)
            && let Some(connection) = open.remove(&id)
        {
            tracing::debug!(client = %connection.address, "connection closed to make room");
            connection.end.cancel();
        }
        let id = self.0.next.fetch_add(1, Relaxed);
        open.insert(id, Arc::clone(&connection));
        Seat { id, connection, connections: self.clone() }
    }
}

/// The connection in whose place a new one from `address` comes.
fn gives_way(open: &HashMap<u64, Arc<Connection>>, limits: ConnectionLimits, address: IpAddr) -> Option<u64> {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for connection in open.values() {
        *counts.entry(connection.address).or_default() += 1;
    }
    let from = if counts.get(&address).is_some_and(|count| *count >= limits.per_address) {
        address
    } else if open.len() >= limits.total {
        // Whoever has most gives: with few connections of its own, nobody is crowded out.
        counts.into_iter().max_by_key(|(_, count)| *count)?.0
    } else {
        return None;
    };
    let candidates = open.iter().filter(|(_, connection)| connection.address == from);
    candidates
        .min_by_key(|(_, connection)| (connection.rank(), connection.last_read.load(Relaxed)))
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

/// A place among the open connections, until it is dropped.
#[derive(Debug)]
struct Seat {
    id: u64,
    connection: Arc<Connection>,
    connections: Connections,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.open().remove(&self.id);
    }
}

impl<S> Accept<TcpStream, S> for Connections {
    type Stream = Guarded<TcpStream>;
    type Service = Noted<S>;
    type Future = std::future::Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        std::future::ready(stream.peer_addr().map(|peer| {
            let seat = self.register(peer.ip());
            let connection = Arc::clone(&seat.connection);
            let end = Box::pin(connection.end.clone().cancelled_owned());
            let write_timeout = self.0.limits.write_timeout;
            (Guarded { stream, seat, end, write_timeout, stuck: None }, Noted { service, connection })
        }))
    }
}

/// A stream that ends when its connection is to give way, or when its client takes no more.
pub(crate) struct Guarded<I> {
    stream: I,
    seat: Seat,
    end: Pin<Box<tokio_util::sync::WaitForCancellationFutureOwned>>,
    write_timeout: Duration,
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<I> Guarded<I> {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "closed to make room")),
            Poll::Pending => Ok(()),
        }
    }

    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let timeout = self.write_timeout;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(stuck.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no more of the answer")))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Guarded<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            let connection = &self.seat.connection;
            connection.last_read.store(millis(connection.since), Relaxed);
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Guarded<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buffer);
        self.written(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.written(cx, ended)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A service that notes the requests of a connection, and tells them which one it is.
#[derive(Clone, Debug)]
pub(crate) struct Noted<S> {
    service: S,
    connection: Arc<Connection>,
}

impl<S, B> Service<Request<B>> for Noted<S>
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
        let under_way = UnderWay::new(&self.connection);
        let response = self.service.call(request);
        Box::pin(async move {
            let _under_way = under_way;
            response.await
        })
    }
}

struct UnderWay(Arc<Connection>);

impl UnderWay {
    fn new(connection: &Arc<Connection>) -> Self {
        connection.receiving.fetch_add(1, Relaxed);
        Self(Arc::clone(connection))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.receiving.fetch_sub(1, Relaxed);
        self.0.served.fetch_add(1, Relaxed);
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
    fn a_new_connection_takes_the_place_of_one_that_stands_still() {
        let all = connections(8, 3);
        let (idle, still, working) = (all.register(A), all.register(A), all.register(A));
        idle.connection.served.store(1, Relaxed);
        let _work = working.connection.work();
        std::thread::sleep(STILL + Duration::from_millis(50));
        let _fourth = all.register(A);
        assert!(still.connection.end.is_cancelled());
        assert!(!idle.connection.end.is_cancelled() && !working.connection.end.is_cancelled());
        let _fifth = all.register(A);
        assert!(idle.connection.end.is_cancelled(), "then goes one that is idle");
        assert!(!working.connection.end.is_cancelled());
    }

    #[test]
    fn whoever_has_most_makes_room_for_others() {
        let all = connections(4, 4);
        let other = all.register(B);
        let many: Vec<_> = (0..3).map(|_| all.register(A)).collect();
        let _new = all.register(B);
        assert!(!other.connection.end.is_cancelled());
        assert_eq!(many.iter().filter(|seat| seat.connection.end.is_cancelled()).count(), 1);
        assert_eq!(all.open().len(), 4);
        drop(many);
        assert_eq!(all.open().len(), 2, "closed connections are forgotten");
    }

    #[test]
    fn a_network_of_one_machine_is_one_client() {
        let address = |text: &str| client(text.parse().unwrap());
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:192.0.2.1"), A);
    }
}
