//! Who may ask, and what they may see.

mod cache;
mod loopback;
mod permission;
mod reviews;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

pub(super) use self::cache::Cache;
pub use self::loopback::{Loopback, NoRandomness};
pub(super) use self::permission::Permission;
pub use self::reviews::{Reviews, User};
use super::error::ApiError;
use crate::hub::Hub;
use crate::visible::Visible;

/// Who may ask.
#[derive(Debug)]
pub enum Access {
    /// The browser that was opened with the one-time token. The API server decides what it sees.
    Loopback(Loopback),
    /// Users of the cluster, by their bearer tokens.
    Reviews(Reviews),
}

/// What a request may see.
#[derive(Clone, Debug)]
pub(super) enum Permissions {
    /// What the credentials of the console may see: they are those of the viewer.
    Own,
    /// What a user may see: the credentials of the console may see more.
    Of(User),
}

impl Permissions {
    /// What is visible on the page of all meshes.
    pub(super) async fn overview(&self, hub: &Hub) -> Result<Visible, ApiError> {
        match self {
            Self::Own => Ok(Visible::all()),
            Self::Of(user) => user.overview(hub.kinds()).await,
        }
    }

    /// What is visible in a namespace; an error if it is nothing.
    pub(super) async fn namespace(&self, namespace: &str) -> Result<Visible, ApiError> {
        match self {
            Self::Own => Ok(Visible::all()),
            Self::Of(user) => user.namespace(namespace).await,
        }
    }

    /// An error if the viewer may not do this.
    pub(super) async fn require(&self, permission: Permission<'_>) -> Result<(), ApiError> {
        match self {
            // The API server decides with the request itself.
            Self::Own => Ok(()),
            Self::Of(user) => user.require(permission).await,
        }
    }

    /// The name of the user; None if there is only one.
    pub(super) fn user_name(&self) -> Option<&str> {
        match self {
            Self::Own => None,
            Self::Of(user) => Some(user.name()),
        }
    }
}

/// The bearer token of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && is_token).then_some(token)
}
