//! Answers: written once, of bounded size, and counted until they are sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response;
use futures::Stream;
use kube::core::Status;
use serde::Serialize;

use crate::budget::Lease;

/// Bytes of an answer that are handed on at a time.
const CHUNK: usize = 16 * 1024;

/// The answer to a review.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// The version of reviews that was asked in.
    #[serde(skip)]
    pub version: &'static str,
    /// The request that it answers.
    pub uid: String,
    /// Whether the object passes.
    pub allowed: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<Status>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    /// What its author is told of all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnings: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: &'a Response,
}

impl Response {
    /// Lets the object pass.
    pub(crate) fn allow(version: &'static str, uid: &str) -> Self {
        let (uid, allowed) = (uid.to_owned(), true);
        Self { version, uid, allowed, status: None, patch: None, patch_type: None, warnings: None }
    }

    /// Refuses it.
    pub(crate) fn deny(version: &'static str, uid: &str, status: Status) -> Self {
        Self { allowed: false, status: Some(Box::new(status)), ..Self::allow(version, uid) }
    }

    /// Changes the object by a JSON patch, which the API server takes as bytes in base64.
    pub(crate) fn patched(mut self, patch: String) -> Self {
        (self.patch, self.patch_type) = (Some(patch), Some("JSONPatch"));
        self
    }

    /// Tells its author something besides.
    pub(crate) fn warned(mut self, warnings: Option<Vec<String>>) -> Self {
        self.warnings = warnings;
        self
    }
}

/// Writes an answer. It is always one of HTTP success: everything else the API server takes for a failure of
/// the webhook, and says so in place of the message.
pub fn answer(response: &Response) -> response::Response {
    send(encode(response), None)
}

pub(crate) fn encode(response: &Response) -> Bytes {
    let review = Review { api_version: response.version, kind: crate::review::KIND, response };
    // Texts and numbers alone: there is nothing in it that cannot be written.
    Bytes::from(serde_json::to_vec(&review).unwrap_or_default())
}

/// Sends an answer piece by piece, and holds the lease until the last one is taken.
pub(crate) fn send(answer: Bytes, lease: Option<Lease>) -> response::Response {
    let length = HeaderValue::from(answer.len());
    let mut response = response::Response::new(Body::from_stream(Pieces { answer, _lease: lease }));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, length);
    response
}

struct Pieces {
    answer: Bytes,
    _lease: Option<Lease>,
}

impl Stream for Pieces {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = self.answer.len().min(CHUNK);
        Poll::Ready((piece > 0).then(|| Ok(self.answer.split_to(piece))))
    }
}
