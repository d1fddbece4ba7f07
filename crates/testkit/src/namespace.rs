//! A namespace of a test, and what tests do with the objects in it.

use anyhow::{Context, ensure};
use function_mesh_api::labels::{GROUP, VERSION};
use k8s_openapi::api::core::v1::Event;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, Kind, apply};
use crate::wait::{PATIENCE, eventually};

/// A namespace of a control plane. Its methods wait at most [`PATIENCE`].
#[derive(Clone)]
pub struct TestNamespace {
    /// Its control plane.
    pub plane: &'static ControlPlane,
    /// A client of the test. A controller gets another one.
    pub client: Client,
    /// Its name, which no other namespace of this process has.
    pub namespace: String,
}

impl TestNamespace {
    /// Creates a namespace of the shared control plane.
    pub async fn new(prefix: &str) -> anyhow::Result<Self> {
        Self::on(ControlPlane::shared().await?, prefix).await
    }

    /// Creates a namespace of this control plane.
    pub async fn on(plane: &'static ControlPlane, prefix: &str) -> anyhow::Result<Self> {
        let client = plane.client().await?;
        let namespace = plane.namespace(&client, prefix).await?;
        Ok(Self { plane, client, namespace })
    }

    /// The API of a kind in this namespace.
    pub fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Gets an object that must exist.
    pub async fn get<K: Kind>(&self, name: &str) -> anyhow::Result<K> {
        self.api().get(name).await.with_context(|| format!("{} {name}", K::kind(&())))
    }

    /// Gets an object if it exists.
    pub async fn find<K: Kind>(&self, name: &str) -> anyhow::Result<Option<K>> {
        Ok(self.api().get_opt(name).await?)
    }

    /// Applies a manifest as [`apply`] does.
    pub async fn apply<K: Kind>(&self, object: &K) -> anyhow::Result<K> {
        apply(&self.client, &self.namespace, object).await
    }

    /// Creates an object that does not exist.
    pub async fn create<K: Kind>(&self, object: &K) -> anyhow::Result<K> {
        Ok(self.api::<K>().create(&PostParams::default(), object).await?)
    }

    /// Changes an object as `kubectl patch` does.
    pub async fn patch<K: Kind>(&self, name: &str, change: Value) -> anyhow::Result<K> {
        Ok(self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(change)).await?)
    }

    /// Creates an object of any kind from its manifest. A manifest without a namespace is for this one.
    pub async fn create_manifest(&self, manifest: &Value) -> anyhow::Result<()> {
        let object: DynamicObject = serde_json::from_value(manifest.clone())?;
        self.api_of(&object)?.create(&PostParams::default(), &object).await?;
        Ok(())
    }

    /// Applies a manifest of any kind with server-side apply, as this field manager, which takes the fields of others.
    pub async fn apply_manifest(&self, manifest: &Value, manager: &str) -> anyhow::Result<()> {
        let object: DynamicObject = serde_json::from_value(manifest.clone())?;
        let params = PatchParams::apply(manager).force();
        self.api_of(&object)?.patch(&object.name_any(), &params, &Patch::Apply(manifest)).await?;
        Ok(())
    }

    /// The API for an object: that of its namespace, or of the cluster for kinds such as ClusterRole.
    fn api_of(&self, object: &DynamicObject) -> anyhow::Result<Api<DynamicObject>> {
        let types = object.types.as_ref().context("a manifest without kind")?;
        let kind = ApiResource::from_gvk(&GroupVersionKind::try_from(types)?);
        let namespace = object.metadata.namespace.as_deref().unwrap_or(&self.namespace);
        Ok(if types.kind.starts_with("Cluster") {
            Api::all_with(self.client.clone(), &kind)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &kind)
        })
    }

    /// Writes the status of an object, such as `function/f`.
    pub async fn report(&self, object: &str, status: &Value) -> anyhow::Result<()> {
        let (kind, name) = object.split_once('/').context("not a kind and a name")?;
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, kind));
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), &self.namespace, &kind);
        let patch = Patch::Merge(json!({ "status": status }));
        api.patch_status(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Deletes an object; its dependents follow in the background.
    pub async fn delete<K: Kind>(&self, name: &str) -> anyhow::Result<()> {
        self.api::<K>().delete(name, &DeleteParams::background()).await?;
        Ok(())
    }

    /// Waits until an object does not exist.
    pub async fn gone<K: Kind>(&self, name: &str) -> anyhow::Result<()> {
        eventually(PATIENCE, async || {
            ensure!(self.find::<K>(name).await?.is_none(), "{} {name} is there", K::kind(&()));
            Ok(())
        })
        .await
    }

    /// Waits until an object exists.
    pub async fn appears<K: Kind>(&self, name: &str) -> anyhow::Result<K> {
        eventually(PATIENCE, async || self.get::<K>(name).await).await
    }

    /// The Events of an object, such as `Warning CleanupFailed: …`.
    pub async fn events(&self, kind: &str, name: &str) -> anyhow::Result<Vec<String>> {
        let events = self.api::<Event>().list(&ListParams::default()).await?;
        let of_object = events.items.into_iter().filter(|event| {
            let regarding = &event.involved_object;
            regarding.kind.as_deref() == Some(kind) && regarding.name.as_deref() == Some(name)
        });
        let text = |event: Event| {
            let message = event.message.unwrap_or_default();
            format!("{} {}: {message}", event.type_.unwrap_or_default(), event.reason.unwrap_or_default())
        };
        Ok(of_object.map(text).collect())
    }
}
