//! Reads a Pulsar cluster through the admin API of its brokers. Read-only.

mod outputs;
mod rates;

use std::time::Duration;

use function_mesh_observer::Cause;
use function_mesh_pulsar::{Access, Answer, Client, FetchError, Keep, Limits, Token, WebUrl};

pub(crate) use outputs::{Newest, newest_outputs};
pub(crate) use rates::rates;

/// Timeout of a request to the broker.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why the broker's answer is missing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    #[error(
        "invalid {flag} {url:?}; use the web service URL of Pulsar with nothing after the port, such as http://broker:8080"
    )]
    InvalidUrl { flag: &'static str, url: String },
    #[error("invalid PULSAR_TOKEN: {0}")]
    Token(String),
    #[error("failed to create a client for the broker: {0}")]
    Runtime(#[from] std::io::Error),
    #[error("failed to create a client for the broker: {0}")]
    Client(FetchError),
    #[error(
        "failed to get {what} of topic {topic} from {url}: {source}; {flag} must be a web service URL of Pulsar that this machine can reach"
    )]
    Unreachable { what: &'static str, url: WebUrl, topic: String, flag: &'static str, source: FetchError },
    #[error(
        "{url} denied the {what} of topic {topic} ({status}); set PULSAR_TOKEN to a token with permission to read them"
    )]
    Denied { what: &'static str, url: WebUrl, topic: String, status: u16 },
    #[error("unexpected response from {url} for topic {topic}: {what}; is it the web service URL of Pulsar?")]
    UnexpectedResponse { url: WebUrl, topic: String, what: String },
    #[error("no rate of topic {topic} from {url}: {cause}")]
    Unknown { url: WebUrl, topic: String, cause: Cause },
}

struct Broker {
    url: WebUrl,
    /// The flag that gave the URL.
    flag: &'static str,
    client: Client,
    access: Access,
}

impl Broker {
    fn new(flag: &'static str, url: &str, token: Option<String>) -> Result<Self, BrokerError> {
        let url = WebUrl::parse(url).map_err(|_| BrokerError::InvalidUrl { flag, url: url.to_owned() })?;
        let client = Client::new(Limits { connect: TIMEOUT, total: TIMEOUT }).map_err(BrokerError::Client)?;
        let access = Access::direct(url.clone(), token.map(Token::Text));
        Ok(Self { url, flag, client, access })
    }

    /// An answer about a topic; None if there is nothing at the URL.
    async fn get(
        &self,
        what: &'static str,
        topic: &str,
        from: &str,
        max_bytes: usize,
    ) -> Result<Option<Answer>, BrokerError> {
        let answer = self.client.get(&self.url, from, &self.access, Keep::All(max_bytes)).await;
        let (url, topic) = (self.url.clone(), topic.to_owned());
        match answer {
            Ok(answer) => match answer.status {
                200 => Ok(Some(answer)),
                404 => Ok(None),
                status @ (401 | 403) => Err(BrokerError::Denied { what, url, topic, status }),
                status => {
                    Err(BrokerError::UnexpectedResponse { url, topic, what: format!("status {status}") })
                }
            },
            Err(FetchError::Credentials(what)) => Err(BrokerError::Token(what)),
            Err(source) => Err(BrokerError::Unreachable { what, url, topic, flag: self.flag, source }),
        }
    }
}

/// The token of the user, if there is one.
pub(crate) fn token() -> Option<String> {
    std::env::var("PULSAR_TOKEN").ok().filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_in_no_text() {
        let broker =
            Broker::new("--rates", "http://broker:8080", Some("secret".to_owned())).expect("a client");
        assert!(!format!("{:?}", broker.access).contains("secret"));
    }
}
