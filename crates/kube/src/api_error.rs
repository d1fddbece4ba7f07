//! Short messages for errors of the API server.

use kube::core::{Status, response::reason};

/// The message of the API server. The `Display` of kube's error contains the whole response, twice.
pub(crate) fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if is_kind_missing(status) => "CRD not installed; will retry".to_owned(),
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => crate::decode_error::message(error),
    }
}

/// Whether the object, or its kind, does not exist. For an unknown API group the API server responds in plain text,
/// which kube does not report as `NotFound`.
pub(crate) fn is_missing(status: &Status) -> bool {
    status.is_not_found() || status.code == 404
}

/// Whether the kind is missing: only the message about a missing object names it.
fn is_kind_missing(status: &Status) -> bool {
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
    fn missing_kind_names_the_crd() {
        let no_group = status(404, "Failed to parse error data", "404 page not found");
        let no_kind = status(404, reason::NOT_FOUND, "the server could not find the requested resource");
        for status in [no_group, no_kind] {
            assert!(is_missing(&status));
            let message = message(&kube::Error::Api(Box::new(status)));
            assert!(message.starts_with("CRD not installed"), "{message}");
        }
    }

    #[test]
    fn other_errors_keep_the_api_servers_message() {
        for (code, reason, text) in [
            (404, reason::NOT_FOUND, "namespaces \"n\" not found"),
            (403, reason::FORBIDDEN, "pods \"p\" is forbidden: exceeded quota"),
        ] {
            assert_eq!(message(&kube::Error::Api(Box::new(status(code, reason, text)))), text);
        }
    }
}
