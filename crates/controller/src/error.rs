//! Why a reconcile failed, and what follows from it: which stage is blamed, and whether and when a retry can help.

use std::time::Duration;

use function_mesh_api::conditions::Reason;
use function_mesh_api::validate::Violations;

use crate::metrics::Stage;
use function_mesh_kube::apply::ChildError;
use function_mesh_kube::decode_error::{self, DecodeError};

/// How long until an object is looked at again whose obstacle nothing announces.
pub(crate) const RECHECK: Duration = Duration::from_secs(15);
/// How long until what the garbage collector is about to remove is looked at again.
pub(crate) const RECHECK_LEFT_OVER: Duration = Duration::from_secs(2);

/// Reconcile error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object breaks a rule. Nothing was changed.
    #[error("{0}")]
    Invalid(Violations),
    /// The object cannot be decoded. Nothing was changed.
    #[error("cannot decode the object: {0}")]
    Undecodable(DecodeError),
    /// The API server did not answer a read.
    #[error("failed to read from the API server: {}", decode_error::words(.0))]
    Observe(#[source] Box<kube::Error>),
    /// Children could not be written. The others were.
    #[error("{}", list(.0))]
    Children(Vec<ChildError>),
    /// The finalizer could not be written.
    #[error("failed to write the finalizer: {}", decode_error::words(.0))]
    Finalizer(#[source] Box<kube::Error>),
    /// The status could not be written.
    #[error("failed to write the status: {}", decode_error::words(.0))]
    Report(#[source] Box<kube::Error>),
}

impl From<ChildError> for Error {
    fn from(error: ChildError) -> Self {
        Self::Children(vec![error])
    }
}

impl Error {
    pub(crate) fn observe(error: kube::Error) -> Self {
        Self::Observe(Box::new(error))
    }

    pub(crate) fn report(error: kube::Error) -> Self {
        Self::Report(Box::new(error))
    }

    /// The stage at which it failed.
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::Invalid(_) => Stage::Validate,
            Self::Undecodable(_) | Self::Observe(_) => Stage::Observe,
            Self::Children(errors) if all(errors, |it| matches!(it, ChildError::Undecodable { .. })) => {
                Stage::Observe
            }
            Self::Children(errors) if all(errors, |it| matches!(it, ChildError::Form { .. })) => {
                Stage::Render
            }
            Self::Children(_) | Self::Finalizer(_) => Stage::Apply,
            Self::Report(_) => Stage::Report,
        }
    }

    /// Whether only a change of the object can help.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::Undecodable(_))
    }

    /// The reason in a status of an error that only a change of the object can mend.
    pub(crate) fn final_reason(&self) -> Reason {
        if matches!(self, Self::Undecodable(_)) { Reason::InvalidObject } else { Reason::ValidationFailed }
    }

    /// Whether it was based on a stale cache: there is nothing to report, and the next try knows better.
    pub(crate) fn is_conflict(&self) -> bool {
        match self {
            Self::Children(errors) => all(errors, ChildError::is_conflict),
            Self::Finalizer(error) => matches!(&**error, kube::Error::Api(status) if status.is_conflict()),
            Self::Invalid(_) | Self::Undecodable(_) | Self::Observe(_) | Self::Report(_) => false,
        }
    }

    /// Whether nothing but children of an earlier object of the same name are in the way.
    pub(crate) fn is_left_over(&self) -> bool {
        matches!(self, Self::Children(errors) if all(errors, |it| matches!(it, ChildError::LeftOver { .. })))
    }

    /// The longest wait until a retry, where what is in the way may go without an event: foreign objects lack our
    /// labels and are not watched.
    pub(crate) fn retry_within(&self) -> Option<Duration> {
        let Self::Children(errors) = self else { return None };
        if self.is_left_over() {
            return Some(RECHECK_LEFT_OVER);
        }
        errors.iter().any(|it| matches!(it, ChildError::Foreign { .. })).then_some(RECHECK)
    }
}

fn all(errors: &[ChildError], is: impl Fn(&ChildError) -> bool) -> bool {
    !errors.is_empty() && errors.iter().all(is)
}

fn list(errors: &[ChildError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign() -> ChildError {
        ChildError::Foreign { kind: "Service".into(), name: "f".into(), owner: "nothing owns it".into() }
    }

    fn left_over() -> ChildError {
        ChildError::LeftOver { kind: "Service".into(), name: "f".into(), owner: "Function".into() }
    }

    #[test]
    fn bounds_the_wait_where_nothing_announces_a_change() {
        for (errors, expected) in [
            (vec![foreign()], Some(RECHECK)),
            (vec![left_over()], Some(RECHECK_LEFT_OVER)),
            (vec![left_over(), foreign()], Some(RECHECK)),
            (vec![], None),
        ] {
            assert_eq!(Error::Children(errors).retry_within(), expected);
        }
    }

    #[test]
    fn an_empty_list_is_no_conflict() {
        assert!(!Error::Children(Vec::new()).is_conflict());
        assert_eq!(Error::from(foreign()).stage(), Stage::Apply);
    }
}
