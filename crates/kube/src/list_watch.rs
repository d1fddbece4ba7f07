//! List and watch of a kind, one item at a time.
//!
//! Not kube-runtime's watcher: that decodes whole pages, so one invalid object fails a page, and has each page in memory
//! three times. Here each item is decoded as it arrives, and an invalid one is skipped. Only requests and streams fail;
//! the caller backs off after an error.

use std::collections::VecDeque;
use std::time::Duration;

use futures::{Stream, stream};
use kube::api::{ApiResource, DynamicObject, ListParams, WatchParams};
use kube::core::{Request, Status};
use kube::runtime::watcher::{self, Error, Event};
use kube::{Client, Resource};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::REQUEST_TIMEOUT;
use crate::decode_error::DecodeError;
use crate::memory::Memory;
use crate::prune::ObjectScan;
use crate::request::{BuiltRequest, into_client_error, send};
use crate::split::{ListPart, Splitter};

use response::ResponseReader;

mod response;

/// Items of the first page. The size of its items determines the limit of later pages.
const FIRST_PAGE: u32 = 50;
/// Target size of a page, in bytes.
const TARGET_PAGE_BYTES: usize = 8 << 20;
/// How long the API server keeps a watch open, and how much later the connection counts as lost.
const WATCH_TIMEOUT: Duration = Duration::from_secs(290);
const WATCH_TIMEOUT_MARGIN: Duration = Duration::from_secs(5);
const MIN_WATCH_DURATION: Duration = Duration::from_millis(200);
/// HTTP status of an expired resource version.
const GONE: u16 = 410;

/// An item of a list or a watch.
pub trait Item: Sized + Send + 'static {
    /// Whether only metadata are requested.
    const METADATA: bool = false;

    /// Reads an item. Fails only if the text is not a JSON object with a name and a namespace; other invalid content
    /// must not fail the list.
    fn from_json(json: &str, memory: &Memory) -> Result<Self, DecodeError>;

    /// Its resource version.
    fn resource_version(&self) -> Option<&str>;

    /// Whether this version of an object differs from the one before in nothing that is read: then it triggers nothing.
    fn is_same_as(&self, _before: &Self) -> bool {
        false
    }
}

/// What to list and watch.
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

    /// The objects of a kind that is known only at run time.
    pub(crate) fn dynamic(
        client: &Client,
        resource: &ApiResource,
        namespace: Option<&str>,
        memory: &Memory,
    ) -> Self {
        let request = Request::new(DynamicObject::url_path(resource, namespace));
        Self { client: client.clone(), request, labels: None, fields: None, memory: memory.clone() }
    }

    fn list<K: Item>(&self, limit: u32, token: Option<String>) -> BuiltRequest {
        let params = ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            limit: Some(limit),
            continue_token: token,
            ..ListParams::default()
        };
        if K::METADATA { self.request.list_metadata(&params) } else { self.request.list(&params) }
    }

    fn watch<K: Item>(&self, version: &str) -> BuiltRequest {
        let params = WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            timeout: u32::try_from(WATCH_TIMEOUT.as_secs()).ok(),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = if K::METADATA {
            self.request.watch_metadata(&params, version)
        } else {
            self.request.watch(&params, version)
        };
        request.map(|mut request| {
            // Compression delays events.
            let plain = http::HeaderValue::from_static("identity");
            request.headers_mut().insert(http::header::ACCEPT_ENCODING, plain);
            request
        })
    }
}

/// Reads one object with a list request, since the operator may have permission to list but not to get.
pub(crate) async fn fetch_one<K>(
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
    let mut response =
        ResponseReader::new(send(client, target.request.list(&params)).await?.into_body(), REQUEST_TIMEOUT);
    let mut splitter = Splitter::new();
    let mut decode = Some(decode);
    let mut found = None;
    while let Some(part) = response.next_part(&mut splitter, memory).await? {
        if let ListPart::Item(item) = part
            && let Some(decode) = decode.take()
        {
            found = Some(decode(&String::from_utf8_lossy(&item)).map_err(into_client_error)?);
        }
    }
    Ok(found)
}

/// All objects of a kind, then each change. The stream never ends; after an error it resumes the watch, or relists.
pub(crate) fn list_watch<K: Item>(
    target: Target,
    on_skipped: impl Fn(&DecodeError) + Send + 'static,
) -> impl Stream<Item = Result<Event<K>, Error>> + Send {
    let state = State { target, phase: Phase::Start, limit: FIRST_PAGE, on_skipped };
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
    phase: Phase<K>,
    /// Limit of the next page.
    limit: u32,
    on_skipped: F,
}

enum Phase<K> {
    /// Before a list.
    Start,
    /// Between two pages.
    List { token: Option<String> },
    /// The items of a page, and the request that follows.
    Page { items: VecDeque<K>, next: NextRequest },
    /// Before a watch.
    Listed { version: String },
    /// Within a watch.
    Watch { version: String, events: Box<ResponseReader> },
}

#[derive(Clone)]
enum NextRequest {
    Page(String),
    Watch(String),
}

/// The metadata of a list.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    token: String,
}

impl<K: Item, F: Fn(&DecodeError)> State<K, F> {
    /// Advances to the next phase. Returns an event if the phase has one.
    async fn step(&mut self) -> Result<Option<Event<K>>, Error> {
        match std::mem::replace(&mut self.phase, Phase::Start) {
            Phase::Start => {
                self.phase = Phase::List { token: None };
                Ok(Some(Event::Init))
            }
            Phase::List { token } => {
                let (items, next) = self.page(token).await.map_err(Error::InitialListFailed)?;
                let next = next.ok_or(Error::NoResourceVersion)?;
                self.phase = Phase::Page { items, next };
                Ok(None)
            }
            Phase::Page { mut items, next } => {
                if let Some(item) = items.pop_front() {
                    self.phase = Phase::Page { items, next };
                    return Ok(Some(Event::InitApply(item)));
                }
                match next {
                    NextRequest::Page(token) => {
                        self.phase = Phase::List { token: Some(token) };
                        Ok(None)
                    }
                    NextRequest::Watch(version) => {
                        self.phase = Phase::Listed { version };
                        Ok(Some(Event::InitDone))
                    }
                }
            }
            Phase::Listed { version } => {
                match send(&self.target.client, self.target.watch::<K>(&version)).await {
                    Ok(response) => {
                        let events = Box::new(ResponseReader::new(
                            response.into_body(),
                            WATCH_TIMEOUT + WATCH_TIMEOUT_MARGIN,
                        ));
                        self.phase = Phase::Watch { version, events };
                        Ok(None)
                    }
                    Err(error) => {
                        if !matches!(&error, kube::Error::Api(status) if status.code == GONE) {
                            self.phase = Phase::Listed { version };
                        }
                        Err(Error::WatchStartFailed(error))
                    }
                }
            }
            Phase::Watch { version, events } => self.watch(version, events).await,
        }
    }

    /// Reads one page: its valid items, and the request that follows.
    async fn page(
        &mut self,
        token: Option<String>,
    ) -> Result<(VecDeque<K>, Option<NextRequest>), kube::Error> {
        let response = send(&self.target.client, self.target.list::<K>(self.limit, token)).await?;
        let mut response = ResponseReader::new(response.into_body(), REQUEST_TIMEOUT);
        let (mut splitter, mut items, mut metadata) =
            (Splitter::new(), VecDeque::new(), ListMetadata::default());
        let mut count = 0;
        while let Some(part) = response.next_part(&mut splitter, &self.target.memory).await? {
            match part {
                ListPart::Metadata(text) => {
                    let text = String::from_utf8_lossy(&text);
                    metadata = serde_json::from_str(&text)
                        .map_err(|error| into_client_error(DecodeError::from_json(&error)))?;
                }
                ListPart::Item(item) => {
                    count += 1;
                    match K::from_json(&String::from_utf8_lossy(&item), &self.target.memory) {
                        Ok(item) => items.push_back(item),
                        Err(error) => (self.on_skipped)(&error),
                    }
                }
                ListPart::TooLarge => {
                    count += 1;
                    (self.on_skipped)(&DecodeError::too_large());
                }
            }
        }
        self.limit = next_limit(self.limit, response.bytes, count);
        let next = if !metadata.token.is_empty() {
            Some(NextRequest::Page(metadata.token))
        } else if !metadata.resource_version.is_empty() {
            Some(NextRequest::Watch(metadata.resource_version))
        } else {
            None
        };
        Ok((items, next))
    }

    async fn watch(
        &mut self,
        version: String,
        mut events: Box<ResponseReader>,
    ) -> Result<Option<Event<K>>, Error> {
        let line = match events.next_line(&self.target.memory).await {
            Ok(Some(line)) => line,
            // The API server ends a watch every few minutes. A minimum duration limits the rate of restarts.
            Ok(None) => {
                tokio::time::sleep_until(events.started + MIN_WATCH_DURATION).await;
                self.phase = Phase::Listed { version };
                return Ok(None);
            }
            Err(error) => {
                self.phase = Phase::Listed { version };
                return Err(Error::WatchFailed(error));
            }
        };
        if line.iter().all(u8::is_ascii_whitespace) {
            self.phase = Phase::Watch { version, events };
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line);
        let Ok(WatchEvent { kind, object }) =
            serde_json::from_str::<WatchEvent<'_>>(&line).inspect_err(|error| {
                (self.on_skipped)(&DecodeError::from_json(error));
            })
        else {
            // Not an event of the API server. The watch restarts from the last version, so no event is lost.
            self.phase = Phase::Listed { version };
            let error = DecodeError::in_list("invalid watch event", 0);
            return Err(Error::WatchFailed(into_client_error(error)));
        };
        if kind == "ERROR" {
            let status = serde_json::from_str::<Status>(object.get())
                .unwrap_or_else(|_| Status::failure("watch failed", "Unknown"));
            if status.code != GONE {
                self.phase = Phase::Watch { version, events };
            }
            return Err(Error::WatchError(Box::new(status)));
        }
        let item = if kind == "BOOKMARK" {
            None
        } else {
            let item = K::from_json(object.get(), &self.target.memory);
            item.inspect_err(|error| (self.on_skipped)(error)).ok()
        };
        // A bookmark has a version only, and an object that cannot be decoded may have one.
        let now = match &item {
            Some(item) => item.resource_version().map(str::to_owned),
            None => ObjectScan::parse(object.get()).ok().and_then(|lean| lean.metadata.resource_version),
        };
        // An object without a version keeps the last one.
        let version = now.filter(|now| !now.is_empty()).unwrap_or(version);
        self.phase = Phase::Watch { version, events };
        Ok(item.and_then(|item| match kind.as_ref() {
            "ADDED" | "MODIFIED" => Some(Event::Apply(item)),
            "DELETED" => Some(Event::Delete(item)),
            _ => None,
        }))
    }
}

/// One line of a watch.
#[derive(Deserialize)]
struct WatchEvent<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// The limit of the next page, from the size of the last one: many small items, so that ten thousand need few requests;
/// few large items, since the API server has a page in memory too.
fn next_limit(limit: u32, bytes: usize, items: usize) -> u32 {
    if items == 0 {
        return limit;
    }
    let fitting = u32::try_from(TARGET_PAGE_BYTES / (bytes / items).max(1)).unwrap_or(u32::MAX);
    fitting.min(limit.saturating_mul(4)).clamp(4, 400)
}

#[cfg(test)]
mod tests;
