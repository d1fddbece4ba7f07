//! Why a child could not be written.

use kube::core::Status;

use super::{Child, api_error};
use crate::api_error::message;
use crate::decode_error::DecodeError;

/// Why a child could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// An object of that name exists and another object owns it, or none.
    #[error(
        "{kind} {name:?} already exists and is not ours: {owner}; rename the component, or delete that {kind}"
    )]
    Foreign {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// Its owner, as a sentence.
        owner: String,
    },
    /// An object of that name belongs to a deleted owner of the same name and is about to be garbage collected.
    #[error("waiting for garbage collection of {kind} {name:?}, owned by a deleted {owner} of the same name")]
    PreviousOwner {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// Kind of the owner.
        owner: String,
    },
    /// An orphan of ours changed, or its owner is being deleted, since the cache saw them.
    #[error("{kind} {name:?} is not adopted: it or its owner changed meanwhile; retrying")]
    Stale {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
    },
    /// The API server returned an error, or could not be reached.
    #[error("failed to {verb} {kind} {name:?}: {}", message(source))]
    Api {
        /// The failed operation.
        verb: &'static str,
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// The error of the client.
        #[source]
        source: Box<kube::Error>,
    },
    /// The live object cannot be decoded.
    #[error(
        "failed to decode {kind} {name:?}: {source}; fix the object, or delete it so that it is recreated"
    )]
    Decode {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// Where decoding failed.
        source: DecodeError,
    },
    /// The object cannot be serialized.
    #[error("failed to serialize {kind} {name:?}: {source}")]
    Serialize {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// The error of the serializer.
        source: serde_json::Error,
    },
}

impl ChildError {
    /// An object could not be read.
    pub fn read<K: Child>(name: &str, source: kube::Error) -> Self {
        api_error::<K>("read", name, source)
    }

    /// The status in the API server's response, if it responded.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            Self::Foreign { .. }
            | Self::PreviousOwner { .. }
            | Self::Stale { .. }
            | Self::Decode { .. }
            | Self::Serialize { .. } => None,
        }
    }

    /// Whether the object changed since it was read.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Stale { .. }) || self.status().is_some_and(Status::is_conflict)
    }
}
