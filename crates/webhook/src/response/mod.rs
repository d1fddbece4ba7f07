//! Admission responses: serialized once, of bounded size, and counted against the memory budget until sent.

pub(crate) mod status;

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response;
use futures::Stream;
use kube::core::Status;
use serde::Serialize;

use crate::budget::Reservation;

/// Bytes of a response per chunk.
const CHUNK: usize = 16 * 1024;

/// The response to a review.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// API version of the review.
    #[serde(skip)]
    pub version: &'static str,
    /// The uid of the request.
    pub uid: String,
    /// Whether the request is allowed.
    pub allowed: bool,
    /// The reason for a denial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<Status>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    /// Warnings for the user.
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
    /// Allows the request.
    pub(crate) fn allow(version: &'static str, uid: &str) -> Self {
        let (uid, allowed) = (uid.to_owned(), true);
        Self { version, uid, allowed, status: None, patch: None, patch_type: None, warnings: None }
    }

    /// Denies the request.
    pub(crate) fn deny(version: &'static str, uid: &str, status: Status) -> Self {
        Self { allowed: false, status: Some(Box::new(status)), ..Self::allow(version, uid) }
    }

    /// Adds a JSON patch, in base64.
    pub(crate) fn with_patch(mut self, patch: String) -> Self {
        (self.patch, self.patch_type) = (Some(patch), Some("JSONPatch"));
        self
    }

    /// Adds warnings.
    pub(crate) fn with_warnings(mut self, warnings: Option<Vec<String>>) -> Self {
        self.warnings = warnings;
        self
    }
}

/// The HTTP response. Its status is always 200: the API server treats any other status as a failure of the webhook,
/// and drops the message.
pub fn into_http(response: &Response) -> response::Response {
    send(encode(response), None)
}

pub(crate) fn encode(response: &Response) -> Bytes {
    let review = Review { api_version: response.version, kind: crate::review::KIND, response };
    // Strings and numbers only, so serialization does not fail.
    Bytes::from(serde_json::to_vec(&review).unwrap_or_default())
}

/// Sends a response in chunks, and holds the reservation until the last chunk is sent.
pub(crate) fn send(bytes: Bytes, reservation: Option<Reservation>) -> response::Response {
    let length = HeaderValue::from(bytes.len());
    let mut response =
        response::Response::new(Body::from_stream(Chunks { bytes, _reservation: reservation }));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, length);
    response
}

struct Chunks {
    bytes: Bytes,
    _reservation: Option<Reservation>,
}

impl Stream for Chunks {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let chunk = self.bytes.len().min(CHUNK);
        Poll::Ready((chunk > 0).then(|| Ok(self.bytes.split_to(chunk))))
    }
}
