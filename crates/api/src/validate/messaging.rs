//! The rules of the way to Pulsar.

use crate::component::Common;

use super::collector::Collector;
use super::rules;
use super::violation::FieldPath;

pub(super) fn check(path: &FieldPath, spec: &Common<'_>, findings: &mut Collector) {
    let has_address = |pulsar: &crate::types::PulsarMessaging| {
        pulsar.pulsar_config.as_deref().is_some_and(|name| !name.is_empty())
    };
    if !spec.pulsar.is_some_and(has_address) {
        findings.deny_rule(path, &rules::NO_PULSAR);
    }
    if spec.pulsar_package_service.is_some_and(|service| !has_address(service)) {
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
                    "holds a token or password that everybody can read who may read this object; put it into a Secret \
                     and name that in `authSecret`",
                );
            }
        }
    }
}

/// Whether parameters of an authentication plugin hold a secret itself rather than the file that has it.
fn is_inline_secret(parameters: &str) -> bool {
    let text = parameters.trim();
    let lower = text.to_ascii_lowercase();
    let token = lower.strip_prefix("token:").is_some_and(|token| !token.trim().is_empty());
    // A JSON web token: a header in base64 that begins with `{"`.
    let bare = text.starts_with("eyJ") && text.contains('.');
    let named =
        ["password", "\"token\"", "privatekey\":\"data:", "privatekey:data:", "secretkey", "clientsecret"];
    token || bare || lower.starts_with("data:") || named.iter().any(|name| lower.contains(name))
}
