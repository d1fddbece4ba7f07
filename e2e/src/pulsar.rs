//! A client of the broker: messages over WebSocket, administration over REST.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::{SinkExt, StreamExt};
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// A message to send, or a received one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Message {
    /// Its payload.
    pub body: Vec<u8>,
    /// Its key.
    pub key: Option<String>,
    /// Its properties.
    pub properties: BTreeMap<String, String>,
}

impl Message {
    /// The payload as text; invalid UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl From<&str> for Message {
    fn from(body: &str) -> Self {
        Self { body: body.as_bytes().to_vec(), ..Self::default() }
    }
}

/// A namespace of a broker.
#[derive(Clone, Debug)]
pub struct Pulsar {
    web: String,
    namespace: String,
    token: Option<String>,
    http: reqwest::Client,
}

impl Pulsar {
    /// Creates the namespace `public/<name>` at the broker with this web service URL.
    pub async fn namespace(web: &str, name: &str, token: Option<String>) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build()?;
        let namespace = format!("public/{name}");
        let pulsar = Self { web: web.to_owned(), namespace, token, http };
        let path = format!("namespaces/{}", pulsar.namespace);
        let answer = pulsar.ask(Method::PUT, &path).json(&json!({})).send().await?;
        ensure!(answer.status().is_success() || answer.status() == 409, "{path}: {}", answer.status());
        Ok(pulsar)
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.authorized(self.http.request(method, format!("{}/admin/v2/{path}", self.web)))
    }

    /// URL of the web service.
    pub fn web(&self) -> &str {
        &self.web
    }

    /// The full name of a topic of this namespace.
    pub fn topic(&self, name: &str) -> String {
        format!("persistent://{}/{name}", self.namespace)
    }

    fn path(&self, topic: &str) -> String {
        format!("persistent/{}/{topic}", self.namespace)
    }

    /// A request about this namespace, `namespaces/public/<name>/<path>`.
    pub async fn policy(&self, path: &str, value: &Value) -> Result<()> {
        let path = format!("namespaces/{}/{path}", self.namespace);
        let answer = self.ask(Method::POST, &path).json(value).send().await?;
        ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        Ok(())
    }

    /// Creates a partitioned topic.
    pub async fn partitioned(&self, topic: &str, partitions: u32) -> Result<()> {
        let path = format!("{}/partitions", self.path(topic));
        self.ask(Method::PUT, &path).json(&partitions).send().await?.error_for_status()?;
        Ok(())
    }

    /// Deletes a topic with its subscriptions.
    pub async fn delete_topic(&self, topic: &str) -> Result<()> {
        let path = format!("{}?force=true", self.path(topic));
        self.ask(Method::DELETE, &path).send().await?.error_for_status()?;
        Ok(())
    }

    /// Statistics of a topic; None if it does not exist. A restarted broker answers with server errors at first, so
    /// these are retried.
    pub async fn stats(&self, topic: &str) -> Result<Option<Value>> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.ask(Method::GET, &format!("{}/stats", self.path(topic))).send().await?;
            if answer.status() == 404 {
                return Ok(None);
            }
            if !answer.status().is_server_error() || Instant::now() > until {
                return Ok(Some(answer.error_for_status()?.json().await?));
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Internal statistics of a topic: ledgers, entries and cursors.
    pub async fn internal_stats(&self, topic: &str) -> Result<Value> {
        let answer = self.ask(Method::GET, &format!("{}/internalStats", self.path(topic))).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// The stored message at this position of a topic, 1 for the first: its headers, such as `x-pulsar-compression`,
    /// and its bytes.
    pub async fn examine(&self, topic: &str, position: u32) -> Result<(BTreeMap<String, String>, Vec<u8>)> {
        let query = format!("initialPosition=earliest&messagePosition={position}");
        let path = format!("{}/examinemessage?{query}", self.path(topic));
        let answer = self.ask(Method::GET, &path).send().await?.error_for_status()?;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Ok((headers, answer.bytes().await?.to_vec()))
    }

    /// The schema of a topic, if it has one.
    pub async fn schema(&self, topic: &str) -> Result<Option<Value>> {
        let answer =
            self.ask(Method::GET, &format!("schemas/{}/{topic}/schema", self.namespace)).send().await?;
        if answer.status() == 404 {
            return Ok(None);
        }
        Ok(Some(answer.error_for_status()?.json().await?))
    }

    /// Short names of the topics of this namespace.
    pub async fn topics(&self) -> Result<Vec<String>> {
        let answer = self.ask(Method::GET, &format!("persistent/{}", self.namespace)).send().await?;
        let all: Vec<String> = answer.error_for_status()?.json().await?;
        Ok(all.iter().filter_map(|name| Some(name.rsplit_once('/')?.1.to_owned())).collect())
    }

    /// Number of consumers of a topic, by subscription.
    pub async fn consumers(&self, topic: &str) -> Result<BTreeMap<String, usize>> {
        let stats = self.stats(topic).await?.unwrap_or_default();
        let subscriptions = stats["subscriptions"].as_object().cloned().unwrap_or_default();
        let count = |of: &Value| of["consumers"].as_array().map_or(0, Vec::len);
        Ok(subscriptions.iter().map(|(name, of)| (name.clone(), count(of))).collect())
    }

    /// Backlog of a subscription: messages that it has not acknowledged.
    pub async fn backlog(&self, topic: &str, subscription: &str) -> Result<u64> {
        let stats = self.stats(topic).await?.unwrap_or_default();
        stats["subscriptions"][subscription]["msgBacklog"]
            .as_u64()
            .with_context(|| format!("{topic} has no subscription {subscription}"))
    }

    /// Waits until a topic has a consumer. A message before that would decide the topic's schema.
    pub async fn await_consumer(&self, topic: &str, timeout: Duration) -> Result<()> {
        self.await_consumers(topic, 1, timeout).await
    }

    /// Waits until a topic has at least this number of consumers.
    pub async fn await_consumers(&self, topic: &str, count: usize, timeout: Duration) -> Result<()> {
        let until = Instant::now() + timeout;
        while Instant::now() < until {
            if self.consumers(topic).await?.values().sum::<usize>() >= count {
                return Ok(());
            }
            sleep(Duration::from_millis(200)).await;
        }
        bail!("{topic} has fewer than {count} consumers after {timeout:?}")
    }

    /// The subscriptions of a topic.
    pub async fn subscriptions(&self, topic: &str) -> Result<Vec<String>> {
        let answer = self.ask(Method::GET, &format!("{}/subscriptions", self.path(topic))).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Uploads a package to the broker and returns its URL, `function://…/NAME@v1`.
    pub async fn upload(&self, kind: &str, name: &str, content: Vec<u8>) -> Result<String> {
        let url = format!("{}/admin/v3/packages/{kind}/{}/{name}/v1", self.web, self.namespace);
        // A form of two parts; no package contains the boundary.
        let boundary = "a-boundary-that-no-package-has";
        let metadata = json!({ "description": "of a scenario" });
        let mut form = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"metadata\"\r\ncontent-type: application/json\r\n\r\n\
             {metadata}\r\n--{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             content-type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        form.extend(content);
        form.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
        let request = self.authorized(self.http.post(url)).body(form);
        let answer = request
            .header("content-type", format!("multipart/form-data; boundary={boundary}"))
            .send()
            .await?;
        ensure!(answer.status().is_success(), "upload of {name}: {}", answer.text().await?);
        Ok(format!("{kind}://{}/{name}@v1", self.namespace))
    }

    async fn connect(&self, path: &str) -> Result<Socket> {
        let url = format!("{}/ws/v2/{path}", self.web.replacen("http", "ws", 1));
        let mut request = url.into_client_request()?;
        if let Some(token) = &self.token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
        }
        let (socket, _) = connect_async(request).await.with_context(|| path.to_owned())?;
        Ok(Socket(socket))
    }

    /// A producer of a topic.
    pub async fn producer(&self, topic: &str) -> Result<Producer> {
        Ok(Producer(self.connect(&format!("producer/{}", self.path(topic))).await?))
    }

    /// Sends messages, each acknowledged by the broker before the next.
    pub async fn send<M: Into<Message> + Clone>(&self, topic: &str, messages: &[M]) -> Result<()> {
        let mut producer = self.producer(topic).await?;
        for message in messages {
            producer.send(&message.clone().into()).await?;
        }
        producer.0.0.close(None).await?;
        Ok(())
    }

    /// Sends messages in batches of at most this size, which producers elsewhere do by default. Returns the number of
    /// entries that the broker acknowledged: one for each batch.
    pub async fn send_batches(&self, topic: &str, texts: &[String], size: usize) -> Result<usize> {
        let query = format!("batchingEnabled=true&batchingMaxMessages={size}&batchingMaxPublishDelay=1000");
        let mut socket = self.connect(&format!("producer/{}?{query}", self.path(topic))).await?;
        for text in texts {
            socket.write(&publication(&text.as_str().into())).await?;
        }
        let mut entries = BTreeSet::new();
        for _ in texts {
            entries.insert(entry(&accepted(&socket.read().await?)?)?);
        }
        socket.0.close(None).await?;
        Ok(entries.len())
    }

    /// A consumer of a topic.
    pub async fn consumer(&self, topic: &str, subscription: &str) -> Result<Consumer> {
        let from = "subscriptionInitialPosition=Earliest&subscriptionType=Exclusive";
        Ok(Consumer(self.connect(&format!("consumer/{}/{subscription}?{from}", self.path(topic))).await?))
    }

    /// Receives this number of messages from the earliest one on, in order.
    pub async fn receive_whole(&self, topic: &str, count: usize, timeout: Duration) -> Result<Vec<Message>> {
        let until = Instant::now() + timeout;
        let mut consumer = self.consumer(topic, "scenario").await?;
        let mut received = Vec::with_capacity(count);
        while received.len() < count {
            let Ok(message) = timeout_at(until, consumer.receive()).await else {
                let last: Vec<_> = received.iter().rev().take(20).map(Message::text).collect();
                bail!(
                    "{} of {count} messages on {topic} after {timeout:?}, the last: {last:?}",
                    received.len()
                );
            };
            received.push(message?);
        }
        consumer.0.0.close(None).await?;
        Ok(received)
    }

    /// Receives this number of messages as text.
    pub async fn receive(&self, topic: &str, count: usize, timeout: Duration) -> Result<Vec<String>> {
        let received = self.receive_whole(topic, count, timeout).await?;
        Ok(received.iter().map(Message::text).collect())
    }

    /// Receives all messages of a topic until it has no backlog and none arrives for this duration.
    pub async fn receive_all(&self, topic: &str, quiet: Duration) -> Result<Vec<Message>> {
        let mut consumer = self.consumer(topic, "scenario-all").await?;
        let mut received = Vec::new();
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            match timeout_at(Instant::now() + quiet, consumer.receive()).await {
                Ok(message) => received.push(message?),
                // There is a backlog: the broker is slow.
                Err(_)
                    if Instant::now() < until
                        && self.backlog(topic, "scenario-all").await.unwrap_or(0) > 0 => {}
                Err(_) => break,
            }
        }
        consumer.0.0.close(None).await?;
        Ok(received)
    }
}

impl From<String> for Message {
    fn from(body: String) -> Self {
        Self { body: body.into_bytes(), ..Self::default() }
    }
}

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn write(&mut self, value: &Value) -> Result<()> {
        Ok(self.0.send(Frame::text(value.to_string())).await?)
    }

    async fn read(&mut self) -> Result<Value> {
        while let Some(frame) = self.0.next().await {
            match frame? {
                Frame::Text(text) => return Ok(serde_json::from_str(&text)?),
                Frame::Close(reason) => bail!("the broker closed the connection: {reason:?}"),
                _ => {}
            }
        }
        bail!("the broker closed the connection")
    }
}

/// A producer of a topic.
pub struct Producer(Socket);

impl Producer {
    /// Sends a message and returns when the broker acknowledges it.
    pub async fn send(&mut self, message: &Message) -> Result<()> {
        self.publish(&publication(message)).await
    }

    /// The same; consumers of a Shared subscription get the message after this delay.
    pub async fn send_delayed(&mut self, message: &Message, delay: Duration) -> Result<()> {
        let mut body = publication(message);
        body["deliverAfterMs"] = json!(u64::try_from(delay.as_millis())?);
        self.publish(&body).await
    }

    async fn publish(&mut self, body: &Value) -> Result<()> {
        self.0.write(body).await?;
        accepted(&self.0.read().await?).map(|_| ())
    }
}

/// A message as the WebSocket API takes it.
fn publication(message: &Message) -> Value {
    let mut body = json!({ "payload": BASE64.encode(&message.body), "properties": message.properties });
    if let Some(key) = &message.key {
        body["key"] = json!(key);
    }
    body
}

/// The ID of the acknowledged message.
fn accepted(answer: &Value) -> Result<String> {
    ensure!(answer["result"] == "ok", "not accepted: {answer}");
    Ok(answer["messageId"].as_str().context("no message ID")?.to_owned())
}

/// Ledger and entry of a message ID, which the messages of a batch share. They are its first two fields in Protocol Buffers:
/// of the four numbers of a tag and a value each, the last byte is below 128.
fn entry(id: &str) -> Result<Vec<u8>> {
    let mut bytes = BASE64.decode(id)?;
    let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte < 0x80);
    let (end, _) = ends.nth(3).context("a message ID without an entry")?;
    bytes.truncate(end + 1);
    Ok(bytes)
}

/// A consumer of a topic.
pub struct Consumer(Socket);

impl Consumer {
    /// Waits for the next message and acknowledges it.
    pub async fn receive(&mut self) -> Result<Message> {
        let message = self.0.read().await?;
        let body = BASE64.decode(message["payload"].as_str().context("a message without payload")?)?;
        let properties = serde_json::from_value(message["properties"].clone()).unwrap_or_default();
        let key = message["key"].as_str().map(str::to_owned);
        self.0.write(&json!({ "messageId": message["messageId"] })).await?;
        Ok(Message { body, key, properties })
    }
}
