//! Records writes: of one client, or of a whole API server.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, Request, Uri};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::util::MapRequestLayer;

/// One write request.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Write {
    /// The HTTP method.
    pub verb: String,
    /// The resource, with the subresource if there is one: `functions`, `functions/status`.
    pub resource: String,
    /// Name of the object; empty if the API server generates it.
    pub name: String,
    /// Field manager.
    pub manager: String,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, resource, name, .. } = self;
        write!(f, "{verb} {resource} {name}")
    }
}

/// Records every write request of the clients that it creates.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    writes: Arc<Mutex<Vec<Write>>>,
}

impl Recorder {
    /// A client whose write requests are recorded.
    pub fn client(&self, config: Config) -> anyhow::Result<Client> {
        let writes = Arc::clone(&self.writes);
        let layer = MapRequestLayer::new(move |request: Request<Body>| {
            if let Some(write) = Write::of(&request) {
                writes.lock().unwrap_or_else(PoisonError::into_inner).push(write);
            }
            request
        });
        Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
    }

    /// The writes since the last call, in order.
    pub fn take(&self) -> Vec<Write> {
        std::mem::take(&mut self.writes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The number of writes since the last [`take`](Self::take).
    pub fn len(&self) -> usize {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nothing was written since the last [`take`](Self::take).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Write {
    fn of(request: &Request<Body>) -> Option<Self> {
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        let (resource, name) = target(request.uri())?;
        let query = request.uri().query().unwrap_or_default();
        let manager = query.split('&').find_map(|pair| pair.strip_prefix("fieldManager="));
        Some(Self {
            verb: request.method().to_string(),
            resource,
            name,
            manager: manager.unwrap_or_default().replace("%2F", "/"),
        })
    }
}

/// The target of a request: the resource with its subresource, and the name of the object if there is one.
pub(crate) fn target(uri: &Uri) -> Option<(String, String)> {
    let path: Vec<_> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    // /api/v1/… or /apis/group/version/…, then namespaces/<name>/… for namespaced resources.
    let path = if path.first() == Some(&"api") { path.get(2..)? } else { path.get(3..)? };
    let path = if path.len() > 2 && path[0] == "namespaces" { &path[2..] } else { path };
    match path {
        [resource, name, subresource] => Some((format!("{resource}/{subresource}"), (*name).to_owned())),
        [resource, name] => Some(((*resource).to_owned(), (*name).to_owned())),
        [resource] => Some(((*resource).to_owned(), String::new())),
        _ => None,
    }
}

/// Write requests that an API server has processed, from any client, by resource.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServerWrites(BTreeMap<String, u64>);

impl ServerWrites {
    /// Reads the API server's metrics, without Events and Leases: the control plane writes them continuously.
    pub async fn read(client: &Client) -> anyhow::Result<Self> {
        let metrics = client.request_text(Request::get("/metrics").body(Vec::new())?).await?;
        let mut writes = BTreeMap::new();
        for line in metrics.lines() {
            let Some((labels, count)) =
                line.strip_prefix("apiserver_request_total{").and_then(|rest| rest.split_once("} "))
            else {
                continue;
            };
            let label = |name: &str| {
                let value = labels.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix("=\""));
                value.map(|value| value.trim_end_matches('"')).unwrap_or_default()
            };
            let writing = ["POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"];
            if !writing.contains(&label("verb")) || ["events", "leases"].contains(&label("resource")) {
                continue;
            }
            let resource = match label("subresource") {
                "" => label("resource").to_owned(),
                subresource => format!("{}/{subresource}", label("resource")),
            };
            *writes.entry(resource).or_default() += count.trim().parse::<u64>()?;
        }
        Ok(Self(writes))
    }

    /// The increase since an earlier reading, by resource.
    pub fn since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        let added = |(resource, count): (&String, &u64)| {
            let count = count - earlier.0.get(resource).copied().unwrap_or_default();
            (count > 0).then(|| (resource.clone(), count))
        };
        self.0.iter().filter_map(added).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(method: Method, uri: &str) -> Option<Write> {
        Write::of(&Request::builder().method(method).uri(uri).body(Body::empty()).unwrap())
    }

    #[test]
    fn write_has_resource_and_name() {
        let uri = "/apis/compute.functionmesh.io/v1alpha1/namespaces/n/functions/f/status?&force=true&fieldManager=functionmesh.io%2Fstatus";
        let found = write(Method::PATCH, uri).unwrap();
        assert_eq!(found.to_string(), "PATCH functions/status f");
        assert_eq!(found.manager, "functionmesh.io/status");
        assert_eq!(write(Method::POST, "/api/v1/namespaces/n/events").unwrap().to_string(), "POST events ");
        let found = write(Method::POST, "/api/v1/namespaces").unwrap();
        assert_eq!((found.resource.as_str(), found.name.as_str()), ("namespaces", ""));
    }

    #[test]
    fn read_is_not_recorded() {
        assert_eq!(write(Method::GET, "/api/v1/namespaces/n/events"), None);
    }
}
