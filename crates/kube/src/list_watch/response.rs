//! A response to a list or a watch, read as it arrives: list parts, or lines of a watch.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Bytes;
use kube::client::Body;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::decode_error::DecodeError;
use crate::memory::{LARGE_ITEM, Memory};
use crate::request::into_client_error;
use crate::split::{ListPart, Splitter};

/// Largest event of a watch, in bytes; a larger one ends the watch. An object has a few MiB at most.
const MAX_EVENT_LEN: usize = 32 << 20;

/// A response stalled.
#[derive(Debug, thiserror::Error)]
#[error("no data received for {0:?}")]
struct IdleTimeout(Duration);

/// Whether an error is the regular end of a watch: the server shut down, or the connection closed.
fn is_connection_loss(error: &kube::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if error.is::<IdleTimeout>()
            || kind == Some(std::io::ErrorKind::UnexpectedEof)
            || error.to_string().contains("unexpected EOF during chunk")
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Reads the body of a response.
pub(super) struct ResponseReader {
    body: Body,
    idle_timeout: Duration,
    pub(super) started: Instant,
    chunk: Bytes,
    /// The incomplete line.
    line: Vec<u8>,
    large_item: Option<OwnedSemaphorePermit>,
    /// Bytes received so far.
    pub(super) bytes: usize,
}

impl ResponseReader {
    pub(super) fn new(body: Body, idle_timeout: Duration) -> Self {
        let started = Instant::now();
        Self {
            body,
            idle_timeout,
            started,
            chunk: Bytes::new(),
            line: Vec::new(),
            large_item: None,
            bytes: 0,
        }
    }

    /// Reads the next chunk; false at the end.
    async fn read_chunk(&mut self) -> Result<bool, kube::Error> {
        loop {
            let frame = tokio::time::timeout(self.idle_timeout, self.body.frame()).await;
            let frame = frame.map_err(|_| kube::Error::Service(Box::new(IdleTimeout(self.idle_timeout))))?;
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

    /// Waits for a permit before a large item is read completely.
    async fn limit_large_items(&mut self, buffered: usize, memory: &Memory) {
        if buffered > LARGE_ITEM && self.large_item.is_none() {
            self.large_item = memory.acquire_large_item().await;
        }
    }

    /// The next part of a list; None at its end. Releases the permit of the last part.
    pub(super) async fn next_part(
        &mut self,
        splitter: &mut Splitter,
        memory: &Memory,
    ) -> Result<Option<ListPart>, kube::Error> {
        self.large_item = None;
        loop {
            let mut rest = &self.chunk[..];
            let part = splitter.next(&mut rest).map_err(into_client_error)?;
            let left = self.chunk.len() - rest.len();
            self.chunk = self.chunk.slice(left..);
            if part.is_some() {
                return Ok(part);
            }
            self.limit_large_items(splitter.buffered(), memory).await;
            if !self.read_chunk().await? {
                return splitter.end().map(|()| None).map_err(into_client_error);
            }
        }
    }

    /// The next line of a watch; None at its end.
    pub(super) async fn next_line(&mut self, memory: &Memory) -> Result<Option<Vec<u8>>, kube::Error> {
        self.large_item = None;
        loop {
            if let Some(end) = self.chunk.iter().position(|byte| *byte == b'\n') {
                self.line.extend_from_slice(&self.chunk.split_to(end + 1));
                return Ok(Some(std::mem::take(&mut self.line)));
            }
            self.line.extend_from_slice(&self.chunk);
            self.chunk = Bytes::new();
            if self.line.len() > MAX_EVENT_LEN {
                return Err(into_client_error(DecodeError::too_large()));
            }
            self.limit_large_items(self.line.len(), memory).await;
            match self.read_chunk().await {
                Ok(true) => {}
                // The restarted watch repeats an incomplete line.
                Ok(false) => return Ok(None),
                // The server shut down, or the connection closed.
                Err(error) if is_connection_loss(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}
