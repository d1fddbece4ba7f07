//! Admission reviews as bytes: reading what the API server sends, and writing what it reads.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use kube::core::{DynamicObject, Status, TypeMeta};
use serde_json::Value;

use crate::denial::failure;

const KIND: &str = "AdmissionReview";
const VERSIONS: [&str; 2] = ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"];

/// Reads a review. What cannot be read is answered with a refusal that says why.
pub fn read(bytes: &[u8]) -> Result<AdmissionRequest<DynamicObject>, Box<AdmissionResponse>> {
    let refuse = |fault: String| Box::new(refusal(bytes, failure(400, "BadRequest", fault)));
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(bytes)
        .map_err(|error| refuse(format!("the body is no admission review: {error}")))?;
    let TypeMeta { api_version, kind } = &review.types;
    if kind != KIND || !VERSIONS.contains(&api_version.as_str()) {
        return Err(refuse(format!(
            "the body is a {kind:?} of {api_version:?}; an {KIND} of {} is expected",
            VERSIONS.join(" or ")
        )));
    }
    review.try_into().map_err(|_| refuse("the admission review has no request".to_owned()))
}

/// A refusal of a request that could not be read. The uid is taken from it where it can be found, since the
/// API server shows the message of no answer without it.
pub fn refusal(bytes: &[u8], status: Status) -> AdmissionResponse {
    let mut response = AdmissionResponse::invalid("");
    response.uid = find_uid(bytes).unwrap_or_default();
    response.result = status;
    if let Some(version) = VERSIONS.into_iter().rev().find(|version| contains(bytes, version.as_bytes())) {
        version.clone_into(&mut response.types.api_version);
    }
    response
}

/// The uid of a request that may be cut off or broken. What is not JSON as a whole is only searched for the
/// way in which the API server begins; any other uid further on may be that of an object.
fn find_uid(bytes: &[u8]) -> Option<String> {
    if let Ok(whole) = serde_json::from_slice::<Value>(bytes) {
        return whole.pointer("/request/uid")?.as_str().map(str::to_owned);
    }
    let text = String::from_utf8_lossy(bytes);
    let (_, mut rest) = text.split_once("\"request\"")?;
    for token in [":", "{", "\"uid\"", ":", "\""] {
        rest = rest.trim_start().strip_prefix(token)?;
    }
    let (uid, _) = rest.split_once('"')?;
    // Nothing else than a uid is to be sent back from a body that we do not understand.
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (uid.len() <= 64 && uid.chars().all(plain)).then(|| uid.to_owned())
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len() + 1).any(|window| window.starts_with(text) && window.ends_with(b"\""))
}

/// Writes an answer. It is always one of HTTP success: everything else the API server takes for a failure of
/// the webhook, and says so in place of the message.
pub fn answer(response: AdmissionResponse) -> Response {
    let patch = response.patch.as_ref().map(|patch| Value::String(STANDARD.encode(patch)));
    let mut body = serde_json::to_value(response.into_review()).unwrap_or_default();
    // kube writes the patch as a list of numbers, which only some readers take for bytes.
    if let (Some(patch), Some(place)) = (patch, body.pointer_mut("/response/patch")) {
        *place = patch;
    }
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uid_is_found_in_what_is_left_of_a_request() {
        for (text, uid) in [
            (r#"{"request":{"uid":"a-1","object":{"metadata":{"uid":"b"}}}}"#, Some("a-1")),
            (r#"{"kind":"AdmissionReview","request":{"uid": "a-1","kind":{"#, Some("a-1")),
            (r#"{"request":{"operation":"CREATE"}}"#, None),
            (r#"{"request":{"object":{"metadata":{"uid":"b"}},"#, None),
            (r#"{"request":{"uid":"<script>"#, None),
            (r#"{"request":{"uid":"<b>","#, None),
            (r#"{"uid":"a-1"}"#, None),
            ("", None),
            ("\u{0}garbage", None),
        ] {
            assert_eq!(find_uid(text.as_bytes()).as_deref(), uid, "{text}");
        }
    }

    #[test]
    fn refusals_are_of_the_version_that_was_asked_in() {
        for version in VERSIONS {
            let body = format!(r#"{{"apiVersion":"{version}","kind":"AdmissionReview"}}"#);
            assert_eq!(read(body.as_bytes()).unwrap_err().types.api_version, version);
        }
        assert_eq!(read(b"").unwrap_err().types.api_version, "admission.k8s.io/v1");
    }
}
