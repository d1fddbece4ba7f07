//! The whole webhook over real TLS: certificate rotation and graceful shutdown under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_webhook::cli::{Running, ServeArgs, start};
use http_body_util::Full;
use hyper::Request;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::support::{self, CertificateAuthority, Connection, MountedSecret};

const RECORDED: &str = include_str!("../reviews/create-function.json");
const TICK: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    serve: ServeArgs,
}

async fn run(secret: &MountedSecret, shutdown: &CancellationToken) -> anyhow::Result<Running> {
    let dir = secret.path().to_str().unwrap();
    let local = "127.0.0.1:0";
    let program = ["webhook", "--cert-dir", dir, "--cert-poll-interval", "20ms", "--shutdown-delay", "500ms"];
    let addresses = ["--webhook-addr", local, "--metrics-addr", local, "--health-probe-addr", local];
    start(&Cli::parse_from(program.iter().chain(&addresses)).serve, shutdown.clone()).await
}

async fn review(connection: &mut Connection, action: &str) -> hyper::Result<Value> {
    connection.sender.ready().await?;
    let path = format!("/{action}-compute-functionmesh-io-v1alpha1-function?timeout=5s");
    let request = Request::post(path).header("host", "localhost").body(Full::from(RECORDED)).unwrap();
    let text = support::text(connection.sender.send_request(request).await?).await?;
    Ok(serde_json::from_str(&text).expect("a review"))
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_and_shutdown_drop_no_review() {
    let ca = CertificateAuthority::new();
    let first = ca.issue(2090);
    let mut secret = MountedSecret::new(&first);
    let shutdown = CancellationToken::new();
    let running = run(&secret, &shutdown).await.unwrap();
    let addr = running.addr();
    let [health, metrics] = running.endpoints().collect::<Vec<_>>()[..] else { panic!("two listeners") };
    let mut probe = support::connect_plain(health).await;
    assert_eq!(support::get(&mut probe, "/readyz").await.unwrap(), "ok\n");

    let (stop, client) = (Arc::new(AtomicBool::new(false)), ca.client());
    let mut workers = Vec::new();
    for (keeps_alive, action) in [(true, "mutate"), (false, "validate")] {
        let (client, stop, shutdown) = (client.clone(), Arc::clone(&stop), shutdown.clone());
        workers.push(tokio::spawn(async move {
            let mut connection = client.connect(addr).await.expect("first connection");
            while !stop.load(Ordering::Relaxed) {
                // During shutdown each connection is closed with its next response.
                if !keeps_alive || shutdown.is_cancelled() {
                    connection = client.connect(addr).await.expect("new connection");
                }
                let answer = review(&mut connection, action).await.expect("an answer");
                assert_eq!(answer["response"]["allowed"], true, "{answer}");
            }
        }));
    }
    for year in 2091..2096 {
        let newest = ca.issue(year);
        secret.swap(&newest.certificate, &newest.key);
        let served = async {
            while client.connect(addr).await.unwrap().certificate != newest.der {
                sleep(TICK).await;
            }
        };
        timeout(LONG, served).await.expect("the new certificate");
    }
    let mut scrape = client.connect(metrics).await.expect("metrics over TLS");
    let page = scrape.get("/metrics").await.unwrap();
    for line in [
        "function_mesh_build_info{program=\"function-mesh-webhook\"",
        "function_mesh_certificate_reloads_total 5",
        "outcome=\"patched\",webhook=\"mutate\"}",
        "outcome=\"allowed\",webhook=\"validate\"}",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }

    // Shutting down: not ready at once, but still serving.
    shutdown.cancel();
    assert_eq!(support::get(&mut probe, "/readyz").await.unwrap(), "not ready: shutting down\n");
    sleep(2 * TICK).await;
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("no review failed");
    }
    drop(scrape);
    drop(probe);
    timeout(LONG, running.finished()).await.expect("it stops").unwrap();
}

#[tokio::test]
async fn start_fails_without_a_valid_certificate() {
    let ca = CertificateAuthority::new();
    let (one, two) = (ca.issue(2090), ca.issue(2090));
    let mut secret = MountedSecret::new(&one);
    secret.swap(&one.certificate, &two.key);
    let error = format!("{:#}", run(&secret, &CancellationToken::new()).await.unwrap_err());
    assert!(error.contains("no serving certificate"), "{error}");
    assert!(error.contains("tls.key does not match"), "{error}");
}

#[tokio::test]
async fn cert_dir_and_certificate_secret_are_exclusive() {
    let args = ["webhook", "--cert-dir", "/certs", "--certificate-secret", "certificates"];
    let error = start(&Cli::parse_from(args).serve, CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("--cert-dir are mutually exclusive"), "{error}");
}
