//! `explain`: shows the source of each value of a component.

use clap::ValueEnum;
use function_mesh_api::labels::API_VERSION;
use function_mesh_api::{FunctionMesh, Role, drop_nulls};
use function_mesh_workloads::{BackendConfigRef, Settings, names};
use kube::ResourceExt;

use super::inputs::{self, Inputs};
use crate::explain::report::{self, Explained, Sources};
use crate::explain::{Layers, Pick, explain};
use crate::input::{Document, Files};
use crate::object::Object;
use crate::object_ref::{ObjectRef, Snapshot, uid};
use crate::operator::OperatorArgs;
#[cfg(feature = "cluster")]
use crate::operator::OperatorSettings;
use crate::{Failure, Outcome, Streams, output};

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// A table
    Text,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// The source of a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum From {
    /// The component, or its mesh
    Component,
    /// The BackendConfig of the namespace
    Namespace,
    /// The global BackendConfig
    Cluster,
    /// Flags and configuration file of the operator
    Operator,
    /// Built-in defaults
    Default,
}

impl From {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Namespace => "namespace",
            Self::Cluster => "cluster",
            Self::Operator => "operator",
            Self::Default => "default",
        }
    }
}

/// What to explain instead of values.
#[cfg(feature = "cluster")]
#[derive(Debug, clap::Subcommand)]
enum Topic {
    /// Why a component with `spec.scaling` has its number of replicas
    Scaling(super::explain_scaling::Args),
}

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  kubectl mesh explain -f mesh.yaml                      every component of the mesh
  kubectl mesh explain -f mesh.yaml -f backend.yaml clean --path spec.template.spec
  kubectl mesh explain -f function.yaml --from default   values that are built-in defaults
  kubectl mesh explain -n pulsar function/clean          a component in the cluster
  kubectl mesh explain scaling people/clean              why it has its number of replicas
  kubectl mesh explain -f mesh.yaml clean -o json | jq '.components[].values[] | select(.origin == \"operator\")'

The output lists the values of the component's spec with defaults, and of its children; the runner's command is split
by option. Sources are found by experiment: each field that is set is changed in turn, and everything is rendered
again. BackendConfigs among the files take effect as in a cluster. In a cluster the webhook has stored defaults in
standalone components, which then count as set by the component; for a component of a mesh the mesh is read.

Exit code: 0 success, 1 invalid object, 2 unreadable input or component not found."
)]
pub(crate) struct Args {
    #[cfg(feature = "cluster")]
    #[command(subcommand)]
    topic: Option<Topic>,

    /// Component as NAME or KIND/NAME [default: all components in the files]
    #[arg(value_name = "NAME")]
    target: Option<String>,

    #[command(flatten)]
    files: Files,

    /// Show only values at or below this path, such as `spec.template.spec.containers[pulsar-function]`
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// Show only values from this source
    #[arg(long, value_name = "SOURCE")]
    from: Option<From>,

    /// Show identifying labels and every word of commands too
    #[arg(long)]
    all: bool,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,

    #[cfg(feature = "cluster")]
    #[command(flatten)]
    connection: crate::cluster::Connection,

    #[command(flatten, next_help_heading = "Settings of the operator")]
    operator: OperatorArgs,
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    #[cfg(feature = "cluster")]
    if let Some(Topic::Scaling(args)) = &args.topic {
        return super::explain_scaling::run(args, streams);
    }
    #[cfg(feature = "cluster")]
    let (operator, mut inputs) = read_inputs(args)?;
    #[cfg(not(feature = "cluster"))]
    let (operator, mut inputs) = (args.operator.offline()?, Inputs::from_files(&args.files));
    let documents = inputs.take_documents()?;
    inputs::warn_of_repetitions(&documents, streams)?;
    let Some(objects) = inputs::objects(&documents, &inputs.namespace, streams)? else {
        return Ok(Outcome::Invalid);
    };
    let wanted = args.target.as_deref();
    let all: Vec<Component<'_>> =
        objects.iter().flat_map(|(document, object)| components(document, object)).collect();
    let chosen: Vec<&Component<'_>> =
        all.iter().filter(|component| wanted.is_none_or(|wanted| component.matches(wanted))).collect();
    if chosen.is_empty() {
        let available: Vec<String> = all.iter().map(|it| format!("{}/{}", it.pick.role(), it.name)).collect();
        let what = wanted.map_or("no component".to_owned(), |wanted| format!("no component {wanted:?}"));
        let there = if available.is_empty() { "none".to_owned() } else { available.join(", ") };
        return Err(Failure::Message(format!("{what} found; available: {there}")));
    }
    let mut explained = Vec::new();
    for component in chosen {
        let (layers, sources) = layers(component, &objects, &operator.settings, &inputs.live);
        match explain(&layers) {
            Ok(values) => explained.push(Explained {
                title: component.title(),
                kind: component.pick.role().kind(),
                namespace: component.namespace.clone(),
                name: component.name.clone(),
                values,
                sources,
            }),
            Err(violations) => {
                inputs::report_violations(component.document, &violations, streams)?;
                return Ok(Outcome::Invalid);
            }
        }
    }
    filter(&mut explained, args)?;
    match args.output {
        Format::Text => {
            let all = args.all || args.path.is_some() || args.from.is_some();
            report::text(streams.out, &explained, streams.colour, all)?;
        }
        Format::Json => {
            output::write(streams.out, output::Format::Json, &report::data(&explained, &operator))?;
        }
        Format::Yaml => {
            output::write(streams.out, output::Format::Yaml, &report::data(&explained, &operator))?;
        }
    }
    inputs::note(&operator, streams)?;
    Ok(Outcome::Success)
}

/// The files, or the component in the cluster with its BackendConfigs.
#[cfg(feature = "cluster")]
fn read_inputs(args: &Args) -> Result<(OperatorSettings, Inputs), Failure> {
    use crate::cluster::{Cluster, Target};
    let Some(target) = args.target.as_ref().filter(|_| args.files.is_empty()) else {
        return Ok((args.connection.operator_settings(&args.operator)?, Inputs::from_files(&args.files)));
    };
    let target: Target = target
        .parse()
        .map_err(|advice| Failure::Message(format!("invalid component {target:?}: {advice}")))?;
    let cluster = Cluster::connect(&args.connection)?;
    let namespace = args.files.namespace.clone().unwrap_or_else(|| cluster.namespace().to_owned());
    let mut live = cluster.mesh_objects(Some(&namespace))?;
    let id = ObjectRef::new(target.kind, &namespace, &target.name);
    let Some(object) = live.get(&id) else {
        return Err(Failure::Message(format!("{} {} not found in namespace {namespace}", id.kind, id.name)));
    };
    // The spec of a component of a mesh comes from the mesh.
    let mesh = crate::object_ref::controller(object)
        .filter(|(kind, ..)| *kind == "FunctionMesh")
        .map(|(kind, name, _)| ObjectRef::new(kind, &namespace, name))
        .filter(|mesh| live.contains_key(mesh));
    let operator = cluster.settings(&args.operator, [namespace.as_str()])?;
    if let Some(global) = operator.settings.global_backend_config_ref().filter(|it| it.namespace != namespace)
    {
        live.extend(cluster.backend_configs(global.namespace)?);
    }
    let subject = mesh.unwrap_or(id);
    let mut documents = Vec::new();
    for (id, object) in live.iter().filter(|(id, _)| **id == subject || id.kind == "BackendConfig") {
        documents.push(inputs::document(id, object)?);
    }
    Ok((operator, Inputs { documents, errors: Vec::new(), namespace, live }))
}

/// A component in the documents.
struct Component<'a> {
    document: &'a Document,
    pick: Pick,
    namespace: String,
    /// Name of the object.
    name: String,
    /// Name of the mesh, and the component's name in the mesh.
    mesh: Option<(String, String)>,
}

impl Component<'_> {
    /// Whether NAME or KIND/NAME refers to this component: by its object's name, its name in the mesh, or its mesh.
    fn matches(&self, wanted: &str) -> bool {
        let role = self.pick.role();
        let (kind, name) = wanted.split_once('/').map_or((None, wanted), |(kind, name)| (Some(kind), name));
        let kind = kind.map(|kind| kind.split('.').next().unwrap_or_default().to_ascii_lowercase());
        let is_mesh = matches!(kind.as_deref(), Some("functionmesh" | "functionmeshes" | "fm" | "mesh"));
        if is_mesh {
            return self.mesh.as_ref().is_some_and(|(mesh, _)| mesh == name);
        }
        let fits = kind.is_none_or(|kind| kind == role.as_str() || kind == role.mesh_field());
        fits && (self.name == name || self.mesh.as_ref().is_some_and(|(_, own)| own == name))
    }

    fn title(&self) -> String {
        let of_mesh =
            self.mesh.as_ref().map(|(mesh, _)| format!(", of FunctionMesh {mesh}")).unwrap_or_default();
        format!("{} {}/{}{of_mesh}", self.pick.role().kind(), self.namespace, self.name)
    }
}

fn components<'a>(document: &'a Document, object: &Object) -> Vec<Component<'a>> {
    let alone = |role, namespace: Option<String>, name| Component {
        document,
        pick: Pick::Standalone(role),
        namespace: namespace.unwrap_or_default(),
        name,
        mesh: None,
    };
    match object {
        Object::Mesh(mesh) => of_mesh(document, mesh),
        Object::Function(it) => vec![alone(Role::Function, it.namespace(), it.name_any())],
        Object::Source(it) => vec![alone(Role::Source, it.namespace(), it.name_any())],
        Object::Sink(it) => vec![alone(Role::Sink, it.namespace(), it.name_any())],
        Object::BackendConfig(_) | Object::Other => Vec::new(),
    }
}

fn of_mesh<'a>(document: &'a Document, mesh: &FunctionMesh) -> Vec<Component<'a>> {
    let mesh_name = mesh.name_any();
    let component = |(role, index, view): (Role, usize, function_mesh_api::SpecView<'_>)| {
        let own = view.common.name.unwrap_or_default().to_owned();
        Component {
            document,
            pick: Pick::InMesh(role, index),
            namespace: mesh.namespace().unwrap_or_default(),
            name: names::component(&mesh_name, &own),
            mesh: Some((mesh_name.clone(), own)),
        }
    };
    mesh.spec.components().map(component).collect()
}

/// The layers of a component, and their documents.
fn layers<'a>(
    component: &Component<'a>,
    objects: &[(&'a Document, Object)],
    settings: &Settings,
    live: &Snapshot,
) -> (Layers, Sources<'a>) {
    let find = |of: BackendConfigRef<'_>| {
        objects.iter().find_map(|(document, object)| match object {
            Object::BackendConfig(config) => of.is_of(config).then_some(*document),
            _ => None,
        })
    };
    let global = settings.global_backend_config_ref().and_then(find);
    let namespaced = settings.namespaced_backend_config_ref(&component.namespace).and_then(find);
    let plain = |document: &Document| {
        let mut value = document.node.to_value();
        drop_nulls(&mut value);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("apiVersion".to_owned(), API_VERSION.into());
        }
        value
    };
    let id = ObjectRef::new(component.pick.role().kind(), &component.namespace, &component.name);
    let layers = Layers {
        object: plain(component.document),
        pick: component.pick,
        namespace: component.namespace.clone(),
        uid: live.get(&id).and_then(uid).map(str::to_owned),
        namespaced: namespaced.map(plain),
        global: global.map(plain),
        settings: settings.clone(),
    };
    (layers, Sources { component: Some(component.document), namespaced, global })
}

/// Applies `--path` and `--from`.
fn filter(explained: &mut [Explained<'_>], args: &Args) -> Result<(), Failure> {
    let within = |path: &str, asked: &str| {
        path.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let mut paths: Vec<String> = Vec::new();
    for component in explained.iter_mut() {
        paths.extend(component.values.iter().map(|value| value.path.to_string()));
        component.values.retain(|value| {
            let origin = report::name(value.causes.first().map(|cause| cause.origin));
            args.path.as_deref().is_none_or(|asked| within(&value.path.to_string(), asked))
                && args.from.is_none_or(|from| from.as_str() == origin)
        });
    }
    let Some(asked) = args.path.as_deref() else { return Ok(()) };
    if paths.iter().any(|path| within(path, asked)) {
        return Ok(());
    }
    let similarity = |path: &String| strsim::normalized_damerau_levenshtein(path, asked);
    let closest = paths.iter().max_by(|one, other| similarity(one).total_cmp(&similarity(other)));
    let advice = closest.map(|path| format!("; did you mean {path}?")).unwrap_or_default();
    Err(Failure::Message(format!("no value at {asked}{advice}")))
}
