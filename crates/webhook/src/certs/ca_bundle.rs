//! Injects the CA bundle into webhook configurations, as cert-manager's cainjector does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::api::{ApiResource, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, Client, Resource};
use serde_json::{Value, json};

use super::FIELD_MANAGER;

/// A webhook configuration whose `caBundle` this program owns.
#[derive(Clone, Debug)]
pub(super) struct WebhookConfiguration {
    api: Api<DynamicObject>,
    resource: ApiResource,
    name: String,
}

/// The bundles of a webhook configuration at one resource version.
#[derive(Debug)]
pub(super) struct ObservedBundles {
    resource_version: Option<String>,
    webhooks: Vec<ObservedWebhook>,
}

#[derive(Debug)]
struct ObservedWebhook {
    name: String,
    ca_bundle: Option<String>,
}

impl WebhookConfiguration {
    pub(super) fn mutating(client: &Client, name: &str) -> Self {
        Self::new::<MutatingWebhookConfiguration>(client, name)
    }

    pub(super) fn validating(client: &Client, name: &str) -> Self {
        Self::new::<ValidatingWebhookConfiguration>(client, name)
    }

    fn new<K: Resource<DynamicType = ()>>(client: &Client, name: &str) -> Self {
        let resource = ApiResource::erase::<K>(&());
        Self { api: Api::all_with(client.clone(), &resource), resource, name: name.to_owned() }
    }

    /// Kind and name, for messages.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.resource.kind, self.name)
    }

    /// Reads the current bundles; None when the object does not exist.
    pub(super) async fn observe(&self) -> kube::Result<Option<ObservedBundles>> {
        Ok(self.api.get_opt(&self.name).await?.map(|object| ObservedBundles::new(&object)))
    }

    /// Writes the bundle into every webhook, with the observed resource version as precondition: a replica that was
    /// paused in between gets a conflict instead of overwriting a newer bundle.
    ///
    /// Server-side apply, so that this program owns `caBundle` and no other field.
    pub(super) async fn inject(&self, observed: &ObservedBundles, ca_bundle: &str) -> kube::Result<()> {
        let encoded = STANDARD.encode(ca_bundle);
        let webhook = |webhook: &ObservedWebhook| json!({ "name": webhook.name, "clientConfig": { "caBundle": encoded } });
        let ApiResource { api_version, kind, .. } = &self.resource;
        let object = json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": { "name": self.name, "resourceVersion": observed.resource_version },
            "webhooks": observed.webhooks.iter().map(webhook).collect::<Vec<_>>(),
        });
        // Force: take ownership of a bundle (often an empty one) that another manager has set.
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.api.patch(&self.name, &params, &Patch::Apply(&object)).await.map(drop)
    }
}

impl ObservedBundles {
    fn new(object: &DynamicObject) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let webhook = |webhook: &Value| {
            let ca_bundle = text(&webhook["clientConfig"]["caBundle"]);
            Some(ObservedWebhook { name: text(&webhook["name"])?, ca_bundle })
        };
        let webhooks = object.data["webhooks"].as_array().into_iter().flatten().filter_map(webhook);
        Self { resource_version: object.metadata.resource_version.clone(), webhooks: webhooks.collect() }
    }

    /// Whether every webhook has exactly this bundle.
    pub(super) fn is_in_sync(&self, ca_bundle: &str) -> bool {
        let encoded = STANDARD.encode(ca_bundle);
        self.webhooks.iter().all(|webhook| webhook.ca_bundle.as_ref() == Some(&encoded))
    }
}
