//! Whether the author of an object may do by hand what the operator would do for them.
//!
//! A component is a pod with an account and Secrets of its namespace, made by an account that may make pods
//! everywhere. So without this, `create functions` means any pod, any Secret and any account of the namespace. With
//! it the API server is asked, by a SubjectAccessReview each, whether the user of the request may create pods, be the
//! named account, and read the named Secrets. Answers hold for seconds, so that a mesh that is applied again and
//! again costs little, and a right that is taken away is gone soon.

mod questions;

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

use crate::denial::{failure, overloaded};
use crate::review::Request;
use crate::rights::{Reviewer, Reviewing};
use questions::{MOST, Question, Right, questions};

/// How long an answer holds.
const TTL: Duration = Duration::from_secs(5);
/// Most answers that are kept.
const KEPT: usize = 4096;
/// Questions of one request at a time.
const AT_A_TIME: usize = 4;
/// Questions of all requests at a time.
const ALL_AT_A_TIME: usize = 32;
/// How long the questions about one object may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Who would do it, in which namespace, and what.
type Key = (String, String, Right);
/// Since when it is known, and whether they may.
type Answer = (Instant, bool);
/// What is to be asked about an object, or why it cannot be read.
type Asked = Result<Vec<Question>, Violation>;

/// Asks the API server for the rights of users.
pub struct Access {
    client: Client,
    /// Users who need none: the controller, which writes the components of a mesh that was checked.
    trusted: BTreeSet<String>,
    answers: Mutex<HashMap<Key, Answer>>,
    permits: Semaphore,
    /// One object at a time is taken apart, since a large one takes memory.
    reading: Arc<Semaphore>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("trusted", &self.trusted).finish_non_exhaustive()
    }
}

/// Why no answer could be had.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the API server did not answer within {LIMIT:?}; try again")]
    Late,
    #[error("{0}")]
    Api(Box<kube::Error>),
}

impl Access {
    /// Asks through this client, but not about these users.
    pub fn new(client: Client, trusted: impl IntoIterator<Item = String>) -> Arc<Self> {
        let trusted = trusted.into_iter().filter(|name| !name.is_empty()).collect();
        let (answers, permits) = (Mutex::default(), Semaphore::new(ALL_AT_A_TIME));
        Arc::new(Self { client, trusted, answers, permits, reading: Arc::new(Semaphore::new(1)) })
    }

    /// Lets an object of this kind pass, or says which right its author lacks.
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
        self.decide(user, namespace, questions(kind, object, old)).await
    }

    fn is_trusted(&self, user: &UserInfo) -> bool {
        user.username.as_ref().is_some_and(|name| self.trusted.contains(name))
    }

    async fn decide(&self, user: &UserInfo, namespace: &str, asked: Asked) -> Result<(), Box<Status>> {
        let name = user.username.as_deref().unwrap_or_default();
        let refuse = |code, reason, text: String| Err(Box::new(failure(code, reason, text)));
        let asked = match asked {
            Ok(asked) => asked,
            Err(violation) => return refuse(422, "Invalid", violation.to_string()),
        };
        if asked.len() > MOST {
            let text = format!(
                "the object refers to {} Secrets and accounts; the rights to {MOST} at most are checked at a time: split it",
                asked.len()
            );
            return refuse(403, "Forbidden", text);
        }
        match tokio::time::timeout(LIMIT, self.ask(user, namespace, asked)).await.unwrap_or(Err(Fault::Late))
        {
            Ok(missing) if missing.is_empty() => Ok(()),
            Ok(missing) => refuse(403, "Forbidden", text(name, namespace, &missing)),
            Err(fault) => {
                tracing::warn!(namespace, %fault, "cannot check rights");
                let text = format!("cannot check the rights of user {name:?}: {fault}");
                Err(Box::new(overloaded(503, "ServiceUnavailable", text)))
            }
        }
    }

    /// The rights that the user lacks.
    async fn ask(
        &self,
        user: &UserInfo,
        namespace: &str,
        asked: Vec<Question>,
    ) -> Result<Vec<Question>, Fault> {
        // All that makes the user: an answer holds for nobody else.
        let who = serde_json::to_string(user).unwrap_or_default();
        let answers = asked.into_iter().map(|question| {
            let who = &who;
            async move { Ok((self.may(user, who, namespace, &question.right).await?, question)) }
        });
        let mut answers = futures::stream::iter(answers).buffered(AT_A_TIME);
        let mut missing = Vec::new();
        while let Some(answer) = answers.next().await {
            match answer? {
                (true, _) => {}
                (false, question) => missing.push(question),
            }
        }
        Ok(missing)
    }

    async fn may(&self, user: &UserInfo, who: &str, namespace: &str, right: &Right) -> Result<bool, Fault> {
        let key = (who.to_owned(), namespace.to_owned(), right.clone());
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        let _permit = self.permits.acquire().await.map_err(|_| Fault::Late)?;
        let review =
            SubjectAccessReview { spec: spec(user, namespace, right), ..SubjectAccessReview::default() };
        let api = Api::<SubjectAccessReview>::all(self.client.clone());
        let answer =
            api.create(&PostParams::default(), &review).await.map_err(|error| Fault::Api(Box::new(error)))?;
        let allowed = answer.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        self.keep(key, allowed);
        Ok(allowed)
    }

    fn known(&self, key: &Key) -> Option<bool> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(key).filter(|(since, _)| since.elapsed() < TTL).map(|(_, allowed)| *allowed)
    }

    fn keep(&self, key: Key, allowed: bool) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= KEPT {
            answers.retain(|_, (since, _)| since.elapsed() < TTL);
        }
        if answers.len() >= KEPT {
            answers.clear();
        }
        answers.insert(key, (Instant::now(), allowed));
    }
}

impl Reviewer for Access {
    fn review<'a>(&'a self, request: Request<'a>) -> Reviewing<'a> {
        Box::pin(async move {
            // Nothing is guessed of a request that does not say who makes it.
            let user = request.user_info.and_then(|user| serde_json::from_str::<UserInfo>(user.get()).ok());
            let Some(user) = user.filter(|user| user.username.is_some()) else {
                let text = "the admission review does not say which user makes the request".to_owned();
                return Err(Box::new(failure(400, "BadRequest", text)));
            };
            if self.is_trusted(&user) {
                return Ok(());
            }
            let asked = self.read(&request).await?;
            self.decide(&user, request.namespace.as_deref().unwrap_or_default(), asked).await
        })
    }
}

impl Access {
    /// Takes an object apart, off the threads that serve.
    async fn read(&self, request: &Request<'_>) -> Result<Asked, Box<Status>> {
        let busy = || {
            Box::new(overloaded(503, "ServiceUnavailable", "cannot check rights now; try again".to_owned()))
        };
        let kind = request.kind.kind.clone().into_owned();
        let place = Arc::clone(&self.reading).acquire_owned().await.map_err(|_| busy())?;
        let object = request.object.map(|object| object.get().to_owned()).unwrap_or_default();
        let old = request.old_object.map(|old| old.get().to_owned());
        let reading = tokio::task::spawn_blocking(move || {
            let _place = place;
            let fault = |error: serde_json::Error| Violation {
                field: FieldPath::root("spec"),
                message: error.to_string(),
            };
            let object = serde_json::from_str(&object).map_err(fault)?;
            // What was stored before there were limits counts as given nothing.
            let old = old.filter(|old| complexity::check(old.as_bytes()).is_ok());
            questions(&kind, object, old.and_then(|old| serde_json::from_str(&old).ok()))
        });
        reading.await.map_err(|_| busy())
    }
}

fn spec(user: &UserInfo, namespace: &str, right: &Right) -> SubjectAccessReviewSpec {
    let attributes = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some(right.verb.to_owned()),
        resource: Some(right.resource.to_owned()),
        name: Some(right.name.clone()).filter(|name| !name.is_empty()),
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

/// Which rights are missing, each with the field that takes it.
fn text(user: &str, namespace: &str, missing: &[Question]) -> String {
    let lines = missing.iter().map(|Question { field, right }| {
        let Right { verb, resource, name } = right;
        let what = if name.is_empty() { (*resource).to_owned() } else { format!("{resource} {name:?}") };
        format!("{field}: user {user:?} cannot {verb} {what} in the namespace {namespace:?}, which its pods would do")
    });
    let lines: Vec<_> = lines.collect();
    format!("{}; ask for these rights, or write the object without", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_names_user_field_verb_and_resource() {
        let right = |verb, resource, name: &str| Right { verb, resource, name: name.to_owned() };
        let missing = [
            Question { field: FieldPath::root("spec"), right: right("create", "pods", "") },
            Question {
                field: FieldPath::root("spec.pod.serviceAccountName"),
                right: right("impersonate", "serviceaccounts", "db"),
            },
        ];
        assert_eq!(
            text("mallory", "tenant", &missing),
            "spec: user \"mallory\" cannot create pods in the namespace \"tenant\", which its pods would do\n\
             spec.pod.serviceAccountName: user \"mallory\" cannot impersonate serviceaccounts \"db\" in the namespace \
             \"tenant\", which its pods would do; ask for these rights, or write the object without"
        );
    }
}
