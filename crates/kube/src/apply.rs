//! Writes of children: server-side apply, only on a difference, and never to an object that is not ours.
//!
//! Every write has UID and resource version as preconditions, so a decision based on a stale cache fails with a conflict
//! instead of overwriting a newer object.

mod adoption;
mod body;
mod delete;
mod error;
mod ownership;
mod rewrites;

use std::fmt::Debug;
use std::sync::Arc;

use function_mesh_api::labels;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{GetParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::api_error::is_missing;
use crate::compact::{Compact, managed_fields};
use crate::decode_error::DecodeError;
use crate::echoes::Echoes;
use crate::managed_fields::{NewOwner, migrate};
use crate::request::{BuiltRequest, send_for_text};
use crate::ssa_patch::ssa_patch;

pub use adoption::is_orphan_of;
pub use body::hash;
use body::{to_json, with_applied_hash};
pub use error::ChildError;
use ownership::{check_owner, check_previous_owner};
pub use ownership::{controller_of, is_owned_by};
use rewrites::Outcome;
pub use rewrites::Rewrites;

/// Attempts of a write whose object changes in between.
const MAX_ATTEMPTS: u32 = 4;

/// The effect of an apply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// The child was current; nothing was written.
    None,
    /// The child was missing.
    Created,
    /// The child had drifted, or a field is no longer wanted.
    Updated,
}

impl Change {
    /// The change as metrics and Events name it; None without a write.
    pub const fn verb(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Created => Some("created"),
            Self::Updated => Some("updated"),
        }
    }
}

/// The result of [`ChildApplier::apply`].
#[derive(Clone, Debug)]
pub struct Applied<K> {
    /// The live object.
    pub live: Arc<K>,
    /// The effect of the apply.
    pub change: Change,
    /// Whether the child was an orphan.
    pub is_adopted: bool,
    /// Paths of fields that admission changes whenever they are applied.
    pub rewritten: Vec<String>,
    /// The [`Compact::content`] of the live object, if it was written.
    pub content: Option<u64>,
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

/// Writes the children of one owner.
#[derive(Clone, Copy)]
pub struct ChildApplier<'a> {
    /// The client.
    pub client: &'a Client,
    /// Namespace of the owner and its children.
    pub namespace: &'a str,
    /// UID of the owner.
    pub owner: &'a str,
    /// Field manager.
    pub manager: &'static str,
    /// What admission made of earlier writes.
    pub rewrites: &'a Rewrites,
    /// Writes that a watch will show.
    pub echoes: &'a Echoes,
}

impl ChildApplier<'_> {
    fn request<K: Child>(&self) -> Request {
        Request::new(K::url_path(&(), Some(self.namespace)))
    }

    /// Sends a request that answers with an object, and decodes it without its managedFields: they
    /// may be of any depth.
    async fn send<K: Child>(
        &self,
        verb: &'static str,
        name: &str,
        request: BuiltRequest,
    ) -> Result<K, ChildError> {
        self.send_for_compact(verb, name, request)
            .await?
            .decode()
            .map_err(|source| undecodable::<K>(name, source))
    }

    async fn send_for_compact<K: Child>(
        &self,
        verb: &'static str,
        name: &str,
        request: BuiltRequest,
    ) -> Result<Compact<K>, ChildError> {
        let json =
            send_for_text(self.client, request).await.map_err(|source| api_error::<K>(verb, name, source))?;
        Compact::from_json(&json).map_err(|source| undecodable::<K>(name, source))
    }

    /// Applies a child. `cached` is the object in the cache; without one the API server is read, since the cache may be
    /// stale and contains only objects with our labels. `adjust` copies fields that others own from the live object.
    ///
    /// A conflict reads the object again and retries.
    pub async fn apply<K: Child>(
        &self,
        wanted: &K,
        cached: Option<Arc<K>>,
        adjust: impl Fn(&mut K, &K) + Send,
    ) -> Result<Applied<K>, ChildError> {
        let name = wanted.name_any();
        let hash = hash(&to_json(wanted)?);
        let mut known = cached;
        let mut attempts = 1;
        loop {
            let live = match known.take() {
                Some(live) => Some(live),
                None => self.read_missing::<K>(&name).await?.map(Arc::new),
            };
            match self.apply_once(wanted, live, &adjust, &hash).await {
                Err(error) if error.is_conflict() && attempts < MAX_ATTEMPTS => attempts += 1,
                result => return result,
            }
        }
    }

    /// Like [`Self::apply`] with the object on which the caller's decision is based: if that has changed, it fails with a
    /// conflict, so that the caller decides again.
    pub async fn apply_decided<K: Child>(
        &self,
        wanted: &K,
        live: Arc<K>,
        adjust: impl Fn(&mut K, &K) + Send,
    ) -> Result<Applied<K>, ChildError> {
        self.apply_once(wanted, Some(live), &adjust, &hash(&to_json(wanted)?)).await
    }

    async fn apply_once<K: Child>(
        &self,
        wanted: &K,
        live: Option<Arc<K>>,
        adjust: &(impl Fn(&mut K, &K) + Send),
        hash: &str,
    ) -> Result<Applied<K>, ChildError> {
        let name = wanted.name_any();
        let Some(live) = live else {
            // Not forced: an object that another client has just created is not overwritten.
            let (written, content) =
                self.write::<K>(&name, with_applied_hash::<K>(to_json(wanted)?, hash, None), false).await?;
            let rewritten = self.recorded(&to_json(wanted)?, hash, None, &written)?;
            return Ok(Applied {
                live: Arc::new(written),
                change: Change::Created,
                is_adopted: false,
                rewritten,
                content: Some(content),
            });
        };
        check_previous_owner(&*live, wanted)?;
        let (live, is_adopted) = self.adopt(wanted, live).await?;
        check_owner(&*live, self.owner)?;
        let live = self.migrate_from_upstream(live).await?;
        let mut adjusted = wanted.clone();
        adjust(&mut adjusted, &live);
        let body = to_json(&adjusted)?;
        let is_current = live.annotations().get(labels::APPLIED_HASH).is_some_and(|applied| applied == hash);
        let outcome = Outcome::of(&body, &*live)?;
        if is_current && outcome.differences.is_empty() || self.rewrites.is_known(&body, &outcome) {
            let rewritten = outcome.paths();
            return Ok(Applied { live, change: Change::None, is_adopted, rewritten, content: None });
        }
        let at = outcome.paths().first().cloned();
        tracing::info!(kind = %K::kind(&()), namespace = self.namespace, name, at, "applying changes");
        let (written, content) =
            self.write::<K>(&name, with_applied_hash(body, hash, Some(&*live)), true).await?;
        let rewritten = self.recorded(&to_json(&adjusted)?, hash, Some(&*live), &written)?;
        // Admission can undo the whole write.
        let is_unchanged = written.resource_version() == live.resource_version();
        let change = if is_unchanged { Change::None } else { Change::Updated };
        Ok(Applied { live: Arc::new(written), change, is_adopted, rewritten, content: Some(content) })
    }

    /// Remembers what admission made of a write, and that a watch will show it, unless it changed nothing.
    fn recorded<K: Child>(
        &self,
        body: &Value,
        hash: &str,
        before: Option<&K>,
        written: &K,
    ) -> Result<Vec<String>, ChildError> {
        let version = written.meta().resource_version.as_deref();
        if before.is_none_or(|before| before.meta().resource_version.as_deref() != version) {
            self.echoes.wrote(self.owner, version);
        }
        Ok(self.rewrites.record(body, hash, &Outcome::of(body, written)?))
    }

    /// Before the first apply, migrates the fields that upstream's operator owns to this manager. The fields of a
    /// component get no owner: upstream wrote defaults too, and to own them would remove them with the first apply.
    async fn migrate_from_upstream<K: Child>(&self, live: Arc<K>) -> Result<Arc<K>, ChildError> {
        if live.annotations().contains_key(labels::APPLIED_HASH) {
            return Ok(live);
        }
        let name = live.name_any();
        // Cached objects have no `managedFields`.
        let Some(json) = self.read_text::<K>(&name, &GetParams::default()).await? else { return Ok(live) };
        let new_owner =
            if K::group(&()) == labels::GROUP { NewOwner::None } else { NewOwner::Manager(self.manager) };
        let Some(migrated) = migrate(&managed_fields(&json).unwrap_or_default(), new_owner) else {
            return Ok(live);
        };
        let read: K = decode(&name, &json)?;
        if read.uid() != live.uid() {
            return Ok(live);
        }
        check_owner(&read, self.owner)?;
        tracing::info!(kind = %K::kind(&()), namespace = self.namespace, name, "migrating managedFields from upstream");
        let patch = Patch::Merge(json!({ "metadata": {
            "uid": read.uid(), "resourceVersion": read.resource_version(), "managedFields": migrated,
        } }));
        let request = self.request::<K>().patch(&name, &self.params(false), &patch);
        self.send("migrate managedFields of", &name, request).await.map(Arc::new)
    }

    /// Creates an object. Fails if it exists.
    pub async fn create<K: Child>(&self, object: &K) -> Result<(), ChildError> {
        let params = PostParams { field_manager: Some(self.manager.to_owned()), ..PostParams::default() };
        let name = object.name_any();
        let body = serde_json::to_vec(object).map_err(|source| {
            let kind = K::kind(&()).into_owned();
            ChildError::Serialize { kind, name: name.clone(), source }
        })?;
        let created = send_for_text(self.client, self.request::<K>().create(&params, body)).await;
        created.map(|_| ()).map_err(|source| api_error::<K>("create", &name, source))
    }

    /// Applies a few fields of a child of ours, as their owner. An empty object releases the fields owned before.
    pub async fn apply_fields<K: Child>(&self, live: &K, part: Value) -> Result<K, ChildError> {
        check_owner(live, self.owner)?;
        self.apply_fields_of_owner(live, part).await
    }

    /// Applies a few fields of the owner itself.
    pub async fn apply_fields_of_owner<K: Child>(&self, live: &K, part: Value) -> Result<K, ChildError> {
        let name = live.name_any();
        let mut body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": { "name": name, "uid": live.uid(), "resourceVersion": live.resource_version() },
        });
        json_patch::merge(&mut body, &part);
        self.write::<K>(&name, body, true).await.map(|(written, _)| written)
    }

    /// Scales a child of ours through the scale subresource, as an autoscaler does; admission webhooks for the main
    /// resource do not apply. Fails with a conflict if the object changed.
    pub async fn scale<K: Child>(&self, live: &K, replicas: i32) -> Result<(), ChildError> {
        check_owner(live, self.owner)?;
        let name = live.name_any();
        let version = json!({ "resourceVersion": live.resource_version() });
        let patch = Patch::Merge(json!({ "metadata": version, "spec": { "replicas": replicas } }));
        let request = self.request::<K>().patch_subresource("scale", &name, &self.params(false), &patch);
        let scaled = send_for_text(self.client, request).await;
        scaled.map(|_| ()).map_err(|source| api_error::<K>("scale", &name, source))
    }

    /// Lists the objects that match a label selector, without the cache.
    pub async fn list<K: Child>(&self, selector: &str) -> Result<Vec<K>, ChildError> {
        #[derive(Deserialize)]
        struct List {
            #[serde(default)]
            items: Vec<Box<RawValue>>,
        }
        let request = self.request::<K>().list(&ListParams::default().labels(selector));
        let listed = send_for_text(self.client, request).await;
        let listed = listed.map_err(|source| api_error::<K>("list", selector, source))?;
        let list: List = serde_json::from_str(&listed).map_err(|source| ChildError::Serialize {
            kind: K::kind(&()).into_owned(),
            name: selector.to_owned(),
            source,
        })?;
        list.items.iter().map(|item| decode(selector, item.get())).collect()
    }

    /// Reads an object without the cache. None if the object, or its kind, does not exist.
    pub async fn read<K: Child>(&self, name: &str) -> Result<Option<K>, ChildError> {
        self.read_at(name, &GetParams::default()).await
    }

    /// Reads an object that is not in the cache. The first read is served from the watch cache of the API server, which
    /// may be stale: that it has no such object is checked by the write, that it has one by a second read.
    async fn read_missing<K: Child>(&self, name: &str) -> Result<Option<K>, ChildError> {
        match self.read_at::<K>(name, &GetParams::any()).await? {
            None => Ok(None),
            Some(_) => self.read(name).await,
        }
    }

    async fn read_at<K: Child>(&self, name: &str, how: &GetParams) -> Result<Option<K>, ChildError> {
        let json = self.read_text::<K>(name, how).await?;
        json.map(|json| decode(name, &json)).transpose()
    }

    async fn read_text<K: Child>(&self, name: &str, how: &GetParams) -> Result<Option<String>, ChildError> {
        match send_for_text(self.client, self.request::<K>().get(name, how)).await {
            Ok(found) => Ok(Some(found)),
            Err(kube::Error::Api(status)) if is_missing(&status) => Ok(None),
            Err(source) => Err(api_error::<K>("read", name, source)),
        }
    }

    /// Applies a body. Returns the object, and its [`Compact::content`].
    async fn write<K: Child>(&self, name: &str, body: Value, force: bool) -> Result<(K, u64), ChildError> {
        let patch = ssa_patch(&body).map_err(|source| api_error::<K>("apply", name, source))?;
        let request = self.request::<K>().patch(name, &self.params(force), &patch);
        // Both may be large and are no longer needed.
        drop((body, patch));
        let written = self.send_for_compact::<K>("apply", name, request).await?;
        let object = written.decode().map_err(|source| undecodable::<K>(name, source))?;
        Ok((object, written.content()))
    }

    fn params(&self, force: bool) -> PatchParams {
        PatchParams { field_manager: Some(self.manager.to_owned()), force, ..PatchParams::default() }
    }
}

/// Decodes an object without its `managedFields`.
fn decode<K: Child>(name: &str, json: &str) -> Result<K, ChildError> {
    Compact::<K>::from_json(json)
        .and_then(|object| object.decode())
        .map_err(|source| undecodable::<K>(name, source))
}

fn undecodable<K: Child>(name: &str, source: DecodeError) -> ChildError {
    ChildError::Decode { kind: K::kind(&()).into_owned(), name: name.to_owned(), source }
}

fn api_error<K: Child>(verb: &'static str, name: &str, source: kube::Error) -> ChildError {
    let kind = K::kind(&()).into_owned();
    ChildError::Api { verb, kind, name: name.to_owned(), source: Box::new(source) }
}
