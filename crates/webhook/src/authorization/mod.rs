//! Authorization of an object beyond `create functions`: may the requesting user do what the operator would do for
//! the object? It needs requests to the API server, so it is not part of the pure decision in [`crate::admission`].

mod permissions;
mod subject_access;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use kube::core::Status;

use crate::review::Request;

pub use subject_access::SubjectAccessAuthorizer;

/// Authorizes each object that the rules allow, in the validating webhook.
pub trait Authorizer: fmt::Debug + Send + Sync {
    /// Allows the request, or returns the status to deny it with. Dropped at the deadline of the request.
    fn authorize<'a>(&'a self, request: Request<'a>) -> AuthorizationFuture<'a>;
}

/// The pending result of [`Authorizer::authorize`].
pub type AuthorizationFuture<'a> = Pin<Box<dyn Future<Output = Result<(), Box<Status>>> + Send + 'a>>;
