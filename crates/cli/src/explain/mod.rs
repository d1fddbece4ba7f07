//! Finds the source of each value of a component. Pure: no client.
//!
//! Sources are found by experiment instead of a table: each field that is set in the component or in a BackendConfig is
//! changed slightly, and everything is rendered again; values that differ come from that field. Settings of the
//! operator are reset to their defaults one by one. A value that no change affects is built in.

mod field_paths;
pub(crate) mod report;

use std::collections::BTreeMap;

use function_mesh_api::validate::{Violation, valid_component, valid_mesh};
use function_mesh_api::{
    BackendConfig, Component, Function, FunctionMesh, Role, Sink, Source, parse, schema_defaults,
};
use function_mesh_workloads::diff::{Path, Step, dedup_keyed_lists};
use function_mesh_workloads::{Backends, RunnerImages, Settings, Workload, components};
use serde_json::Value;

use crate::rendering::NO_UID;
use crate::shell_args;

/// A component within an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pick {
    /// The object itself.
    Standalone(Role),
    /// A component of a mesh, by role and index.
    InMesh(Role, usize),
}

impl Pick {
    pub(crate) fn role(self) -> Role {
        match self {
            Self::Standalone(role) | Self::InMesh(role, _) => role,
        }
    }

    /// The path of the component's spec in the object.
    fn spec_path(self) -> Path {
        let spec = Path(vec![Step::Field("spec".to_owned())]);
        match self {
            Self::Standalone(_) => spec,
            Self::InMesh(role, index) => {
                spec.then(Step::Field(role.mesh_field().to_owned())).then(Step::Index(index))
            }
        }
    }
}

/// The layers of a component: the object as written, BackendConfigs, and settings of the operator.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    pub(crate) object: Value,
    pub(crate) pick: Pick,
    pub(crate) namespace: String,
    /// The uid of the component, if it exists.
    pub(crate) uid: Option<String>,
    pub(crate) namespaced: Option<Value>,
    pub(crate) global: Option<Value>,
    pub(crate) settings: Settings,
}

/// The layer that sets a value.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Origin {
    Component,
    Namespaced,
    Global,
    Operator,
}

/// A field that determines a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Cause {
    pub(crate) origin: Origin,
    pub(crate) field: String,
    /// Whether the field has the same value, or else the value is derived from it.
    pub(crate) is_equal: bool,
    /// Whether the value is the same without the field.
    pub(crate) is_default: bool,
}

/// A value and its causes; none for a built-in value.
#[derive(Clone, Debug)]
pub(crate) struct Effective {
    pub(crate) kind: &'static str,
    pub(crate) path: Path,
    pub(crate) value: Value,
    pub(crate) causes: Vec<Cause>,
}

/// All values, by index of the object's kind and path.
type Leaves = BTreeMap<(usize, Path), Value>;

/// The kinds in order of output; the first is the component itself.
const KINDS: [&str; 5] = ["", "StatefulSet", "Service", "HorizontalPodAutoscaler", "VerticalPodAutoscaler"];

/// Finds the causes of each value.
pub(crate) fn explain(layers: &Layers) -> Result<Vec<Effective>, Vec<Violation>> {
    let full = outcome(layers)?;
    let mut causes: BTreeMap<(usize, Path), Vec<Cause>> = BTreeMap::new();
    let fields = set_fields(layers);
    for (origin, path, value) in &fields {
        let with = |value: Option<Value>| {
            let mut other = layers.clone();
            let document = match origin {
                Origin::Namespaced => other.namespaced.as_mut(),
                Origin::Global => other.global.as_mut(),
                Origin::Component | Origin::Operator => Some(&mut other.object),
            };
            field_paths::set(document?, &path.0, value).then_some(())?;
            outcome(&other).ok()
        };
        // The name and namespace of an object without them come from elsewhere, and are no defaults.
        let without = with(None).filter(|_| !path.is_within(&["metadata"]));
        let Some(changed) = field_paths::variants(value).into_iter().find_map(|other| with(Some(other)))
        else {
            // No other value is valid: values that disappear without the field come from it.
            record(&mut causes, &full, without.as_ref(), None, (*origin, &path.to_string(), Some(value)));
            continue;
        };
        record(
            &mut causes,
            &full,
            Some(&changed),
            without.as_ref(),
            (*origin, &path.to_string(), Some(value)),
        );
    }
    for (name, settings) in reset_settings(&layers.settings) {
        let changed = outcome(&Layers { settings, ..layers.clone() }).ok();
        record(&mut causes, &full, changed.as_ref(), None, (Origin::Operator, &name, None));
    }
    let own = own_values(layers);
    let kind = layers.pick.role().kind();
    let effective = full.into_iter().map(|((rank, path), value)| {
        let mut causes = causes.remove(&(rank, path.clone())).unwrap_or_default();
        // A field that allows no other value, and is set to the default, is still set by the component.
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
    // Group siblings, before the children of their neighbours.
    let rank = |kind| KINDS.iter().position(|it| *it == kind).unwrap_or_default();
    effective.sort_by(|one, other| {
        let key =
            |it: &Effective| (rank(it.kind), it.path.0.split_last().map(|(_, parents)| parents.to_vec()));
        key(one).cmp(&key(other)).then_with(|| one.path.cmp(&other.path))
    });
    Ok(effective)
}

/// Records a field as the cause of each value that changes with the field, or disappears without it.
fn record(
    causes: &mut BTreeMap<(usize, Path), Vec<Cause>>,
    full: &Leaves,
    changed: Option<&Leaves>,
    without: Option<&Leaves>,
    (origin, field, field_value): (Origin, &str, Option<&Value>),
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
            is_equal: field_value == Some(value),
            is_default: without.is_some_and(|without| without.get(place) == Some(value)),
        });
    }
}

/// All fields that are set, with their paths in the documents.
fn set_fields(layers: &Layers) -> Vec<(Origin, Path, Value)> {
    let spec_path = layers.pick.spec_path();
    let mut all = Vec::new();
    for (_, path, value) in field_paths::leaves(&layers.object) {
        let is_meta = ["name", "namespace", "labels", "annotations"]
            .into_iter()
            .any(|field| path.is_within(&["metadata", field]));
        if is_meta || spec_path.holds(&path) {
            all.push((Origin::Component, path, value));
        }
    }
    for (origin, document) in [(Origin::Namespaced, &layers.namespaced), (Origin::Global, &layers.global)] {
        let fields =
            document.iter().flat_map(field_paths::leaves).filter(|(_, path, _)| path.is_within(&["spec"]));
        all.extend(fields.map(|(_, path, value)| (origin, path, value)));
    }
    all
}

/// The fields that the component itself sets, by their paths in the component's object: path in the document, and
/// value.
fn own_values(layers: &Layers) -> BTreeMap<Path, (Path, Value)> {
    let spec_path = layers.pick.spec_path();
    let Some(spec) = field_paths::get(&layers.object, &spec_path.0) else { return BTreeMap::new() };
    let spec_of_object = Path(vec![Step::Field("spec".to_owned())]);
    let under = |base: &Path, path: Path| Path(base.0.iter().cloned().chain(path.0).collect());
    field_paths::leaves(spec)
        .into_iter()
        .map(|(named, path, value)| (under(&spec_of_object, named), (under(&spec_path, path), value)))
        .collect()
}

/// All values of a component and its children.
fn outcome(layers: &Layers) -> Result<Leaves, Vec<Violation>> {
    let mut object = layers.object.clone();
    let kind = match layers.pick {
        Pick::Standalone(role) => role.kind(),
        Pick::InMesh(..) => "FunctionMesh",
    };
    // Defaults belong to no layer, so they are set after each experiment.
    schema_defaults::apply(kind, &mut object);
    let (role, index) = match layers.pick {
        Pick::Standalone(Role::Function) => return of_component(one(parse::<Function>(object))?, layers),
        Pick::Standalone(Role::Source) => return of_component(one(parse::<Source>(object))?, layers),
        Pick::Standalone(Role::Sink) => return of_component(one(parse::<Sink>(object))?, layers),
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
        shell_args::split_commands(&mut object);
        all.extend(field_paths::leaves(&object).into_iter().map(|(path, _, value)| ((rank, path), value)));
    }
    Ok(all)
}

/// An object as JSON. Rendered objects always serialize.
fn value<T: serde::Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// For each setting that is not at its default, the settings with that one reset.
fn reset_settings(settings: &Settings) -> Vec<(String, Settings)> {
    let default = Settings::default();
    let images = |change: &dyn Fn(&mut RunnerImages)| {
        let mut other = settings.clone();
        change(&mut other.runner_images);
        other
    };
    // Destructured, so that a new setting fails to compile until it is added here.
    let Settings {
        runner_images: RunnerImages { java, python, go, generic, other },
        runner_image_pull_secrets,
        runner_image_pull_policy,
        resource_labels,
        resource_annotations,
        log_sidecar_resources,
        cleanup_resources,
        enable_init_containers,
        add_default_affinity,
        add_default_probes,
        min_ready_seconds,
        run_as_non_root,
        cleanup_deadline,
        // These select the layers, which are listed separately.
        allow_unsafe_backend_config: _,
        global_backend_config: _,
        global_backend_config_namespace: _,
        namespaced_backend_config: _,
    } = default.clone();
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut other = settings.clone();
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
        ("logSidecarResources", with(&|it| it.log_sidecar_resources.clone_from(&log_sidecar_resources))),
        ("cleanupResources", with(&|it| it.cleanup_resources.clone_from(&cleanup_resources))),
        ("--add-default-probes", with(&|it| it.add_default_probes = add_default_probes)),
        ("--min-ready-seconds", with(&|it| it.min_ready_seconds = min_ready_seconds)),
        ("--enable-init-containers", with(&|it| it.enable_init_containers = enable_init_containers)),
        ("--add-default-affinity", with(&|it| it.add_default_affinity = add_default_affinity)),
        ("--run-as-non-root", with(&|it| it.run_as_non_root = run_as_non_root)),
        ("--cleanup-deadline", with(&|it| it.cleanup_deadline = cleanup_deadline)),
    ];
    all.into_iter()
        .filter(|(_, other)| other != settings)
        .map(|(name, other)| (name.to_owned(), other))
        .collect()
}

#[cfg(test)]
mod tests;
