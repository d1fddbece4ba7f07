//! Reconcile errors: the stage that failed, and whether and when to retry.

use std::time::Duration;

use function_mesh_api::conditions::Reason;
use function_mesh_api::validate::Violations;

use crate::metrics::Stage;
use function_mesh_kube::apply::ChildError;
use function_mesh_kube::decode_error::{self, DecodeError};

/// Time until a retry if the cause can change without a watch event.
pub(crate) const RECHECK: Duration = Duration::from_secs(15);
/// Time until a retry if the garbage collector has to delete an object first.
pub(crate) const GC_RECHECK: Duration = Duration::from_secs(2);

/// Reconcile error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object is invalid. Nothing was written.
    #[error("{0}")]
    Invalid(Violations),
    /// The object cannot be decoded. Nothing was written.
    #[error("failed to decode the object: {0}")]
    Undecodable(DecodeError),
    /// A read from the API server failed.
    #[error("failed to read from the API server: {}", decode_error::message(.0))]
    Observe(#[source] Box<kube::Error>),
    /// Some children could not be written; the others were.
    #[error("{}", list(.0))]
    Children(Vec<ChildError>),
    /// The finalizer could not be written.
    #[error("failed to write the finalizer: {}", decode_error::message(.0))]
    Finalizer(#[source] Box<kube::Error>),
    /// The status could not be written.
    #[error("failed to write the status: {}", decode_error::message(.0))]
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

    /// The stage that failed.
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::Invalid(_) => Stage::Validate,
            Self::Undecodable(_) | Self::Observe(_) => Stage::Observe,
            Self::Children(errors) if all(errors, |it| matches!(it, ChildError::Decode { .. })) => {
                Stage::Observe
            }
            Self::Children(errors) if all(errors, |it| matches!(it, ChildError::Serialize { .. })) => {
                Stage::Render
            }
            Self::Children(_) | Self::Finalizer(_) => Stage::Apply,
            Self::Report(_) => Stage::Report,
        }
    }

    /// Whether a retry cannot help until the object changes.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::Undecodable(_))
    }

    /// The reason in a status of an error that only a change of the object can fix.
    pub(crate) fn final_reason(&self) -> Reason {
        if matches!(self, Self::Undecodable(_)) { Reason::InvalidObject } else { Reason::ValidationFailed }
    }

    /// Whether the reconcile was based on a stale cache (conflict): it is retried without a report.
    pub(crate) fn is_conflict(&self) -> bool {
        match self {
            Self::Children(errors) => all(errors, ChildError::is_conflict),
            Self::Finalizer(error) => matches!(&**error, kube::Error::Api(status) if status.is_conflict()),
            Self::Invalid(_) | Self::Undecodable(_) | Self::Observe(_) | Self::Report(_) => false,
        }
    }

    /// Whether only children of a deleted object of the same name block the reconcile.
    pub(crate) fn is_pending_gc(&self) -> bool {
        matches!(self, Self::Children(errors) if all(errors, |it| matches!(it, ChildError::PreviousOwner { .. })))
    }

    /// The longest wait until a retry, if the cause can change without a watch event: foreign objects have no labels of
    /// ours and are not watched.
    pub(crate) fn retry_within(&self) -> Option<Duration> {
        let Self::Children(errors) = self else { return None };
        if self.is_pending_gc() {
            return Some(GC_RECHECK);
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
        ChildError::Foreign { kind: "Service".into(), name: "f".into(), owner: "it has no owner".into() }
    }

    fn previous_owner() -> ChildError {
        ChildError::PreviousOwner { kind: "Service".into(), name: "f".into(), owner: "Function".into() }
    }

    #[test]
    fn retry_within_limits_waits_without_watch_events() {
        for (errors, expected) in [
            (vec![foreign()], Some(RECHECK)),
            (vec![previous_owner()], Some(GC_RECHECK)),
            (vec![previous_owner(), foreign()], Some(RECHECK)),
            (vec![], None),
        ] {
            assert_eq!(Error::Children(errors).retry_within(), expected);
        }
    }

    #[test]
    fn empty_list_is_not_a_conflict() {
        assert!(!Error::Children(Vec::new()).is_conflict());
        assert_eq!(Error::from(foreign()).stage(), Stage::Apply);
    }
}
