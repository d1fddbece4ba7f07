//! The one way in which children are written: server-side apply, only when something would change, and
//! never to an object that is not ours.

use std::fmt::Debug;
use std::sync::Arc;

use function_mesh_api::labels;
use function_mesh_workloads::diff::{dedup_keyed_lists, differences};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Request;
use kube::core::Status;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api_error::{is_not_there, words};
use crate::compact::{Compact, managers};
use crate::decode_error::DecodeError;
use crate::managed_fields::{NewOwner, migrate};
use crate::request::{Built, text};
use crate::ssa_patch::ssa_patch;

/// How often a write is decided anew because the object changed meanwhile.
const ATTEMPTS: u32 = 4;

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
    /// An object of that name is left over from an earlier owner of the same name: the garbage collector removes it.
    #[error("waiting for {kind} {name:?} of an earlier {owner} of this name to be removed")]
    LeftOver {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// Kind of the owner.
        owner: String,
    },
    /// The API server refused, or could not be reached.
    #[error("cannot {verb} {kind} {name:?}: {}", words(source))]
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
    /// The object that is there cannot be decoded.
    #[error("cannot decode {kind} {name:?}: {source}; correct it, or delete it to have it made anew")]
    Undecodable {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// What is wrong.
        source: DecodeError,
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
    /// An object could not be read.
    pub fn read<K: Child>(name: &str, source: kube::Error) -> Self {
        api_error::<K>("read", name, source)
    }

    /// What the API server said, if it answered.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            Self::Foreign { .. } | Self::LeftOver { .. } | Self::Undecodable { .. } | Self::Form { .. } => {
                None
            }
        }
    }

    /// Whether the object is not what it was thought to be.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(Status::is_conflict)
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

/// A child as it is after [`ChildApplier::apply`].
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
pub struct ChildApplier<'a> {
    /// The connection.
    pub client: &'a Client,
    /// Namespace of the owner and its children.
    pub namespace: &'a str,
    /// UID of the owner.
    pub owner: &'a str,
    /// Field manager.
    pub manager: &'static str,
}

impl ChildApplier<'_> {
    fn request<K: Child>(&self) -> Request {
        Request::new(K::url_path(&(), Some(self.namespace)))
    }

    /// Sends a request that answers with an object, and decodes that. Its managers are nobody's to read here: they
    /// may be of any depth.
    async fn send<K: Child>(&self, verb: &'static str, name: &str, request: Built) -> Result<K, ChildError> {
        let json = text(self.client, request).await.map_err(|source| api_error::<K>(verb, name, source))?;
        decode(name, &json)
    }

    /// Makes a child as wanted. `cached` is what the cache holds under its name; where it holds nothing, the
    /// API server is asked, since the cache may be late and sees only objects with our labels. `adjust` takes
    /// over what is not ours to say from an object that is there.
    ///
    /// What is decided by an object is written only if that object has not changed since, else it is decided
    /// anew. So a late cache does no harm.
    pub async fn apply<K: Child>(
        &self,
        wanted: &K,
        cached: Option<Arc<K>>,
        adjust: impl Fn(&mut K, &K) + Send,
    ) -> Result<Applied<K>, ChildError> {
        let name = wanted.name_any();
        let mark = hash(&form(wanted)?);
        let mut known = cached;
        let mut attempts = 1;
        loop {
            let live = match known.take() {
                Some(live) => Some(live),
                // What the API server remembers will do at first, and costs it little: what it overlooks, the
                // write runs into.
                None if attempts == 1 => self.read_at::<K>(&name, &GetParams::any()).await?.map(Arc::new),
                None => self.read::<K>(&name).await?.map(Arc::new),
            };
            match self.apply_once(wanted, live, &adjust, &mark).await {
                Err(error) if error.is_conflict() && attempts < ATTEMPTS => attempts += 1,
                result => return result,
            }
        }
    }

    async fn apply_once<K: Child>(
        &self,
        wanted: &K,
        live: Option<Arc<K>>,
        adjust: &(impl Fn(&mut K, &K) + Send),
        mark: &str,
    ) -> Result<Applied<K>, ChildError> {
        let name = wanted.name_any();
        let Some(live) = live else {
            // Not forced: should somebody have made it meanwhile, theirs is not overwritten.
            let made = self.write::<K>(&name, stamped::<K>(form(wanted)?, mark, None), false).await?;
            return Ok(Applied { live: Arc::new(made), change: Change::Created });
        };
        check_left_over(&*live, wanted)?;
        self.check_owner(&*live)?;
        let live = self.take_over(live).await?;
        let mut adjusted = wanted.clone();
        adjust(&mut adjusted, &live);
        let body = form(&adjusted)?;
        let is_current = live.annotations().get(labels::APPLIED_HASH).is_some_and(|applied| applied == mark);
        let difference =
            differences(&body, &form(&*live)?).first().map(|difference| difference.path.to_string());
        if is_current && difference.is_none() {
            return Ok(Applied { live, change: Change::None });
        }
        tracing::info!(kind = %K::kind(&()), namespace = self.namespace, name, at = difference, "applying a difference");
        let made = self.write::<K>(&name, stamped(body, mark, Some(&*live)), true).await?;
        Ok(Applied { live: Arc::new(made), change: Change::Updated })
    }

    /// Before the first apply, what the original operator wrote passes to us. Of a component it passes to nobody:
    /// beside what its mesh says there are defaults, and taking those away would be a change of the component.
    async fn take_over<K: Child>(&self, live: Arc<K>) -> Result<Arc<K>, ChildError> {
        if live.annotations().contains_key(labels::APPLIED_HASH) {
            return Ok(live);
        }
        let name = live.name_any();
        // Caches hold no managers.
        let Some(json) = self.read_text::<K>(&name, &GetParams::default()).await? else { return Ok(live) };
        let new_owner =
            if K::group(&()) == labels::GROUP { NewOwner::Nobody } else { NewOwner::Manager(self.manager) };
        let Some(managers) = migrate(&managers(&json).unwrap_or_default(), new_owner) else {
            return Ok(live);
        };
        let read: K = decode(&name, &json)?;
        if read.uid() != live.uid() {
            return Ok(live);
        }
        self.check_owner(&read)?;
        tracing::info!(kind = %K::kind(&()), namespace = self.namespace, name, "taking over from the original operator");
        let patch = Patch::Merge(json!({ "metadata": {
            "uid": read.uid(), "resourceVersion": read.resource_version(), "managedFields": managers,
        } }));
        let request = self.request::<K>().patch(&name, &self.params(false), &patch);
        self.send("take over", &name, request).await.map(Arc::new)
    }

    /// Makes an object that nobody may have made before.
    pub async fn create<K: Child>(&self, object: &K) -> Result<(), ChildError> {
        let params = PostParams { field_manager: Some(self.manager.to_owned()), ..PostParams::default() };
        let name = object.name_any();
        let body = serde_json::to_vec(object).map_err(|source| {
            let kind = K::kind(&()).into_owned();
            ChildError::Form { kind, name: name.clone(), source }
        })?;
        let created = text(self.client, self.request::<K>().create(&params, body)).await;
        created.map(|_| ()).map_err(|source| api_error::<K>("create", &name, source))
    }

    /// Deletes a child of ours and leaves the rest to the garbage collector.
    pub async fn delete<K: Child>(&self, live: &K) -> Result<(), ChildError> {
        self.check_owner(live)?;
        self.delete_with_preconditions(live, &DeleteParams::background()).await
    }

    /// Deletes a child of ours that stays visible until all that it controls is gone.
    pub async fn delete_foreground<K: Child>(&self, live: &K) -> Result<(), ChildError> {
        self.check_owner(live)?;
        self.delete_with_preconditions(live, &DeleteParams::foreground()).await
    }

    /// Deletes that very object: not a newer one of the same name, and not one that was given to another owner
    /// meanwhile. Others may write its status as often as they like.
    pub async fn delete_with_preconditions<K: Child>(
        &self,
        live: &K,
        how: &DeleteParams,
    ) -> Result<(), ChildError> {
        let name = live.name_any();
        let owner = controller_of(live).map(|owner| owner.uid.clone());
        let (uid, mut version) = (live.uid(), live.resource_version());
        let mut attempts = 1;
        loop {
            let params = DeleteParams {
                preconditions: Some(Preconditions { uid: uid.clone(), resource_version: version.clone() }),
                ..how.clone()
            };
            let deleted = text(self.client, self.request::<K>().delete(&name, &params)).await;
            let error = match deleted {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
                Err(source) => api_error::<K>("delete", &name, source),
            };
            let newer = if error.is_conflict() { self.read::<K>(&name).await? } else { return Err(error) };
            let Some(newer) = newer.filter(|newer| newer.uid() == uid) else { return Ok(()) };
            let is_same_owner = controller_of(&newer).map(|owner| &owner.uid) == owner.as_ref();
            // One that changes all the time is a conflict, and backs off as such.
            if !is_same_owner || newer.resource_version() == version || attempts == ATTEMPTS {
                return Err(error);
            }
            attempts += 1;
            version = newer.resource_version();
        }
    }

    /// Owns a few fields of a child of ours, and nothing else of it. With nothing given it gives up what it
    /// owned.
    pub async fn apply_fields<K: Child>(&self, live: &K, part: Value) -> Result<K, ChildError> {
        self.check_owner(live)?;
        self.apply_fields_of_owner(live, part).await
    }

    /// Owns a few fields of the owner itself.
    pub async fn apply_fields_of_owner<K: Child>(&self, live: &K, part: Value) -> Result<K, ChildError> {
        let name = live.name_any();
        let mut body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": { "name": name, "uid": live.uid(), "resourceVersion": live.resource_version() },
        });
        json_patch::merge(&mut body, &part);
        self.write::<K>(&name, body, true).await
    }

    /// Scales a child of ours as an autoscaler does, which no admission webhook hinders. It does so only to the
    /// version that the decision was taken on.
    pub async fn scale<K: Child>(&self, live: &K, replicas: i32) -> Result<(), ChildError> {
        self.check_owner(live)?;
        let name = live.name_any();
        let version = json!({ "resourceVersion": live.resource_version() });
        let patch = Patch::Merge(json!({ "metadata": version, "spec": { "replicas": replicas } }));
        let request = self.request::<K>().patch_subresource("scale", &name, &self.params(false), &patch);
        let scaled = text(self.client, request).await;
        scaled.map(|_| ()).map_err(|source| api_error::<K>("scale", &name, source))
    }

    /// All objects that these labels select, past the cache.
    pub async fn list<K: Child>(&self, selector: &str) -> Result<Vec<K>, ChildError> {
        #[derive(Deserialize)]
        struct List {
            #[serde(default)]
            items: Vec<Box<RawValue>>,
        }
        let request = self.request::<K>().list(&ListParams::default().labels(selector));
        let listed = text(self.client, request).await;
        let listed = listed.map_err(|source| api_error::<K>("list", selector, source))?;
        let list: List = serde_json::from_str(&listed).map_err(|source| ChildError::Form {
            kind: K::kind(&()).into_owned(),
            name: selector.to_owned(),
            source,
        })?;
        list.items.iter().map(|item| decode(selector, item.get())).collect()
    }

    /// Reads an object past the cache; None when it, or its kind, is not there.
    pub async fn read<K: Child>(&self, name: &str) -> Result<Option<K>, ChildError> {
        self.read_at(name, &GetParams::default()).await
    }

    async fn read_at<K: Child>(&self, name: &str, how: &GetParams) -> Result<Option<K>, ChildError> {
        let json = self.read_text::<K>(name, how).await?;
        json.map(|json| decode(name, &json)).transpose()
    }

    async fn read_text<K: Child>(&self, name: &str, how: &GetParams) -> Result<Option<String>, ChildError> {
        match text(self.client, self.request::<K>().get(name, how)).await {
            Ok(found) => Ok(Some(found)),
            Err(kube::Error::Api(status)) if is_not_there(&status) => Ok(None),
            Err(source) => Err(api_error::<K>("read", name, source)),
        }
    }

    async fn write<K: Child>(&self, name: &str, body: Value, force: bool) -> Result<K, ChildError> {
        let patch = ssa_patch(&body).map_err(|source| api_error::<K>("apply", name, source))?;
        let request = self.request::<K>().patch(name, &self.params(force), &patch);
        // It may be large, and is sent by now.
        drop((body, patch));
        self.send("apply", name, request).await
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

/// The owner may have had a predecessor of the same name, whose children wait for the garbage collector.
fn check_left_over<K: Child>(live: &K, wanted: &K) -> Result<(), ChildError> {
    let (Some(earlier), Some(owner)) = (controller_of(live), controller_of(wanted)) else { return Ok(()) };
    let name_of =
        |owner: &OwnerReference| (owner.api_version.clone(), owner.kind.clone(), owner.name.clone());
    if earlier.uid == owner.uid || name_of(earlier) != name_of(owner) {
        return Ok(());
    }
    let (kind, name) = (K::kind(&()).into_owned(), live.name_any());
    Err(ChildError::LeftOver { kind, name, owner: owner.kind.clone() })
}

/// The controlling owner of an object.
pub fn controller_of<K: Resource>(object: &K) -> Option<&OwnerReference> {
    object.owner_references().iter().find(|owner| owner.controller == Some(true))
}

/// Whether the object with this UID controls another one.
pub fn is_owned_by<K: Resource>(object: &K, uid: &str) -> bool {
    controller_of(object).is_some_and(|owner| owner.uid == uid)
}

/// A hash of what is wanted. With it on the live object, a later reconcile sees that nothing was
/// wanted before that is not wanted now, without a look at field ownership.
pub fn hash(body: &Value) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(body.to_string().as_bytes());
    digest.iter().take(16).fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

fn stamped<K: Child>(mut body: Value, mark: &str, live: Option<&K>) -> Value {
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(labels::APPLIED_HASH.to_owned(), Value::String(mark.to_owned()));
        }
        // With these the API server refuses to touch another object of that name, or a newer version.
        let mut guard = |key: &str, value: Option<String>| {
            metadata.extend(value.map(|value| (key.to_owned(), Value::String(value))));
        };
        guard("uid", live.and_then(ResourceExt::uid));
        guard("resourceVersion", live.and_then(ResourceExt::resource_version));
    }
    body
}

/// An object as JSON, as server-side apply takes it.
fn form<K: Child>(object: &K) -> Result<Value, ChildError> {
    let mut body = serde_json::to_value(object).map_err(|source| {
        let kind = K::kind(&()).into_owned();
        ChildError::Form { kind, name: object.name_any(), source }
    })?;
    dedup_keyed_lists(&mut body);
    Ok(body)
}

/// Decodes an object, without its managers.
fn decode<K: Child>(name: &str, json: &str) -> Result<K, ChildError> {
    Compact::<K>::from_json(json).and_then(|object| object.decode()).map_err(|source| {
        let kind = K::kind(&()).into_owned();
        ChildError::Undecodable { kind, name: name.to_owned(), source }
    })
}

fn api_error<K: Child>(verb: &'static str, name: &str, source: kube::Error) -> ChildError {
    let kind = K::kind(&()).into_owned();
    ChildError::Api { verb, kind, name: name.to_owned(), source: Box::new(source) }
}
