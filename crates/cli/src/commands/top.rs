//! `top`: shows the traffic of components in a cluster.

use function_mesh_kube::connect::ConnectArgs;

use super::status::{Format, data, mesh_selector, object_name};
use crate::cluster::Cluster;
use crate::object_ref::ObjectRef;
use crate::status::{ComponentView, Sort, TopView, components, mesh_status};
use crate::{Failure, Outcome, Streams, screen};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl mesh top                      the components of the context's namespace, those that lag most first
  kubectl mesh top people               those of one FunctionMesh, also the ones that do not exist yet
  kubectl mesh top -A --sort backlog    all namespaces, the largest backlog first
  kubectl mesh top -o json | jq -r '.components[] | select(.traffic.lagSeconds > 60) | .name'

IN/S counts messages published to the input topics per second, OUT/S those processed, BACKLOG entries that wait,
LAG the age of the oldest one, EXCEPTIONS those within ten minutes. `-` is unknown, never zero; `n/a` does not
apply. STATE is the phase, or `Stalled` with the reason. `kubectl mesh status` shows the causes.

JSON and YAML have the field `components`, with the fields of `kubectl mesh status -o json`. `observedAt` is the
time of the observation that the operator wrote last: it observes every 10 seconds and writes only when a number has
changed noticeably, so numbers with an old `observedAt` are not old.

Exit code: 0 success, also if components are not healthy; 2 mesh not found, no connection or invalid command line.")]
pub(crate) struct Args {
    /// FunctionMesh whose components are shown [default: all components]
    #[arg(value_name = "MESH", value_parser = object_name)]
    mesh: Option<String>,

    /// Namespace [default: the context's]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// All namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,

    /// Column to sort by; numbers from the largest, unknown ones last
    #[arg(long, value_name = "COLUMN", default_value = "lag")]
    sort: Sort,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,

    #[command(flatten, next_help_heading = "Cluster")]
    connect: ConnectArgs,
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let cluster = Cluster::open(&args.connect)?;
    let namespace = args.namespace.as_deref().unwrap_or_else(|| cluster.namespace());
    let namespace = (!args.all_namespaces).then_some(namespace);
    let found = read(&cluster, namespace, args.mesh.as_deref())?;
    let view = TopView::new(found, args.sort);
    match args.output {
        Format::Text if view.components.is_empty() => {
            let scope = namespace.map_or("any namespace".to_owned(), |name| format!("namespace {name}"));
            screen::line(streams.err, &format!("no components in {scope}"))?;
        }
        Format::Text => {
            streams.out.write_all(view.text(args.all_namespaces, streams.colour).as_bytes())?;
        }
        format => streams.out.write_all(data(&view, format)?.as_bytes())?,
    }
    Ok(Outcome::Success)
}

fn read(
    cluster: &Cluster,
    namespace: Option<&str>,
    mesh: Option<&str>,
) -> Result<Vec<ComponentView>, Failure> {
    let Some(mesh) = mesh else {
        return Ok(components(&cluster.components(namespace, None)?));
    };
    let meshes: Vec<_> = if let Some(namespace) = namespace {
        cluster.get(&ObjectRef::new("FunctionMesh", namespace, mesh))?.into_iter().collect()
    } else {
        let all = cluster.meshes(None)?;
        all.into_iter().filter(|object| ObjectRef::of(object).name == mesh).collect()
    };
    if meshes.is_empty() {
        let scope = namespace.map_or("any namespace".to_owned(), |name| format!("namespace {name}"));
        return Err(Failure::Message(format!("FunctionMesh {mesh} not found in {scope}")));
    }
    let objects = cluster.components(namespace, mesh_selector(mesh))?;
    Ok(meshes.iter().flat_map(|mesh| mesh_status(mesh, &objects).components).collect())
}
