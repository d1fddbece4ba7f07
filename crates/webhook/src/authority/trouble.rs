//! What keeps the certificates from being in order, and what to do about it.

use super::certificate::Fault;

/// What is in the way.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(
        "the {secret} is not this program's, and is left alone: {why}; name another one with --certificate-secret, or \
         remove what it holds"
    )]
    Foreign { secret: String, why: String },
    #[error("the certificate in the {0} cannot be served")]
    Unfit(String),
    #[error("there is no {0}; it will trust the authority as soon as there is")]
    Missing(String),
    #[error(
        "the {0} is not there, and this program may not create it: create it without data, as `kubectl create secret \
         generic` does, or let the program's account create secrets"
    )]
    Absent(String),
    #[error("this program may not {verb} the {what}; let its account do so in a Role or ClusterRole")]
    Forbidden { verb: &'static str, what: String },
    #[error("cannot {verb} the {what}: {source}")]
    Api { verb: &'static str, what: String, source: kube::Error },
    #[error("cannot {verb} the {what}: the API server does not answer")]
    Late { verb: &'static str, what: String },
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Trouble {
    pub(super) fn of(verb: &'static str, what: &str, source: kube::Error) -> Self {
        let what = what.to_owned();
        match &source {
            kube::Error::Api(status) if status.code == 403 && verb == "create" => Self::Absent(what),
            kube::Error::Api(status) if status.code == 403 => Self::Forbidden { verb, what },
            _ => Self::Api { verb, what, source },
        }
    }

    /// Whether somebody else wrote first, or removed the object meanwhile. What cannot be created for want of its
    /// namespace is another matter.
    pub(super) fn is_conflict(&self) -> bool {
        let Self::Api { verb, source: kube::Error::Api(status), .. } = self else { return false };
        status.code == 409 || status.code == 404 && *verb != "create"
    }
}
