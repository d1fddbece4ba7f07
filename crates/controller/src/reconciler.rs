//! The skeleton of a reconcile, shared by components and meshes.
//!
//! ```text
//! caches synced? ──> memory ──> read ──> decode ──> run ──> report ──> metrics, retry
//! ```
//!
//! What differs between kinds is a [`Reconciler`].

use std::sync::Arc;
use std::time::Duration;

use function_mesh_api::labels;
use k8s_openapi::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Shared;
use crate::error::Error;
use crate::runtime::workers::Action;
use function_mesh_kube::cache::UNSYNCED_RETRY;
use function_mesh_kube::compact::Compact;
use function_mesh_kube::decode_error::{self, DecodeError};
use function_mesh_kube::status::write_status;

/// How one kind is reconciled.
pub trait Reconciler: Send + Sync + Sized {
    /// The kind.
    type Object: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Send
        + Sync
        + 'static;
    /// The outcome of a run, from which the status is derived.
    type Outcome: Send + Sync;

    /// Name of the kind.
    const KIND: &'static str;
    /// Prefix of the keys of its objects.
    const PREFIX: &'static str;

    /// What all controllers share.
    fn shared(&self) -> &Shared;

    /// Whether all caches of a namespace have synced. Otherwise existing children would look missing.
    fn has_synced(&self, namespace: &str) -> impl Future<Output = bool> + Send;

    /// The memory that a reconcile of the object takes, in bytes.
    fn cost(&self, object: &Compact<Self::Object>) -> usize;

    /// Reconciles the object.
    fn run(
        &self,
        object: &mut Self::Object,
        text: Text,
    ) -> impl Future<Output = RunResult<Self::Outcome>> + Send;

    /// The error in an outcome.
    fn error(outcome: &Self::Outcome) -> Option<&Error>;

    /// Writes the status if it has changed, and publishes Events. Returns when to report again if the write is deferred.
    fn report(
        &self,
        object: &Self::Object,
        outcome: &Self::Outcome,
    ) -> impl Future<Output = Result<Option<Duration>, kube::Error>> + Send;

    /// Reports an object that cannot be decoded.
    fn undecodable(
        &self,
        error: DecodeError,
        object: &Compact<Self::Object>,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The result of one run.
pub enum RunResult<O> {
    /// The object is not managed.
    Skipped,
    /// There is no object to report a status on.
    Unreported(Result<Action, Error>),
    /// The outcome must be reported.
    Report(O, Action),
}

/// What is known of the text of an object.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// Its [`Compact::content`].
    pub content: u64,
    /// The memory that its reconcile takes, in bytes.
    pub cost: usize,
}

/// Reconciles one object, and returns when to reconcile it again.
pub async fn reconcile<R: Reconciler>(object: Arc<Compact<R::Object>>, reconciler: &R) -> Action {
    match attempt(&object, reconciler).await {
        Ok(action) => action,
        Err(error) => back_off(&object, &error, reconciler),
    }
}

async fn attempt<R: Reconciler>(object: &Compact<R::Object>, reconciler: &R) -> Result<Action, Error> {
    let shared = reconciler.shared();
    let namespace = object.namespace().unwrap_or_default();
    if !reconciler.has_synced(&namespace).await {
        return Ok(Action::requeue(UNSYNCED_RETRY));
    }
    // Large objects are requeued while memory is short, so that they do not block a worker.
    let cost = reconciler.cost(object);
    let Some(_room) = shared.memory.try_reserve(cost) else {
        return Ok(Action::requeue(memory_retry()));
    };
    let timer = shared.metrics.begin(R::KIND);
    let full = match shared.fetch_full(object).await {
        Ok(Some(full)) => full,
        Ok(None) => {
            timer.skipped();
            return Ok(Action::await_change());
        }
        Err(error) => {
            let error = Error::observe(error);
            timer.ended([error.stage()]);
            return Err(error);
        }
    };
    let mut decoded = match shared.compute.run(&namespace, cost, || full.decode()).await {
        // Boxed, since it lives across all awaits below.
        Ok(object) => Box::new(object),
        Err(error) => {
            let (kind, name) = (R::KIND, full.name_any());
            tracing::warn!(kind, namespace, name, %error, "failed to decode object; skipped");
            shared.events.publish_undecodable(&full.object_ref(&()), &error.to_string()).await;
            timer.decode_error();
            return reconciler.undecodable(error, &full).await.map(|()| Action::await_change());
        }
    };
    let text = Text { content: full.content(), cost };
    drop(full);
    let key = key::<R>(object);
    match reconciler.run(&mut decoded, text).await {
        RunResult::Skipped => {
            shared.backoff.forget(&key);
            timer.skipped();
            Ok(Action::await_change())
        }
        RunResult::Unreported(result) => {
            timer.ended(result.as_ref().err().map(Error::stage));
            result.inspect(|_| shared.backoff.forget(&key))
        }
        RunResult::Report(outcome, _) if R::error(&outcome).is_some_and(Error::is_conflict) => {
            timer.conflict();
            Ok(Action::requeue(shared.backoff.conflicted(&key)))
        }
        RunResult::Report(outcome, action) => {
            let reported = reconciler.report(&decoded, &outcome).await.map_err(Error::report);
            let errors = [R::error(&outcome), reported.as_ref().err()];
            timer.ended(errors.into_iter().flatten().map(Error::stage));
            let later = reported?;
            match R::error(&outcome) {
                Some(error) if !error.is_final() => Ok(back_off(object, error, reconciler)),
                _ => {
                    shared.backoff.forget(&key);
                    Ok(later.map_or(action, |later| action.or_within(later)))
                }
            }
        }
    }
}

/// Writes the decode error into the status of an object, best effort: the API server validates the whole object and may
/// reject the write. The Event has the error too. `status_of` makes the status with the error, from the one before.
pub async fn report_undecodable<R, S>(
    reconciler: &R,
    object: &Compact<R::Object>,
    error: Error,
    status_of: impl FnOnce(Option<&S>, Error) -> S + Send,
) where
    R: Reconciler,
    S: DeserializeOwned + PartialEq + Serialize + Send + Sync,
{
    let shared = reconciler.shared();
    let before = object.status().and_then(|status| serde_json::from_str::<S>(&status).ok());
    let is_new = shared.undecodable.record(&key::<R>(object), &error.to_string());
    let now = status_of(before.as_ref(), error);
    if before.as_ref() == Some(&now) || before.is_none() && !is_new {
        return;
    }
    match write_status(&shared.client, object, &now, labels::managers::STATUS).await {
        Ok(_) => shared.metrics.wrote(R::KIND, "status"),
        Err(error) => {
            let (meta, error) = (object.meta(), decode_error::message(&error));
            let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
            tracing::warn!(
                kind = R::KIND,
                namespace,
                name,
                error,
                "failed to write the status of an undecodable object"
            );
        }
    }
}

/// Requeues an object after a failure with exponential backoff, limited if the cause can change without a watch event.
fn back_off<R: Reconciler>(object: &Compact<R::Object>, error: &Error, reconciler: &R) -> Action {
    let wait = reconciler.shared().backoff.failed(&key::<R>(object));
    let wait = error.retry_within().map_or(wait, |most| wait.min(most));
    tracing::warn!(
        kind = R::KIND,
        namespace = object.namespace(),
        name = object.name_any(),
        %error,
        retry_in = ?wait,
        "reconcile failed"
    );
    Action::requeue(wait)
}

fn key<R: Reconciler>(object: &Compact<R::Object>) -> String {
    key_of(R::PREFIX, &object.namespace().unwrap_or_default(), &object.name_any())
}

/// The key of an object in backoff, debounce and other state. `prefix` distinguishes the kinds.
pub(crate) fn key_of(prefix: &str, namespace: &str, name: &str) -> String {
    format!("{prefix}{namespace}/{name}")
}

/// Time until a retry if memory is short, with jitter.
fn memory_retry() -> Duration {
    let now = jiff::Timestamp::now().subsec_nanosecond().unsigned_abs();
    Duration::from_millis(200 + u64::from(now / 1000 % 300))
}
