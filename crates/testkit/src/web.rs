//! A web server whose answers a test decides: for faults that a real Pulsar does not have at will.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

type Answers = Arc<dyn Fn(&str) -> (u16, String) + Send + Sync>;

/// A server on the loopback interface. It ends with the test's runtime.
pub struct WebServer {
    url: String,
    answers: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl WebServer {
    /// Starts a server that answers each path with a status and a body.
    pub async fn start(
        answers: impl Fn(&str) -> (u16, String) + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let server = Self { url, answers: Arc::new(Mutex::new(Arc::new(answers))), asked: Arc::default() };
        let (answers, asked) = (Arc::clone(&server.answers), Arc::clone(&server.asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
                tokio::spawn(async move { _ = serve(stream, &answers, &asked).await });
            }
        });
        Ok(server)
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers otherwise from now on.
    pub fn answer(&self, answers: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(answers);
    }

    /// How often each path was asked, with its query.
    pub fn asked(&self) -> BTreeMap<String, usize> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    answers: &Mutex<Answers>,
    asked: &Mutex<BTreeMap<String, usize>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    *asked.lock().unwrap_or_else(PoisonError::into_inner).entry(path.to_owned()).or_default() += 1;
    let answer = Arc::clone(&answers.lock().unwrap_or_else(PoisonError::into_inner));
    let (status, body) = answer(path);
    let length = body.len();
    let text = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await
}
