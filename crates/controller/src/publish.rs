//! Publishes the effective settings, so that `kubectl mesh` renders as this operator does.

use std::time::Duration;

use function_mesh_kube::leader_election::Leadership;
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_workloads::{PublishedSettings, Settings};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};

/// Field manager of the ConfigMap's data.
const FIELD_MANAGER: &str = "functionmesh.io/settings";

/// Delay of the next attempt after a failed one.
const RETRY_PERIOD: Duration = Duration::from_secs(30);

/// The ConfigMap for the settings.
#[derive(Clone, Debug)]
pub struct SettingsTarget {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What is published.
pub(crate) fn published(settings: &Settings, namespaces: &Namespaces) -> PublishedSettings {
    PublishedSettings {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        watched_namespaces: namespaces.scopes().into_iter().flatten().collect(),
        settings: settings.clone(),
    }
}

/// Applies the ConfigMap once this replica leads. Retries while the API server fails; without the permission it gives up,
/// since components do not depend on it.
pub(crate) async fn publish(
    client: Client,
    target: SettingsTarget,
    published: PublishedSettings,
    leadership: Leadership,
) {
    if !leadership.wait_until_leader().await {
        return;
    }
    let SettingsTarget { namespace, name } = &target;
    let config_map = match published.to_config_map(namespace, name) {
        Ok(config_map) => config_map,
        Err(error) => return tracing::error!(%error, "failed to serialize the settings"),
    };
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let shutdown = leadership.shutdown.clone();
    let attempts = async {
        loop {
            match api.patch(name, &params, &Patch::Apply(&config_map)).await {
                Ok(_) => return tracing::info!(namespace, name, "published the settings"),
                Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
                    return tracing::warn!(
                        namespace,
                        name,
                        error = %status.message,
                        "failed to publish the settings; kubectl mesh must guess them"
                    );
                }
                Err(error) => {
                    tracing::warn!(namespace, name, %error, "failed to publish the settings; retrying");
                    tokio::time::sleep(RETRY_PERIOD).await;
                }
            }
        }
    };
    tokio::select! {
        () = attempts => {}
        () = shutdown.cancelled() => {}
    }
}
