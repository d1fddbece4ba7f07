//! The access file: which credentials the operator has for which Pulsar cluster, and for whose components it uses them.
//!
//! ```yaml
//! clusters:
//! - url: https://pulsar.example:8443
//!   namespaces: [team-a]
//!   tokenFile: /etc/pulsar-access/0/token
//!   caFile: /etc/pulsar-access/0/ca.crt
//!   brokers: [https://broker-0.pulsar.example:8443]
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use function_mesh_api::types::TrafficAccess;
use serde::Deserialize;

use crate::web_url::{WebUrl, WebUrlError};

/// Largest access file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Access to the Pulsar clusters that the administrator named.
#[derive(Clone, Debug, Default)]
pub struct AccessFile {
    clusters: Vec<Arc<ClusterAccess>>,
}

/// A token for Pulsar.
#[derive(Clone, Eq, PartialEq)]
pub enum Token {
    /// In a file, which is read for each request.
    File(PathBuf),
    /// The token itself.
    Text(String),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text(_) => f.write_str("Text"),
        }
    }
}

/// Access to one Pulsar cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterAccess {
    /// Position in the file.
    pub index: usize,
    /// URL of its web service.
    pub url: WebUrl,
    /// Kubernetes namespaces whose components use it; empty for all.
    pub namespaces: BTreeSet<String>,
    /// The token that is sent.
    pub token: Option<Token>,
    /// Files with a client certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// File with the CA certificates of the servers; None for those of the system.
    pub ca_file: Option<PathBuf>,
    /// Further servers of the cluster, to which redirects may lead.
    pub brokers: Vec<WebUrl>,
}

/// The access that is used for a component.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Access {
    /// No entry applies: without credentials, and only to allowed addresses.
    Anonymous,
    /// An entry of the access file, or what the caller named itself.
    Cluster(Arc<ClusterAccess>),
}

/// Why an access file is unusable.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It cannot be read.
    #[error("failed to read the access file {path:?}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is too large.
    #[error("the access file has more than {MAX_FILE} bytes")]
    TooLarge,
    /// It is not the expected YAML.
    #[error("invalid access file: {0}")]
    Yaml(String),
    /// The URL of an entry is unusable.
    #[error("invalid access file: clusters[{index}].{field} {text:?}: {source}")]
    Url {
        /// Number of the entry.
        index: usize,
        /// Field of the entry.
        field: &'static str,
        /// The URL.
        text: String,
        /// Why.
        source: WebUrlError,
    },
    /// Certificate and key belong together.
    #[error("invalid access file: clusters[{0}] must have both certificateFile and keyFile, or none")]
    HalfCertificate(usize),
    /// A token over plain HTTP is readable for the network.
    #[error(
        "invalid access file: clusters[{0}] sends a credential over plain HTTP; use an https:// URL, or set allowPlainHttp"
    )]
    PlainHttp(usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    clusters: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Entry {
    url: String,
    #[serde(default)]
    namespaces: BTreeSet<String>,
    token_file: Option<PathBuf>,
    certificate_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    #[serde(default)]
    brokers: Vec<String>,
    #[serde(default)]
    allow_plain_http: bool,
}

impl AccessFile {
    /// Reads an access file.
    pub fn read(path: &Path) -> Result<Self, AccessError> {
        let error = |source| AccessError::Read { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(error)?.len() > MAX_FILE {
            return Err(AccessError::TooLarge);
        }
        Self::parse(&std::fs::read_to_string(path).map_err(error)?)
    }

    /// Parses an access file.
    pub fn parse(yaml: &str) -> Result<Self, AccessError> {
        // Files hold paths and names, so that an error may quote them.
        let file: File =
            serde_saphyr::from_str(yaml).map_err(|error| AccessError::Yaml(error.to_string()))?;
        let entries = file.clusters.into_iter().enumerate();
        let clusters: Result<_, AccessError> =
            entries.map(|(index, entry)| cluster(index, entry).map(Arc::new)).collect();
        clusters.map(|clusters| Self { clusters })
    }

    /// The access for components of a Kubernetes namespace to a cluster: the first entry that applies.
    pub fn find(&self, url: &WebUrl, namespace: &str) -> Access {
        let applies = |cluster: &&Arc<ClusterAccess>| {
            cluster.url == *url && (cluster.namespaces.is_empty() || cluster.namespaces.contains(namespace))
        };
        self.clusters
            .iter()
            .find(applies)
            .map_or(Access::Anonymous, |found| Access::Cluster(Arc::clone(found)))
    }
}

fn cluster(index: usize, entry: Entry) -> Result<ClusterAccess, AccessError> {
    let parse = |field: &'static str, text: &str| {
        WebUrl::parse(text).map_err(|source| AccessError::Url { index, field, text: text.to_owned(), source })
    };
    let certificate = match (entry.certificate_file, entry.key_file) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(AccessError::HalfCertificate(index)),
    };
    let url = parse("url", &entry.url)?;
    let brokers: Result<Vec<_>, _> = entry.brokers.iter().map(|broker| parse("brokers", broker)).collect();
    let brokers = brokers?;
    let is_plain = url.scheme() == "http" || brokers.iter().any(|broker| broker.scheme() == "http");
    if entry.token_file.is_some() && is_plain && !entry.allow_plain_http {
        return Err(AccessError::PlainHttp(index));
    }
    Ok(ClusterAccess {
        index,
        url,
        namespaces: entry.namespaces,
        token: entry.token_file.map(Token::File),
        certificate,
        ca_file: entry.ca_file,
        brokers,
    })
}

impl Access {
    /// Access to a cluster whose URL the caller answers for, so that it may have any address.
    pub fn direct(url: WebUrl, token: Option<Token>) -> Self {
        let (namespaces, brokers) = Default::default();
        Self::Cluster(Arc::new(ClusterAccess {
            index: 0,
            url,
            namespaces,
            token,
            certificate: None,
            ca_file: None,
            brokers,
        }))
    }

    /// Position of the entry in the file; None without one. Components with different access share no answer.
    pub fn index(&self) -> Option<usize> {
        match self {
            Self::Anonymous => None,
            Self::Cluster(cluster) => Some(cluster.index),
        }
    }

    /// Further servers of the cluster, which the administrator named.
    pub fn brokers(&self) -> &[WebUrl] {
        match self {
            Self::Anonymous => &[],
            Self::Cluster(cluster) => &cluster.brokers,
        }
    }

    /// How it authenticates.
    pub fn kind(&self) -> TrafficAccess {
        match self {
            Self::Cluster(cluster) if cluster.token.is_some() => TrafficAccess::Token,
            Self::Cluster(cluster) if cluster.certificate.is_some() => TrafficAccess::ClientCertificate,
            Self::Cluster(_) | Self::Anonymous => TrafficAccess::Anonymous,
        }
    }

    /// Whether a redirect from `url` may lead to this host. Without credentials any allowed address may be asked. With
    /// them the server must be one of the entry, or with the same port below its name, or in the same namespace of Kubernetes.
    pub fn allows_host(&self, url: &WebUrl, host: &str, port: u16) -> bool {
        let Self::Cluster(cluster) = self else { return true };
        let (own, own_port) = url.host_and_port();
        let is_listed = |server: &WebUrl| server.host_and_port() == (host, port);
        // A broker below the name of its Service, or beside it in the same namespace of Kubernetes.
        let is_below = host.strip_suffix(own).is_some_and(|label| label.ends_with('.') && label.len() > 1);
        let domain = |host: &str| host.split_once('.').map(|(_, domain)| domain.to_owned());
        let is_in_cluster = |domain: &str| {
            let end = domain.strip_suffix(".cluster.local").unwrap_or(domain);
            end.strip_suffix(".svc").is_some_and(|namespace| !namespace.is_empty())
        };
        let is_beside = domain(own).is_some_and(|own| is_in_cluster(&own) && domain(host) == Some(own));
        let is_sibling = is_below || is_beside;
        let is_own = port == own_port && (own == host || is_sibling);
        is_own || is_listed(&cluster.url) || cluster.brokers.iter().any(is_listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
clusters:
- url: https://pulsar.example:8443
  namespaces: [team-a]
  tokenFile: /t
- url: https://pulsar.example:8443/
  certificateFile: /c
  keyFile: /k
- url: http://plain:8080
";

    fn url(text: &str) -> WebUrl {
        WebUrl::parse(text).unwrap()
    }

    #[test]
    fn the_first_entry_of_url_and_namespace_applies() {
        let file = AccessFile::parse(FILE).unwrap();
        let kind = |at: &str, namespace: &str| file.find(&url(at), namespace).kind();
        assert_eq!(kind("https://pulsar.example:8443", "team-a"), TrafficAccess::Token);
        assert_eq!(kind("https://PULSAR.example:8443", "team-b"), TrafficAccess::ClientCertificate);
        assert_eq!(kind("http://plain:8080", "team-a"), TrafficAccess::Anonymous);
        assert_eq!(file.find(&url("https://pulsar.example:9443"), "team-a"), Access::Anonymous);
        assert_eq!(file.find(&url("http://pulsar.example:8443"), "team-a"), Access::Anonymous);
    }

    #[test]
    fn errors_name_the_entry() {
        for (yaml, expected) in [
            ("clusters: [{}]", "url"),
            ("clusters: [{url: 'http://a', tokenFil: x}]", "tokenFil"),
            ("clusters: [{url: a}]", "clusters[0].url \"a\""),
            ("clusters: [{url: 'http://a'}, {url: 'http://b', brokers: [c]}]", "clusters[1].brokers \"c\""),
            ("clusters: [{url: 'https://a', keyFile: x}]", "both certificateFile and keyFile"),
            ("clusters: [{url: 'http://a', tokenFile: x}]", "plain HTTP"),
            ("clusters: [{url: 'https://a', brokers: ['http://b'], tokenFile: x}]", "plain HTTP"),
            ("cluster: []", "cluster"),
        ] {
            let error = AccessFile::parse(yaml).unwrap_err().to_string();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
        let allowed = "clusters: [{url: 'http://a', tokenFile: x, allowPlainHttp: true}]";
        assert!(AccessFile::parse(allowed).is_ok());
        assert!(AccessFile::parse("{}").is_ok());
        let error = AccessFile::read(Path::new("/nonexistent/access.yaml")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/access.yaml"), "{error}");
    }

    #[test]
    fn credentials_stay_among_the_servers_of_the_cluster() {
        let file = AccessFile::parse(
            "clusters: [{url: 'https://pulsar.ns.svc:8443', tokenFile: /t, brokers: ['https://far.example:1']}]",
        );
        let file = file.unwrap();
        let at = url("https://pulsar.ns.svc:8443");
        let access = file.find(&at, "n");
        for (host, port, expected) in [
            ("pulsar.ns.svc", 8443, true),
            ("broker-0.pulsar.ns.svc", 8443, true),
            ("broker-0.ns.svc", 8443, true),
            ("broker-0.ns.svc", 9443, false),
            ("pulsar.ns.svc", 9443, false),
            ("far.example", 1, true),
            ("far.example", 2, false),
            ("evil.svc", 8443, false),
            ("pulsar.ns.svc.evil.example", 8443, false),
            ("evil.example", 8443, false),
            ("ns.svc", 8443, false),
        ] {
            assert_eq!(access.allows_host(&at, host, port), expected, "{host}:{port}");
        }
        assert!(Access::Anonymous.allows_host(&at, "evil.example", 80));
        // A domain of the internet is not owned by one party alone.
        for (own, other) in [("pulsar.svc", "other.svc"), ("pulsar.co.uk", "evil.co.uk"), ("a", "b")] {
            let file =
                AccessFile::parse(&format!("clusters: [{{url: 'https://{own}', tokenFile: /t}}]")).unwrap();
            let at = url(&format!("https://{own}"));
            assert!(!file.find(&at, "n").allows_host(&at, other, 443), "{other}");
        }
    }
}
