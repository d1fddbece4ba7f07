//! Classifies requests for fault injection.

use std::fmt;

use http::{Method, Request};
use kube::client::Body;

use crate::writes::target;

/// Page size of kube's watcher, which distinguishes cache fills from other lists.
const PAGE: &str = "limit=500";

/// A request as seen by fault injection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestInfo {
    /// The HTTP method.
    pub verb: String,
    /// The resource, with the subresource if there is one, and the object's name.
    pub target: String,
    /// Its purpose.
    pub purpose: Purpose,
    /// The namespace, if there is one.
    pub namespace: Option<String>,
}

/// The purpose of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A write.
    Write,
    /// A read of an object, or a list outside of a cache.
    Read,
    /// A list that fills a cache.
    Fill,
    /// A watch.
    Watch,
}

impl RequestInfo {
    pub(super) fn of(request: &Request<Body>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let has = |wanted: &str| query.split('&').any(|part| part == wanted);
        let (resource, name) = target(request.uri()).unwrap_or_default();
        let purpose = match *request.method() {
            Method::GET | Method::HEAD if has("watch=true") => Purpose::Watch,
            Method::GET | Method::HEAD if name.is_empty() && has(PAGE) => Purpose::Fill,
            Method::GET | Method::HEAD => Purpose::Read,
            _ => Purpose::Write,
        };
        Self {
            verb: request.method().to_string(),
            target: format!("{resource} {name}").trim().to_owned(),
            purpose,
            namespace: namespace(request.uri().path()),
        }
    }

    /// Whether it lists or watches, so that it has no single object.
    pub(super) fn is_about_many(&self) -> bool {
        self.purpose != Purpose::Write && !self.target.contains(' ')
    }

    /// Whether it counts for a planned fault. Watches have their own counter, and cache fills come first.
    pub fn is_counted(&self) -> bool {
        matches!(self.purpose, Purpose::Write | Purpose::Read)
    }

    /// Whether it writes something other than an Event.
    pub fn is_change(&self) -> bool {
        self.purpose == Purpose::Write && !self.target.starts_with("events")
    }
}

/// The namespace in the path of a namespaced resource.
fn namespace(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/namespaces/")?;
    rest.split_once('/').map(|(namespace, _)| namespace.to_owned())
}

impl fmt::Display for RequestInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purpose(method: Method, path: &str) -> Purpose {
        let uri = format!("/apis/compute.functionmesh.io/v1alpha1/namespaces/n/{path}");
        RequestInfo::of(&Request::builder().method(method).uri(uri).body(Body::empty()).unwrap()).purpose
    }

    #[test]
    fn namespace_is_read_from_the_path() {
        assert_eq!(namespace("/api/v1/namespaces/n/pods").as_deref(), Some("n"));
        assert_eq!(namespace("/api/v1/pods"), None);
        assert_eq!(namespace("/api/v1/namespaces/n"), None);
    }

    #[test]
    fn classifies_requests() {
        assert_eq!(purpose(Method::PATCH, "functions/f?&fieldManager=m"), Purpose::Write);
        assert_eq!(purpose(Method::GET, "functions/f"), Purpose::Read);
        assert_eq!(purpose(Method::GET, "functions?&labelSelector=a&limit=20"), Purpose::Read);
        assert_eq!(purpose(Method::GET, "functions?&limit=500"), Purpose::Fill);
        assert_eq!(purpose(Method::GET, "functions?&watch=true&timeoutSeconds=290"), Purpose::Watch);
    }
}
