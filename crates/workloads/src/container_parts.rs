//! Parts that several containers share: ports, the security context and environment variables.

use k8s_openapi::api::core::v1::{Capabilities, EnvVar, EnvVarSource, ObjectFieldSelector, SecurityContext};

use crate::shell;

/// gRPC port of the runner, for health and statistics.
pub(crate) const GRPC: (&str, i32) = ("tcp-grpc", 9093);
/// Metrics port of the runner.
pub(crate) const METRICS: (&str, i32) = ("http-metrics", 9094);

/// Security context of every container that the operator adds.
pub(crate) fn security_context() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
        ..SecurityContext::default()
    }
}

/// Variable with the pod name, from which the runner gets its ordinal.
pub(crate) fn pod_name() -> EnvVar {
    let field = ObjectFieldSelector { api_version: None, field_path: "metadata.name".to_owned() };
    EnvVar {
        name: "POD_NAME".to_owned(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
    }
}

/// Variable with a literal value.
pub(crate) fn variable(name: &str, value: &str) -> EnvVar {
    let value = shell::escape_references(value);
    EnvVar { name: name.to_owned(), value: Some(value), value_from: None }
}
