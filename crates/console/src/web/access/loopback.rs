//! Access on the loopback interface: for the browser that was opened with the one-time token.
//!
//! The token is in the fragment of the URL, which browsers send nowhere. The page exchanges it for the token of the session
//! and sends that in a header, so there is no cookie, and no other page can use it.

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Random bytes of a token.
const LENGTH: usize = 32;

/// The tokens, and the names that a browser may use for this server.
#[derive(Debug)]
pub struct Loopback {
    hosts: Vec<String>,
    session: Token,
    one_time: Mutex<Option<Token>>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[error("the system has no random numbers")]
pub struct NoRandomness;

/// A secret text. It is compared by its hash, so that the time says nothing about it.
struct Token {
    text: String,
    hash: [u8; 32],
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    fn random() -> Result<Self, NoRandomness> {
        let mut bytes = [0; LENGTH];
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.secure_random.fill(&mut bytes).map_err(|_| NoRandomness)?;
        let text = URL_SAFE_NO_PAD.encode(bytes);
        Ok(Self { hash: hash(&text), text })
    }

    fn is(&self, text: &str) -> bool {
        self.hash == hash(text)
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

impl Loopback {
    /// Access by a port. The text is the one-time token.
    pub fn new(port: u16) -> Result<(Self, String), NoRandomness> {
        let hosts = ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}")).into();
        let one_time = Token::random()?;
        let text = one_time.text.clone();
        Ok((Self { hosts, session: Token::random()?, one_time: Mutex::new(Some(one_time)) }, text))
    }

    /// Whether a request is meant for this server. A page of another host whose name leads here (DNS rebinding) sends its
    /// own name.
    pub fn is_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
    }

    /// Whether this is the token of the session.
    pub fn is_session(&self, token: &str) -> bool {
        self.session.is(token)
    }

    /// The token of the session for the one-time token, which is then used up.
    pub fn exchange(&self, one_time: &str) -> Option<String> {
        let mut expected = self.one_time.lock().unwrap_or_else(PoisonError::into_inner);
        if !expected.as_ref()?.is(one_time) {
            return None;
        }
        *expected = None;
        Some(self.session.text.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_time_token_is_used_once() {
        let (access, one_time) = Loopback::new(8080).unwrap();
        assert_eq!(access.exchange(""), None);
        let session = access.exchange(&one_time).unwrap();
        assert_eq!(access.exchange(&one_time), None);
        assert!(access.is_session(&session));
        for wrong in ["", one_time.as_str(), &session[1..]] {
            assert!(!access.is_session(wrong), "{wrong}");
        }
        assert!(session.len() >= 43 && session != one_time);
        assert!(!format!("{access:?}").contains(&session));
    }

    #[test]
    fn only_names_of_this_machine_are_hosts() {
        let (access, _) = Loopback::new(8080).unwrap();
        for own in ["127.0.0.1:8080", "LOCALHOST:8080", "[::1]:8080"] {
            assert!(access.is_host(own), "{own}");
        }
        for other in ["", "localhost", "localhost:80", "evil.example:8080", "127.0.0.1:8080.evil.example"] {
            assert!(!access.is_host(other), "{other}");
        }
    }
}
