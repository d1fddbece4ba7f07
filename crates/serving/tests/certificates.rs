//! Certificates over real TLS: rotation under load, and files that are missing, mismatched or expired.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so when it fails")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::get;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_serving::tls::Change;
use function_mesh_serving::{Certificates, Server, Timeouts, Transport};
use prometheus::{Registry, TextEncoder};
use support::{Authority, MountedSecret};

const POLL: Duration = Duration::from_millis(20);

fn metric(registry: &Registry, name: &str) -> Option<i64> {
    let page = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let line = page.lines().find(|line| line.starts_with(&format!("{name} ")))?.to_owned();
    line.rsplit(' ').next()?.parse().ok()
}

async fn serve(certificates: &Arc<Certificates>, shutdown: &CancellationToken) -> Server {
    let router = Router::new().route("/", get("hello"));
    let transport = Transport::Tls(Arc::clone(certificates));
    let addr = "127.0.0.1:0".parse().unwrap();
    Server::start("test", &addr, router, transport, Timeouts::default(), shutdown).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_drops_no_request() {
    let authority = Authority::new();
    let first = authority.issue(2090);
    let mut secret = MountedSecret::new(&first);
    let (registry, shutdown) = (Registry::new(), CancellationToken::new());
    let certificates = Certificates::load(secret.path(), &registry).unwrap();
    certificates.watch(POLL, shutdown.clone());
    let server = serve(&certificates, &shutdown).await;
    let addr = server.addr();

    let client = authority.client();
    let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut workers = Vec::new();
    for keeps_alive in [true, true, false, false] {
        let (client, stop, requests) = (client.clone(), Arc::clone(&stop), Arc::clone(&requests));
        workers.push(tokio::spawn(async move {
            let mut connection = client.connect(addr).await.expect("first connection");
            while !stop.load(Ordering::Relaxed) {
                if !keeps_alive {
                    connection = client.connect(addr).await.expect("new connection");
                }
                assert_eq!(connection.get("/").await.expect("request"), "hello");
                requests.fetch_add(1, Ordering::Relaxed);
            }
            connection.certificate
        }));
    }

    let mut newest = first.clone();
    for year in 2091..2101 {
        newest = authority.issue(year);
        secret.swap(&newest.certificate, &newest.key);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while client.connect(addr).await.unwrap().certificate != newest.der {
            assert!(tokio::time::Instant::now() < deadline, "the certificate of {year} is not served");
            tokio::time::sleep(POLL).await;
        }
    }
    let before = requests.load(Ordering::Relaxed);
    while requests.load(Ordering::Relaxed) < before + 20 {
        tokio::time::sleep(POLL).await;
    }
    stop.store(true, Ordering::Relaxed);

    let mut seen = Vec::new();
    for worker in workers {
        seen.push(worker.await.expect("no request failed"));
    }
    assert_eq!(seen, [&first, &first, &newest, &newest].map(|pair| pair.der.clone()));
    assert_eq!(metric(&registry, "function_mesh_certificate_reloads_total"), Some(10));
    assert_eq!(metric(&registry, "function_mesh_certificate_reload_failures_total"), Some(0));
    shutdown.cancel();
    server.finished().await.unwrap();
}

#[tokio::test]
async fn a_bad_new_certificate_leaves_the_old_one_and_is_told_once() {
    let authority = Authority::new();
    let (good, other, expired) = (authority.issue(2090), authority.issue(2091), authority.issue(2020));
    let mut secret = MountedSecret::new(&good);
    let (registry, shutdown) = (Registry::new(), CancellationToken::new());
    let certificates = Certificates::load(secret.path(), &registry).unwrap();
    let server = serve(&certificates, &shutdown).await;
    let failures = || metric(&registry, "function_mesh_certificate_reload_failures_total");
    let look = || certificates.refresh(SystemTime::now());

    assert_eq!(look(), Change::None);
    for (count, (certificate, key)) in (1..).zip([
        (&good.certificate, &other.key),
        (&expired.certificate, &expired.key),
        (&String::new(), &other.key),
        (&other.certificate, &"no key".to_owned()),
    ]) {
        secret.swap(certificate, key);
        assert_eq!(look(), Change::Refused, "{count}");
        assert_eq!(look(), Change::None, "told once");
        assert_eq!(failures(), Some(count));
        let connection = authority.client().connect(server.addr()).await.unwrap();
        assert_eq!(connection.certificate, good.der);
    }
    secret.swap(&other.certificate, &other.key);
    assert_eq!(look(), Change::Taken);
    let connection = authority.client().connect(server.addr()).await.unwrap();
    assert_eq!(connection.certificate, other.der);
    assert_eq!(
        metric(&registry, "function_mesh_certificate_expiration_timestamp_seconds"),
        Some(3_849_897_600)
    );
}

#[tokio::test]
async fn files_that_vanish_leave_the_certificate_in_use() {
    let authority = Authority::new();
    let good = authority.issue(2090);
    let secret = MountedSecret::new(&good);
    let certificates = Certificates::load(secret.path(), &Registry::new()).unwrap();
    std::fs::remove_file(secret.path().join("tls.key")).unwrap();
    assert_eq!(certificates.refresh(SystemTime::now()), Change::Refused);
    assert_eq!(certificates.refresh(SystemTime::now()), Change::None);
    std::fs::write(secret.path().join("tls.key"), &good.key).unwrap();
    assert_eq!(certificates.refresh(SystemTime::now()), Change::Taken);
}

#[test]
fn what_cannot_be_served_is_explained_before_a_port_is_taken() {
    let authority = Authority::new();
    let (one, two) = (authority.issue(2090), authority.issue(2090));
    let fault = |certificate: &str, key: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tls.crt"), certificate).unwrap();
        std::fs::write(folder.path().join("tls.key"), key).unwrap();
        Certificates::load(folder.path(), &Registry::new()).unwrap_err().to_string()
    };
    let mismatch = fault(&one.certificate, &two.key);
    assert!(mismatch.contains("tls.key is not the key of"), "{mismatch}");
    assert!(mismatch.contains("same issue"), "{mismatch}");
    let swapped = fault(&one.key, &one.certificate);
    assert!(swapped.contains("tls.crt holds no certificate in PEM form"), "{swapped}");
    let no_key = fault(&one.certificate, &one.certificate);
    assert!(no_key.contains("tls.key holds no private key"), "{no_key}");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = fault(broken, &one.key);
    assert!(broken.contains("tls.crt is not well-formed"), "{broken}");
    let secret = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    let bad_key = fault(&one.certificate, secret);
    assert!(bad_key.contains("tls.key is not well-formed") && !bad_key.contains("c2VjcmV0"), "{bad_key}");

    let missing = Certificates::load(std::path::Path::new("/nowhere"), &Registry::new()).unwrap_err();
    let missing = missing.to_string();
    assert!(missing.contains("/nowhere/tls.crt") && missing.contains("--cert-dir"), "{missing}");
}

#[tokio::test]
async fn an_expired_certificate_is_served_for_the_client_to_refuse() {
    let authority = Authority::new();
    let secret = MountedSecret::new(&authority.issue(2020));
    let certificates = Certificates::load(secret.path(), &Registry::new()).unwrap();
    let server = serve(&certificates, &CancellationToken::new()).await;
    let Err(refused) = authority.client().connect(server.addr()).await else {
        panic!("an expired certificate was trusted");
    };
    assert!(refused.to_string().contains("expired"), "{refused}");
}

#[tokio::test]
async fn a_certificate_may_come_from_memory_later() {
    let authority = Authority::new();
    let (one, two, expired) = (authority.issue(2090), authority.issue(2091), authority.issue(2020));
    let (registry, shutdown) = (Registry::new(), CancellationToken::new());
    let certificates = Certificates::in_memory("a Secret", &registry).unwrap();
    let addr = serve(&certificates, &shutdown).await.addr();
    assert!(!certificates.is_set());
    assert!(authority.client().connect(addr).await.is_err(), "there is nothing to serve with");
    let set = |certificate: &str, key: &str| {
        certificates.set(certificate.as_bytes(), key.as_bytes(), SystemTime::now())
    };
    assert_eq!(set(&expired.certificate, &expired.key), Change::Refused);
    assert_eq!(set(&one.certificate, &two.key), Change::Refused);
    assert!(!certificates.is_set());
    assert_eq!(set(&one.certificate, &one.key), Change::Taken);
    assert_eq!(set(&one.certificate, &one.key), Change::None);
    assert_eq!(set("", ""), Change::Refused);
    let mut connection = authority.client().connect(addr).await.unwrap();
    assert_eq!(connection.certificate, one.der);
    assert_eq!(set(&two.certificate, &two.key), Change::Taken);
    assert_eq!(connection.get("/").await.unwrap(), "hello", "an open connection goes on");
    assert_eq!(authority.client().connect(addr).await.unwrap().certificate, two.der);
    assert_eq!(metric(&registry, "function_mesh_certificate_reloads_total"), Some(2));
    shutdown.cancel();
}
