//! Errors of the certificate rotation.

use super::certificate::CertificateError;

/// Why a reconcile failed. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum RotationError {
    #[error(
        "{secret} belongs to another program ({reason}) and is left unchanged; set --certificate-secret to another \
         Secret, or remove the data of this one"
    )]
    SecretNotOwned { secret: String, reason: String },
    #[error("TLS rejected the certificate in {0}")]
    Unservable(String),
    #[error("{0} not found; caBundle will be injected once it exists")]
    ConfigurationNotFound(String),
    #[error(
        "{0} not found and creating it is forbidden; create it without data (`kubectl create secret generic`), or \
         grant `create` on secrets to the service account"
    )]
    CreateForbidden(String),
    #[error("forbidden: grant `{verb}` on {object} to the service account in a Role or ClusterRole")]
    Forbidden { verb: &'static str, object: String },
    #[error("failed to {verb} {object}: {source}")]
    Api { verb: &'static str, object: String, source: kube::Error },
    #[error("failed to {verb} {object}: no response from the API server")]
    Timeout { verb: &'static str, object: String },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl RotationError {
    pub(super) fn from_api(verb: &'static str, object: &str, source: kube::Error) -> Self {
        let object = object.to_owned();
        match &source {
            kube::Error::Api(status) if status.code == 403 && verb == "create" => {
                Self::CreateForbidden(object)
            }
            kube::Error::Api(status) if status.code == 403 => Self::Forbidden { verb, object },
            _ => Self::Api { verb, object, source },
        }
    }

    /// Whether another client wrote or deleted the object in between. A 404 on create means a missing namespace,
    /// which is no conflict.
    pub(super) fn is_conflict(&self) -> bool {
        let Self::Api { verb, source: kube::Error::Api(status), .. } = self else { return false };
        status.code == 409 || status.code == 404 && *verb != "create"
    }
}
