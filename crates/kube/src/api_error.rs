//! What the API server says when it refuses, in words for people.

use kube::core::{Status, response::reason};

/// What it said. The client's own words have all of the answer in them, twice.
pub(crate) fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if is_no_kind(status) => {
            "the cluster has no such kind; it is made once somebody installs it".to_owned()
        }
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => crate::decode_error::words(error),
    }
}

/// Whether the object is not there, or not even its kind. Of a group that it does not know the API server says so in
/// plain text, which the client does not take for "not found".
pub(crate) fn is_not_there(status: &Status) -> bool {
    status.is_not_found() || status.code == 404
}

/// Whether the kind is missing: an object that is not there is named.
fn is_no_kind(status: &Status) -> bool {
    let has_kind = status.reason == reason::NOT_FOUND && status.message.ends_with(" not found");
    status.code == 404 && !has_kind
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, reason: &str, message: &str) -> Status {
        Status::failure(message, reason).with_code(code)
    }

    #[test]
    fn a_kind_that_is_missing_is_told_in_plain_words() {
        let no_group = status(404, "Failed to parse error data", "404 page not found");
        let no_kind = status(404, reason::NOT_FOUND, "the server could not find the requested resource");
        for status in [no_group, no_kind] {
            assert!(is_not_there(&status));
            let words = words(&kube::Error::Api(Box::new(status)));
            assert!(words.starts_with("the cluster has no such kind"), "{words}");
        }
    }

    #[test]
    fn else_it_is_what_the_api_server_said() {
        for (code, reason, message) in [
            (404, reason::NOT_FOUND, "namespaces \"n\" not found"),
            (403, reason::FORBIDDEN, "pods \"p\" is forbidden: exceeded quota"),
        ] {
            assert_eq!(words(&kube::Error::Api(Box::new(status(code, reason, message)))), message);
        }
    }
}
