//! A check between reading and answering that asks others, such as the API server, and so cannot be part of the pure
//! decision: whether the requesting user may do what the object would do in its place.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use kube::core::Status;

use crate::review::Request;

/// Asked about each object that the rules let pass, before the answer to the API server's second call.
pub trait Reviewer: fmt::Debug + Send + Sync {
    /// Lets the object pass, or says why not. It has what is left of the deadline.
    fn review<'a>(&'a self, request: Request<'a>) -> Reviewing<'a>;
}

/// The answer to come.
pub type Reviewing<'a> = Pin<Box<dyn Future<Output = Result<(), Box<Status>>> + Send + 'a>>;
