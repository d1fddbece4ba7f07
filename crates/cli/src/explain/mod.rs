//! Where each value of a component comes from. Pure: no client.
//!
//! Nobody keeps a list of it: it is found by trying. Every field that somebody wrote, in the component or in a
//! BackendConfig, is changed by a little, and everything is rendered again; what comes out different comes from
//! that field. Settings of the operator are put back to their defaults one by one. What nothing changes is built
//! in.

mod leaves;
pub(crate) mod report;

use std::collections::BTreeMap;

use function_mesh_api::validate::{Violation, valid_component, valid_mesh};
use function_mesh_api::{BackendConfig, Component, Function, FunctionMesh, Role, Sink, Source, parse};
use function_mesh_workloads::diff::{Path, Step, dedup_keyed_lists};
use function_mesh_workloads::{Backends, RunnerImages, Settings, Workload, components};
use serde_json::Value;

use crate::rendering::NO_UID;
use crate::words;

/// Which component of an object is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pick {
    /// The object is a component.
    Alone(Role),
    /// The object is a mesh, and this is one of its components.
    InMesh(Role, usize),
}

impl Pick {
    pub(crate) fn role(self) -> Role {
        match self {
            Self::Alone(role) | Self::InMesh(role, _) => role,
        }
    }

    /// Where the component's specification stands in the object.
    fn specification(self) -> Path {
        let spec = Path(vec![Step::Field("spec".to_owned())]);
        match self {
            Self::Alone(_) => spec,
            Self::InMesh(role, index) => {
                spec.then(Step::Field(role.mesh_field().to_owned())).then(Step::Index(index))
            }
        }
    }
}

/// All that shapes a component: the object as it was written, and each layer below it.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    pub(crate) object: Value,
    pub(crate) pick: Pick,
    pub(crate) namespace: String,
    /// Identity of the component, when it exists.
    pub(crate) uid: Option<String>,
    pub(crate) namespaced: Option<Value>,
    pub(crate) global: Option<Value>,
    pub(crate) settings: Settings,
}

/// Who says a value.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Origin {
    Component,
    Namespaced,
    Global,
    Operator,
}

/// A field that makes a value what it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Cause {
    pub(crate) origin: Origin,
    pub(crate) field: String,
    /// Whether the field holds this very value; else the value is made of it.
    pub(crate) is_equal: bool,
    /// Whether the value would be the same without the field.
    pub(crate) is_default: bool,
}

/// A value and what it comes from; nothing where it is built in.
#[derive(Clone, Debug)]
pub(crate) struct Effective {
    pub(crate) kind: &'static str,
    pub(crate) path: Path,
    pub(crate) value: Value,
    pub(crate) causes: Vec<Cause>,
}

/// Objects in their order, with their kinds, and every value in them.
type Leaves = BTreeMap<(usize, Path), Value>;

/// The kinds in the order in which they are told; the first is the component itself.
const KINDS: [&str; 5] = ["", "StatefulSet", "Service", "HorizontalPodAutoscaler", "VerticalPodAutoscaler"];

/// Tells of each value where it comes from.
pub(crate) fn explain(layers: &Layers) -> Result<Vec<Effective>, Vec<Violation>> {
    let full = outcome(layers)?;
    let mut causes: BTreeMap<(usize, Path), Vec<Cause>> = BTreeMap::new();
    let written = written(layers);
    for (origin, path, value) in &written {
        let with = |value: Option<Value>| {
            let mut other = layers.clone();
            let document = match origin {
                Origin::Namespaced => other.namespaced.as_mut(),
                Origin::Global => other.global.as_mut(),
                Origin::Component | Origin::Operator => Some(&mut other.object),
            };
            leaves::set(document?, &path.0, value).then_some(())?;
            outcome(&other).ok()
        };
        // Without a name or namespace an object gets one from elsewhere, which is no default.
        let without = with(None).filter(|_| !path.is_within(&["metadata"]));
        let Some(changed) = leaves::variants(value).into_iter().find_map(|other| with(Some(other))) else {
            // No other value is allowed: what goes with the field comes from it.
            note(&mut causes, &full, without.as_ref(), None, (*origin, &path.to_string(), Some(value)));
            continue;
        };
        note(&mut causes, &full, Some(&changed), without.as_ref(), (*origin, &path.to_string(), Some(value)));
    }
    for (name, settings) in other_settings(&layers.settings) {
        let changed = outcome(&Layers { settings, ..layers.clone() }).ok();
        note(&mut causes, &full, changed.as_ref(), None, (Origin::Operator, &name, None));
    }
    let own = own_values(layers);
    let kind = layers.pick.role().kind();
    let effective = full.into_iter().map(|((rank, path), value)| {
        let mut causes = causes.remove(&(rank, path.clone())).unwrap_or_default();
        // A field that allows no other value and says the default is its author's nevertheless.
        if causes.is_empty()
            && rank == 0
            && let Some((field, _)) = own.get(&path).filter(|(_, own)| *own == value)
        {
            let field = field.to_string();
            causes.push(Cause { origin: Origin::Component, field, is_equal: true, is_default: true });
        }
        causes.sort_by(|a, b| (!a.is_equal, a.origin, &a.field).cmp(&(!b.is_equal, b.origin, &b.field)));
        let kind = KINDS.get(rank).copied().filter(|kind| !kind.is_empty()).unwrap_or(kind);
        Effective { kind, path, value, causes }
    });
    let mut effective: Vec<Effective> = effective.collect();
    // Values that stand side by side come together, before what is within their neighbours.
    let rank = |kind| KINDS.iter().position(|it| *it == kind).unwrap_or_default();
    effective.sort_by(|one, other| {
        let key = |it: &Effective| (rank(it.kind), it.path.0.split_last().map(|(_, way)| way.to_vec()));
        key(one).cmp(&key(other)).then_with(|| one.path.cmp(&other.path))
    });
    Ok(effective)
}

/// Notes a field as the cause of every value that is another one with another value in the field, or that is not
/// there without it.
fn note(
    causes: &mut BTreeMap<(usize, Path), Vec<Cause>>,
    full: &Leaves,
    changed: Option<&Leaves>,
    without: Option<&Leaves>,
    (origin, field, said): (Origin, &str, Option<&Value>),
) {
    for (place, value) in full {
        let is_changed = changed.is_some_and(|changed| changed.get(place) != Some(value));
        let is_gone = without.is_some_and(|without| !without.contains_key(place));
        if !is_changed && !is_gone {
            continue;
        }
        causes.entry(place.clone()).or_default().push(Cause {
            origin,
            field: field.to_owned(),
            is_equal: said == Some(value),
            is_default: without.is_some_and(|without| without.get(place) == Some(value)),
        });
    }
}

/// Every field that somebody wrote, with its place in its document.
fn written(layers: &Layers) -> Vec<(Origin, Path, Value)> {
    let specification = layers.pick.specification();
    let mut all = Vec::new();
    for (_, path, value) in leaves::of(&layers.object) {
        let is_meta = ["name", "namespace", "labels", "annotations"]
            .into_iter()
            .any(|field| path.is_within(&["metadata", field]));
        if is_meta || specification.holds(&path) {
            all.push((Origin::Component, path, value));
        }
    }
    for (origin, document) in [(Origin::Namespaced, &layers.namespaced), (Origin::Global, &layers.global)] {
        let fields = document.iter().flat_map(leaves::of).filter(|(_, path, _)| path.is_within(&["spec"]));
        all.extend(fields.map(|(_, path, value)| (origin, path, value)));
    }
    all
}

/// What the component itself says, by the place in the component's own object: the place in the document, and
/// the value.
fn own_values(layers: &Layers) -> BTreeMap<Path, (Path, Value)> {
    let specification = layers.pick.specification();
    let Some(spec) = leaves::get(&layers.object, &specification.0) else { return BTreeMap::new() };
    let spec_of_object = Path(vec![Step::Field("spec".to_owned())]);
    let under = |base: &Path, path: Path| Path(base.0.iter().cloned().chain(path.0).collect());
    leaves::of(spec)
        .into_iter()
        .map(|(named, path, value)| (under(&spec_of_object, named), (under(&specification, path), value)))
        .collect()
}

/// Everything that comes of a component.
fn outcome(layers: &Layers) -> Result<Leaves, Vec<Violation>> {
    let object = layers.object.clone();
    let (role, index) = match layers.pick {
        Pick::Alone(Role::Function) => return of_component(one(parse::<Function>(object))?, layers),
        Pick::Alone(Role::Source) => return of_component(one(parse::<Source>(object))?, layers),
        Pick::Alone(Role::Sink) => return of_component(one(parse::<Sink>(object))?, layers),
        Pick::InMesh(role, index) => (role, index),
    };
    let mut mesh = one(parse::<FunctionMesh>(object))?;
    mesh.metadata.namespace.get_or_insert_with(|| layers.namespace.clone());
    let mesh = valid_mesh(mesh).map_err(|violations| violations.0)?;
    let all = components(&mesh);
    match role {
        Role::Function => nth(all.functions, index, layers),
        Role::Source => nth(all.sources, index, layers),
        Role::Sink => nth(all.sinks, index, layers),
    }
}

fn nth<C: Component>(all: Vec<C>, index: usize, layers: &Layers) -> Result<Leaves, Vec<Violation>> {
    all.into_iter().nth(index).map_or(Err(Vec::new()), |component| of_component(component, layers))
}

fn one<T>(read: Result<T, Violation>) -> Result<T, Vec<Violation>> {
    read.map_err(|violation| vec![violation])
}

fn of_component<C: Component>(mut component: C, layers: &Layers) -> Result<Leaves, Vec<Violation>> {
    let meta = component.meta_mut();
    meta.namespace.get_or_insert_with(|| layers.namespace.clone());
    meta.uid = Some(layers.uid.clone().unwrap_or_else(|| NO_UID.to_owned()));
    let component = valid_component(component).map_err(|violations| violations.0)?;
    let read = |config: &Option<Value>| config.clone().map(parse::<BackendConfig>).transpose();
    let (global, namespaced) = (one(read(&layers.global))?, one(read(&layers.namespaced))?);
    let backends = Backends { global: global.as_ref(), namespaced: namespaced.as_ref() };
    let Workload { stateful_set, service, autoscaler, vertical_autoscaler } =
        function_mesh_workloads::render(&component, backends, &layers.settings);
    let spec = serde_json::json!({ "spec": value(component.spec()) });
    let objects = [
        spec,
        value(&stateful_set),
        value(&service),
        autoscaler.as_ref().map(value).unwrap_or_default(),
        vertical_autoscaler.as_ref().map(value).unwrap_or_default(),
    ];
    let mut all = Leaves::new();
    for (rank, mut object) in objects.into_iter().enumerate() {
        dedup_keyed_lists(&mut object);
        if let Some(fields) = object.as_object_mut() {
            fields.retain(|key, _| !matches!(key.as_str(), "apiVersion" | "kind"));
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("ownerReferences");
        }
        words::take_apart(&mut object);
        all.extend(leaves::of(&object).into_iter().map(|(path, _, value)| ((rank, path), value)));
    }
    Ok(all)
}

/// An object as JSON. What is rendered always has that form.
fn value<T: serde::Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// The settings with each one that is not at its default put back to it.
fn other_settings(given: &Settings) -> Vec<(String, Settings)> {
    let default = Settings::default();
    let images = |change: &dyn Fn(&mut RunnerImages)| {
        let mut other = given.clone();
        change(&mut other.runner_images);
        other
    };
    // Named one by one, so that a new setting is not forgotten.
    let Settings {
        runner_images: RunnerImages { java, python, go, generic, other },
        runner_image_pull_secrets,
        runner_image_pull_policy,
        resource_labels,
        resource_annotations,
        enable_init_containers,
        add_default_affinity,
        run_as_non_root,
        cleanup_deadline,
        // These choose the layers and what of them counts; the layers are told apart themselves.
        allow_unsafe_backend_config: _,
        global_backend_config: _,
        global_backend_config_namespace: _,
        namespaced_backend_config: _,
    } = default.clone();
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut other = given.clone();
        change(&mut other);
        other
    };
    let all = [
        ("runnerImages.java", images(&|it| it.java.clone_from(&java))),
        ("runnerImages.python", images(&|it| it.python.clone_from(&python))),
        ("runnerImages.go", images(&|it| it.go.clone_from(&go))),
        ("runnerImages.genericRuntime", images(&|it| it.generic.clone_from(&generic))),
        ("runnerImages", images(&|it| it.other.clone_from(&other))),
        (
            "runnerImagePullSecrets",
            with(&|it| it.runner_image_pull_secrets.clone_from(&runner_image_pull_secrets)),
        ),
        (
            "runnerImagePullPolicy",
            with(&|it| it.runner_image_pull_policy.clone_from(&runner_image_pull_policy)),
        ),
        ("resourceLabels", with(&|it| it.resource_labels.clone_from(&resource_labels))),
        ("resourceAnnotations", with(&|it| it.resource_annotations.clone_from(&resource_annotations))),
        ("--enable-init-containers", with(&|it| it.enable_init_containers = enable_init_containers)),
        ("--add-default-affinity", with(&|it| it.add_default_affinity = add_default_affinity)),
        ("--run-as-non-root", with(&|it| it.run_as_non_root = run_as_non_root)),
        ("--cleanup-deadline", with(&|it| it.cleanup_deadline = cleanup_deadline)),
    ];
    all.into_iter()
        .filter(|(_, other)| other != given)
        .map(|(name, other)| (name.to_owned(), other))
        .collect()
}

#[cfg(test)]
mod tests;
