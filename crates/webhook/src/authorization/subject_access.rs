//! Authorization by SubjectAccessReviews.
//!
//! A component is a pod with a service account and Secrets of its namespace, created by the operator's account, which
//! may create pods everywhere. Without this check `create functions` therefore means any pod, Secret and service
//! account of the namespace. The check asks the API server whether the requesting user may create pods, impersonate
//! the service account, and read the Secrets. Results are cached for seconds: repeated applies cost little, and a
//! revoked permission takes effect soon.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use function_mesh_api::complexity;
use function_mesh_api::validate::{FieldPath, Violation};
use futures::StreamExt;
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::core::Status;
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::permissions::{MAX_PERMISSIONS, Permission, RequiredPermission, required_permissions};
use super::{AuthorizationFuture, Authorizer};
use crate::response::status::{failure, overloaded};
use crate::review::Request;

/// Lifetime of a cached result.
const CACHE_TTL: Duration = Duration::from_secs(5);
/// Capacity of the cache.
const CACHE_CAPACITY: usize = 4096;
/// Concurrent SubjectAccessReviews of one request.
const REQUEST_CONCURRENCY: usize = 4;
/// Concurrent SubjectAccessReviews of all requests.
const TOTAL_CONCURRENCY: usize = 32;
/// Time for all SubjectAccessReviews of one object.
const TIMEOUT: Duration = Duration::from_secs(2);

/// User, namespace and permission.
type CacheKey = (String, String, Permission);
/// Time of the review, and whether it allowed the permission.
type CachedResult = (Instant, bool);
/// The permissions that an object requires, or why it cannot be decoded.
type Required = Result<Vec<RequiredPermission>, Violation>;

/// Authorizes users by SubjectAccessReviews.
pub struct SubjectAccessAuthorizer {
    client: Client,
    /// Users that skip the check: the controller, which writes the components of a mesh that was checked.
    trusted: BTreeSet<String>,
    cache: Mutex<HashMap<CacheKey, CachedResult>>,
    permits: Semaphore,
    /// Limits decoding to one object at a time, since a large object takes much memory.
    decode_permits: Arc<Semaphore>,
}

impl std::fmt::Debug for SubjectAccessAuthorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SubjectAccessAuthorizer").field("trusted", &self.trusted).finish_non_exhaustive()
    }
}

/// Why a permission could not be checked.
#[derive(Debug, thiserror::Error)]
enum ReviewError {
    #[error("no response from the API server within {TIMEOUT:?}; retry")]
    Timeout,
    #[error("{0}")]
    Api(Box<kube::Error>),
}

impl SubjectAccessAuthorizer {
    /// Authorizes through this client; `trusted` users skip the check.
    pub fn new(client: Client, trusted: impl IntoIterator<Item = String>) -> Arc<Self> {
        let trusted = trusted.into_iter().filter(|name| !name.is_empty()).collect();
        let (cache, permits) = (Mutex::default(), Semaphore::new(TOTAL_CONCURRENCY));
        Arc::new(Self { client, trusted, cache, permits, decode_permits: Arc::new(Semaphore::new(1)) })
    }

    /// Allows an object of this kind, or returns a status that names the missing permissions.
    pub async fn check(
        &self,
        user: &UserInfo,
        kind: &str,
        namespace: &str,
        object: Value,
        old: Option<Value>,
    ) -> Result<(), Box<Status>> {
        if self.is_trusted(user) {
            return Ok(());
        }
        self.decide(user, namespace, required_permissions(kind, object, old)).await
    }

    fn is_trusted(&self, user: &UserInfo) -> bool {
        user.username.as_ref().is_some_and(|name| self.trusted.contains(name))
    }

    async fn decide(&self, user: &UserInfo, namespace: &str, required: Required) -> Result<(), Box<Status>> {
        let name = user.username.as_deref().unwrap_or_default();
        let deny = |code, reason, text: String| Err(Box::new(failure(code, reason, text)));
        let required = match required {
            Ok(required) => required,
            Err(violation) => return deny(422, "Invalid", violation.to_string()),
        };
        if required.len() > MAX_PERMISSIONS {
            let text = format!(
                "the object references {} Secrets and service accounts, more than the {MAX_PERMISSIONS} whose permissions \
                 are checked per object; split the object",
                required.len()
            );
            return deny(403, "Forbidden", text);
        }
        let missing = tokio::time::timeout(TIMEOUT, self.missing(user, namespace, required)).await;
        match missing.unwrap_or(Err(ReviewError::Timeout)) {
            Ok(missing) if missing.is_empty() => Ok(()),
            Ok(missing) => deny(403, "Forbidden", denial_message(name, namespace, &missing)),
            Err(error) => {
                tracing::warn!(namespace, %error, "failed to check permissions");
                let text = format!("failed to check the permissions of user {name:?}: {error}");
                Err(Box::new(overloaded(503, "ServiceUnavailable", text)))
            }
        }
    }

    /// The permissions that the user lacks.
    async fn missing(
        &self,
        user: &UserInfo,
        namespace: &str,
        required: Vec<RequiredPermission>,
    ) -> Result<Vec<RequiredPermission>, ReviewError> {
        // The cache key covers the whole UserInfo, groups and extra included.
        let user_key = serde_json::to_string(user).unwrap_or_default();
        let results = required.into_iter().map(|required| {
            let user_key = &user_key;
            async move {
                let is_allowed = self.is_allowed(user, user_key, namespace, &required.permission).await?;
                Ok((is_allowed, required))
            }
        });
        let mut results = futures::stream::iter(results).buffered(REQUEST_CONCURRENCY);
        let mut missing = Vec::new();
        while let Some(result) = results.next().await {
            match result? {
                (true, _) => {}
                (false, permission) => missing.push(permission),
            }
        }
        Ok(missing)
    }

    async fn is_allowed(
        &self,
        user: &UserInfo,
        user_key: &str,
        namespace: &str,
        permission: &Permission,
    ) -> Result<bool, ReviewError> {
        let key = (user_key.to_owned(), namespace.to_owned(), permission.clone());
        if let Some(cached) = self.cached(&key) {
            return Ok(cached);
        }
        let _permit = self.permits.acquire().await.map_err(|_| ReviewError::Timeout)?;
        let review = SubjectAccessReview {
            spec: review_spec(user, namespace, permission),
            ..SubjectAccessReview::default()
        };
        let api = Api::<SubjectAccessReview>::all(self.client.clone());
        let review = api
            .create(&PostParams::default(), &review)
            .await
            .map_err(|error| ReviewError::Api(Box::new(error)))?;
        let allowed = review.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        self.insert(key, allowed);
        Ok(allowed)
    }

    fn cached(&self, key: &CacheKey) -> Option<bool> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(key).filter(|(since, _)| since.elapsed() < CACHE_TTL).map(|(_, allowed)| *allowed)
    }

    fn insert(&self, key: CacheKey, allowed: bool) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHE_CAPACITY {
            cache.retain(|_, (since, _)| since.elapsed() < CACHE_TTL);
        }
        if cache.len() >= CACHE_CAPACITY {
            cache.clear();
        }
        cache.insert(key, (Instant::now(), allowed));
    }
}

impl Authorizer for SubjectAccessAuthorizer {
    fn authorize<'a>(&'a self, request: Request<'a>) -> AuthorizationFuture<'a> {
        Box::pin(async move {
            let user = request.user_info.and_then(|user| serde_json::from_str::<UserInfo>(user.get()).ok());
            let Some(user) = user.filter(|user| user.username.is_some()) else {
                let text = "the admission review has no userInfo.username".to_owned();
                return Err(Box::new(failure(400, "BadRequest", text)));
            };
            if self.is_trusted(&user) {
                return Ok(());
            }
            let required = self.decode(&request).await?;
            self.decide(&user, request.namespace.as_deref().unwrap_or_default(), required).await
        })
    }
}

impl SubjectAccessAuthorizer {
    /// Decodes the object on a blocking thread.
    async fn decode(&self, request: &Request<'_>) -> Result<Required, Box<Status>> {
        let unavailable = || {
            let text = "failed to check permissions: the webhook is overloaded; retry".to_owned();
            Box::new(overloaded(503, "ServiceUnavailable", text))
        };
        let kind = request.kind.kind.clone().into_owned();
        let permit = Arc::clone(&self.decode_permits).acquire_owned().await.map_err(|_| unavailable())?;
        let object = request.object.map(|object| object.get().to_owned()).unwrap_or_default();
        let old = request.old_object.map(|old| old.get().to_owned());
        let decoding = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let violation = |error: serde_json::Error| Violation {
                field: FieldPath::root("spec"),
                message: error.to_string(),
            };
            let object = serde_json::from_str(&object).map_err(violation)?;
            // An old object above the complexity limits, stored before they existed, counts as empty.
            let old = old.filter(|old| complexity::check(old.as_bytes()).is_ok());
            required_permissions(&kind, object, old.and_then(|old| serde_json::from_str(&old).ok()))
        });
        decoding.await.map_err(|_| unavailable())
    }
}

fn review_spec(user: &UserInfo, namespace: &str, permission: &Permission) -> SubjectAccessReviewSpec {
    let attributes = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some(permission.verb.to_owned()),
        resource: Some(permission.resource.to_owned()),
        name: Some(permission.name.clone()).filter(|name| !name.is_empty()),
        ..ResourceAttributes::default()
    };
    SubjectAccessReviewSpec {
        user: user.username.clone(),
        uid: user.uid.clone(),
        groups: user.groups.clone(),
        extra: user.extra.clone(),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    }
}

/// The missing permissions, one line each, with the field that requires it.
fn denial_message(user: &str, namespace: &str, missing: &[RequiredPermission]) -> String {
    let lines = missing.iter().map(|RequiredPermission { field, permission }| {
        let Permission { verb, resource, name } = permission;
        let what = if name.is_empty() { (*resource).to_owned() } else { format!("{resource} {name:?}") };
        format!("{field}: user {user:?} cannot {verb} {what} in the namespace {namespace:?}, which its pods would do")
    });
    let lines: Vec<_> = lines.collect();
    format!("{}; request these permissions, or remove the fields", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denial_names_user_field_verb_and_resource() {
        let permission = |verb, resource, name: &str| Permission { verb, resource, name: name.to_owned() };
        let missing = [
            RequiredPermission {
                field: FieldPath::root("spec"),
                permission: permission("create", "pods", ""),
            },
            RequiredPermission {
                field: FieldPath::root("spec.pod.serviceAccountName"),
                permission: permission("impersonate", "serviceaccounts", "db"),
            },
        ];
        assert_eq!(
            denial_message("mallory", "tenant", &missing),
            "spec: user \"mallory\" cannot create pods in the namespace \"tenant\", which its pods would do\n\
             spec.pod.serviceAccountName: user \"mallory\" cannot impersonate serviceaccounts \"db\" in the namespace \
             \"tenant\", which its pods would do; request these permissions, or remove the fields"
        );
    }
}
