//! `explain`: where each effective value of a component comes from.

use clap::ValueEnum;
use function_mesh_api::labels::API_VERSION;
use function_mesh_api::{FunctionMesh, Role, drop_nulls};
use function_mesh_workloads::{BackendConfigRef, Settings, SettingsArgs, names};
use kube::ResourceExt;

use super::given::{self, Given};
use crate::explain::report::{self, Explained, Sources};
use crate::explain::{Layers, Pick, explain};
use crate::id::{Id, Snapshot, uid};
use crate::input::{Document, Files};
use crate::object::Object;
use crate::{Failure, Outcome, Streams, output};

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// For people: a table
    Text,
    /// For programs
    Json,
    /// The same, in YAML
    Yaml,
}

/// Who says a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum From {
    /// The component, or the mesh that it belongs to
    Component,
    /// The BackendConfig of the namespace
    Namespace,
    /// The BackendConfig of the cluster
    Cluster,
    /// The operator's flags and configuration file
    Operator,
    /// Nobody: it is built in
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

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl mesh explain -f mesh.yaml                      every component of the mesh
  kubectl mesh explain -f mesh.yaml -f backend.yaml clean --path spec.template.spec
  kubectl mesh explain -f function.yaml --from default   what is left to defaults
  kubectl mesh explain -n pulsar function/clean          from the cluster
  kubectl mesh explain -f mesh.yaml clean -o json | jq '.components[].values[] | select(.origin == \"operator\")'

Told are the values of the component's specification, completed with defaults, and of all that is made of it; the
runner's command is told option by option. Nothing of it is kept in a list: each field that somebody wrote is
changed in turn, and everything rendered again. BackendConfigs among the files take effect as in a cluster. In a
cluster the webhook has written defaults into standing components, which then count as the component's own;
of a component of a mesh, the mesh is asked.

Exit status: 0 fine, 1 a document breaks a rule, 2 something could not be read or found.")]
pub(crate) struct Args {
    /// Component to explain, by its name or by KIND/NAME [default: all of the files]
    #[arg(value_name = "NAME")]
    target: Option<String>,

    #[command(flatten)]
    files: Files,

    /// Only values at or below this place, as `spec.template.spec.containers[pulsar-function]`
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// Only values that come from there
    #[arg(long, value_name = "ORIGIN")]
    from: Option<From>,

    /// Show labels too that tell objects apart, and every word of commands
    #[arg(long)]
    all: bool,

    /// Format of the output
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,

    #[cfg(feature = "cluster")]
    #[command(flatten)]
    connection: crate::cluster::Connection,

    #[command(flatten, next_help_heading = "Settings of the operator")]
    settings: SettingsArgs,
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let settings = args.settings.settings()?;
    #[cfg(feature = "cluster")]
    let mut given = given(args, &settings)?;
    #[cfg(not(feature = "cluster"))]
    let mut given = Given::in_files(&args.files);
    let documents = given.all()?;
    let Some(objects) = given::objects(&documents, &given.namespace, streams)? else {
        return Ok(Outcome::Rejected);
    };
    let wanted = args.target.as_deref();
    let all: Vec<Component<'_>> =
        objects.iter().flat_map(|(document, object)| components(document, object)).collect();
    let chosen: Vec<&Component<'_>> =
        all.iter().filter(|component| wanted.is_none_or(|wanted| component.is_called(wanted))).collect();
    if chosen.is_empty() {
        let there: Vec<String> = all.iter().map(|it| format!("{}/{}", it.pick.role(), it.name)).collect();
        let what = wanted.map_or("no component".to_owned(), |wanted| format!("no component {wanted:?}"));
        let there = if there.is_empty() { "none at all".to_owned() } else { there.join(", ") };
        return Err(Failure::Nothing(format!("there is {what}; there is {there}")));
    }
    let mut explained = Vec::new();
    for component in chosen {
        let (layers, sources) = layers(component, &objects, &settings, &given.live);
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
                given::tell(component.document, &violations, streams)?;
                return Ok(Outcome::Rejected);
            }
        }
    }
    keep(&mut explained, args)?;
    match args.output {
        Format::Text => {
            let all = args.all || args.path.is_some() || args.from.is_some();
            report::text(streams.out, &explained, streams.colour, all)?;
        }
        Format::Json => output::write(streams.out, output::Format::Json, &report::data(&explained))?,
        Format::Yaml => output::write(streams.out, output::Format::Yaml, &report::data(&explained))?,
    }
    Ok(Outcome::Fine)
}

/// Files, or else the component in the cluster with all that shapes it.
#[cfg(feature = "cluster")]
fn given(args: &Args, settings: &Settings) -> Result<Given, Failure> {
    use crate::cluster::{Cluster, Target};
    let Some(target) = args.target.as_ref().filter(|_| args.files.is_empty()) else {
        return Ok(Given::in_files(&args.files));
    };
    let target: Target = target
        .parse()
        .map_err(|advice| Failure::Nothing(format!("{target:?} names no object of the cluster: {advice}")))?;
    let cluster = Cluster::connect(&args.connection)?;
    let namespace = args.files.namespace.clone().unwrap_or_else(|| cluster.namespace().to_owned());
    let mut live = cluster.ours(Some(&namespace))?;
    let id = Id::new(target.kind, &namespace, &target.name);
    let Some(object) = live.get(&id) else {
        return Err(Failure::Nothing(format!(
            "there is no {} {} in namespace {namespace}",
            id.kind, id.name
        )));
    };
    // What a component of a mesh says, the mesh says.
    let mesh = crate::id::controller(object)
        .filter(|(kind, ..)| *kind == "FunctionMesh")
        .map(|(kind, name, _)| Id::new(kind, &namespace, name))
        .filter(|mesh| live.contains_key(mesh));
    if let Some(global) = settings.global_backend_config_ref().filter(|it| it.namespace != namespace) {
        live.extend(cluster.backend_configs(global.namespace)?);
    }
    let subject = mesh.unwrap_or(id);
    let mut documents = Vec::new();
    for (id, object) in live.iter().filter(|(id, _)| **id == subject || id.kind == "BackendConfig") {
        documents.push(given::document(id, object)?);
    }
    Ok(Given { documents, errors: Vec::new(), namespace, live })
}

/// One component among the documents.
struct Component<'a> {
    document: &'a Document,
    pick: Pick,
    namespace: String,
    /// Name of its object.
    name: String,
    /// Name of its mesh, and its own in the mesh.
    mesh: Option<(String, String)>,
}

impl Component<'_> {
    /// Whether somebody means this one: by the name of its object, by its name in the mesh, or by its mesh.
    fn is_called(&self, wanted: &str) -> bool {
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
        pick: Pick::Alone(role),
        namespace: namespace.unwrap_or_default(),
        name,
        mesh: None,
    };
    match object {
        Object::Mesh(mesh) => of_mesh(document, mesh),
        Object::Function(it) => vec![alone(Role::Function, it.namespace(), it.name_any())],
        Object::Source(it) => vec![alone(Role::Source, it.namespace(), it.name_any())],
        Object::Sink(it) => vec![alone(Role::Sink, it.namespace(), it.name_any())],
        Object::BackendConfig(_) | Object::Foreign => Vec::new(),
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

/// All that shapes a component, with the documents that say it.
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
    let id = Id::new(component.pick.role().kind(), &component.namespace, &component.name);
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

/// Leaves the values that are asked for.
fn keep(explained: &mut [Explained<'_>], args: &Args) -> Result<(), Failure> {
    let within = |path: &str, asked: &str| {
        path.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let mut places: Vec<String> = Vec::new();
    for component in explained.iter_mut() {
        places.extend(component.values.iter().map(|value| value.path.to_string()));
        component.values.retain(|value| {
            let origin = report::name(value.causes.first().map(|cause| cause.origin));
            args.path.as_deref().is_none_or(|asked| within(&value.path.to_string(), asked))
                && args.from.is_none_or(|from| from.as_str() == origin)
        });
    }
    let Some(asked) = args.path.as_deref() else { return Ok(()) };
    if places.iter().any(|place| within(place, asked)) {
        return Ok(());
    }
    let likeness = |place: &String| strsim::normalized_damerau_levenshtein(place, asked);
    let closest = places.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    let advice = closest.map(|place| format!("; did you mean {place}?")).unwrap_or_default();
    Err(Failure::Nothing(format!("there is no value at {asked}{advice}")))
}
