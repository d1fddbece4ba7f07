//! What kind of request it is that a fault may strike.

use std::fmt;

use http::{Method, Request};
use kube::client::Body;

use crate::writes::target;

/// How many objects kube's watcher asks for at a time. It tells the lists that fill a cache from others.
const PAGE: &str = "limit=500";

/// A request as faults see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// Its method.
    pub verb: String,
    /// The resource, with the subresource if there is one, and the object's name.
    pub target: String,
    /// What it is for.
    pub purpose: Purpose,
    /// The namespace that it is about, if it is about one.
    pub namespace: Option<String>,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// It changes something.
    Write,
    /// It reads an object, or lists some outside of a cache.
    Read,
    /// It lists what a cache is to hold.
    Fill,
    /// It watches.
    Watch,
}

impl Asked {
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

    /// Whether it lists or watches, and so is not about one object.
    pub(super) fn is_about_many(&self) -> bool {
        self.purpose != Purpose::Write && !self.target.contains(' ')
    }

    /// Whether it counts for a planned fault. Watches are counted apart, and fills are done before anything is.
    pub fn is_counted(&self) -> bool {
        matches!(self.purpose, Purpose::Write | Purpose::Read)
    }

    /// Whether it writes something other than an event.
    pub fn is_change(&self) -> bool {
        self.purpose == Purpose::Write && !self.target.starts_with("events")
    }
}

/// The namespace in the path of what stands in one.
fn namespace(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/namespaces/")?;
    rest.split_once('/').map(|(namespace, _)| namespace.to_owned())
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purpose(method: Method, path: &str) -> Purpose {
        let uri = format!("/apis/compute.functionmesh.io/v1alpha1/namespaces/n/{path}");
        Asked::of(&Request::builder().method(method).uri(uri).body(Body::empty()).unwrap()).purpose
    }

    #[test]
    fn the_namespace_is_known_of_what_stands_in_one() {
        assert_eq!(namespace("/api/v1/namespaces/n/pods").as_deref(), Some("n"));
        assert_eq!(namespace("/api/v1/pods"), None);
        assert_eq!(namespace("/api/v1/namespaces/n"), None);
    }

    #[test]
    fn requests_are_told_apart() {
        assert_eq!(purpose(Method::PATCH, "functions/f?&fieldManager=m"), Purpose::Write);
        assert_eq!(purpose(Method::GET, "functions/f"), Purpose::Read);
        assert_eq!(purpose(Method::GET, "functions?&labelSelector=a&limit=20"), Purpose::Read);
        assert_eq!(purpose(Method::GET, "functions?&limit=500"), Purpose::Fill);
        assert_eq!(purpose(Method::GET, "functions?&watch=true&timeoutSeconds=290"), Purpose::Watch);
    }
}
