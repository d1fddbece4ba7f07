//! A web server whose answers a test decides: for faults that a real Pulsar does not have at will.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use tokio::net::TcpListener;

type Answers = Arc<dyn Fn(&[WebRequest]) -> WebAnswer + Send + Sync>;

/// A request to a [`WebServer`].
#[derive(Clone, Debug)]
pub struct WebRequest {
    /// Its path with the query.
    pub path: String,
    headers: HeaderMap,
}

impl WebRequest {
    /// A header by its name in lower case, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// An answer of a [`WebServer`].
#[derive(Clone, Debug)]
pub enum WebAnswer {
    /// A status and a body.
    Text(u16, String),
    /// Headers and a body, with status 200.
    Headed(Vec<(&'static str, String)>, String),
    /// A redirect to this location.
    Redirect(String),
    /// This text again and again.
    Endless(&'static str),
    /// Nothing, while the connection stays open.
    Silence,
}

impl WebAnswer {
    /// A body with status 200.
    pub fn ok(body: impl Into<String>) -> Self {
        Self::Text(200, body.into())
    }

    async fn response(self) -> Response {
        match self {
            Self::Text(status, body) => match StatusCode::from_u16(status) {
                Ok(status) => (status, body).into_response(),
                Err(error) => (StatusCode::NOT_IMPLEMENTED, error.to_string()).into_response(),
            },
            Self::Headed(headers, body) => {
                let mut response = body.into_response();
                for (name, value) in headers {
                    if let Ok(value) = HeaderValue::from_str(&value) {
                        response.headers_mut().insert(HeaderName::from_static(name), value);
                    }
                }
                response
            }
            Self::Redirect(location) => {
                (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response()
            }
            Self::Endless(text) => {
                Body::from_stream(stream::repeat_with(move || Ok::<_, Infallible>(text))).into_response()
            }
            Self::Silence => std::future::pending().await,
        }
    }
}

#[derive(Clone)]
struct Served {
    answers: Arc<Mutex<Answers>>,
    requests: Arc<Mutex<Vec<WebRequest>>>,
}

/// A server on the loopback interface. It ends with the test's runtime.
pub struct WebServer {
    url: String,
    served: Served,
}

impl WebServer {
    /// Starts a server that answers each path with a status and a body.
    pub async fn start(
        answers: impl Fn(&str) -> (u16, String) + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        Self::start_answering(of_path(answers)).await
    }

    /// Starts a server that answers the last one of these requests.
    pub async fn start_answering(
        answers: impl Fn(&[WebRequest]) -> WebAnswer + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let answers: Answers = Arc::new(answers);
        let served = Served { answers: Arc::new(Mutex::new(answers)), requests: Arc::default() };
        let router = Router::new().fallback(answer).with_state(served.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, served })
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers otherwise from now on.
    pub fn answer(&self, answers: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) {
        *self.served.answers.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(of_path(answers));
    }

    /// All requests, the first one first.
    pub fn requests(&self) -> Vec<WebRequest> {
        self.served.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often each path was asked, with its query.
    pub fn asked(&self) -> BTreeMap<String, usize> {
        let mut asked = BTreeMap::new();
        for request in self.requests() {
            *asked.entry(request.path).or_default() += 1;
        }
        asked
    }
}

fn of_path(answers: impl Fn(&str) -> (u16, String)) -> impl Fn(&[WebRequest]) -> WebAnswer {
    move |requests| {
        let (status, body) = answers(requests.last().map_or("", |request| &request.path));
        WebAnswer::Text(status, body)
    }
}

async fn answer(State(served): State<Served>, request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let answers = Arc::clone(&served.answers.lock().unwrap_or_else(PoisonError::into_inner));
    let answer = {
        let mut requests = served.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(WebRequest { path, headers: request.headers().clone() });
        answers(&requests)
    };
    answer.response().await
}
