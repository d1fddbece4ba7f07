//! The one way in which children are written: server-side apply, only when something would change, and
//! never to an object that is not ours.

use std::fmt::Debug;
use std::sync::Arc;

use function_mesh_api::labels;
use function_mesh_workloads::difference::{differences, make_distinct};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Why a child could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// An object of that name exists and belongs to somebody else.
    #[error("{kind} {name:?} exists and is not ours: {owner}; rename the component, or remove that object")]
    Foreign {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// Whose it is.
        owner: String,
    },
    /// The API server refused, or could not be reached.
    #[error("cannot {verb} {kind} {name:?}: {source}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// What the API server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The object has no form in JSON.
    #[error("cannot write {kind} {name:?} as JSON: {source}")]
    Form {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl ChildError {
    /// Whether the object is not what it was thought to be.
    fn is_conflict(&self) -> bool {
        match self {
            Self::Api { source, .. } => matches!(&**source, kube::Error::Api(status) if status.is_conflict()),
            Self::Foreign { .. } | Self::Form { .. } => false,
        }
    }
}

/// What became of a child.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// It was as wanted; nothing was written.
    None,
    /// It was missing.
    Created,
    /// It differed, or we wanted something of it before that we no longer want.
    Updated,
}

/// A child as it is after [`Children::apply`].
#[derive(Clone, Debug)]
pub struct Applied<K> {
    /// The live object.
    pub live: Arc<K>,
    /// What was done to it.
    pub change: Change,
}

/// A kind that can be a child.
pub trait Child:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
{
}

impl<K> Child for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
{
}

/// Writes the children of one object.
#[derive(Clone, Copy)]
pub struct Children<'a> {
    /// The connection.
    pub client: &'a Client,
    /// Namespace of the owner and its children.
    pub namespace: &'a str,
    /// UID of the owner.
    pub owner: &'a str,
    /// Field manager.
    pub manager: &'static str,
}

impl Children<'_> {
    fn api<K: Child>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    /// Makes a child as wanted. `cached` is what the cache holds under its name; where it holds nothing, the
    /// API server is asked, since the cache may be late and sees only objects with our labels.
    pub async fn apply<K: Child>(
        &self,
        wanted: &K,
        cached: Option<Arc<K>>,
    ) -> Result<Applied<K>, ChildError> {
        let name = wanted.name_any();
        let mut body = serde_json::to_value(wanted).map_err(|source| form_error::<K>(&name, source))?;
        make_distinct(&mut body);
        match self.apply_once(&name, &body, cached).await {
            // It came or went in that moment; the cache will learn of it later.
            Err(error) if error.is_conflict() => self.apply_once(&name, &body, None).await,
            result => result,
        }
    }

    async fn apply_once<K: Child>(
        &self,
        name: &str,
        body: &Value,
        cached: Option<Arc<K>>,
    ) -> Result<Applied<K>, ChildError> {
        let live = match cached {
            Some(live) => Some(live),
            None => self.read::<K>(name).await?.map(Arc::new),
        };
        let Some(live) = live else {
            // Not forced: should somebody have made it meanwhile, theirs is not overwritten.
            let made = self.write::<K>(name, stamped(body, None), false).await?;
            return Ok(Applied { live: Arc::new(made), change: Change::Created });
        };
        self.check_owner(&*live)?;
        let is_current = live.annotations().get(labels::APPLIED) == Some(&fingerprint(body));
        let current = serde_json::to_value(&*live).map_err(|source| form_error::<K>(name, source))?;
        let difference = differences(body, &current).first().map(|difference| difference.path.to_string());
        if is_current && difference.is_none() {
            return Ok(Applied { live, change: Change::None });
        }
        tracing::info!(kind = %K::kind(&()), namespace = self.namespace, name, at = difference, "applying a difference");
        let made = self.write::<K>(name, stamped(body, live.uid()), true).await?;
        Ok(Applied { live: Arc::new(made), change: Change::Updated })
    }

    /// Deletes a child of ours, that very one: not a newer one of the same name, and not one that was given
    /// away meanwhile. Others may write its status as often as they like.
    pub async fn delete<K: Child>(&self, live: &K) -> Result<(), ChildError> {
        let name = live.name_any();
        let (uid, mut version) = (live.uid(), live.resource_version());
        self.check_owner(live)?;
        loop {
            let params = DeleteParams {
                preconditions: Some(Preconditions { uid: uid.clone(), resource_version: version.clone() }),
                ..DeleteParams::background()
            };
            let deleted = self.api::<K>().delete(&name, &params).await;
            let error = match deleted {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
                Err(source) => api_error::<K>("delete", &name, source),
            };
            let newer = if error.is_conflict() { self.read::<K>(&name).await? } else { return Err(error) };
            let Some(newer) = newer.filter(|newer| newer.uid() == uid) else { return Ok(()) };
            self.check_owner(&newer)?;
            if newer.resource_version() == version {
                return Err(error);
            }
            version = newer.resource_version();
        }
    }

    /// Owns a few fields of a child of ours, and nothing else of it.
    pub async fn apply_part<K: Child>(&self, live: &K, spec: Value) -> Result<(), ChildError> {
        self.check_owner(live)?;
        let name = live.name_any();
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": { "name": name, "uid": live.uid() },
            "spec": spec,
        });
        self.write::<K>(&name, body, true).await.map(|_| ())
    }

    /// Scales a child of ours as an autoscaler does, which no admission webhook hinders.
    pub async fn scale<K: Child>(&self, live: &K, replicas: i32) -> Result<(), ChildError> {
        self.check_owner(live)?;
        let name = live.name_any();
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        let scaled = self.api::<K>().patch_scale(&name, &self.params(false), &patch).await;
        scaled.map(|_| ()).map_err(|source| api_error::<K>("scale", &name, source))
    }

    /// Reads an object past the cache; None when it, or its kind, is not there.
    pub async fn read<K: Child>(&self, name: &str) -> Result<Option<K>, ChildError> {
        self.api::<K>().get_opt(name).await.map_err(|source| api_error::<K>("read", name, source))
    }

    async fn write<K: Child>(&self, name: &str, body: Value, force: bool) -> Result<K, ChildError> {
        let written = self.api::<K>().patch(name, &self.params(force), &Patch::Apply(body)).await;
        written.map_err(|source| api_error::<K>("apply", name, source))
    }

    fn params(&self, force: bool) -> PatchParams {
        PatchParams { field_manager: Some(self.manager.to_owned()), force, ..PatchParams::default() }
    }

    fn check_owner<K: Child>(&self, live: &K) -> Result<(), ChildError> {
        if is_owned_by(live, self.owner) {
            return Ok(());
        }
        let owner = controller_of(live).map_or_else(
            || "nothing owns it".to_owned(),
            |owner| format!("it belongs to {} {:?}", owner.kind, owner.name),
        );
        Err(ChildError::Foreign { kind: K::kind(&()).into_owned(), name: live.name_any(), owner })
    }
}

/// The controlling owner of an object.
pub fn controller_of<K: Resource>(object: &K) -> Option<&OwnerReference> {
    object.owner_references().iter().find(|owner| owner.controller == Some(true))
}

/// Whether the object with this UID controls another one.
pub fn is_owned_by<K: Resource>(object: &K, uid: &str) -> bool {
    controller_of(object).is_some_and(|owner| owner.uid == uid)
}

/// A fingerprint of what is wanted. With it on the live object, a later reconcile sees that nothing was
/// wanted before that is not wanted now, without a look at field ownership.
fn fingerprint(body: &Value) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(body.to_string().as_bytes());
    digest.iter().take(16).fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

fn stamped(body: &Value, uid: Option<String>) -> Value {
    let mark = fingerprint(body);
    let mut body = body.clone();
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(labels::APPLIED.to_owned(), Value::String(mark));
        }
        // With it the API server refuses to touch a newer object of the same name.
        metadata.extend(uid.map(|uid| ("uid".to_owned(), Value::String(uid))));
    }
    body
}

fn api_error<K: Child>(verb: &'static str, name: &str, source: kube::Error) -> ChildError {
    let kind = K::kind(&()).into_owned();
    ChildError::Api { verb, kind, name: name.to_owned(), source: Box::new(source) }
}

fn form_error<K: Child>(name: &str, source: serde_json::Error) -> ChildError {
    ChildError::Form { kind: K::kind(&()).into_owned(), name: name.to_owned(), source }
}
