//! Templates of links from a component to a dashboard, such as Grafana's.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// What can be in braces.
const PLACEHOLDERS: [&str; 3] = ["namespace", "kind", "name"];

/// The URL of a dashboard, with `{namespace}`, `{kind}` and `{name}` of the component. The page fills them in.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct LinkTemplate(String);

/// Why a template is invalid.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LinkError {
    /// Another scheme could run a script.
    #[error("invalid URL {0:?}: use one that begins with http:// or https://")]
    Scheme(String),
    /// A placeholder that is not known.
    #[error("unknown placeholder {{{0}}}: use {{namespace}}, {{kind}} or {{name}}")]
    Placeholder(String),
    /// A brace without its partner.
    #[error("a brace has no partner; write %7B or %7D for a brace in the URL")]
    Brace,
}

impl FromStr for LinkTemplate {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let is_url = host.is_some_and(|host| {
            host.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[')
                && host.chars().all(|it| it.is_ascii_graphic())
        });
        if !is_url {
            return Err(LinkError::Scheme(text.to_owned()));
        }
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or(LinkError::Brace)?;
            if before.contains('}') {
                return Err(LinkError::Brace);
            }
            if !PLACEHOLDERS.contains(&name) {
                return Err(LinkError::Placeholder(name.to_owned()));
            }
            rest = after;
        }
        if rest.contains('}') { Err(LinkError::Brace) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Display for LinkTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_with_known_placeholders_are_templates() {
        for text in [
            "https://grafana.example/d/mesh?var-namespace={namespace}&var-name={name}",
            "http://[::1]:3000/{kind}/{name}",
            "https://grafana.example/",
        ] {
            assert_eq!(text.parse::<LinkTemplate>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "javascript:alert(1)",
            "//grafana.example",
            "https://",
            "https:///x",
            "https://a b",
            "data:x",
        ] {
            assert_eq!(text.parse::<LinkTemplate>(), Err(LinkError::Scheme(text.to_owned())), "{text}");
        }
        let error = |text: &str| text.parse::<LinkTemplate>().unwrap_err();
        assert_eq!(error("https://a/{pod}"), LinkError::Placeholder("pod".to_owned()));
        for text in ["https://a/{name", "https://a/name}", "https://a/}{name}"] {
            assert_eq!(error(text), LinkError::Brace, "{text}");
        }
    }
}
