//! Lists and watches: what there is of a kind, and each change.
//!
//! In place of kube's watcher, which decodes a page at a time, so that one object fails a page, and holds each page
//! three times. Here an item is decoded alone, as it arrives, and one that cannot be taken up is passed over. Errors
//! are those of requests and streams alone; the caller waits before it goes on after one.

use std::collections::VecDeque;
use std::time::Duration;

use futures::{Stream, stream};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use kube::api::{ListParams, WatchParams};
use kube::client::Body;
use kube::core::{Request, Status};
use kube::runtime::watcher::{self, Error, Event};
use kube::{Client, Resource};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::client::LIMIT;
use crate::decode_error::DecodeError;
use crate::memory::{HEAVY, Memory};
use crate::prune::Lean;
use crate::request::{Built, send, undecodable};
use crate::split::{Piece, Splitter};

/// Items of the first page; how many there are of later ones depends on how large they are.
const FIRST_PAGE: u32 = 50;
/// Bytes that a page is to have.
const PAGE: usize = 8 << 20;
/// How long the API server holds a watch open, and how much later it counts as lost.
const WATCH: Duration = Duration::from_secs(290);
const MARGIN: Duration = Duration::from_secs(5);
const SHORTEST_WATCH: Duration = Duration::from_millis(200);
/// An event that is larger ends the watch. An object is a few MiB at most.
const LONGEST_EVENT: usize = 32 << 20;
/// The version that is asked for is too old.
const GONE: u16 = 410;

/// A kind of which lists and watches consist.
pub trait Item: Sized + Send + 'static {
    /// Whether only metadata are asked for.
    const METADATA: bool = false;

    /// Takes an object up from its JSON. It fails only where this is no object: what an object holds is its own
    /// matter.
    fn from_json(json: &str, memory: &Memory) -> Result<Self, DecodeError>;
}

/// What is listed and watched.
#[derive(Clone)]
pub(crate) struct Target {
    client: Client,
    request: Request,
    labels: Option<String>,
    fields: Option<String>,
    memory: Memory,
}

impl Target {
    pub(crate) fn new<K: Resource<DynamicType = ()>>(
        client: &Client,
        namespace: Option<&str>,
        config: &watcher::Config,
        memory: &Memory,
    ) -> Self {
        Self {
            client: client.clone(),
            request: Request::new(K::url_path(&(), namespace)),
            labels: config.label_selector.clone(),
            fields: config.field_selector.clone(),
            memory: memory.clone(),
        }
    }

    fn list<K: Item>(&self, limit: u32, token: Option<String>) -> Built {
        let params = ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            limit: Some(limit),
            continue_token: token,
            ..ListParams::default()
        };
        if K::METADATA { self.request.list_metadata(&params) } else { self.request.list(&params) }
    }

    fn watch<K: Item>(&self, version: &str) -> Built {
        let params = WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            timeout: u32::try_from(WATCH.as_secs()).ok(),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = if K::METADATA {
            self.request.watch_metadata(&params, version)
        } else {
            self.request.watch(&params, version)
        };
        request.map(|mut request| {
            // What is packed arrives late.
            let plain = http::HeaderValue::from_static("identity");
            request.headers_mut().insert(http::header::ACCEPT_ENCODING, plain);
            request
        })
    }
}

/// One object by its name, by way of a list: the right to list is there anyway.
pub(crate) async fn read_one<K>(
    client: &Client,
    namespace: &str,
    name: &str,
    memory: &Memory,
    decode: impl FnOnce(&str) -> Result<K, DecodeError>,
) -> Result<Option<K>, kube::Error>
where
    K: Resource<DynamicType = ()>,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let target = Target::new::<K>(client, Some(namespace), &config, memory);
    let params =
        ListParams { field_selector: target.fields.clone(), limit: Some(1), ..ListParams::default() };
    let mut incoming = Incoming::new(send(client, target.request.list(&params)).await?.into_body(), LIMIT);
    let mut splitter = Splitter::new();
    let mut decode = Some(decode);
    let mut found = None;
    while let Some(piece) = incoming.piece(&mut splitter, memory).await? {
        if let Piece::Item(item) = piece
            && let Some(decode) = decode.take()
        {
            found = Some(decode(&String::from_utf8_lossy(&item)).map_err(undecodable)?);
        }
    }
    Ok(found)
}

/// All of a kind, and each change. The stream never ends; after an error it goes on where it was, or begins anew.
pub(crate) fn list_watch<K: Item>(
    target: Target,
    passed_over: impl Fn(&DecodeError) + Send + 'static,
) -> impl Stream<Item = Result<Event<K>, Error>> + Send {
    let state = State { target, at: At::Begin, limit: FIRST_PAGE, passed_over };
    stream::unfold(state, |mut state| async move {
        loop {
            if let Some(event) = state.step().await.transpose() {
                return Some((event, state));
            }
        }
    })
}

struct State<K, F> {
    target: Target,
    at: At<K>,
    /// Items of the next page.
    limit: u32,
    passed_over: F,
}

enum At<K> {
    /// Before the list.
    Begin,
    /// Between two pages.
    List { token: Option<String> },
    /// The items of a page, and what comes after them.
    Page { items: VecDeque<K>, next: Next },
    /// Before a watch.
    Listed { version: String },
    /// Within a watch.
    Watch { version: String, events: Box<Incoming> },
}

#[derive(Clone)]
enum Next {
    Page(String),
    Watch(String),
}

/// What a list, an object or a bookmark says of itself.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    token: String,
}

impl<K: Item, F: Fn(&DecodeError)> State<K, F> {
    /// The next event, if there is one already.
    async fn step(&mut self) -> Result<Option<Event<K>>, Error> {
        match std::mem::replace(&mut self.at, At::Begin) {
            At::Begin => {
                self.at = At::List { token: None };
                Ok(Some(Event::Init))
            }
            At::List { token } => {
                let (items, next) = self.page(token).await.map_err(Error::InitialListFailed)?;
                let next = next.ok_or(Error::NoResourceVersion)?;
                self.at = At::Page { items, next };
                Ok(None)
            }
            At::Page { mut items, next } => {
                if let Some(item) = items.pop_front() {
                    self.at = At::Page { items, next };
                    return Ok(Some(Event::InitApply(item)));
                }
                match next {
                    Next::Page(token) => {
                        self.at = At::List { token: Some(token) };
                        Ok(None)
                    }
                    Next::Watch(version) => {
                        self.at = At::Listed { version };
                        Ok(Some(Event::InitDone))
                    }
                }
            }
            At::Listed { version } => {
                match send(&self.target.client, self.target.watch::<K>(&version)).await {
                    Ok(answer) => {
                        let events = Box::new(Incoming::new(answer.into_body(), WATCH + MARGIN));
                        self.at = At::Watch { version, events };
                        Ok(None)
                    }
                    Err(error) => {
                        if !matches!(&error, kube::Error::Api(status) if status.code == GONE) {
                            self.at = At::Listed { version };
                        }
                        Err(Error::WatchStartFailed(error))
                    }
                }
            }
            At::Watch { version, events } => self.watch(version, events).await,
        }
    }

    /// One page: what of it can be taken up, and what comes after it.
    async fn page(&mut self, token: Option<String>) -> Result<(VecDeque<K>, Option<Next>), kube::Error> {
        let answer = send(&self.target.client, self.target.list::<K>(self.limit, token)).await?;
        let mut incoming = Incoming::new(answer.into_body(), LIMIT);
        let (mut splitter, mut items, mut metadata) =
            (Splitter::new(), VecDeque::new(), ListMetadata::default());
        let mut count = 0;
        while let Some(piece) = incoming.piece(&mut splitter, &self.target.memory).await? {
            match piece {
                Piece::Metadata(text) => {
                    let text = String::from_utf8_lossy(&text);
                    metadata = serde_json::from_str(&text)
                        .map_err(|error| undecodable(DecodeError::of_json(&error)))?;
                }
                Piece::Item(item) => {
                    count += 1;
                    match K::from_json(&String::from_utf8_lossy(&item), &self.target.memory) {
                        Ok(item) => items.push_back(item),
                        Err(error) => (self.passed_over)(&error),
                    }
                }
                Piece::TooLarge => {
                    count += 1;
                    (self.passed_over)(&DecodeError::too_large());
                }
            }
        }
        self.limit = next_limit(self.limit, incoming.bytes, count);
        let next = if !metadata.token.is_empty() {
            Some(Next::Page(metadata.token))
        } else if !metadata.resource_version.is_empty() {
            Some(Next::Watch(metadata.resource_version))
        } else {
            None
        };
        Ok((items, next))
    }

    async fn watch(&mut self, version: String, mut events: Box<Incoming>) -> Result<Option<Event<K>>, Error> {
        let line = match events.line(&self.target.memory).await {
            Ok(Some(line)) => line,
            // It has ended, as it does every few minutes. One that ends at once is not begun anew at once.
            Ok(None) => {
                tokio::time::sleep_until(events.begun + SHORTEST_WATCH).await;
                self.at = At::Listed { version };
                return Ok(None);
            }
            Err(error) => {
                self.at = At::Listed { version };
                return Err(Error::WatchFailed(error));
            }
        };
        if line.iter().all(u8::is_ascii_whitespace) {
            self.at = At::Watch { version, events };
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line);
        let Ok(Line { kind, object }) = serde_json::from_str::<Line<'_>>(&line).inspect_err(|error| {
            (self.passed_over)(&DecodeError::of_json(error));
        }) else {
            // No API server writes such a line. Asked again from the last version on, it tells what stood there.
            self.at = At::Listed { version };
            let error = DecodeError::of_list("an event of the watch is invalid", 0);
            return Err(Error::WatchFailed(undecodable(error)));
        };
        if kind == "ERROR" {
            let status = serde_json::from_str::<Status>(object.get())
                .unwrap_or_else(|_| Status::failure("the watch failed", "Unknown"));
            if status.code != GONE {
                self.at = At::Watch { version, events };
            }
            return Err(Error::WatchError(Box::new(status)));
        }
        // An object without a version leaves the last one.
        let now = Lean::read(object.get()).ok().and_then(|lean| lean.metadata.resource_version);
        let version = now.filter(|now| !now.is_empty()).unwrap_or(version);
        self.at = At::Watch { version, events };
        if kind == "BOOKMARK" {
            return Ok(None);
        }
        let item = match K::from_json(object.get(), &self.target.memory) {
            Ok(item) => item,
            Err(error) => {
                (self.passed_over)(&error);
                return Ok(None);
            }
        };
        Ok(match kind.as_ref() {
            "ADDED" | "MODIFIED" => Some(Event::Apply(item)),
            "DELETED" => Some(Event::Delete(item)),
            _ => None,
        })
    }
}

/// A line of a watch.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// How many items the next page is to have, from what the last one weighed: many small ones, so that ten thousand
/// arrive soon, and few large ones, which the API server holds in memory too.
fn next_limit(limit: u32, bytes: usize, items: usize) -> u32 {
    if items == 0 {
        return limit;
    }
    let fitting = u32::try_from(PAGE / (bytes / items).max(1)).unwrap_or(u32::MAX);
    fitting.min(limit.saturating_mul(4)).clamp(4, 400)
}

/// Nothing of an answer arrived for a while.
#[derive(Debug, thiserror::Error)]
#[error("the answer stopped for {0:?}")]
struct Stopped(Duration);

/// Whether this is how a watch ends when a server stops, or a connection.
fn is_end(error: &kube::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if error.is::<Stopped>()
            || kind == Some(std::io::ErrorKind::UnexpectedEof)
            || error.to_string().contains("unexpected EOF during chunk")
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An answer that arrives.
struct Incoming {
    body: Body,
    /// How long nothing may arrive.
    idle_timeout: Duration,
    begun: Instant,
    chunk: Bytes,
    /// The line that has arrived in part.
    line: Vec<u8>,
    heavy: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Incoming {
    fn new(body: Body, idle_timeout: Duration) -> Self {
        let begun = Instant::now();
        Self { body, idle_timeout, begun, chunk: Bytes::new(), line: Vec::new(), heavy: None, bytes: 0 }
    }

    /// Waits for more of it; false at its end.
    async fn more(&mut self) -> Result<bool, kube::Error> {
        loop {
            let frame = tokio::time::timeout(self.idle_timeout, self.body.frame()).await;
            let frame = frame.map_err(|_| kube::Error::Service(Box::new(Stopped(self.idle_timeout))))?;
            match frame.transpose()? {
                None => return Ok(false),
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        self.bytes += data.len();
                        self.chunk = data;
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// What has arrived in part is heavy: only a few such are in memory at a time.
    async fn weigh(&mut self, held: usize, memory: &Memory) {
        if held > HEAVY && self.heavy.is_none() {
            self.heavy = memory.heavy().await;
        }
    }

    /// The next piece of a list; None at its end. The last one is to be dropped by then.
    async fn piece(
        &mut self,
        splitter: &mut Splitter,
        memory: &Memory,
    ) -> Result<Option<Piece>, kube::Error> {
        self.heavy = None;
        loop {
            let mut rest = &self.chunk[..];
            let piece = splitter.next(&mut rest).map_err(undecodable)?;
            let left = self.chunk.len() - rest.len();
            self.chunk = self.chunk.slice(left..);
            if piece.is_some() {
                return Ok(piece);
            }
            self.weigh(splitter.held(), memory).await;
            if !self.more().await? {
                return splitter.end().map(|()| None).map_err(undecodable);
            }
        }
    }

    /// The next line of a watch; None at its end.
    async fn line(&mut self, memory: &Memory) -> Result<Option<Vec<u8>>, kube::Error> {
        self.heavy = None;
        loop {
            if let Some(end) = self.chunk.iter().position(|byte| *byte == b'\n') {
                self.line.extend_from_slice(&self.chunk.split_to(end + 1));
                return Ok(Some(std::mem::take(&mut self.line)));
            }
            self.line.extend_from_slice(&self.chunk);
            self.chunk = Bytes::new();
            if self.line.len() > LONGEST_EVENT {
                return Err(undecodable(DecodeError::too_large()));
            }
            self.weigh(self.line.len(), memory).await;
            match self.more().await {
                Ok(true) => {}
                // What has arrived in part is told again.
                Ok(false) => return Ok(None),
                // So ends a watch when a server stops, or a connection.
                Err(error) if is_end(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests;
