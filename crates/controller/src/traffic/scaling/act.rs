//! Writes the replicas of a component, as an autoscaler does: through the scale subresource, with a separate field manager.
//!
//! The component is read first. Its resource version is a precondition of the write, so that a decision about an older one
//! overwrites nothing; and its `managedFields`, which caches leave out, say who else sets the replicas.

use function_mesh_api::labels::managers;
use function_mesh_kube::request::send_for_text;
use function_mesh_observer::UnixMillis;
use kube::Client;
use kube::api::{GetParams, Patch, PatchParams};
use kube::core::Request;
use serde_json::json;

use super::writers::{Known, Live, OtherWriter};

/// A look at who sets the replicas of a component, and a change of them if it is the operator.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// Path of the components of its kind in its namespace.
    pub(super) path: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// What is known of the replicas.
    pub(super) known: Known,
    /// Replicas before and after; None for a look alone.
    pub(super) change: Option<(u32, u32)>,
}

/// How an order ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The replicas are set.
    Scaled,
    /// No other field manager sets them.
    Free,
    /// Another field manager sets them.
    Other(OtherWriter),
    /// The component has changed: the next decision is about the new one.
    Stale,
    /// The API server did not answer, or rejected it.
    Failed(kube::Error),
}

impl Order {
    /// Executes it.
    pub(super) async fn run(&self, client: &Client, now: UnixMillis) -> Ended {
        match self.look(client, now).await {
            Ok(ended) => ended,
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ended::Stale,
            Err(error) => Ended::Failed(error),
        }
    }

    async fn look(&self, client: &Client, now: UnixMillis) -> Result<Ended, kube::Error> {
        let request = Request::new(&self.path);
        let json = send_for_text(client, request.get(&self.name, &GetParams::default())).await?;
        let live: Live = serde_json::from_str(&json).map_err(kube::Error::SerdeError)?;
        if live.metadata.uid != self.uid {
            return Ok(Ended::Stale);
        }
        if let Some(other) = live.other_writer(&self.known, now) {
            return Ok(Ended::Other(other));
        }
        let Some((before, after)) = self.change else { return Ok(Ended::Free) };
        // Missing replicas count as one.
        if live.replicas().unwrap_or(1) != before {
            return Ok(Ended::Stale);
        }
        let metadata = json!({ "uid": self.uid, "resourceVersion": live.metadata.resource_version });
        let patch = Patch::Merge(json!({ "metadata": metadata, "spec": { "replicas": after } }));
        let params =
            PatchParams { field_manager: Some(managers::AUTOSCALER.to_owned()), ..PatchParams::default() };
        let request = request.patch_subresource("scale", &self.name, &params, &patch);
        send_for_text(client, request).await?;
        Ok(Ended::Scaled)
    }
}
