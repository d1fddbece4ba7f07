//! The broker as a user's program sees it: messages over WebSocket, everything else over REST.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

/// One namespace of the broker.
#[derive(Clone, Debug)]
pub struct Pulsar {
    web: String,
    namespace: String,
    http: reqwest::Client,
}

impl Pulsar {
    /// Makes the namespace `public/<name>` at the broker with this web address.
    pub async fn namespace(web: &str, name: &str) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build()?;
        let namespace = format!("public/{name}");
        let pulsar = Self { web: web.to_owned(), namespace, http };
        let path = format!("namespaces/{}", pulsar.namespace);
        let answer = pulsar.http.put(pulsar.admin(&path)).json(&json!({})).send().await?;
        ensure!(answer.status().is_success() || answer.status() == 409, "{path}: {}", answer.status());
        Ok(pulsar)
    }

    fn admin(&self, path: &str) -> String {
        format!("{}/admin/v2/{path}", self.web)
    }

    /// The full name of a topic of this namespace.
    pub fn topic(&self, name: &str) -> String {
        format!("persistent://{}/{name}", self.namespace)
    }

    /// Waits until somebody consumes a topic. A message before that would settle the topic's schema first.
    pub async fn await_consumer(&self, topic: &str, patience: Duration) -> Result<()> {
        let path = self.admin(&format!("persistent/{}/{topic}/stats", self.namespace));
        let until = Instant::now() + patience;
        while Instant::now() < until {
            let answer = self.http.get(&path).send().await?;
            if answer.status().is_success() {
                let stats: Value = answer.json().await?;
                let subscriptions = stats["subscriptions"].as_object();
                let consumers =
                    |subscription: &Value| subscription["consumers"].as_array().map_or(0, Vec::len);
                if subscriptions.is_some_and(|all| all.values().any(|one| consumers(one) > 0)) {
                    return Ok(());
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
        bail!("nobody consumes {topic} after {patience:?}")
    }

    /// Names of the subscriptions of a topic.
    pub async fn subscriptions(&self, topic: &str) -> Result<Vec<String>> {
        let path = self.admin(&format!("persistent/{}/{topic}/subscriptions", self.namespace));
        Ok(self.http.get(&path).send().await?.error_for_status()?.json().await?)
    }

    /// Sends messages, each acknowledged by the broker before the next.
    pub async fn send(&self, topic: &str, messages: &[String]) -> Result<()> {
        let path = format!("ws/v2/producer/persistent/{}/{topic}", self.namespace);
        let (mut socket, _) = connect_async(self.socket(&path)).await.with_context(|| path.clone())?;
        for message in messages {
            let body = json!({ "payload": BASE64.encode(message) });
            socket.send(Message::text(body.to_string())).await?;
            let answer = read(&mut socket).await?;
            ensure!(answer["result"] == "ok", "not accepted: {answer}");
        }
        socket.close(None).await?;
        Ok(())
    }

    /// Receives as many messages from the beginning of a topic, in the order in which they come.
    pub async fn receive(&self, topic: &str, count: usize, patience: Duration) -> Result<Vec<String>> {
        let until = Instant::now() + patience;
        let path = format!(
            "ws/v2/consumer/persistent/{}/{topic}/story?subscriptionInitialPosition=Earliest",
            self.namespace
        );
        let (mut socket, _) = connect_async(self.socket(&path)).await.with_context(|| path.clone())?;
        let mut received = Vec::with_capacity(count);
        while received.len() < count {
            let Ok(message) = timeout_at(until, read(&mut socket)).await else {
                bail!("{} of {count} messages on {topic} after {patience:?}: {received:?}", received.len());
            };
            let message = message?;
            let body = BASE64.decode(message["payload"].as_str().context("a message without payload")?)?;
            received.push(String::from_utf8(body)?);
            socket.send(Message::text(json!({ "messageId": message["messageId"] }).to_string())).await?;
        }
        socket.close(None).await?;
        Ok(received)
    }

    fn socket(&self, path: &str) -> String {
        format!("{}/{path}", self.web.replacen("http", "ws", 1))
    }
}

async fn read<S>(socket: &mut S) -> Result<Value>
where
    S: StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) => return Ok(serde_json::from_str(&text)?),
            Message::Close(reason) => bail!("the broker closed the connection: {reason:?}"),
            _ => {}
        }
    }
    bail!("the broker closed the connection")
}
