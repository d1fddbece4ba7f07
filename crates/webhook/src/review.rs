//! Parses admission reviews.
//!
//! A review is parsed once, without a tree: objects stay raw text until they have to be decoded. Memory does not grow
//! with the content of the body, and recursion does not follow its depth.

use std::borrow::Cow;

use kube::core::Status;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::response::Response;
use crate::response::status::{failure, truncated};

pub(crate) const KIND: &str = "AdmissionReview";
const VERSIONS: [&str; 2] = ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"];
/// Longest uid that is echoed.
const MAX_UID: usize = 128;

/// An admission request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// API version of the review, for the response.
    #[serde(skip)]
    pub(crate) version: &'static str,
    /// Identifies the request; the response repeats it.
    #[serde(borrow)]
    pub uid: Cow<'a, str>,
    /// Kind of the object.
    #[serde(borrow)]
    pub kind: Kind<'a>,
    /// The subresource, such as `scale` or `status`.
    #[serde(borrow, default)]
    pub sub_resource: Option<Cow<'a, str>>,
    /// Name of the object, empty with generateName.
    #[serde(borrow, default)]
    pub name: Option<Cow<'a, str>>,
    /// Namespace of the object.
    #[serde(borrow, default)]
    pub namespace: Option<Cow<'a, str>>,
    /// The operation.
    pub operation: Operation,
    /// The requesting user, as JSON.
    #[serde(borrow, default)]
    pub user_info: Option<&'a RawValue>,
    /// The new object.
    #[serde(borrow, default)]
    pub object: Option<&'a RawValue>,
    /// The existing object.
    #[serde(borrow, default)]
    pub old_object: Option<&'a RawValue>,
    /// Whether the request is a dry run.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// A group, version and kind.
#[derive(Clone, Debug, Deserialize)]
pub struct Kind<'a> {
    /// API group.
    #[serde(borrow)]
    pub group: Cow<'a, str>,
    /// Version of the group.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// Kind.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
}

/// An operation on an object.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Operation {
    /// Create.
    Create,
    /// Update.
    Update,
    /// Delete.
    Delete,
    /// Connect to a subresource such as `exec`.
    Connect,
}

impl Operation {
    /// The label value in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// The parts of an object that decide whether it is exempt from validation.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PartialObject<'a> {
    #[serde(borrow, default)]
    pub(crate) metadata: Option<Metadata<'a>>,
    #[serde(borrow, default)]
    pub(crate) spec: Option<&'a RawValue>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) generate_name: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(crate) deletion_timestamp: Option<IgnoredAny>,
}

impl<'a> PartialObject<'a> {
    /// Empty when the object is absent or malformed.
    pub(crate) fn of(object: Option<&'a RawValue>) -> Self {
        object.and_then(|object| serde_json::from_str(object.get()).ok()).unwrap_or_default()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    request: Option<Request<'a>>,
}

/// Parses a review; the error is the response to a malformed one.
pub fn read(bytes: &[u8]) -> Result<Request<'_>, Box<Response>> {
    let deny = |reason: &str| Box::new(denial(bytes, failure(400, "BadRequest", truncated(reason))));
    // serde accepts a JSON array as a struct, field by field.
    if bytes.trim_ascii_start().first().is_some_and(|byte| *byte != b'{') {
        return Err(deny("invalid admission review: it does not start with {"));
    }
    let review: Review<'_> =
        serde_json::from_slice(bytes).map_err(|error| deny(&format!("invalid admission review: {error}")))?;
    let Some(version) = VERSIONS.into_iter().find(|version| *version == review.api_version) else {
        return Err(deny(&unexpected(&review)));
    };
    if review.kind != KIND {
        return Err(deny(&unexpected(&review)));
    }
    let Some(request) = review.request else {
        return Err(deny("invalid admission review: no request"));
    };
    if request.uid.len() > MAX_UID {
        return Err(deny("invalid admission review: uid too long"));
    }
    Ok(Request { version, ..request })
}

fn unexpected(review: &Review<'_>) -> String {
    format!(
        "expected an {KIND} of {}, got a {:?} of {:?}",
        VERSIONS.join(" or "),
        truncated(&review.kind),
        truncated(&review.api_version)
    )
}

/// The response to a malformed request. It needs the uid of the request if it can be found: the API server ignores
/// responses without it.
pub fn denial(bytes: &[u8], status: Status) -> Response {
    let [default, older] = VERSIONS;
    let version = if contains(bytes, older.as_bytes()) { older } else { default };
    Response::deny(version, &find_uid(bytes).unwrap_or_default(), status)
}

/// The uid of a request that may be truncated or malformed. Invalid JSON is searched only for the exact beginning
/// that the API server sends: a later uid may be that of an object.
fn find_uid(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        request: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        uid: Cow<'a, str>,
    }
    if let Ok(Whole { request: Some(request) }) = serde_json::from_slice(bytes) {
        let Named { uid } = serde_json::from_str(request.get()).ok()?;
        return (uid.len() <= MAX_UID).then(|| uid.into_owned());
    }
    // The API server writes the uid first.
    let text = String::from_utf8_lossy(bytes.get(..1024).unwrap_or(bytes));
    let (_, mut rest) = text.split_once("\"request\"")?;
    for token in [":", "{", "\"uid\"", ":", "\""] {
        rest = rest.trim_start().strip_prefix(token)?;
    }
    let (uid, _) = rest.split_once('"')?;
    // Echo nothing but a plain uid from a body that is not valid.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (uid.len() <= 64 && uid.chars().all(is_plain)).then(|| uid.to_owned())
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    // The API server writes the version first.
    let beginning = bytes.get(..1024).unwrap_or(bytes);
    beginning.windows(text.len() + 1).any(|window| window.starts_with(text) && window.ends_with(b"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uid_is_found_in_malformed_requests() {
        let deep =
            format!(r#"{{"request":{{"object":{},"uid":"a-1"}}}}"#, "[".repeat(1000) + &"]".repeat(1000));
        for (text, uid) in [
            (r#"{"request":{"uid":"a-1","object":{"metadata":{"uid":"b"}}}}"#, Some("a-1")),
            (r#"{"kind":"AdmissionReview","request":{"uid": "a-1","kind":{"#, Some("a-1")),
            (r#"{"request":{"operation":"CREATE"}}"#, None),
            (r#"{"request":{"object":{"metadata":{"uid":"b"}},"#, None),
            (r#"{"request":{"uid":"<script>"#, None),
            (r#"{"request":{"uid":"<b>","#, None),
            (r#"{"uid":"a-1"}"#, None),
            (&deep, Some("a-1")),
            ("", None),
            ("\u{0}garbage", None),
        ] {
            assert_eq!(find_uid(text.as_bytes()).as_deref(), uid, "{text}");
        }
    }

    #[test]
    fn denial_has_the_version_of_the_request() {
        for version in VERSIONS {
            let body = format!(r#"{{"apiVersion":"{version}","kind":"AdmissionReview"}}"#);
            assert_eq!(read(body.as_bytes()).unwrap_err().version, version);
        }
        assert_eq!(read(b"").unwrap_err().version, "admission.k8s.io/v1");
    }

    #[test]
    fn overlong_uid_is_not_echoed() {
        let body = format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"{}",
               "kind":{{"group":"","version":"","kind":""}},"operation":"CREATE"}}}}"#,
            "x".repeat(1 << 20)
        );
        let denied = read(body.as_bytes()).unwrap_err();
        assert_eq!(denied.uid, "");
    }
}
