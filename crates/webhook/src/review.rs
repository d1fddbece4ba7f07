//! Admission reviews as bytes: reading what the API server sends.
//!
//! A review is read once, without a tree: objects stay the text that they are until it is clear that somebody has to
//! look inside. Nothing here grows with what a body holds, or recurses with its depth.

use std::borrow::Cow;

use kube::core::Status;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::denial::{failure, shortened};
use crate::response::Response;

pub(crate) const KIND: &str = "AdmissionReview";
const VERSIONS: [&str; 2] = ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"];
/// Longest uid that is sent back.
const LONGEST_UID: usize = 128;

/// What the API server asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// The version of reviews that the answer is to be of.
    #[serde(skip)]
    pub(crate) version: &'static str,
    /// Names the request; the answer repeats it.
    #[serde(borrow)]
    pub uid: Cow<'a, str>,
    /// Kind of the object.
    #[serde(borrow)]
    pub kind: Kind<'a>,
    /// `scale` or `status`, when a part of the object alone is written.
    #[serde(borrow, default)]
    pub sub_resource: Option<Cow<'a, str>>,
    /// Name of the object, empty while it is yet to be generated.
    #[serde(borrow, default)]
    pub name: Option<Cow<'a, str>>,
    /// Namespace of the object.
    #[serde(borrow, default)]
    pub namespace: Option<Cow<'a, str>>,
    /// What is done to the object.
    pub operation: Operation,
    /// Who does it, as JSON.
    #[serde(borrow, default)]
    pub user_info: Option<&'a RawValue>,
    /// The object as it is to become.
    #[serde(borrow, default)]
    pub object: Option<&'a RawValue>,
    /// The object as it was.
    #[serde(borrow, default)]
    pub old_object: Option<&'a RawValue>,
    /// Whether nothing is to be stored.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// A kind.
#[derive(Clone, Debug, Deserialize)]
pub struct Kind<'a> {
    /// API group.
    #[serde(borrow)]
    pub group: Cow<'a, str>,
    /// Version of the group.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// Its name.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
}

/// What is done to an object.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Operation {
    /// It is new.
    Create,
    /// It is written again.
    Update,
    /// It goes.
    Delete,
    /// Something connects to it.
    Connect,
}

impl Operation {
    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// The few parts of an object that say whether anybody has to look at the rest.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Outline<'a> {
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

impl<'a> Outline<'a> {
    /// Of an object that has none, everything is missing.
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

/// Reads a review. What cannot be read is answered with a refusal that says why.
pub fn read(bytes: &[u8]) -> Result<Request<'_>, Box<Response>> {
    let refuse = |fault: &str| Box::new(refusal(bytes, failure(400, "BadRequest", shortened(fault))));
    // Some readers take a list for the fields in their order.
    if bytes.trim_ascii_start().first().is_some_and(|byte| *byte != b'{') {
        return Err(refuse("the body is no admission review: it does not begin with {"));
    }
    let review: Review<'_> = serde_json::from_slice(bytes)
        .map_err(|error| refuse(&format!("the body is no admission review: {error}")))?;
    let Some(version) = VERSIONS.into_iter().find(|version| *version == review.api_version) else {
        return Err(refuse(&unexpected(&review)));
    };
    if review.kind != KIND {
        return Err(refuse(&unexpected(&review)));
    }
    let Some(request) = review.request else {
        return Err(refuse("the admission review has no request"));
    };
    if request.uid.len() > LONGEST_UID {
        return Err(refuse("the body is no admission review: its uid is longer than any"));
    }
    Ok(Request { version, ..request })
}

fn unexpected(review: &Review<'_>) -> String {
    format!(
        "the body is a {:?} of {:?}; an {KIND} of {} is expected",
        shortened(&review.kind),
        shortened(&review.api_version),
        VERSIONS.join(" or ")
    )
}

/// A refusal of a request that could not be read. The uid is taken from it where it can be found, since the
/// API server shows the message of no answer without it.
pub fn refusal(bytes: &[u8], status: Status) -> Response {
    let [default, older] = VERSIONS;
    let version = if contains(bytes, older.as_bytes()) { older } else { default };
    Response::deny(version, &find_uid(bytes).unwrap_or_default(), status)
}

/// The uid of a request that may be cut off or broken. What is not JSON as a whole is only searched for the
/// way in which the API server begins; any other uid further on may be that of an object.
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
        return (uid.len() <= LONGEST_UID).then(|| uid.into_owned());
    }
    // It stands in the first bytes, or not at all.
    let text = String::from_utf8_lossy(bytes.get(..1024).unwrap_or(bytes));
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
    // The API server writes it first.
    let beginning = bytes.get(..1024).unwrap_or(bytes);
    beginning.windows(text.len() + 1).any(|window| window.starts_with(text) && window.ends_with(b"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uid_is_found_in_what_is_left_of_a_request() {
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
    fn refusals_are_of_the_version_that_was_asked_in() {
        for version in VERSIONS {
            let body = format!(r#"{{"apiVersion":"{version}","kind":"AdmissionReview"}}"#);
            assert_eq!(read(body.as_bytes()).unwrap_err().version, version);
        }
        assert_eq!(read(b"").unwrap_err().version, "admission.k8s.io/v1");
    }

    #[test]
    fn a_uid_that_is_none_is_not_sent_back() {
        let body = format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"{}",
               "kind":{{"group":"","version":"","kind":""}},"operation":"CREATE"}}}}"#,
            "x".repeat(1 << 20)
        );
        let refused = read(body.as_bytes()).unwrap_err();
        assert_eq!(refused.uid, "");
    }
}
