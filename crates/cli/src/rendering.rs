//! Objects and all that the operator makes of them, in order.

use function_mesh_api::validate::{
    Valid, Violation, check_backend_config, check_trusted_backend_config, valid_component, valid_mesh,
};
use function_mesh_api::{BackendConfig, Component, FunctionMesh, Spec, bounded_replicas};
use function_mesh_workloads::{
    BackendConfigRef, Backends, MeshComponents, Settings, Workload, cleanup, components,
};
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;

use crate::Failure;
use crate::id::{Id, Snapshot, uid};
use crate::object::Object;

/// Stands where only a cluster could tell: the identity of an object that was never created.
pub(crate) const NO_UID: &str = "00000000-0000-0000-0000-000000000000";

/// Who an object comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Maker {
    /// A person, in a manifest.
    Author,
    /// A mesh: one of its components.
    Mesh,
    /// A component: one of its children.
    Component,
}

/// An object, and who it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) maker: Maker,
    pub(crate) value: Value,
}

/// Renders objects.
pub(crate) struct Renderer<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) backends: &'a [BackendConfig],
    /// Whether the Jobs that clean up are rendered too.
    pub(crate) with_cleanup: bool,
    /// What is there already: it has identities, and numbers of replicas that are nobody's to say in a file.
    pub(crate) live: &'a Snapshot,
    /// Whether the number of replicas of a mesh's component is left to its autoscaler, as the controller does.
    pub(crate) leaves_replicas: bool,
    pub(crate) items: Vec<Item>,
}

/// What became of an object: rendered, or the rules that it breaks.
pub(crate) type Rendered = Result<Result<(), Vec<Violation>>, Failure>;

impl Renderer<'_> {
    pub(crate) fn object(&mut self, object: Object) -> Rendered {
        match object {
            Object::Mesh(mesh) => self.mesh(*mesh),
            Object::Function(function) => self.component(*function, Maker::Author),
            Object::Source(source) => self.component(*source, Maker::Author),
            Object::Sink(sink) => self.component(*sink, Maker::Author),
            Object::BackendConfig(backend) => {
                let rules = if self.settings.allow_unsafe_backend_config {
                    check_trusted_backend_config
                } else {
                    check_backend_config
                };
                if let Err(violations) = rules(&backend.spec).into_result() {
                    return Ok(Err(violations.0));
                }
                self.push(Maker::Author, &backend).map(Ok)
            }
            Object::Foreign => Ok(Ok(())),
        }
    }

    fn mesh(&mut self, mut mesh: FunctionMesh) -> Rendered {
        let uid = self.uid("FunctionMesh", &mesh);
        mesh.metadata.uid.get_or_insert(uid);
        let mesh = match valid_mesh(mesh) {
            Ok(mesh) => mesh,
            Err(violations) => return Ok(Err(violations.0)),
        };
        self.push(Maker::Author, &*mesh)?;
        let MeshComponents { functions, sources, sinks } = components(&mesh);
        let mut violations = Vec::new();
        for function in functions {
            violations.extend(self.component(function, Maker::Mesh)?.err());
        }
        for source in sources {
            violations.extend(self.component(source, Maker::Mesh)?.err());
        }
        for sink in sinks {
            violations.extend(self.component(sink, Maker::Mesh)?.err());
        }
        Ok(if violations.is_empty() { Ok(()) } else { Err(violations.concat()) })
    }

    /// Renders a component. One that belongs to a mesh is itself a child: it says what the mesh says, and no
    /// more. One that a person wrote is told complete, as the webhook makes it.
    fn component<C: Component>(&mut self, mut component: C, maker: Maker) -> Rendered {
        let is_child = maker == Maker::Mesh;
        if is_child && self.leaves_replicas && component.spec().view().common.max_replicas.is_some() {
            component.spec_mut().unset_replicas();
        }
        if is_child {
            self.push(maker, &component)?;
        }
        let uid = self.uid(C::ROLE.kind(), &component);
        component.meta_mut().uid.get_or_insert(uid);
        let component = self.with_live_replicas(component)?;
        match valid_component(component) {
            Ok(component) => {
                if !is_child {
                    self.push(maker, &*component)?;
                }
                self.children(&component)
            }
            Err(violations) => Ok(Err(violations.0)),
        }
    }

    fn children<C: Component>(&mut self, component: &Valid<C>) -> Rendered {
        let backends = backends_of(self.backends, self.settings, component.namespace().as_deref());
        let Workload { stateful_set, service, autoscaler, vertical_autoscaler } =
            function_mesh_workloads::render(component, backends, self.settings);
        if let Err(violations) = function_mesh_workloads::check_arguments(&stateful_set) {
            return Ok(Err(violations.0));
        }
        let cleanup = self.with_cleanup.then(|| cleanup(component, backends, self.settings)).flatten();
        let maker = Maker::Component;
        self.push(maker, &stateful_set)?;
        self.push(maker, &service)?;
        autoscaler.iter().try_for_each(|child| self.push(maker, child))?;
        vertical_autoscaler.iter().try_for_each(|child| self.push(maker, child))?;
        cleanup.iter().try_for_each(|cleanup| self.push(maker, cleanup))?;
        Ok(Ok(()))
    }

    /// The object as it is there already.
    fn there<K: ResourceExt>(&self, kind: &str, object: &K) -> Option<&Value> {
        self.live.get(&Id::new(kind, &object.namespace().unwrap_or_default(), &object.name_any()))
    }

    fn uid<K: ResourceExt>(&self, kind: &str, object: &K) -> String {
        self.there(kind, object).and_then(uid).unwrap_or(NO_UID).to_owned()
    }

    /// Numbers of replicas that nobody says in a manifest stay as an autoscaler, a person or a default set them.
    fn with_live_replicas<C: Component>(&self, component: C) -> Result<C, Failure> {
        let common = component.spec().view().common;
        let Some(live) = self.there(C::ROLE.kind(), &component) else { return Ok(component) };
        let there = |field: &str| {
            let number = live.pointer(&format!("/spec/{field}")).and_then(Value::as_i64);
            number.and_then(|number| i32::try_from(number).ok())
        };
        let least = common.min_replicas.or_else(|| there("minReplicas"));
        let least = least.map(|least| common.max_replicas.map_or(least, |most| least.min(most)));
        let now = there("replicas").map(|now| match common.max_replicas {
            Some(most) => bounded_replicas(now, least, most),
            None => now,
        });
        let mut value = serde_json::to_value(&component)?;
        if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
            for (field, number) in [("replicas", now), ("minReplicas", least)] {
                if let Some(number) = number.filter(|_| !spec.contains_key(field)) {
                    spec.insert(field.to_owned(), number.into());
                }
            }
        }
        Ok(serde_json::from_value(value)?)
    }

    fn push<T: Serialize>(&mut self, maker: Maker, object: &T) -> Result<(), Failure> {
        let mut value = serde_json::to_value(object)?;
        // Claims within another object need no kind of their own; people leave it out, and so do we.
        let claims = value.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
        for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
            claim.retain(|key, _| !matches!(key.as_str(), "apiVersion" | "kind"));
        }
        self.items.push(Item { maker, value });
        Ok(())
    }
}

/// The BackendConfigs among objects, for the namespace's and the cluster's components to take defaults from.
pub(crate) fn backends<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Vec<BackendConfig> {
    objects
        .into_iter()
        .filter_map(|object| match object {
            Object::BackendConfig(backend) => Some(BackendConfig::clone(backend)),
            _ => None,
        })
        .collect()
}

/// Of some BackendConfigs those that apply in a namespace.
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
