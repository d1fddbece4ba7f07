//! The objects that tell the API server which certificates to trust.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::api::{ApiResource, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, Client, Resource};
use serde_json::{Value, json};

/// Who owns the bundles among the managers of the objects' fields.
const MANAGER: &str = "functionmesh.io/authority";

/// One of them, by kind and name.
#[derive(Clone, Debug)]
pub(super) struct Configuration {
    api: Api<DynamicObject>,
    resource: ApiResource,
    name: String,
}

/// What one of them said when it was read.
#[derive(Debug)]
pub(super) struct Reading {
    version: Option<String>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    trusted: Option<String>,
}

impl Configuration {
    pub(super) fn mutating(client: &Client, name: &str) -> Self {
        Self::of::<MutatingWebhookConfiguration>(client, name)
    }

    pub(super) fn validating(client: &Client, name: &str) -> Self {
        Self::of::<ValidatingWebhookConfiguration>(client, name)
    }

    fn of<K: Resource<DynamicType = ()>>(client: &Client, name: &str) -> Self {
        let resource = ApiResource::erase::<K>(&());
        Self { api: Api::all_with(client.clone(), &resource), resource, name: name.to_owned() }
    }

    /// What it is called where people read of it.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.resource.kind, self.name)
    }

    /// Reads it, as new as it is. None when it is not there.
    pub(super) async fn read(&self) -> kube::Result<Option<Reading>> {
        Ok(self.api.get_opt(&self.name).await?.map(|object| Reading::of(&object)))
    }

    /// Makes every entry trust these certificates, unless the object has changed since it was read. That keeps a
    /// replica that slept in between from undoing what the others have written meanwhile.
    ///
    /// By server-side apply, so that nothing else of the entries is written, nor owned, by this program.
    pub(super) async fn write(&self, reading: &Reading, trusted: &str) -> kube::Result<()> {
        let bundle = STANDARD.encode(trusted);
        let entry = |entry: &Entry| json!({ "name": entry.name, "clientConfig": { "caBundle": bundle } });
        let ApiResource { api_version, kind, .. } = &self.resource;
        let object = json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": { "name": self.name, "resourceVersion": reading.version },
            "webhooks": reading.entries.iter().map(entry).collect::<Vec<_>>(),
        });
        // Force: whoever wrote a bundle before, an empty one perhaps, is not asked.
        let params = PatchParams::apply(MANAGER).force();
        self.api.patch(&self.name, &params, &Patch::Apply(&object)).await.map(drop)
    }
}

impl Reading {
    fn of(object: &DynamicObject) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let entry = |entry: &Value| {
            let trusted = text(&entry["clientConfig"]["caBundle"]);
            Some(Entry { name: text(&entry["name"])?, trusted })
        };
        let entries = object.data["webhooks"].as_array().into_iter().flatten().filter_map(entry);
        Self { version: object.metadata.resource_version.clone(), entries: entries.collect() }
    }

    /// Whether every entry trusts these certificates, and no others.
    pub(super) fn trusts(&self, trusted: &str) -> bool {
        let bundle = STANDARD.encode(trusted);
        self.entries.iter().all(|entry| entry.trusted.as_ref() == Some(&bundle))
    }
}
