//! One GET request: credentials, redirects, deadline and size.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io, iter};

use function_mesh_observer::requests::{Outcome, RedirectError, follow_redirect};
use function_mesh_observer::{Cause, ServerClock, UnixMillis};
use reqwest::header::{AUTHORIZATION, DATE, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use rustls::CertificateError;

use crate::access::{Access, ClusterAccess, Token};
use crate::address::{GuardedResolver, has_allowed_host};
use crate::body::{Body, Keep};
use crate::tls::client_config;
use crate::web_url::WebUrl;

/// How often the files of TLS are looked at for a change.
const RELOAD_INTERVAL: Duration = Duration::from_secs(30);
/// Largest token, in bytes.
const MAX_TOKEN: u64 = 64 << 10;

/// Limits of a request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time to connect.
    pub connect: Duration,
    /// Time for the whole request, redirects included.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), total: Duration::from_secs(8) }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body, unless the status is an error.
    pub body: Vec<u8>,
    /// The headers with which a broker describes an entry, `x-pulsar-…`, in lower case. Those that are no text are left out.
    pub headers: Vec<(String, String)>,
    /// The clock of the server, if it sent a date.
    pub clock: Option<ServerClock>,
}

/// Why there is no answer. The texts have no credentials, and no text of the server.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The connection failed, or the answer broke off.
    #[error("no connection to Pulsar: {0}")]
    Connection(String),
    /// The server's certificate is not trusted.
    #[error("Pulsar's certificate is not trusted: {0}")]
    Untrusted(&'static str),
    /// The server was too slow.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The web service answers, and the broker to which it redirects does not.
    #[error("after a redirect: {0}")]
    Owner(#[source] Box<Self>),
    /// The answer is too large.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// The server redirects to where the operator does not ask.
    #[error("redirect not followed: {0}")]
    Redirect(#[from] RedirectError),
    /// The address is that of the operator's pod or of a metadata service.
    #[error("the operator does not ask loopback and link-local addresses")]
    Refused,
    /// A file with credentials cannot be used.
    #[error("credentials: {0}")]
    Credentials(String),
}

impl FetchError {
    /// How the request ended, for the schedule.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Connection(_) | Self::Untrusted(_) | Self::Timeout(_) => Outcome::NoAnswer,
            Self::Owner(_) => Outcome::NoAnswerOfOwner,
            Self::TooLarge(_) | Self::Redirect(_) | Self::Refused | Self::Credentials(_) => Outcome::Unusable,
        }
    }

    /// Why numbers are unknown.
    pub fn cause(&self) -> Cause {
        match self {
            Self::TooLarge(_) => Cause::TooLarge,
            Self::Untrusted(_) => Cause::Untrusted,
            Self::Owner(error) => error.cause(),
            Self::Credentials(_) => Cause::NoCredentials,
            other => other.outcome().cause().unwrap_or(Cause::Failed),
        }
    }
}

/// Asks servers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    anonymous: reqwest::Client,
    /// Clients with the TLS of a cluster, by its URL and files.
    clusters: Mutex<HashMap<Vec<PathBuf>, Loaded>>,
}

#[derive(Clone, Debug)]
struct Loaded {
    client: reqwest::Client,
    changed: Vec<Option<SystemTime>>,
    checked: Instant,
}

impl Client {
    /// A client with these limits.
    pub fn new(limits: Limits) -> Result<Self, FetchError> {
        let anonymous = build(limits, None, true)?;
        Ok(Self(Arc::new(Inner { limits, anonymous, clusters: Mutex::default() })))
    }

    /// Gets a URL of the cluster at `web`. An error status is an answer.
    pub async fn get(
        &self,
        web: &WebUrl,
        url: &str,
        access: &Access,
        keep: Keep,
    ) -> Result<Answer, FetchError> {
        let total = self.0.limits.total;
        let mut asked = vec![url.to_owned()];
        let request = self.follow(web, &mut asked, access, keep);
        let answer = tokio::time::timeout(total, request).await;
        match answer.map_err(|_| FetchError::Timeout(total)).flatten() {
            Err(error) if error.outcome() == Outcome::NoAnswer && asked.len() > 1 => {
                Err(FetchError::Owner(Box::new(error)))
            }
            result => result,
        }
    }

    /// Gets a URL of a pod. Redirects are not followed: they could lead to the metrics of another user's pod.
    pub async fn get_pod(&self, url: &str, max_bytes: usize) -> Result<Answer, FetchError> {
        let request = async {
            let sent = SystemTime::now().into();
            let response = self.0.anonymous.get(url).send().await.map_err(|error| connection(&error))?;
            if response.status().is_redirection() {
                return Err(FetchError::Redirect(RedirectError::OtherPath));
            }
            answer(response, sent, Keep::All(max_bytes)).await
        };
        let total = self.0.limits.total;
        tokio::time::timeout(total, request).await.map_err(|_| FetchError::Timeout(total))?
    }

    /// Gets the last URL of `asked`, and those to which it is redirected, which are added.
    async fn follow(
        &self,
        web: &WebUrl,
        asked: &mut Vec<String>,
        access: &Access,
        keep: Keep,
    ) -> Result<Answer, FetchError> {
        let (client, token) = match access {
            Access::Anonymous => (self.0.anonymous.clone(), None),
            Access::Cluster(cluster) => {
                (self.client_of(cluster)?, cluster.token.as_ref().map(bearer).transpose()?)
            }
        };
        loop {
            let current = asked.last().map(String::as_str).unwrap_or_default();
            let mut request = client.get(current);
            if let Some(token) = &token {
                request = request.header(AUTHORIZATION, token.clone());
            }
            let sent = SystemTime::now().into();
            let response = request.send().await.map_err(|error| connection(&error))?;
            if response.status().is_redirection() {
                let location = response.headers().get(LOCATION).and_then(|it| it.to_str().ok());
                let next = follow_redirect(asked, location.unwrap_or_default(), |host, port| {
                    access.allows_host(web, host, port)
                })?;
                // The resolver does not see an address, however it is written.
                if *access == Access::Anonymous && !has_allowed_host(&next) {
                    return Err(FetchError::Refused);
                }
                asked.push(next);
                continue;
            }
            return answer(response, sent, keep).await;
        }
    }

    /// The client with the TLS files of a cluster, built again when one of them has changed.
    fn client_of(&self, cluster: &ClusterAccess) -> Result<reqwest::Client, FetchError> {
        let certificate = cluster.certificate.iter().flat_map(|(certificate, key)| [certificate, key]);
        let files: Vec<PathBuf> = certificate.chain(&cluster.ca_file).cloned().collect();
        let mut clusters = self.0.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let known = clusters.get(&files).cloned();
        if let Some(known) = &known
            && known.checked.elapsed() < RELOAD_INTERVAL
        {
            return Ok(known.client.clone());
        }
        let changed: Vec<_> =
            files.iter().map(|file| fs::metadata(file).and_then(|it| it.modified()).ok()).collect();
        let client = match known {
            Some(known) if known.changed == changed => known.client,
            _ => build(self.0.limits, Some(cluster), false)?,
        };
        let loaded = Loaded { client: client.clone(), changed, checked: Instant::now() };
        clusters.insert(files, loaded);
        Ok(client)
    }
}

async fn answer(response: reqwest::Response, sent: UnixMillis, keep: Keep) -> Result<Answer, FetchError> {
    let (status, received) = (response.status(), SystemTime::now().into());
    let date = response.headers().get(DATE).and_then(|it| it.to_str().ok());
    let date = date.and_then(UnixMillis::from_http_date);
    let clock = date.map(|date| ServerClock::measure(date, sent, received));
    let headers = response.headers().iter().filter(|(name, _)| name.as_str().starts_with("x-pulsar-"));
    let headers = headers
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect();
    // The text of an error is not read: nothing of it is reported.
    let body = if status.is_success() { body(response, keep).await? } else { Vec::new() };
    Ok(Answer { status: status.as_u16(), body, headers, clock })
}

async fn body(mut response: reqwest::Response, keep: Keep) -> Result<Vec<u8>, FetchError> {
    let mut kept = Body::new(keep);
    while let Some(chunk) = response.chunk().await.map_err(|error| connection(&error))? {
        kept.take(&chunk)?;
    }
    kept.end()
}

fn build(
    limits: Limits,
    access: Option<&ClusterAccess>,
    is_guarded: bool,
) -> Result<reqwest::Client, FetchError> {
    let mut builder = reqwest::Client::builder()
        .use_preconfigured_tls(client_config(access)?)
        .user_agent(concat!("function-mesh/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy()
        .http1_only()
        .connect_timeout(limits.connect)
        .pool_max_idle_per_host(8)
        .pool_idle_timeout(Duration::from_mins(1));
    if is_guarded {
        builder = builder.dns_resolver(GuardedResolver::new());
    }
    builder.build().map_err(|error| FetchError::Credentials(root_cause(&error)))
}

/// The header with a token.
fn bearer(token: &Token) -> Result<HeaderValue, FetchError> {
    match token {
        Token::File(file) => bearer_of_file(file),
        Token::Text(text) => {
            header_of(text).ok_or_else(|| FetchError::Credentials("no valid token".to_owned()))
        }
    }
}

/// A projected token is replaced every hour, so that it is read each time; the file is in memory.
fn bearer_of_file(file: &Path) -> Result<HeaderValue, FetchError> {
    let error = |what: &str| FetchError::Credentials(format!("{}: {what}", file.display()));
    let size = fs::metadata(file).map_err(|source| error(&source.to_string()))?.len();
    if size > MAX_TOKEN {
        return Err(error("too large for a token"));
    }
    let token = fs::read_to_string(file).map_err(|source| error(&source.to_string()))?;
    let token = token.trim();
    if token.is_empty() {
        return Err(error("empty"));
    }
    header_of(token).ok_or_else(|| error("no valid token"))
}

fn header_of(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn connection(error: &reqwest::Error) -> FetchError {
    distrust(error).map_or_else(|| FetchError::Connection(root_cause(error)), FetchError::Untrusted)
}

/// Why the server's certificate is not trusted, if that ended the connection. Not in its own words: names in it are chosen by the server.
fn distrust(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut causes = iter::successors(Some(error), |cause| {
        // An I/O error does not count what it wraps as its source.
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|wrapped| wrapped as &(dyn std::error::Error + 'static)).or_else(|| cause.source())
    });
    let Some(rustls::Error::InvalidCertificate(error)) = causes.find_map(|cause| cause.downcast_ref()) else {
        return None;
    };
    Some(match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no CA that the operator trusts signed it"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another host name"
        }
        _ => "it is invalid",
    })
}

/// The innermost cause: the outer ones repeat the URL.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
