//! Rules of the connection to Pulsar.

use crate::component::Common;

use super::collector::Collector;
use super::rules;
use super::violation::FieldPath;

pub(super) fn check(path: &FieldPath, spec: &Common<'_>, findings: &mut Collector) {
    let has_config_map = |pulsar: &crate::types::PulsarMessaging| {
        pulsar.pulsar_config.as_deref().is_some_and(|name| !name.is_empty())
    };
    if !spec.pulsar.is_some_and(has_config_map) {
        findings.deny_rule(path, &rules::NO_PULSAR);
    }
    if spec.pulsar_package_service.is_some_and(|service| !has_config_map(service)) {
        findings.deny_rule(path, &rules::NO_PACKAGE_SERVICE);
    }
    for (field, pulsar) in [("pulsar", spec.pulsar), ("pulsarPackageService", spec.pulsar_package_service)] {
        let Some(pulsar) = pulsar else { continue };
        for (part, auth) in
            [("authConfig", &pulsar.auth_config), ("cleanupAuthConfig", &pulsar.cleanup_auth_config)]
        {
            let generic = auth.as_ref().and_then(|auth| auth.generic_auth.as_ref());
            if generic.is_some_and(|auth| is_inline_secret(&auth.client_authentication_parameters)) {
                findings.warn(
                    path.field(field).field(part).field("genericAuth.clientAuthenticationParameters"),
                    "contains a credential, which every reader of this object can see; store it in a Secret and set \
                     `authSecret`",
                );
            }
        }
    }
}

/// Whether parameters of an authentication plugin contain a credential rather than the path of a file.
fn is_inline_secret(parameters: &str) -> bool {
    let text = parameters.trim();
    let lower = text.to_ascii_lowercase();
    let token = lower.strip_prefix("token:").is_some_and(|token| !token.trim().is_empty());
    // A JSON web token: its header is base64 of `{"`.
    let bare = text.starts_with("eyJ") && text.contains('.');
    let named =
        ["password", "\"token\"", "privatekey\":\"data:", "privatekey:data:", "secretkey", "clientsecret"];
    token || bare || lower.starts_with("data:") || named.iter().any(|name| lower.contains(name))
}
