//! The rules of the way to Pulsar.

use crate::component::Common;

use super::{FieldPath, Findings, rules};

pub(super) fn check(path: &FieldPath, spec: &Common<'_>, findings: &mut Findings) {
    let has_address = |pulsar: &crate::types::PulsarMessaging| {
        pulsar.pulsar_config.as_deref().is_some_and(|name| !name.is_empty())
    };
    if !spec.pulsar.is_some_and(has_address) {
        findings.deny_rule(path, &rules::NO_PULSAR);
    }
    if spec.pulsar_package_service.is_some_and(|service| !has_address(service)) {
        findings.deny_rule(path, &rules::NO_PACKAGE_SERVICE);
    }
}
