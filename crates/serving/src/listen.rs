//! Listen addresses in the syntax of Go: `:8443`, `0.0.0.0:8443`, and `0` to disable the listener.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use tokio::net::TcpListener;

/// A listen address.
///
/// ```
/// use function_mesh_serving::ListenAddr;
///
/// let all: ListenAddr = ":8443".parse().unwrap();
/// assert_eq!(all, ListenAddr::On { host: String::new(), port: 8443 });
/// assert_eq!("0".parse(), Ok(ListenAddr::Off));
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListenAddr {
    /// The listener is disabled.
    Off,
    /// A port of a host, or of all addresses when the host is empty.
    On {
        /// Host name or IP address; an IPv6 address without brackets.
        host: String,
        /// Port; 0 lets the system choose a free one.
        port: u16,
    },
}

/// An invalid listen address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "invalid listen address {text:?}: {reason}; use `:8443`, `0.0.0.0:8443`, `[::]:8443`, or `0` to disable it"
)]
pub struct ListenAddrError {
    text: String,
    reason: &'static str,
}

impl FromStr for ListenAddr {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| ListenAddrError { text: text.to_owned(), reason };
        // controller-runtime disables a listener with "0", charts with an empty string.
        if matches!(text, "" | "0") {
            return Ok(Self::Off);
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| error("missing port"))?;
        let port = port.parse().map_err(|_| error("the port must be a number up to 65535"))?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(address)) => {
                address.parse::<Ipv6Addr>().map_err(|_| error("invalid IPv6 address in brackets"))?;
                address
            }
            Some(None) => return Err(error("missing closing bracket")),
            None if host.contains(':') => return Err(error("an IPv6 address needs brackets")),
            None => host,
        };
        Ok(Self::On { host: host.to_owned(), port })
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("0"),
            Self::On { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::On { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl ListenAddr {
    /// Whether the listener is disabled.
    pub fn is_off(&self) -> bool {
        *self == Self::Off
    }

    /// Binds the port; None when the listener is disabled.
    pub async fn bind(&self) -> io::Result<Option<TcpListener>> {
        match self {
            Self::Off => Ok(None),
            Self::On { host, port } if host.is_empty() => bind_all(*port).await.map(Some),
            Self::On { host, port } => TcpListener::bind((host.as_str(), *port)).await.map(Some),
        }
    }
}

/// A dual-stack socket; IPv4 only on nodes without IPv6.
async fn bind_all(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        // No fallback for a port in use: it may be free for IPv4, and the server would miss IPv6 clients.
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_the_syntax_of_go() {
        for (text, host, port) in [
            (":8443", "", 8443),
            ("0.0.0.0:8443", "0.0.0.0", 8443),
            ("[::]:9443", "::", 9443),
            ("[::1]:0", "::1", 0),
            ("localhost:80", "localhost", 80),
        ] {
            let parsed: ListenAddr = text.parse().expect(text);
            assert_eq!(parsed, ListenAddr::On { host: host.into(), port }, "{text}");
            assert_eq!(parsed.to_string(), text);
        }
        assert_eq!("".parse(), Ok(ListenAddr::Off));
        assert_eq!("0".parse(), Ok(ListenAddr::Off));
    }

    #[test]
    fn errors_name_the_reason() {
        for (text, reason) in [
            ("8443", "missing port"),
            (":http", "the port must be a number"),
            (":70000", "the port must be a number"),
            ("::1:80", "needs brackets"),
            ("[::1:80", "missing closing bracket"),
            ("[nonsense]:80", "invalid IPv6 address"),
        ] {
            let error = text.parse::<ListenAddr>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(error.contains("use `:8443`"), "{error}");
        }
    }

    #[tokio::test]
    async fn empty_host_listens_dual_stack() {
        let listener = ":0".parse::<ListenAddr>().unwrap().bind().await.unwrap().unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        assert!(ListenAddr::Off.bind().await.unwrap().is_none());
    }
}
