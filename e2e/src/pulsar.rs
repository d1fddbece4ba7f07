//! The broker as a user's program sees it: messages over WebSocket, everything else over REST.

use std::collections::BTreeMap;
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

/// One message, on its way in or out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Message {
    /// What it says.
    pub body: Vec<u8>,
    /// Its key, for orders that go by keys.
    pub key: Option<String>,
    /// What its producer noted on it.
    pub properties: BTreeMap<String, String>,
}

impl Message {
    /// The body as text, with what is none replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl From<&str> for Message {
    fn from(body: &str) -> Self {
        Self { body: body.as_bytes().to_vec(), ..Self::default() }
    }
}

/// One namespace of a broker.
#[derive(Clone, Debug)]
pub struct Pulsar {
    web: String,
    namespace: String,
    token: Option<String>,
    http: reqwest::Client,
}

impl Pulsar {
    /// Makes the namespace `public/<name>` at the broker with this web address.
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

    /// The full name of a topic of this namespace.
    pub fn topic(&self, name: &str) -> String {
        format!("persistent://{}/{name}", self.namespace)
    }

    fn path(&self, topic: &str) -> String {
        format!("persistent/{}/{topic}", self.namespace)
    }

    /// Asks the broker something about this namespace, `namespaces/public/<name>/<path>`.
    pub async fn policy(&self, path: &str, value: &Value) -> Result<()> {
        let path = format!("namespaces/{}/{path}", self.namespace);
        let answer = self.ask(Method::POST, &path).json(value).send().await?;
        ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        Ok(())
    }

    /// Makes a topic of so many partitions.
    pub async fn partitioned(&self, topic: &str, partitions: u32) -> Result<()> {
        let path = format!("{}/partitions", self.path(topic));
        self.ask(Method::PUT, &path).json(&partitions).send().await?.error_for_status()?;
        Ok(())
    }

    /// Removes a topic with all that hangs on it.
    pub async fn delete_topic(&self, topic: &str) -> Result<()> {
        let path = format!("{}?force=true", self.path(topic));
        self.ask(Method::DELETE, &path).send().await?.error_for_status()?;
        Ok(())
    }

    /// What the broker knows of a topic; None when there is none of that name. One that has just come back needs a
    /// moment before it can tell.
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

    /// What the broker keeps of a topic: its ledgers, entries and cursors.
    pub async fn internal_stats(&self, topic: &str) -> Result<Value> {
        let answer = self.ask(Method::GET, &format!("{}/internalStats", self.path(topic))).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// A message as it lies on a topic, by its place from the beginning, 1 for the first: what the broker notes on
    /// it, `x-pulsar-compression` and the like, and its bytes.
    pub async fn examine(&self, topic: &str, place: u32) -> Result<(BTreeMap<String, String>, Vec<u8>)> {
        let query = format!("initialPosition=earliest&messagePosition={place}");
        let path = format!("{}/examinemessage?{query}", self.path(topic));
        let answer = self.ask(Method::GET, &path).send().await?.error_for_status()?;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let notes = answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Ok((notes, answer.bytes().await?.to_vec()))
    }

    /// The schema that a topic has; None when it has none.
    pub async fn schema(&self, topic: &str) -> Result<Option<Value>> {
        let answer =
            self.ask(Method::GET, &format!("schemas/{}/{topic}/schema", self.namespace)).send().await?;
        if answer.status() == 404 {
            return Ok(None);
        }
        Ok(Some(answer.error_for_status()?.json().await?))
    }

    /// Names of the topics of this namespace, in short.
    pub async fn topics(&self) -> Result<Vec<String>> {
        let answer = self.ask(Method::GET, &format!("persistent/{}", self.namespace)).send().await?;
        let all: Vec<String> = answer.error_for_status()?.json().await?;
        Ok(all.iter().filter_map(|name| Some(name.rsplit_once('/')?.1.to_owned())).collect())
    }

    /// How many consume a topic, by subscription.
    pub async fn consumers(&self, topic: &str) -> Result<BTreeMap<String, usize>> {
        let stats = self.stats(topic).await?.unwrap_or_default();
        let subscriptions = stats["subscriptions"].as_object().cloned().unwrap_or_default();
        let count = |of: &Value| of["consumers"].as_array().map_or(0, Vec::len);
        Ok(subscriptions.iter().map(|(name, of)| (name.clone(), count(of))).collect())
    }

    /// Messages of a topic that this subscription has still to see or to acknowledge.
    pub async fn backlog(&self, topic: &str, subscription: &str) -> Result<u64> {
        let stats = self.stats(topic).await?.unwrap_or_default();
        stats["subscriptions"][subscription]["msgBacklog"]
            .as_u64()
            .with_context(|| format!("{topic} has no subscription {subscription}"))
    }

    /// Waits until somebody consumes a topic. A message before that would settle the topic's schema first.
    pub async fn await_consumer(&self, topic: &str, patience: Duration) -> Result<()> {
        self.await_consumers(topic, 1, patience).await
    }

    /// Waits until at least so many consume a topic.
    pub async fn await_consumers(&self, topic: &str, count: usize, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if self.consumers(topic).await?.values().sum::<usize>() >= count {
                return Ok(());
            }
            sleep(Duration::from_millis(200)).await;
        }
        bail!("not {count} consume {topic} after {patience:?}")
    }

    /// Names of the subscriptions of a topic.
    pub async fn subscriptions(&self, topic: &str) -> Result<Vec<String>> {
        let answer = self.ask(Method::GET, &format!("{}/subscriptions", self.path(topic))).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Puts a package into the broker's package service and returns its address, `function://…/NAME@v1`.
    pub async fn upload(&self, kind: &str, name: &str, content: Vec<u8>) -> Result<String> {
        let url = format!("{}/admin/v3/packages/{kind}/{}/{name}/v1", self.web, self.namespace);
        // One form of two parts; the boundary is in none of what stories upload.
        let boundary = "a-boundary-that-no-package-has";
        let metadata = json!({ "description": "of a story" });
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

    /// Somebody who writes to a topic.
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

    /// Somebody who reads a topic from its beginning, by a subscription of this name.
    pub async fn consumer(&self, topic: &str, subscription: &str) -> Result<Consumer> {
        let from = "subscriptionInitialPosition=Earliest&subscriptionType=Exclusive";
        Ok(Consumer(self.connect(&format!("consumer/{}/{subscription}?{from}", self.path(topic))).await?))
    }

    /// Receives so many messages from the beginning of a topic, in the order in which they come.
    pub async fn receive_whole(&self, topic: &str, count: usize, patience: Duration) -> Result<Vec<Message>> {
        let until = Instant::now() + patience;
        let mut consumer = self.consumer(topic, "story").await?;
        let mut received = Vec::with_capacity(count);
        while received.len() < count {
            let Ok(message) = timeout_at(until, consumer.receive()).await else {
                let last: Vec<_> = received.iter().rev().take(20).map(Message::text).collect();
                bail!(
                    "{} of {count} messages on {topic} after {patience:?}, the last: {last:?}",
                    received.len()
                );
            };
            received.push(message?);
        }
        consumer.0.0.close(None).await?;
        Ok(received)
    }

    /// The same as text.
    pub async fn receive(&self, topic: &str, count: usize, patience: Duration) -> Result<Vec<String>> {
        let received = self.receive_whole(topic, count, patience).await?;
        Ok(received.iter().map(Message::text).collect())
    }

    /// All that a topic holds, from its beginning until it is read to its end and nothing more comes for so long.
    pub async fn receive_all(&self, topic: &str, quiet: Duration) -> Result<Vec<Message>> {
        let mut consumer = self.consumer(topic, "story-all").await?;
        let mut received = Vec::new();
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            match timeout_at(Instant::now() + quiet, consumer.receive()).await {
                Ok(message) => received.push(message?),
                // Somebody is slow today.
                Err(_)
                    if Instant::now() < until && self.backlog(topic, "story-all").await.unwrap_or(0) > 0 => {}
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

/// Somebody who writes to a topic.
pub struct Producer(Socket);

impl Producer {
    /// Sends a message, and returns when the broker has it.
    pub async fn send(&mut self, message: &Message) -> Result<()> {
        let mut body = json!({ "payload": BASE64.encode(&message.body), "properties": message.properties });
        if let Some(key) = &message.key {
            body["key"] = json!(key);
        }
        self.0.write(&body).await?;
        let answer = self.0.read().await?;
        ensure!(answer["result"] == "ok", "not accepted: {answer}");
        Ok(())
    }
}

/// Somebody who reads a topic.
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
