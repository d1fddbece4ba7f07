//! Listeners: timeouts for slow clients, and graceful shutdown.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use clap::Parser;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_serving::{Readiness, Server, ServingArgs, Timeouts, Transport, endpoints, metrics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::support;

const TICK: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(10);

async fn serve(timeouts: Timeouts, shutdown: &CancellationToken) -> Server {
    let slow = get(async || {
        sleep(4 * TICK).await;
        "done"
    });
    let router = Router::new().route("/", get("hello")).route("/slow", slow);
    let addr = "127.0.0.1:0".parse().unwrap();
    Server::start("test", &addr, router, Transport::Plain, timeouts, shutdown).await.unwrap().unwrap()
}

#[tokio::test]
async fn shutdown_drains_open_requests() {
    let shutdown = CancellationToken::new();
    let server = serve(Timeouts { drain: LONG, ..Timeouts::default() }, &shutdown).await;
    let addr = server.addr();
    let mut open = support::connect_plain(addr).await;
    let request = tokio::spawn(async move { support::get(&mut open, "/slow").await });
    sleep(TICK).await;
    shutdown.cancel();
    sleep(TICK).await;
    assert!(TcpStream::connect(addr).await.is_err(), "no connection is accepted during shutdown");
    assert_eq!(request.await.unwrap().expect("the open request"), "done");
    timeout(LONG, server.finished()).await.expect("it stops").unwrap();
}

#[tokio::test]
async fn shutdown_aborts_requests_after_the_drain_timeout() {
    let shutdown = CancellationToken::new();
    let server = serve(Timeouts { drain: TICK, ..Timeouts::default() }, &shutdown).await;
    let mut open = support::connect_plain(server.addr()).await;
    let request = tokio::spawn(async move { support::get(&mut open, "/slow").await });
    sleep(TICK).await;
    shutdown.cancel();
    timeout(3 * TICK, server.finished()).await.expect("it stops").unwrap();
    assert!(request.await.unwrap().is_err());
}

#[tokio::test]
async fn shutdown_delay_accepts_connections() {
    let shutdown = CancellationToken::new();
    let server = serve(Timeouts { shutdown_delay: 4 * TICK, ..Timeouts::default() }, &shutdown).await;
    shutdown.cancel();
    sleep(TICK).await;
    let mut late = support::connect_plain(server.addr()).await;
    assert_eq!(support::get(&mut late, "/").await.unwrap(), "hello");
    drop(late);
    timeout(LONG, server.finished()).await.expect("it stops").unwrap();
}

#[tokio::test]
async fn shutdown_closes_kept_alive_connections_with_a_response() {
    let shutdown = CancellationToken::new();
    let server = serve(Timeouts { shutdown_delay: LONG, ..Timeouts::default() }, &shutdown).await;
    let mut kept = support::connect_plain(server.addr()).await;
    assert_eq!(support::get(&mut kept, "/").await.unwrap(), "hello");
    assert_eq!(support::get(&mut kept, "/").await.unwrap(), "hello", "kept alive before shutdown");
    shutdown.cancel();
    assert_eq!(support::get(&mut kept, "/").await.unwrap(), "hello", "the last response");
    assert!(support::get(&mut kept, "/").await.is_err());
}

#[tokio::test]
async fn slow_request_headers_time_out() {
    let timeouts = Timeouts { first_request: TICK, next_request: 2 * TICK, ..Timeouts::default() };
    let server = serve(timeouts, &CancellationToken::new()).await;
    for sent in ["", "GET / HTTP/1.1\r\nhost: ", "GET / HTTP/1.1\r\nhost: x\r\n\r\nGET /"] {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(server.addr()).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let closed = timeout(LONG, stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok() && begun.elapsed() < 8 * TICK, "{sent:?}");
    }
}

#[tokio::test]
async fn bind_error_names_the_port() {
    let server = serve(Timeouts::default(), &CancellationToken::new()).await;
    let addr = server.addr().to_string().parse().unwrap();
    let end = CancellationToken::new();
    let again =
        Server::start("again", &addr, Router::new(), Transport::Plain, Timeouts::default(), &end).await;
    let message = again.expect_err("the port is taken").to_string();
    assert!(message.contains(&format!("failed to listen on {addr} for again")), "{message}");
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    serving: ServingArgs,
}

#[tokio::test]
async fn probes_and_metrics_have_separate_listeners() {
    let program = ["program", "--health-probe-addr", "127.0.0.1:0", "--metrics-addr", "127.0.0.1:0"];
    let args = Cli::parse_from(program).serving;
    let (work, end) = (CancellationToken::new(), CancellationToken::new());
    let readiness = Readiness::new(work.clone());
    let gate = readiness.gate("caches");
    let registry = metrics::registry("program", "0").unwrap();
    let servers = endpoints::start(&args, readiness, registry, None, &end).await.unwrap();
    let [health, metrics] = &servers[..] else { panic!("two listeners") };
    let mut probe = support::connect_plain(health.addr()).await;
    assert_eq!(support::get(&mut probe, "/readyz").await.unwrap(), "not ready: caches\n");
    gate.set(true);
    assert_eq!(support::get(&mut probe, "/readyz").await.unwrap(), "ok\n");
    work.cancel();
    assert_eq!(support::get(&mut probe, "/readyz").await.unwrap(), "not ready: shutting down\n");
    let mut scrape = support::connect_plain(metrics.addr()).await;
    assert!(support::get(&mut scrape, "/metrics").await.unwrap().contains("function_mesh_build_info{"));

    let args = Cli::parse_from(["program", "--metrics-secure"]).serving;
    let readiness = Readiness::new(work);
    let started = endpoints::start(&args, readiness, prometheus::Registry::new(), None, &end).await;
    assert!(started.expect_err("no certificate").to_string().contains("--cert-dir"));
}
