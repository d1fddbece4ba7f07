//! The URL of Pulsar's web service, as a user writes it.

use std::fmt;

use reqwest::Url;

use crate::address::has_allowed_host;

/// Longest URL.
const MAX_LEN: usize = 512;

/// Scheme, host and port of a web service, in one form for each server.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WebUrl(String);

/// Why a URL cannot be asked. The texts do not repeat the URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WebUrlError {
    /// It is no URL with HTTP or HTTPS and a host.
    #[error("webServiceURL must be a URL such as http://pulsar:8080")]
    Invalid,
    /// It has a user, a path, a query or a fragment.
    #[error("webServiceURL must have a scheme, a host and a port only")]
    NotBase,
    /// Its address is that of the operator's pod or of a metadata service.
    #[error("webServiceURL has a loopback or link-local address, which the operator does not ask")]
    Refused,
}

impl WebUrl {
    /// Parses a URL. Of a list of hosts, as Pulsar's clients take it, the first one is used.
    pub fn parse(text: &str) -> Result<Self, WebUrlError> {
        let text = text.trim();
        let first = text.split(',').next().unwrap_or_default();
        // In `http://one:8080,two:8080` a port follows only the last host in some installations.
        if first.len() > MAX_LEN {
            return Err(WebUrlError::Invalid);
        }
        let url = Url::parse(first).map_err(|_| WebUrlError::Invalid)?;
        let port = url.port_or_known_default().ok_or(WebUrlError::Invalid)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(WebUrlError::Invalid)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(WebUrlError::Invalid);
        }
        let has_user = !url.username().is_empty() || url.password().is_some();
        let has_more = !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some();
        if has_user || has_more {
            return Err(WebUrlError::NotBase);
        }
        Ok(Self(format!("{}://{}:{port}", url.scheme(), host.trim_end_matches('.'))))
    }

    /// The same for a URL from an object of a user: its address must be allowed if it is written as one.
    pub fn parse_untrusted(text: &str) -> Result<Self, WebUrlError> {
        let url = Self::parse(text)?;
        if !has_allowed_host(&url.0) {
            return Err(WebUrlError::Refused);
        }
        Ok(url)
    }

    /// The URL without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host and the port.
    pub fn host_and_port(&self) -> (&str, u16) {
        let authority = self.0.split_once("://").map_or(self.0.as_str(), |(_, rest)| rest);
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
        (host, port.parse().unwrap_or_default())
    }

    /// The scheme.
    pub fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("http", |(scheme, _)| scheme)
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_has_one_form() {
        for text in ["http://Pulsar:8080", "http://pulsar:8080/", " http://pulsar.:8080,other:8080 "] {
            assert_eq!(WebUrl::parse(text).unwrap().as_str(), "http://pulsar:8080", "{text}");
        }
        assert_eq!(WebUrl::parse("https://pulsar").unwrap().as_str(), "https://pulsar:443");
        let six = WebUrl::parse("http://[fd00::7]:8080").unwrap();
        assert_eq!(six.host_and_port(), ("[fd00::7]", 8080));
    }

    #[test]
    fn other_urls_are_refused() {
        use WebUrlError::{Invalid, NotBase, Refused};
        for (text, expected) in [
            ("", Invalid),
            ("pulsar:8080", Invalid),
            ("pulsar://pulsar:6650", Invalid),
            ("file:///etc/passwd", Invalid),
            ("http://", Invalid),
            ("http://user:secret@pulsar:8080", NotBase),
            ("http://pulsar:8080/admin", NotBase),
            ("http://pulsar:8080/?x=1", NotBase),
            ("http://pulsar:8080#x", NotBase),
            ("http://127.0.0.1:8080", Refused),
            ("http://2130706433:8080", Refused),
            ("http://0x7f.1:8080", Refused),
            ("http://[::1]:8080", Refused),
            ("http://[::ffff:169.254.169.254]", Refused),
        ] {
            assert_eq!(WebUrl::parse_untrusted(text), Err(expected), "{text}");
        }
        assert_eq!(WebUrl::parse_untrusted(&format!("http://{}", "a".repeat(600))), Err(Invalid));
        // The administrator may name any server.
        assert!(WebUrl::parse("http://127.0.0.1:8080").is_ok());
    }
}
