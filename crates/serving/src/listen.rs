//! Addresses to listen on, in the form that Go programs take: `:8443`, `0.0.0.0:8443`, and `0` for none.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use tokio::net::TcpListener;

/// An address to listen on.
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
    /// Nothing is served.
    Off,
    /// A port of the named host, or of every address of the machine when the name is empty.
    On {
        /// Name or address, without the brackets of an IPv6 address.
        host: String,
        /// Port; 0 lets the system choose one.
        port: u16,
    },
}

/// A text that is no address to listen on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{text:?} is no address to listen on: {fault}; write `:8443`, `0.0.0.0:8443`, `[::]:8443`, or `0` for none"
)]
pub struct ListenAddrError {
    text: String,
    fault: &'static str,
}

impl FromStr for ListenAddr {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |fault| ListenAddrError { text: text.to_owned(), fault };
        // What other operators take for "do not serve": an empty text and a zero.
        if matches!(text, "" | "0") {
            return Ok(Self::Off);
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| error("it names no port"))?;
        let port = port.parse().map_err(|_| error("the port is no number up to 65535"))?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(address)) => {
                address.parse::<Ipv6Addr>().map_err(|_| error("the brackets hold no IPv6 address"))?;
                address
            }
            Some(None) => return Err(error("a bracket is left open")),
            None if host.contains(':') => return Err(error("an IPv6 address stands in brackets")),
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
    /// Whether nothing is served.
    pub fn is_off(&self) -> bool {
        *self == Self::Off
    }

    /// Takes the port. None when nothing is to be served.
    pub async fn bind(&self) -> io::Result<Option<TcpListener>> {
        match self {
            Self::Off => Ok(None),
            Self::On { host, port } if host.is_empty() => bind_all(*port).await.map(Some),
            Self::On { host, port } => TcpListener::bind((host.as_str(), *port)).await.map(Some),
        }
    }
}

/// An IPv6 socket on all addresses takes IPv4 as well. Nodes without IPv6 refuse it; those get IPv4 alone.
async fn bind_all(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        // A taken port is no reason to look elsewhere: the other family's may be free, and half a server is none.
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
    fn reads_and_prints_the_forms_of_go() {
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
    fn says_what_is_wrong_with_the_rest() {
        for (text, fault) in [
            ("8443", "names no port"),
            (":http", "the port is no number"),
            (":70000", "the port is no number"),
            ("::1:80", "stands in brackets"),
            ("[::1:80", "left open"),
            ("[nonsense]:80", "hold no IPv6 address"),
        ] {
            let error = text.parse::<ListenAddr>().expect_err(text).to_string();
            assert!(error.contains(fault), "{text}: {error}");
            assert!(error.contains("write `:8443`"), "{error}");
        }
    }

    #[tokio::test]
    async fn listens_on_both_families_where_there_are_both() {
        let listener = ":0".parse::<ListenAddr>().unwrap().bind().await.unwrap().unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        assert!(ListenAddr::Off.bind().await.unwrap().is_none());
    }
}
