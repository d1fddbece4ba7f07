//! Steady traffic while a test changes or breaks something.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::{Message, Producer, Pulsar};

/// Time for the broker to acknowledge a message.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// A producer of numbered messages at a steady rate, which resends what the broker did not acknowledge:
/// at-least-once, so a message whose acknowledgement was lost is there twice.
pub struct Traffic {
    stop: watch::Sender<bool>,
    sender: JoinHandle<Vec<String>>,
}

impl Traffic {
    /// Starts sending `message-0`, `message-1` and so on to a topic.
    pub fn start(pulsar: &Pulsar, topic: &str, every: Duration) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (pulsar, topic) = (pulsar.clone(), topic.to_owned());
        let sender = tokio::spawn(async move {
            let mut accepted = Vec::new();
            let mut producer: Option<Producer> = None;
            while !*stopped.borrow() {
                let text = format!("message-{}", accepted.len());
                match timeout(SEND_TIMEOUT, sent(&pulsar, &topic, &mut producer, &text)).await {
                    Ok(Ok(())) => accepted.push(text),
                    // The broker is unavailable; reconnect and resend.
                    Ok(Err(_)) | Err(_) => producer = None,
                }
                sleep(every).await;
            }
            accepted
        });
        Self { stop, sender }
    }

    /// Stops and returns the acknowledged messages.
    pub async fn stop(self) -> Result<Vec<String>> {
        self.stop.send_replace(true);
        self.sender.await.context("the sender ended early")
    }
}

async fn sent(pulsar: &Pulsar, topic: &str, producer: &mut Option<Producer>, text: &str) -> Result<()> {
    let open = match producer {
        Some(open) => open,
        None => producer.insert(pulsar.producer(topic).await?),
    };
    open.send(&Message::from(text)).await
}
