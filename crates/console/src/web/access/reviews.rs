//! Access in the cluster: who a bearer token is, by TokenReviews, and what they may see, by SubjectAccessReviews.
//!
//! The answers are used again for a short time. Without an answer nothing is shown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use function_mesh_api::printable;
use futures::{StreamExt, TryStreamExt, stream};
use http::StatusCode;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::cache::Cache;
use super::permission::Permission;
use crate::store::plural;
use crate::visible::{Kinds, Visible};
use crate::web::error::ApiError;

/// Time for all reviews of a request.
const TIME: Duration = Duration::from_secs(10);
/// TokenReviews at a time: everyone who reaches the port can cause them.
const TOKENS_AT_A_TIME: usize = 4;
/// SubjectAccessReviews at a time.
const REVIEWS_AT_A_TIME: usize = 16;
/// Answers that are kept.
const MOST_TOKENS: usize = 1024;
const MOST_ANSWERS: usize = 16 << 10;
/// Bytes of a token. OpenID Connect tokens with many groups have some thousand.
const LONGEST_TOKEN: usize = 12 << 10;

type Hash = [u8; 32];

/// Asks the API server, and remembers its answers for a short time.
#[derive(Clone, Debug)]
pub struct Reviews(Arc<Inner>);

struct Inner {
    client: Client,
    audiences: Vec<String>,
    /// Who a token is, by its hash. Wrong tokens are not kept.
    tokens: Cache<Hash, User>,
    /// Whether a user may do something, by the hash of both.
    answers: Cache<Hash, bool>,
    token_permits: Semaphore,
    review_permits: Semaphore,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviews").field("audiences", &self.audiences).finish_non_exhaustive()
    }
}

/// A user of the cluster.
#[derive(Clone, Debug)]
pub struct User {
    info: Arc<UserInfo>,
    /// Of everything that the API server knows of the user: groups and extra decide as well.
    hash: Hash,
    reviews: Reviews,
}

impl Reviews {
    /// Access for tokens with one of these audiences; without any, for tokens of the API server. An answer is used again for
    /// this time.
    pub fn new(client: Client, audiences: Vec<String>, lifetime: Duration) -> Self {
        Self(Arc::new(Inner {
            client,
            audiences,
            tokens: Cache::new(lifetime, MOST_TOKENS),
            answers: Cache::new(lifetime, MOST_ANSWERS),
            token_permits: Semaphore::new(TOKENS_AT_A_TIME),
            review_permits: Semaphore::new(REVIEWS_AT_A_TIME),
        }))
    }

    /// The user with this token.
    pub(crate) async fn user(&self, token: Option<&str>) -> Result<User, ApiError> {
        let Some(token) = token.filter(|token| token.len() <= LONGEST_TOKEN) else {
            return Err(ApiError::unauthenticated("this console shows what the user of a token may see"));
        };
        let hash: Hash = Sha256::digest(token.as_bytes()).into();
        if let Some(user) = self.0.tokens.get(&hash) {
            return Ok(user);
        }
        let info = in_time(self.review_token(token)).await?;
        let text = "the API server does not accept this token: it is wrong, or has expired";
        let info = info.ok_or_else(|| ApiError::unauthenticated(text))?;
        let of_user = serde_json::to_vec(&info).unwrap_or_default();
        let user =
            User { info: Arc::new(info), hash: Sha256::digest(&of_user).into(), reviews: self.clone() };
        self.0.tokens.insert(hash, user.clone());
        Ok(user)
    }

    /// The user with this token; None if it is not valid.
    async fn review_token(&self, token: &str) -> Result<Option<UserInfo>, ApiError> {
        let _permit = self.0.token_permits.acquire().await.map_err(|_| away())?;
        let Inner { client, audiences, .. } = &*self.0;
        let audiences = Some(audiences.clone()).filter(|audiences| !audiences.is_empty());
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences };
        let review = TokenReview { spec, ..TokenReview::default() };
        let created = Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &review).await;
        let status = created.map_err(|error| failed("TokenReviews", &error))?.status.unwrap_or_default();
        // An authenticator that knows no audiences accepts any token, and names none.
        let is_for_us = review
            .spec
            .audiences
            .is_none_or(|wanted| status.audiences.iter().flatten().any(|audience| wanted.contains(audience)));
        let is_valid = status.authenticated == Some(true) && is_for_us;
        Ok(status.user.filter(|user| is_valid && user.username.is_some()))
    }

    async fn is_allowed(&self, user: &User, permission: Permission<'_>) -> Result<bool, ApiError> {
        let Permission { namespace, verb, group, resource, subresource, name } = permission;
        let mut hash = Sha256::new();
        hash.update(user.hash);
        // No name has a slash.
        hash.update([namespace.unwrap_or("*"), verb, group, resource, subresource, name].join("/"));
        let hash: Hash = hash.finalize().into();
        if let Some(is_allowed) = self.0.answers.get(&hash) {
            return Ok(is_allowed);
        }
        let _permit = self.0.review_permits.acquire().await.map_err(|_| away())?;
        let UserInfo { username, uid, groups, extra } = (*user.info).clone();
        let spec = SubjectAccessReviewSpec {
            user: username,
            uid,
            groups,
            extra,
            resource_attributes: Some(permission.attributes()),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let api = Api::<SubjectAccessReview>::all(self.0.client.clone());
        let created = api.create(&PostParams::default(), &review).await;
        let status = created.map_err(|error| failed("SubjectAccessReviews", &error))?.status;
        let is_allowed = status.is_some_and(|status| status.allowed && status.denied != Some(true));
        self.0.answers.insert(hash, is_allowed);
        Ok(is_allowed)
    }
}

impl User {
    pub(super) fn name(&self) -> &str {
        self.info.username.as_deref().unwrap_or_default()
    }

    /// What the user may list: in all namespaces, or in those of these objects.
    pub(super) async fn overview(&self, objects: BTreeMap<String, Kinds>) -> Result<Visible, ApiError> {
        in_time(async {
            let everywhere = self.listable(None, Kinds::ALL).await?;
            let namespaces = stream::iter(objects).map(async |(namespace, kinds)| {
                let kinds = self.listable(Some(&namespace), kinds.without(everywhere)).await?;
                Ok::<_, ApiError>((namespace, kinds))
            });
            let namespaces: Vec<_> = namespaces.buffered(REVIEWS_AT_A_TIME).try_collect().await?;
            Ok(Visible::new(everywhere, namespaces))
        })
        .await
    }

    /// What the user may list in a namespace; an error if it is nothing.
    pub(super) async fn namespace(&self, namespace: &str) -> Result<Visible, ApiError> {
        let kinds = in_time(self.listable(Some(namespace), Kinds::ALL)).await?;
        if kinds.is_empty() {
            let text = format!("you may not list meshes or components in the namespace {namespace}");
            return Err(ApiError::new(StatusCode::FORBIDDEN, text));
        }
        Ok(Visible::new(Kinds::NONE, [(namespace.to_owned(), kinds)]))
    }

    /// Those of some kinds that the user may list.
    async fn listable(&self, namespace: Option<&str>, kinds: Kinds) -> Result<Kinds, ApiError> {
        let mut found = Kinds::NONE;
        for kind in kinds.iter() {
            let resource = plural(kind);
            if self.reviews.is_allowed(self, Permission::ours("list", &resource, namespace)).await? {
                found = found.and(Kinds::one(kind));
            }
        }
        Ok(found)
    }

    /// An error if the user may not do this.
    pub(super) async fn require(&self, permission: Permission<'_>) -> Result<(), ApiError> {
        if in_time(self.reviews.is_allowed(self, permission)).await? {
            return Ok(());
        }
        Err(ApiError::new(StatusCode::FORBIDDEN, format!("you may not {permission}")))
    }
}

async fn in_time<T>(reviews: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    timeout(TIME, reviews).await.unwrap_or_else(|_| Err(away()))
}

fn away() -> ApiError {
    let text = "the API server does not answer, so that permissions cannot be checked; trying again";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text)
}

fn failed(reviews: &str, error: &kube::Error) -> ApiError {
    tracing::warn!(%error, "failed to create {reviews}");
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            let text = format!("the console may not create {reviews}: grant this to its ServiceAccount");
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text)
        }
        kube::Error::Api(status) => {
            let text = format!("permissions cannot be checked: {}", printable(&status.message));
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text)
        }
        _ => away(),
    }
}
