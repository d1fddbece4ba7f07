//! The skeleton of a reconcile, for components and meshes alike.
//!
//! ```text
//! caches synced? ──> memory ──> read ──> decode ──> run ──> report ──> metrics, retry
//! ```
//!
//! What differs between kinds is a [`Reconciler`].

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::context::Shared;
use crate::error::Error;
use crate::runtime::workers::Action;
use function_mesh_kube::cache::INCOMPLETE;
use function_mesh_kube::compact::Compact;
use function_mesh_kube::decode_error::DecodeError;

/// How one kind is reconciled.
pub trait Reconciler: Send + Sync + Sized {
    /// The kind.
    type Object: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Send
        + Sync
        + 'static;
    /// What a run of it comes to, as the status takes it.
    type Outcome: Send + Sync;

    /// Name of the kind.
    const KIND: &'static str;
    /// Prefix of the names under which failures are counted.
    const PREFIX: &'static str;

    /// What all controllers share.
    fn shared(&self) -> &Shared;

    /// Whether all caches hold a namespace. Else children or defaults would seem to be missing.
    fn has_synced(&self, namespace: &str) -> impl Future<Output = bool> + Send;

    /// What work on the object costs, in bytes of memory.
    fn cost(&self, object: &Compact<Self::Object>) -> usize;

    /// Brings the cluster in line with the object.
    fn run(&self, object: &mut Self::Object) -> impl Future<Output = Round<Self::Outcome>> + Send;

    /// The error in an outcome.
    fn error(outcome: &Self::Outcome) -> Option<&Error>;

    /// The error, taken out of it.
    fn into_error(outcome: Self::Outcome) -> Option<Error>;

    /// Writes the status if it has changed, and records events. Returns when to report again what may wait.
    fn report(
        &self,
        object: &Self::Object,
        outcome: &Self::Outcome,
    ) -> impl Future<Output = Result<Option<Duration>, kube::Error>> + Send;

    /// Reports an object that cannot be decoded.
    fn undecodable(
        &self,
        fault: DecodeError,
        object: &Compact<Self::Object>,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What one run came to.
pub enum Round<O> {
    /// The object is not managed.
    Skipped,
    /// Nothing is left to report on.
    Silent(Result<Action, Error>),
    /// This is to be reported.
    Done(O, Action),
}

/// Reconciles one object, and says when to do so again.
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
        return Ok(Action::requeue(INCOMPLETE));
    }
    // Large objects are reconciled a few at a time; those that wait hold no worker.
    let Some(_room) = shared.memory.room(reconciler.cost(object)) else {
        return Ok(Action::requeue(memory_retry()));
    };
    let timer = shared.metrics.begin(R::KIND);
    let whole = match shared.whole(object).await {
        Ok(Some(whole)) => whole,
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
    let mut decoded = match shared.compute.run(&namespace, || whole.decode()).await {
        // Boxed, since it is held across everything that follows.
        Ok(object) => Box::new(object),
        Err(fault) => {
            let (kind, name) = (R::KIND, whole.name_any());
            tracing::warn!(kind, namespace, name, %fault, "cannot decode the object; skipped");
            shared.events.unreadable(&whole.object_ref(&()), &fault.to_string()).await;
            timer.decode_error();
            return reconciler.undecodable(fault, &whole).await.map(|()| Action::await_change());
        }
    };
    drop(whole);
    let key = key::<R>(object);
    match reconciler.run(&mut decoded).await {
        Round::Skipped => {
            shared.backoff.forget(&key);
            timer.skipped();
            Ok(Action::await_change())
        }
        Round::Silent(result) => {
            timer.ended(result.as_ref().err().map(Error::stage));
            result.inspect(|_| shared.backoff.forget(&key))
        }
        Round::Done(outcome, _) if R::error(&outcome).is_some_and(Error::is_conflict) => {
            timer.conflict();
            Ok(Action::requeue(shared.backoff.conflicted(&key)))
        }
        Round::Done(outcome, action) => {
            let reported = reconciler.report(&decoded, &outcome).await.map_err(Error::report);
            let errors = [R::error(&outcome), reported.as_ref().err()];
            timer.ended(errors.into_iter().flatten().map(Error::stage));
            let later = reported?;
            match R::into_error(outcome) {
                Some(error) if !error.is_final() => Err(error),
                _ => {
                    shared.backoff.forget(&key);
                    Ok(later.map_or(action, Action::requeue))
                }
            }
        }
    }
}

/// Requeues an object after a failure: later each time, but soon enough for what nothing announces.
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
    format!("{}{}/{}", R::PREFIX, object.namespace().unwrap_or_default(), object.name_any())
}

/// How long until there may be memory for a large object, spread over those that wait.
fn memory_retry() -> Duration {
    let now = jiff::Timestamp::now().subsec_nanosecond().unsigned_abs();
    Duration::from_millis(200 + u64::from(now / 1000 % 300))
}
