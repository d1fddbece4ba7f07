//! Messages that flow all the while something else happens.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::{Message, Producer, Pulsar};

/// So long a broker is given to confirm a message.
const CONFIRMATION: Duration = Duration::from_secs(5);

/// Somebody who sends numbered messages at a steady pace, and sends again what the broker did not confirm: at
/// least once, so a message whose confirmation was lost is there twice.
pub struct Traffic {
    stop: watch::Sender<bool>,
    sender: JoinHandle<Vec<String>>,
}

impl Traffic {
    /// Begins to send `message-0` and so on to a topic.
    pub fn begin(pulsar: &Pulsar, topic: &str, every: Duration) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (pulsar, topic) = (pulsar.clone(), topic.to_owned());
        let sender = tokio::spawn(async move {
            let mut accepted = Vec::new();
            let mut producer: Option<Producer> = None;
            while !*stopped.borrow() {
                let text = format!("message-{}", accepted.len());
                match timeout(CONFIRMATION, sent(&pulsar, &topic, &mut producer, &text)).await {
                    Ok(Ok(())) => accepted.push(text),
                    // The broker is away; it is waited for.
                    Ok(Err(_)) | Err(_) => producer = None,
                }
                sleep(every).await;
            }
            accepted
        });
        Self { stop, sender }
    }

    /// Ends it and returns what the broker has confirmed.
    pub async fn end(self) -> Result<Vec<String>> {
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
