//! FunctionMesh: components with a common lifecycle, and BackendConfig: defaults for components.

#![allow(clippy::duplicated_attributes, reason = "each column has a name, a type and a path")]

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::component::{Role, Spec, SpecView};
use crate::defaulting::SetDefaults;
use crate::spec::{FunctionSpec, SinkSpec, SourceSpec};
use crate::types::{FunctionMeshStatus, MeshRollout, MeshScaling, PodPolicy};

/// The components of a mesh, which topics connect.
#[skip_serializing_none]
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "compute.functionmesh.io",
    version = "v1alpha1",
    kind = "FunctionMesh",
    plural = "functionmeshes",
    shortname = "fm",
    category = "pulsar",
    namespaced,
    status = "FunctionMeshStatus",
    derive = "PartialEq",
    doc = "A mesh of Pulsar Functions, sources and sinks that are connected by topics.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Components", type_ = "string", json_path = ".status.components"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct FunctionMeshSpec {
    /// Functions of the mesh. Each needs a name that is unique among the functions.
    pub functions: Option<Vec<FunctionSpec>>,
    /// Sources of the mesh. Each needs a name that is unique among the sources.
    pub sources: Option<Vec<SourceSpec>>,
    /// Sinks of the mesh. Each needs a name that is unique among the sinks.
    pub sinks: Option<Vec<SinkSpec>>,
    /// Scaling of the mesh as a whole.
    pub scaling: Option<MeshScaling>,
    /// Rollouts of the mesh as a whole.
    pub rollout: Option<MeshRollout>,
}

impl FunctionMeshSpec {
    /// All components with their role and their index in the list of that role: functions, sources, sinks.
    pub fn components(&self) -> impl Iterator<Item = (Role, usize, SpecView<'_>)> {
        fn views<S: Spec>(list: Option<&Vec<S>>) -> impl Iterator<Item = (Role, usize, SpecView<'_>)> {
            list.into_iter().flatten().enumerate().map(|(index, spec)| (S::ROLE, index, spec.view()))
        }
        views(self.functions.as_ref()).chain(views(self.sources.as_ref())).chain(views(self.sinks.as_ref()))
    }

    /// Sets the only default of a mesh, `minReplicas` of its components. All others are applied to the component
    /// objects, so that the mesh keeps the spec that its author wrote.
    pub fn set_defaults(&mut self) {
        self.functions.iter_mut().flatten().for_each(SetDefaults::set_mesh_defaults);
        self.sources.iter_mut().flatten().for_each(SetDefaults::set_mesh_defaults);
        self.sinks.iter_mut().flatten().for_each(SetDefaults::set_mesh_defaults);
    }
}

/// Defaults for the components of a namespace or of the cluster.
#[skip_serializing_none]
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "compute.functionmesh.io",
    version = "v1alpha1",
    kind = "BackendConfig",
    plural = "backendconfigs",
    category = "pulsar",
    namespaced,
    status = "BackendConfigStatus",
    derive = "PartialEq",
    doc = "Defaults for the components of a namespace or of the cluster.",
    printcolumn(name = "Auto-Update", type_ = "boolean", json_path = ".spec.autoUpdate"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct BackendConfigSpec {
    /// Accepted for compatibility; ignored.
    pub name: Option<String>,
    /// Environment variables of every container. Component settings override them.
    pub env: Option<BTreeMap<String, String>>,
    /// Settings of the pods. Component settings override them.
    pub pod: Option<PodPolicy>,
    /// Whether a change of the BackendConfig rolls out to running components. Defaults to false: each component
    /// gets it with the next change of its own spec.
    pub auto_update: Option<bool>,
}

/// Empty: the operator reports nothing on a BackendConfig.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct BackendConfigStatus {}
