//! Requests to servers that misbehave.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use function_mesh_observer::Cause;
use function_mesh_observer::requests::{Outcome, RedirectError};
use function_mesh_pulsar::{Access, AccessFile, Client, FetchError, Limits, WebUrl};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A server that answers each request with the next text, and the last one again.
struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: impl Fn(&str, usize) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read_exact(&mut byte).await.is_err() {
                        break;
                    }
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let count = {
                    let mut log = log.lock().unwrap();
                    log.push(head.clone());
                    log.len()
                };
                let text = answer(&head, count);
                let _ = stream.write_all(text.as_bytes()).await;
                if text.is_empty() {
                    // Slow: it keeps the connection.
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_mins(1)).await;
                        drop(stream);
                    });
                }
            }
        });
        Self { port, requests }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn web(&self) -> WebUrl {
        WebUrl::parse(&self.url()).unwrap()
    }

    /// An entry of the access file for it, with more lines.
    fn access(&self, more: &str) -> Access {
        let file = AccessFile::parse(&format!("clusters: [{{url: '{}', {more}}}]", self.url())).unwrap();
        file.find(&self.web(), "n")
    }

    async fn get(&self, access: &Access) -> Result<(u16, String), FetchError> {
        let limits = Limits { total: Duration::from_secs(2), ..Limits::default() };
        let client = Client::new(limits).unwrap();
        let answer = client.get(&self.web(), &format!("{}/admin/v2/x", self.url()), access, 10_000).await?;
        Ok((answer.status, String::from_utf8(answer.body).unwrap()))
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn redirect(location: &str) -> String {
    format!("HTTP/1.1 307 x\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

#[tokio::test]
async fn the_body_is_limited() {
    let server = Server::start(|_, count| ok(&"x".repeat(if count == 1 { 10_000 } else { 10_001 }))).await;
    let access = server.access("");
    assert_eq!(server.get(&access).await.unwrap().1.len(), 10_000);
    assert!(matches!(server.get(&access).await.unwrap_err(), FetchError::TooLarge(10_000)));
}

#[tokio::test]
async fn a_body_without_end_is_limited() {
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400)).repeat(20);
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    let server = Server::start(move |_, _| format!("{head}{chunk}")).await;
    assert!(matches!(server.get(&server.access("")).await.unwrap_err(), FetchError::TooLarge(_)));
}

#[tokio::test]
async fn a_slow_server_has_a_deadline() {
    let server = Server::start(|_, _| String::new()).await;
    let error = server.get(&server.access("")).await.unwrap_err();
    assert!(matches!(error, FetchError::Timeout(_)), "{error}");
    assert_eq!(error.outcome(), Outcome::NoAnswer);
}

/// The broker that owns one topic is away; the web service is not.
#[tokio::test]
async fn a_silent_broker_is_not_the_web_service() {
    let silent = Server::start(|_, _| String::new()).await;
    let port = silent.port;
    let server = Server::start(move |_, _| redirect(&format!("http://127.0.0.1:{port}/admin/v2/x"))).await;
    let access = server.access(&format!("brokers: ['http://127.0.0.1:{port}']"));
    let error = server.get(&access).await.unwrap_err();
    assert!(matches!(error, FetchError::Owner(_)), "{error}");
    assert_eq!((error.outcome(), error.cause()), (Outcome::NoAnswerOfOwner, Cause::Failed));
}

#[tokio::test]
async fn errors_are_answers_without_their_text() {
    for status in [401, 403, 404, 500] {
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: 6\r\nconnection: close\r\n\r\nsecret");
        let server = Server::start(move |_, _| head.clone()).await;
        assert_eq!(server.get(&server.access("")).await.unwrap(), (status, String::new()));
    }
}

#[tokio::test]
async fn circles_of_redirects_end() {
    let server = Server::start(|head, count| {
        let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned();
        redirect(&format!("http://{host}/admin/v2/x?turn={}", count % 2))
    });
    let server = server.await;
    let error = server.get(&server.access("")).await.unwrap_err();
    assert!(matches!(error, FetchError::Redirect(RedirectError::Loop)), "{error}");
    assert!(server.requests.lock().unwrap().len() <= 6);
}

#[tokio::test]
async fn a_token_is_read_anew_and_stays_in_the_cluster() {
    let mut token = tempfile::NamedTempFile::new().unwrap();
    token.write_all(b"first\n").unwrap();
    let path = token.path().display().to_string();
    let other = Server::start(|_, _| ok("stolen")).await;
    let location = other.url();
    let server =
        Server::start(
            move |_, count| {
                if count <= 2 { ok("{}") } else { redirect(&format!("{location}/admin/v2/x")) }
            },
        );
    let server = server.await;
    let access = server.access(&format!("tokenFile: '{path}', allowPlainHttp: true"));
    server.get(&access).await.unwrap();
    std::fs::write(&path, "second").unwrap();
    server.get(&access).await.unwrap();
    let seen = |number: usize| {
        let requests = server.requests.lock().unwrap();
        let lines = requests[number].lines().map(str::to_ascii_lowercase);
        lines.filter(|line| line.starts_with("authorization")).collect::<String>()
    };
    assert_eq!(
        (seen(0), seen(1)),
        ("authorization: bearer first".into(), "authorization: bearer second".into())
    );
    // The same address with another port is another server.
    let error = server.get(&access).await.unwrap_err();
    assert!(matches!(error, FetchError::Redirect(RedirectError::ForeignHost(_))), "{error}");
    assert!(other.requests.lock().unwrap().is_empty());
    std::fs::write(&path, "").unwrap();
    let error = server.get(&access).await.unwrap_err();
    assert!(matches!(&error, FetchError::Credentials(text) if text.ends_with("empty")), "{error}");
    assert!(!format!("{error:?}").contains("second"));
}

#[tokio::test]
async fn anonymous_requests_refuse_the_pod_itself() {
    let server = Server::start(|_, _| ok("{}")).await;
    let url = format!("http://localhost:{}", server.port);
    let client = Client::new(Limits::default()).unwrap();
    let web = WebUrl::parse_untrusted(&url).unwrap();
    let error = client.get(&web, &url, &Access::Anonymous, 10_000).await.unwrap_err();
    assert!(error.to_string().contains("no address that the operator may ask"), "{error}");
    assert!(server.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let server = Server::start(|_, _| ok("{}")).await;
    let error = server.get(&server.access("caFile: /nonexistent/ca.crt")).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/ca.crt"), "{error}");
}
