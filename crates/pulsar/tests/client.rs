//! Requests to servers that misbehave.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use function_mesh_observer::Cause;
use function_mesh_observer::requests::{Outcome, RedirectError};
use function_mesh_pulsar::{Access, AccessFile, Client, FetchError, Keep, Limits, WebUrl};
use function_mesh_testkit::{WebAnswer, WebRequest, WebServer};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

async fn start(answers: impl Fn(&[WebRequest]) -> WebAnswer + Send + Sync + 'static) -> WebServer {
    WebServer::start_answering(answers).await.unwrap()
}

/// An entry of the access file for a server, with more lines.
fn access(server: &WebServer, more: &str) -> Access {
    let file = AccessFile::parse(&format!("clusters: [{{url: '{}', {more}}}]", server.url())).unwrap();
    file.find(&WebUrl::parse(server.url()).unwrap(), "n")
}

/// Asks with a deadline that no busy machine reaches.
async fn get(server: &WebServer, access: &Access) -> Result<(u16, String), FetchError> {
    get_within(Duration::from_mins(1), server, access).await
}

async fn get_within(
    total: Duration,
    server: &WebServer,
    access: &Access,
) -> Result<(u16, String), FetchError> {
    let limits = Limits { total, ..Limits::default() };
    let (client, web) = (Client::new(limits).unwrap(), WebUrl::parse(server.url()).unwrap());
    let answer = client.get(&web, &format!("{}/admin/v2/x", server.url()), access, Keep::All(10_000)).await?;
    Ok((answer.status, String::from_utf8(answer.body).unwrap()))
}

#[tokio::test]
async fn the_body_is_limited() {
    let size = |requests: &[WebRequest]| if requests.len() == 1 { 10_000 } else { 10_001 };
    let server = start(move |requests| WebAnswer::ok("x".repeat(size(requests)))).await;
    let access = access(&server, "");
    assert_eq!(get(&server, &access).await.unwrap().1.len(), 10_000);
    assert!(matches!(get(&server, &access).await.unwrap_err(), FetchError::TooLarge(10_000)));
}

#[tokio::test]
async fn a_body_without_end_is_limited() {
    let server = start(|_| WebAnswer::Endless("again and again ")).await;
    let error = get(&server, &access(&server, "")).await.unwrap_err();
    assert!(matches!(error, FetchError::TooLarge(_)), "{error}");
}

#[tokio::test]
async fn a_slow_server_has_a_deadline() {
    let server = start(|_| WebAnswer::Silence).await;
    let error = get_within(Duration::from_secs(2), &server, &access(&server, "")).await.unwrap_err();
    assert!(matches!(error, FetchError::Timeout(_)), "{error}");
    assert_eq!(error.outcome(), Outcome::NoAnswer);
}

/// The broker that owns one topic is away; the web service is not.
#[tokio::test]
async fn a_silent_broker_is_not_the_web_service() {
    let silent = start(|_| WebAnswer::Silence).await;
    let location = format!("{}/admin/v2/x", silent.url());
    let server = start(move |_| WebAnswer::Redirect(location.clone())).await;
    let access = access(&server, &format!("brokers: ['{}']", silent.url()));
    let error = get_within(Duration::from_secs(2), &server, &access).await.unwrap_err();
    assert!(matches!(error, FetchError::Owner(_)), "{error}");
    assert_eq!((error.outcome(), error.cause()), (Outcome::NoAnswerOfOwner, Cause::Failed));
}

#[tokio::test]
async fn errors_are_answers_without_their_text() {
    for status in [401, 403, 404, 500] {
        let server = start(move |_| WebAnswer::Text(status, "secret".to_owned())).await;
        assert_eq!(get(&server, &access(&server, "")).await.unwrap(), (status, String::new()));
    }
}

#[tokio::test]
async fn circles_of_redirects_end() {
    let server = start(|requests| {
        let host = requests.last().and_then(|request| request.header("host")).unwrap();
        WebAnswer::Redirect(format!("http://{host}/admin/v2/x?turn={}", requests.len() % 2))
    });
    let server = server.await;
    let error = get(&server, &access(&server, "")).await.unwrap_err();
    assert!(matches!(error, FetchError::Redirect(RedirectError::Loop)), "{error}");
    assert!(server.requests().len() <= 6);
}

#[tokio::test]
async fn a_token_is_read_anew_and_stays_in_the_cluster() {
    let mut token = tempfile::NamedTempFile::new().unwrap();
    token.write_all(b"first\n").unwrap();
    let path = token.path().display().to_string();
    let other = start(|_| WebAnswer::ok("stolen")).await;
    let location = format!("{}/admin/v2/x", other.url());
    let server = start(move |requests| match requests.len() {
        1 | 2 => WebAnswer::ok("{}"),
        _ => WebAnswer::Redirect(location.clone()),
    });
    let server = server.await;
    let access = access(&server, &format!("tokenFile: '{path}', allowPlainHttp: true"));
    get(&server, &access).await.unwrap();
    std::fs::write(&path, "second").unwrap();
    get(&server, &access).await.unwrap();
    let requests = server.requests();
    let tokens: Vec<_> = requests.iter().map(|request| request.header("authorization")).collect();
    assert_eq!(tokens, [Some("Bearer first"), Some("Bearer second")]);
    // The same address with another port is another server.
    let error = get(&server, &access).await.unwrap_err();
    assert!(matches!(error, FetchError::Redirect(RedirectError::ForeignHost(_))), "{error}");
    assert!(other.requests().is_empty());
    std::fs::write(&path, "").unwrap();
    let error = get(&server, &access).await.unwrap_err();
    assert!(matches!(&error, FetchError::Credentials(text) if text.ends_with("empty")), "{error}");
    assert!(!format!("{error:?}").contains("second"));
}

#[tokio::test]
async fn anonymous_requests_refuse_the_pod_itself() {
    let server = start(|_| WebAnswer::ok("{}")).await;
    let url = server.url().replace("127.0.0.1", "localhost");
    let client = Client::new(Limits::default()).unwrap();
    let web = WebUrl::parse_untrusted(&url).unwrap();
    let error = client.get(&web, &url, &Access::Anonymous, Keep::All(10_000)).await.unwrap_err();
    assert!(error.to_string().contains("no address that the operator may ask"), "{error}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let server = start(|_| WebAnswer::ok("{}")).await;
    let error = get(&server, &access(&server, "caFile: /nonexistent/ca.crt")).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/ca.crt"), "{error}");
}

/// A server with a certificate for this name. It ends each connection after the handshake.
async fn tls_server(name: &str) -> (String, String) {
    let pair = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![pair.cert.der().clone()], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(acceptor.accept(stream));
        }
    });
    (url, pair.cert.pem())
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_reported() {
    let (own, foreign) = (tls_server("127.0.0.1").await, tls_server("127.0.0.1").await);
    let other_name = tls_server("pulsar.example.com").await;
    for (server, ca, expected) in [
        (&own, &foreign.1, Some("no CA that the operator trusts signed it")),
        (&other_name, &other_name.1, Some("it is for another host name")),
        (&own, &own.1, None),
    ] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(ca.as_bytes()).unwrap();
        let entry = format!("clusters: [{{url: '{}', caFile: '{}'}}]", server.0, file.path().display());
        let web = WebUrl::parse(&server.0).unwrap();
        let access = AccessFile::parse(&entry).unwrap().find(&web, "n");
        let client = Client::new(Limits::default()).unwrap();
        let error =
            client.get(&web, &format!("{}/admin/v2/x", server.0), &access, Keep::All(100)).await.unwrap_err();
        let Some(expected) = expected else {
            assert!(matches!(error, FetchError::Connection(_)), "{error}");
            continue;
        };
        assert_eq!(error.to_string(), format!("Pulsar's certificate is not trusted: {expected}"));
        assert_eq!((error.outcome(), error.cause()), (Outcome::NoAnswer, Cause::Untrusted));
    }
}
