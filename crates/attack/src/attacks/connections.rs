//! Connections that occupy the webhook: slow bodies, large bodies and unfinished HTTP/2 streams.

use std::time::Duration;

use futures::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use super::memory::post;
use crate::generate;
use crate::raw_client::RawClient;
use crate::target::Target;

pub(super) async fn slow_bodies(target: Target) {
    let Ok(client) = RawClient::new(target.webhook, b"http/1.1") else { return };
    let work = (0..300).map(async |_| {
        while !target.is_over() {
            let Ok(mut stream) = client.head(1 << 20).await else {
                target.count("connect failed".to_owned());
                sleep(Duration::from_secs(1)).await;
                continue;
            };
            target.count("connect".to_owned());
            while !target.is_over() && stream.write_all(b"[").await.is_ok() && stream.flush().await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        }
    });
    join_all(work).await;
}

pub(super) async fn large_bodies(target: Target) {
    post(&target, 40, &[generate::plain_text(7 << 20).into_bytes()]).await;
}

pub(super) async fn streams(target: Target) {
    let Ok(client) = RawClient::new(target.webhook, b"h2") else { return };
    let work = (0..60).map(async |_| {
        while !target.is_over() {
            let opened = timeout(Duration::from_secs(5), client.streams(200, 5000)).await;
            let Ok(Ok(mut stream)) = opened else {
                target.count("connect failed".to_owned());
                sleep(Duration::from_millis(500)).await;
                continue;
            };
            target.count("connect".to_owned());
            // PING frames detect a connection that the server has closed.
            let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            while !target.is_over() && stream.write_all(&ping).await.is_ok() && stream.flush().await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        }
    });
    join_all(work).await;
}
