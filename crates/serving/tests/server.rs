//! Listeners: their limits on clients, and their end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so when it fails")]

mod support;

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use clap::Parser;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_serving::{Readiness, Server, ServingArgs, Timeouts, Transport, endpoints, metrics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

const MOMENT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(10);

async fn serve(timeouts: Timeouts, shutdown: &CancellationToken) -> Server {
    let slow = get(async || {
        sleep(4 * MOMENT).await;
        "done"
    });
    let router = Router::new().route("/", get("hello")).route("/slow", slow);
    let addr = "127.0.0.1:0".parse().unwrap();
    Server::start("test", &addr, router, Transport::Plain, timeouts, shutdown).await.unwrap().unwrap()
}

#[tokio::test]
async fn open_requests_are_answered_before_the_end() {
    let shutdown = CancellationToken::new();
    let server = serve(Timeouts { drain: LONG, ..Timeouts::default() }, &shutdown).await;
    let addr = server.addr();
    let mut open = support::connect_plain(addr).await;
    let request = tokio::spawn(async move { support::get(&mut open, "/slow").await });
    sleep(MOMENT).await;
    shutdown.cancel();
    sleep(MOMENT).await;
    assert!(TcpStream::connect(addr).await.is_err(), "no connection is taken after the end was asked for");
    assert_eq!(request.await.unwrap().expect("the open request"), "done");
    timeout(LONG, server.finished()).await.expect("an end").unwrap();
}

#[tokio::test]
async fn the_end_does_not_wait_for_ever() {
    let shutdown = CancellationToken::new();
    let server = serve(Timeouts { drain: MOMENT, ..Timeouts::default() }, &shutdown).await;
    let mut open = support::connect_plain(server.addr()).await;
    let request = tokio::spawn(async move { support::get(&mut open, "/slow").await });
    sleep(MOMENT).await;
    shutdown.cancel();
    timeout(3 * MOMENT, server.finished()).await.expect("an end").unwrap();
    assert!(request.await.unwrap().is_err());
}

#[tokio::test]
async fn connections_are_taken_while_others_learn_of_the_end() {
    let shutdown = CancellationToken::new();
    let server = serve(Timeouts { linger: 4 * MOMENT, ..Timeouts::default() }, &shutdown).await;
    shutdown.cancel();
    sleep(MOMENT).await;
    let mut late = support::connect_plain(server.addr()).await;
    assert_eq!(support::get(&mut late, "/").await.unwrap(), "hello");
    drop(late);
    timeout(LONG, server.finished()).await.expect("an end").unwrap();
}

#[tokio::test]
async fn a_kept_connection_is_given_up_while_its_client_may_still_turn_elsewhere() {
    let shutdown = CancellationToken::new();
    let server = serve(Timeouts { linger: LONG, ..Timeouts::default() }, &shutdown).await;
    let mut kept = support::connect_plain(server.addr()).await;
    assert_eq!(support::get(&mut kept, "/").await.unwrap(), "hello");
    assert_eq!(support::get(&mut kept, "/").await.unwrap(), "hello", "it is kept before the end");
    shutdown.cancel();
    assert_eq!(support::get(&mut kept, "/").await.unwrap(), "hello", "this one is answered, as the last one");
    assert!(support::get(&mut kept, "/").await.is_err());
}

#[tokio::test]
async fn clients_that_dawdle_are_cut_off() {
    let timeouts = Timeouts { first_request: MOMENT, next_request: 2 * MOMENT, ..Timeouts::default() };
    let server = serve(timeouts, &CancellationToken::new()).await;
    for sent in ["", "GET / HTTP/1.1\r\nhost: ", "GET / HTTP/1.1\r\nhost: x\r\n\r\nGET /"] {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(server.addr()).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let ended = timeout(LONG, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok() && begun.elapsed() < 8 * MOMENT, "{sent:?}");
    }
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let server = serve(Timeouts::default(), &CancellationToken::new()).await;
    let addr = server.addr().to_string().parse().unwrap();
    let end = CancellationToken::new();
    let again =
        Server::start("again", &addr, Router::new(), Transport::Plain, Timeouts::default(), &end).await;
    let message = again.expect_err("the port is taken").to_string();
    assert!(message.contains(&format!("cannot listen on {addr} for again")), "{message}");
}

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    serving: ServingArgs,
}

#[tokio::test]
async fn probes_and_metrics_have_listeners_of_their_own() {
    let program = ["program", "--health-probe-addr", "127.0.0.1:0", "--metrics-addr", "127.0.0.1:0"];
    let args = Program::parse_from(program).serving;
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
    assert_eq!(support::get(&mut probe, "/readyz").await.unwrap(), "not ready: the program stops\n");
    let mut scrape = support::connect_plain(metrics.addr()).await;
    assert!(support::get(&mut scrape, "/metrics").await.unwrap().contains("function_mesh_build_info{"));

    let args = Program::parse_from(["program", "--metrics-secure"]).serving;
    let readiness = Readiness::new(work);
    let refused = endpoints::start(&args, readiness, prometheus::Registry::new(), None, &end).await;
    assert!(refused.expect_err("no certificate").to_string().contains("--cert-dir"));
}
