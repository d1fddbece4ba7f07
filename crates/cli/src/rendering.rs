//! Renders objects and their children, in order.

use function_mesh_api::validate::{
    Valid, Violation, check_backend_config, check_trusted_backend_config, valid_component, valid_mesh,
};
use function_mesh_api::{BackendConfig, Component, FunctionMesh, Spec, bounded_replicas};
use function_mesh_workloads::{
    BackendConfigRef, Backends, MeshComponents, Settings, Workload, cleanup, components, names,
};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;

use crate::Failure;
use crate::object::Object;
use crate::object_ref::{ObjectRef, Snapshot, uid};

/// Placeholder for the uid of an object that does not exist in the cluster.
pub(crate) const NO_UID: &str = "00000000-0000-0000-0000-000000000000";

/// The origin of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// The user, in a manifest.
    User,
    /// A mesh, as one of its components.
    Mesh,
    /// A component, as one of its children.
    Component,
}

/// An object and its origin.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

/// Renders objects.
pub(crate) struct Renderer<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) backends: &'a [BackendConfig],
    /// Whether to render clean-up Jobs.
    pub(crate) with_cleanup: bool,
    /// Live objects: their uids, and replicas that manifests leave to autoscalers.
    pub(crate) live: &'a Snapshot,
    /// Whether to unset the replicas of autoscaled components of a mesh, as the controller does.
    pub(crate) leaves_replicas: bool,
    pub(crate) items: Vec<Item>,
}

/// The result for one object: rendered, or its violations.
pub(crate) type Rendered = Result<Result<(), Vec<Violation>>, Failure>;

impl Renderer<'_> {
    pub(crate) fn object(&mut self, object: Object) -> Rendered {
        match object {
            Object::Mesh(mesh) => self.mesh(*mesh),
            Object::Function(function) => self.component(*function, Origin::User),
            Object::Source(source) => self.component(*source, Origin::User),
            Object::Sink(sink) => self.component(*sink, Origin::User),
            Object::BackendConfig(backend) => {
                let rules = if self.settings.allow_unsafe_backend_config {
                    check_trusted_backend_config
                } else {
                    check_backend_config
                };
                if let Err(violations) = rules(&backend.spec).into_result() {
                    return Ok(Err(violations.0));
                }
                self.push(Origin::User, &backend).map(Ok)
            }
            Object::Other => Ok(Ok(())),
        }
    }

    fn mesh(&mut self, mut mesh: FunctionMesh) -> Rendered {
        let uid = self.uid("FunctionMesh", &mesh);
        mesh.metadata.uid.get_or_insert(uid);
        let mesh = match valid_mesh(mesh) {
            Ok(mesh) => mesh,
            Err(violations) => return Ok(Err(violations.0)),
        };
        self.push(Origin::User, &*mesh)?;
        let MeshComponents { functions, sources, sinks } = components(&mesh);
        let mut violations = Vec::new();
        for function in functions {
            violations.extend(self.component(function, Origin::Mesh)?.err());
        }
        for source in sources {
            violations.extend(self.component(source, Origin::Mesh)?.err());
        }
        for sink in sinks {
            violations.extend(self.component(sink, Origin::Mesh)?.err());
        }
        Ok(if violations.is_empty() { Ok(()) } else { Err(violations.concat()) })
    }

    /// Renders a component. A component of a mesh is printed as the mesh specifies it, one from a manifest with defaults,
    /// as the webhook stores it.
    fn component<C: Component>(&mut self, mut component: C, origin: Origin) -> Rendered {
        let is_child = origin == Origin::Mesh;
        if is_child && self.leaves_replicas && component.spec().view().common.is_autoscaled() {
            component.spec_mut().unset_replicas();
        }
        if is_child {
            self.push(origin, &component)?;
        }
        let uid = self.uid(C::ROLE.kind(), &component);
        component.meta_mut().uid.get_or_insert(uid);
        let component = self.with_live_replicas(component)?;
        match valid_component(component) {
            Ok(component) => {
                if !is_child {
                    self.push(origin, &*component)?;
                }
                self.children(&component)
            }
            Err(violations) => Ok(Err(violations.0)),
        }
    }

    fn children<C: Component>(&mut self, component: &Valid<C>) -> Rendered {
        let backends = backends_of(self.backends, self.settings, component.namespace().as_deref());
        let live = self.live_stateful_set(component);
        let Workload { stateful_set, service, autoscaler, vertical_autoscaler } =
            function_mesh_workloads::render_live(component, backends, self.settings, live.as_ref());
        if let Err(violations) = function_mesh_workloads::check_arguments(&stateful_set) {
            return Ok(Err(violations.0));
        }
        let cleanup = self.with_cleanup.then(|| cleanup(component, backends, self.settings)).flatten();
        let origin = Origin::Component;
        self.push(origin, &stateful_set)?;
        self.push(origin, &service)?;
        autoscaler.iter().try_for_each(|child| self.push(origin, child))?;
        vertical_autoscaler.iter().try_for_each(|child| self.push(origin, child))?;
        cleanup.iter().try_for_each(|cleanup| self.push(origin, cleanup))?;
        Ok(Ok(()))
    }

    /// The live object.
    fn live<K: ResourceExt>(&self, kind: &str, object: &K) -> Option<&Value> {
        self.live.get(&ObjectRef::new(kind, &object.namespace().unwrap_or_default(), &object.name_any()))
    }

    /// The live StatefulSet, whose pod template keeps its edition.
    fn live_stateful_set<C: Component>(&self, component: &Valid<C>) -> Option<StatefulSet> {
        let namespace = component.namespace().unwrap_or_default();
        let name = names::stateful_set(&component.name_any(), C::ROLE);
        let mut live = self.live.get(&ObjectRef::new("StatefulSet", &namespace, &name))?.clone();
        // They can be nested deeper than the decoder goes.
        _ = live.pointer_mut("/metadata")?.as_object_mut()?.remove("managedFields");
        serde_json::from_value(live).ok()
    }

    fn uid<K: ResourceExt>(&self, kind: &str, object: &K) -> String {
        self.live(kind, object).and_then(uid).unwrap_or(NO_UID).to_owned()
    }

    /// Replicas that the manifest does not set stay as the live object has them. `minReplicas` has its default already, as
    /// on the API server.
    fn with_live_replicas<C: Component>(&self, component: C) -> Result<C, Failure> {
        let common = component.spec().view().common;
        let live = self.live(C::ROLE.kind(), &component).filter(|_| common.replicas.is_none());
        let replicas = live.and_then(|live| live.pointer("/spec/replicas")?.as_i64());
        let Some(replicas) = replicas.and_then(|number| i32::try_from(number).ok()) else {
            return Ok(component);
        };
        // The operator keeps them within the bounds of the HorizontalPodAutoscaler.
        let replicas = match common.max_replicas {
            Some(max) => bounded_replicas(replicas, common.min_replicas, max),
            None => replicas,
        };
        let mut value = serde_json::to_value(&component)?;
        if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("replicas".to_owned(), replicas.into());
        }
        Ok(serde_json::from_value(value)?)
    }

    fn push<T: Serialize>(&mut self, origin: Origin, object: &T) -> Result<(), Failure> {
        let mut value = serde_json::to_value(object)?;
        // Embedded claim templates need no apiVersion and kind; manifests usually omit them.
        let claims = value.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
        for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
            claim.retain(|key, _| !matches!(key.as_str(), "apiVersion" | "kind"));
        }
        self.items.push(Item { origin, value });
        Ok(())
    }
}

/// The BackendConfigs among these objects.
pub(crate) fn backends<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Vec<BackendConfig> {
    objects
        .into_iter()
        .filter_map(|object| match object {
            Object::BackendConfig(backend) => Some(BackendConfig::clone(backend)),
            _ => None,
        })
        .collect()
}

/// The BackendConfigs that apply in a namespace.
pub(crate) fn backends_of<'a>(
    all: &'a [BackendConfig],
    settings: &Settings,
    namespace: Option<&str>,
) -> Backends<'a> {
    let find = |of: BackendConfigRef<'_>| all.iter().find(|backend| of.is_of(backend));
    Backends {
        global: settings.global_backend_config_ref().and_then(find),
        namespaced: namespace
            .and_then(|namespace| settings.namespaced_backend_config_ref(namespace))
            .and_then(find),
    }
}
