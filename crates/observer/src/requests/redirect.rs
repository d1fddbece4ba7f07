//! Redirects: a broker sends a request to the owner of a topic.
//!
//! A request carries credentials, so that it follows only to hosts of the cluster, with the same or a safer scheme, to
//! the same path, and not in circles.

use http::Uri;

/// Redirects of one request.
pub const MAX_REDIRECTS: usize = 4;

/// Why a redirect is not followed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RedirectError {
    /// The header is missing or no absolute URL of HTTP.
    #[error("the redirect has no valid Location")]
    Invalid,
    /// It leaves TLS.
    #[error("the redirect leaves TLS")]
    LessSecure,
    /// The host is not one of the cluster.
    #[error("the redirect leads to host {0:?}, which is not a broker of the cluster")]
    ForeignHost(String),
    /// It asks for something else.
    #[error("the redirect leads to another path")]
    OtherPath,
    /// It leads to a URL that was asked before, or there were too many.
    #[error("the redirects do not end")]
    Loop,
}

/// The URL to ask next. `asked` are the URLs of this request so far, the first one first; `is_allowed` decides about host
/// and port.
pub fn follow_redirect(
    asked: &[String],
    location: &str,
    is_allowed: impl Fn(&str, u16) -> bool,
) -> Result<String, RedirectError> {
    let first: Uri = asked.first().and_then(|url| url.parse().ok()).ok_or(RedirectError::Invalid)?;
    let current: Uri = asked.last().and_then(|url| url.parse().ok()).ok_or(RedirectError::Invalid)?;
    let next: Uri = location.parse().map_err(|_| RedirectError::Invalid)?;
    let scheme = next.scheme_str().ok_or(RedirectError::Invalid)?;
    if !matches!(scheme, "http" | "https") {
        return Err(RedirectError::Invalid);
    }
    if current.scheme_str() == Some("https") && scheme != "https" {
        return Err(RedirectError::LessSecure);
    }
    let authority = next.authority().ok_or(RedirectError::Invalid)?;
    // Credentials of another user, or a host that only looks like one.
    if authority.as_str().contains('@') {
        return Err(RedirectError::Invalid);
    }
    let port = authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    if !is_allowed(authority.host(), port) {
        return Err(RedirectError::ForeignHost(authority.host().chars().take(256).collect()));
    }
    // The broker adds `authoritative` to the query.
    if next.path() != first.path() {
        return Err(RedirectError::OtherPath);
    }
    let url = next.to_string();
    if asked.len() > MAX_REDIRECTS || asked.contains(&url) {
        return Err(RedirectError::Loop);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "https://pulsar:8443/admin/v2/persistent/t/n/a/stats?x=1";

    fn follow(asked: &[&str], location: &str) -> Result<String, RedirectError> {
        let asked: Vec<_> = asked.iter().map(|url| (*url).to_owned()).collect();
        follow_redirect(&asked, location, |host, port| host.ends_with(".pulsar") && port == 8443)
    }

    #[test]
    fn the_owner_of_a_topic_is_followed() {
        let owner = "https://broker-1.pulsar:8443/admin/v2/persistent/t/n/a/stats?x=1&authoritative=false";
        assert_eq!(follow(&[FIRST], owner).unwrap(), owner);
    }

    #[test]
    fn other_redirects_are_not_followed() {
        let path = "/admin/v2/persistent/t/n/a/stats";
        for (location, expected) in [
            (String::new(), RedirectError::Invalid),
            (path.into(), RedirectError::Invalid),
            (format!("ftp://broker-1.pulsar:8443{path}"), RedirectError::Invalid),
            (format!("https://a@broker-1.pulsar:8443{path}"), RedirectError::Invalid),
            (format!("http://broker-1.pulsar:8443{path}"), RedirectError::LessSecure),
            (format!("https://example.com{path}"), RedirectError::ForeignHost("example.com".into())),
            (format!("https://broker-1.pulsar{path}"), RedirectError::ForeignHost("broker-1.pulsar".into())),
            ("https://broker-1.pulsar:8443/admin/v2/clusters".into(), RedirectError::OtherPath),
        ] {
            assert_eq!(follow(&[FIRST], &location).unwrap_err(), expected, "{location}");
        }
    }

    #[test]
    fn circles_end() {
        let broker = |n: usize| format!("https://broker-{n}.pulsar:8443/admin/v2/persistent/t/n/a/stats");
        let mut asked = vec![FIRST.to_owned()];
        for number in 0..MAX_REDIRECTS {
            asked.push(follow_redirect(&asked, &broker(number), |_, _| true).unwrap());
        }
        assert_eq!(follow_redirect(&asked, &broker(9), |_, _| true), Err(RedirectError::Loop));
        let circle = follow(&[FIRST, &broker(0), &broker(1)], &broker(0));
        assert_eq!(circle, Err(RedirectError::Loop));
    }
}
