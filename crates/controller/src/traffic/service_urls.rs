//! URLs of Pulsar's web services, from the ConfigMaps that components name. They are read one by one, and never watched:
//! a cache of all ConfigMaps of a cluster would be large.

use std::collections::HashMap;

use function_mesh_kube::decode_error;
use function_mesh_observer::Monotonic;
use function_mesh_pulsar::{AccessFile, WebUrl};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use super::intervals::Intervals;

/// Key of the ConfigMap.
const KEY: &str = "webServiceURL";
/// Pulsar clusters of a Kubernetes namespace. More would let one namespace take all requests.
const MAX_PER_NAMESPACE: usize = 8;

/// Namespace and name of a ConfigMap.
pub(crate) type ConfigMapRef = (String, String);

/// What is known about a ConfigMap.
#[derive(Debug)]
struct Entry {
    read_at: Option<Monotonic>,
    is_reading: bool,
    url: Option<Result<WebUrl, String>>,
}

/// The URLs, by ConfigMap.
#[derive(Debug, Default)]
pub(super) struct ServiceUrls(HashMap<ConfigMapRef, Entry>);

impl ServiceUrls {
    /// The URL, or why there is none. None while it has not been read.
    pub(super) fn get(&self, of: &ConfigMapRef) -> Option<&Result<WebUrl, String>> {
        self.0.get(of)?.url.as_ref()
    }

    /// Notes which ConfigMaps are needed, and returns up to `most` of them to read now.
    pub(super) fn due<'a>(
        &mut self,
        needed: impl Iterator<Item = &'a ConfigMapRef>,
        most: usize,
        intervals: &Intervals,
        now: Monotonic,
    ) -> Vec<ConfigMapRef> {
        let needed: std::collections::HashSet<_> = needed.collect();
        self.0.retain(|of, _| needed.contains(of));
        let reading = self.0.values().filter(|entry| entry.is_reading).count();
        let mut due = Vec::new();
        for of in needed {
            let entry = self.0.entry(of.clone());
            let entry = entry.or_insert(Entry { read_at: None, is_reading: false, url: None });
            let is_read = matches!(entry.url, Some(Ok(_)));
            let interval = if is_read { intervals.config_map } else { intervals.config_map_retry };
            let is_due = entry.read_at.is_none_or(|at| now.since(at) >= interval);
            if is_due && !entry.is_reading && reading + due.len() < most {
                entry.is_reading = true;
                due.push(of.clone());
            }
        }
        due
    }

    /// Takes what was read. A failed read keeps the URL that was read before.
    pub(super) fn apply(&mut self, of: &ConfigMapRef, url: Result<WebUrl, ReadError>, now: Monotonic) {
        let namespace = &of.0;
        let mut others: Vec<_> = self
            .0
            .iter()
            .filter(|((other, _), _)| other == namespace)
            .filter_map(|(_, entry)| entry.url.as_ref()?.as_ref().ok())
            .collect();
        others.sort();
        others.dedup();
        let is_too_many =
            url.as_ref().is_ok_and(|url| others.len() >= MAX_PER_NAMESPACE && !others.contains(&url));
        let Some(entry) = self.0.get_mut(of) else { return };
        (entry.is_reading, entry.read_at) = (false, Some(now));
        entry.url = Some(match url {
            Ok(_) if is_too_many => Err(format!(
                "namespace {namespace} has more than {MAX_PER_NAMESPACE} Pulsar clusters; the operator observes no more"
            )),
            Ok(url) => Ok(url),
            Err(ReadError::Transient(_)) if matches!(entry.url, Some(Ok(_))) => return,
            Err(ReadError::Transient(message) | ReadError::Final(message)) => Err(message),
        });
    }
}

/// Why a URL was not read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum ReadError {
    /// The API server did not answer.
    Transient(String),
    /// The ConfigMap does not exist, is forbidden, or has no usable URL.
    Final(String),
}

/// Reads the URL of a ConfigMap. An address that the operator does not ask is allowed if the access file names it.
pub(super) async fn read(
    client: &Client,
    of: &ConfigMapRef,
    access: &AccessFile,
) -> Result<WebUrl, ReadError> {
    let (namespace, name) = of;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await.map_err(|error| match &error {
        kube::Error::Api(status) if status.code == 403 => ReadError::Final(format!(
            "the operator is not allowed to get ConfigMap {name}; its role needs `get` on configmaps"
        )),
        _ => {
            ReadError::Transient(format!("failed to get ConfigMap {name}: {}", decode_error::message(&error)))
        }
    })?;
    let Some(config_map) = found else { return Err(ReadError::Final(format!("ConfigMap {name} not found"))) };
    let text = config_map.data.as_ref().and_then(|data| data.get(KEY)).map(String::as_str);
    let Some(text) = text else { return Err(ReadError::Final(format!("ConfigMap {name} has no key {KEY}"))) };
    url_of(text, namespace, access).map_err(|error| ReadError::Final(format!("ConfigMap {name}: {error}")))
}

fn url_of(
    text: &str,
    namespace: &str,
    access: &AccessFile,
) -> Result<WebUrl, function_mesh_pulsar::WebUrlError> {
    let url = WebUrl::parse(text)?;
    if access.find(&url, namespace).index().is_some() { Ok(url) } else { WebUrl::parse_untrusted(text) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn second(count: u64) -> Monotonic {
        Monotonic(Duration::from_secs(count))
    }

    fn of(name: &str) -> ConfigMapRef {
        ("n".to_owned(), name.to_owned())
    }

    fn url(text: &str) -> WebUrl {
        WebUrl::parse(text).expect("a URL")
    }

    #[test]
    fn config_maps_are_read_again_and_forgotten() {
        let (mut urls, a) = (ServiceUrls::default(), of("a"));
        assert_eq!(urls.due([&a].into_iter(), 4, &Intervals::default(), second(0)).len(), 1);
        assert!(
            urls.due([&a].into_iter(), 4, &Intervals::default(), second(100)).is_empty(),
            "it is being read"
        );
        urls.apply(&a, Err(ReadError::Transient("x".into())), second(100));
        assert_eq!(urls.get(&a), Some(&Err("x".to_owned())));
        assert!(urls.due([&a].into_iter(), 4, &Intervals::default(), second(114)).is_empty());
        assert_eq!(urls.due([&a].into_iter(), 4, &Intervals::default(), second(130)).len(), 1);
        urls.apply(&a, Ok(url("http://p:1")), second(130));
        assert!(urls.due([&a].into_iter(), 4, &Intervals::default(), second(420)).is_empty());
        assert_eq!(urls.due([&a].into_iter(), 4, &Intervals::default(), second(430)).len(), 1);
        urls.apply(&a, Err(ReadError::Transient("x".into())), second(430));
        assert_eq!(urls.get(&a), Some(&Ok(url("http://p:1"))), "the API server was away");
        urls.due([&of("b")].into_iter(), 4, &Intervals::default(), second(430));
        assert_eq!(urls.get(&a), None);
    }

    #[test]
    fn clusters_of_a_namespace_are_limited() {
        let mut urls = ServiceUrls::default();
        let all: Vec<_> = (0..20).map(|number| of(&format!("c{number}"))).collect();
        assert_eq!(urls.due(all.iter(), 4, &Intervals::default(), second(0)).len(), 4);
        urls.due(all.iter(), 100, &Intervals::default(), second(0));
        for (number, of) in all.iter().enumerate() {
            urls.apply(of, Ok(url(&format!("http://p{number}:1"))), second(1));
        }
        let known = all.iter().filter(|of| matches!(urls.get(of), Some(Ok(_)))).count();
        assert_eq!(known, MAX_PER_NAMESPACE);
        assert!(matches!(urls.get(&all[19]), Some(Err(message)) if message.contains("more than 8")));
    }

    #[test]
    fn the_administrator_may_name_any_address() {
        let file =
            AccessFile::parse("clusters: [{url: 'http://127.0.0.1:8080', namespaces: [n]}]").expect("a file");
        assert!(url_of("http://127.0.0.1:8080", "n", &file).is_ok());
        assert!(url_of("http://127.0.0.1:8080", "m", &file).is_err());
        assert!(url_of("http://127.0.0.1:8081", "n", &file).is_err());
    }
}
