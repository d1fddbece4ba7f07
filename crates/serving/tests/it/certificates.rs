//! Certificates over real TLS: rotation under load, and files that are missing, mismatched or expired.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::get;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_serving::tls::Reload;
use function_mesh_serving::{Certificates, Server, Timeouts, Transport};
use prometheus::{Registry, TextEncoder};

use crate::support::{CertificateAuthority, MountedSecret};

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
async fn rotation_under_load_drops_no_request() {
    let ca = CertificateAuthority::new();
    let first = ca.issue(2090);
    let mut secret = MountedSecret::new(&first);
    let (registry, shutdown) = (Registry::new(), CancellationToken::new());
    let certificates = Certificates::load(secret.path(), &registry).unwrap();
    certificates.watch(POLL, shutdown.clone());
    let server = serve(&certificates, &shutdown).await;
    let addr = server.addr();

    let client = ca.client();
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
        newest = ca.issue(year);
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
async fn invalid_files_keep_the_certificate_and_count_once() {
    let ca = CertificateAuthority::new();
    let (good, other, expired) = (ca.issue(2090), ca.issue(2091), ca.issue(2020));
    let mut secret = MountedSecret::new(&good);
    let (registry, shutdown) = (Registry::new(), CancellationToken::new());
    let certificates = Certificates::load(secret.path(), &registry).unwrap();
    let server = serve(&certificates, &shutdown).await;
    let failures = || metric(&registry, "function_mesh_certificate_reload_failures_total");
    let reload = || certificates.reload(SystemTime::now());

    assert_eq!(reload(), Reload::Unchanged);
    for (count, (certificate, key)) in (1..).zip([
        (&good.certificate, &other.key),
        (&expired.certificate, &expired.key),
        (&String::new(), &other.key),
        (&other.certificate, &"no key".to_owned()),
    ]) {
        secret.swap(certificate, key);
        assert_eq!(reload(), Reload::Rejected, "{count}");
        assert_eq!(reload(), Reload::Unchanged, "rejected once");
        assert_eq!(failures(), Some(count));
        let connection = ca.client().connect(server.addr()).await.unwrap();
        assert_eq!(connection.certificate, good.der);
    }
    secret.swap(&other.certificate, &other.key);
    assert_eq!(reload(), Reload::Reloaded);
    let connection = ca.client().connect(server.addr()).await.unwrap();
    assert_eq!(connection.certificate, other.der);
    assert_eq!(
        metric(&registry, "function_mesh_certificate_expiration_timestamp_seconds"),
        Some(3_849_897_600)
    );
}

#[tokio::test]
async fn missing_files_keep_the_certificate() {
    let ca = CertificateAuthority::new();
    let good = ca.issue(2090);
    let secret = MountedSecret::new(&good);
    let certificates = Certificates::load(secret.path(), &Registry::new()).unwrap();
    std::fs::remove_file(secret.path().join("tls.key")).unwrap();
    assert_eq!(certificates.reload(SystemTime::now()), Reload::Rejected);
    assert_eq!(certificates.reload(SystemTime::now()), Reload::Unchanged);
    std::fs::write(secret.path().join("tls.key"), &good.key).unwrap();
    assert_eq!(certificates.reload(SystemTime::now()), Reload::Reloaded);
}

#[test]
fn load_errors_name_file_and_remedy() {
    let ca = CertificateAuthority::new();
    let (one, two) = (ca.issue(2090), ca.issue(2090));
    let load_error = |certificate: &str, key: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tls.crt"), certificate).unwrap();
        std::fs::write(folder.path().join("tls.key"), key).unwrap();
        Certificates::load(folder.path(), &Registry::new()).unwrap_err().to_string()
    };
    let mismatch = load_error(&one.certificate, &two.key);
    assert!(mismatch.contains("tls.key does not match"), "{mismatch}");
    assert!(mismatch.contains("same issuance"), "{mismatch}");
    let swapped = load_error(&one.key, &one.certificate);
    assert!(swapped.contains("tls.crt contains no certificate in PEM format"), "{swapped}");
    let no_key = load_error(&one.certificate, &one.certificate);
    assert!(no_key.contains("tls.key contains no private key"), "{no_key}");
    let malformed = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let malformed = load_error(malformed, &one.key);
    assert!(malformed.contains("tls.crt is malformed"), "{malformed}");
    let secret = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    let bad_key = load_error(&one.certificate, secret);
    assert!(bad_key.contains("tls.key is malformed") && !bad_key.contains("c2VjcmV0"), "{bad_key}");

    let missing = Certificates::load(std::path::Path::new("/nowhere"), &Registry::new()).unwrap_err();
    let missing = missing.to_string();
    assert!(missing.contains("/nowhere/tls.crt") && missing.contains("--cert-dir"), "{missing}");
}

#[tokio::test]
async fn expired_certificate_is_served_and_clients_reject_it() {
    let ca = CertificateAuthority::new();
    let secret = MountedSecret::new(&ca.issue(2020));
    let certificates = Certificates::load(secret.path(), &Registry::new()).unwrap();
    let server = serve(&certificates, &CancellationToken::new()).await;
    let Err(error) = ca.client().connect(server.addr()).await else {
        panic!("an expired certificate was trusted");
    };
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test]
async fn in_memory_certificate_can_be_set_later() {
    let ca = CertificateAuthority::new();
    let (one, two, expired) = (ca.issue(2090), ca.issue(2091), ca.issue(2020));
    let (registry, shutdown) = (Registry::new(), CancellationToken::new());
    let certificates = Certificates::in_memory("a Secret", &registry).unwrap();
    let addr = serve(&certificates, &shutdown).await.addr();
    assert!(!certificates.is_set());
    assert!(ca.client().connect(addr).await.is_err(), "no certificate to serve");
    let set = |certificate: &str, key: &str| {
        certificates.set(certificate.as_bytes(), key.as_bytes(), SystemTime::now())
    };
    assert_eq!(set(&expired.certificate, &expired.key), Reload::Rejected);
    assert_eq!(set(&one.certificate, &two.key), Reload::Rejected);
    assert!(!certificates.is_set());
    assert_eq!(set(&one.certificate, &one.key), Reload::Reloaded);
    assert_eq!(set(&one.certificate, &one.key), Reload::Unchanged);
    assert_eq!(set("", ""), Reload::Rejected);
    let mut connection = ca.client().connect(addr).await.unwrap();
    assert_eq!(connection.certificate, one.der);
    assert_eq!(set(&two.certificate, &two.key), Reload::Reloaded);
    assert_eq!(connection.get("/").await.unwrap(), "hello", "open connections stay open");
    assert_eq!(ca.client().connect(addr).await.unwrap().certificate, two.der);
    assert_eq!(metric(&registry, "function_mesh_certificate_reloads_total"), Some(2));
    shutdown.cancel();
}
