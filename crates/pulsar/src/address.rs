//! Which addresses may be asked for a URL from an object of a user.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Host;

/// Metadata services outside of the link-local range, of Alibaba Cloud and of Azure.
const METADATA: [[u8; 4]; 2] = [[100, 100, 100, 200], [168, 63, 129, 16]];

/// Whether a server at this address may be asked. Loopback is the operator's own pod; link-local is the metadata service
/// of a cloud.
pub fn is_allowed_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            !(v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
                || METADATA.contains(&v4.octets()))
        }
        IpAddr::V6(v6) => {
            let is_link_local = v6.segments()[0] & 0xffc0 == 0xfe80;
            // The metadata service of a cloud over IPv6.
            let is_metadata = v6.segments() == [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254];
            !(v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || is_link_local || is_metadata)
        }
    }
}

/// Whether the host of a URL is a name, or an allowed address in any notation.
pub(crate) fn has_allowed_host(url: &str) -> bool {
    match Url::parse(url).as_ref().map(Url::host) {
        Ok(Some(Host::Ipv4(address))) => is_allowed_address(address.into()),
        Ok(Some(Host::Ipv6(address))) => is_allowed_address(address.into()),
        Ok(Some(Host::Domain(name))) => !name.is_empty(),
        Ok(None) | Err(_) => false,
    }
}

/// Resolves names to allowed addresses only, at the time of the connection.
#[derive(Debug)]
pub(crate) struct GuardedResolver;

impl GuardedResolver {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self)
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| is_allowed_address(address.ip())).collect();
            if allowed.is_empty() {
                return Err(format!("{host} has no address that the operator may ask").into());
            }
            Ok::<Addrs, _>(Box::new(allowed.into_iter()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_link_local_addresses_are_refused() {
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "169.254.169.254",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
        ] {
            assert!(!is_allowed_address(address.parse().unwrap()), "{address}");
        }
        for address in ["10.0.0.7", "192.168.1.2", "100.64.0.1", "203.0.113.7", "fd00::7", "2001:db8::7"] {
            assert!(is_allowed_address(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn addresses_are_seen_in_every_notation() {
        for host in
            ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.1.", "[::ffff:127.0.0.1]", "[::1]"]
        {
            assert!(!has_allowed_host(&format!("http://{host}:8000/x")), "{host}");
        }
        assert!(has_allowed_host("http://10.0.0.7:8080/x") && has_allowed_host("https://pulsar:8443/x"));
    }

    #[tokio::test]
    async fn a_name_of_a_loopback_address_is_refused() {
        let name: Name = "localhost".parse().unwrap();
        let Err(error) = GuardedResolver.resolve(name).await else { panic!("it is resolved") };
        assert!(error.to_string().contains("localhost has no address"), "{error}");
    }
}
