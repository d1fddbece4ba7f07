//! `graph`: draws the data flow between components.

use std::collections::BTreeMap;

use clap::ValueEnum;
use function_mesh_api::{Component, FunctionMeshSpec};
use kube::ResourceExt;

use crate::graph::{Graph, dot, mermaid, svg, text};
use crate::input::{Files, read_all};
use crate::object::Object;
use crate::{Failure, Outcome, Streams, screen};

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// Boxes and arrows for the terminal
    Text,
    /// A Mermaid flowchart for Markdown
    Mermaid,
    /// DOT for Graphviz
    Dot,
    /// A standalone SVG image
    Svg,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl mesh graph -f mesh.yaml
  kubectl mesh graph -f mesh.yaml -o svg > mesh.svg
  kubectl mesh graph -f mesh.yaml -o dot | dot -Tpng > mesh.png
  kubectl get functions,sources,sinks -o yaml | kubectl mesh graph -f -
  kubectl mesh graph -f mesh.yaml --rates http://broker:8080

Each FunctionMesh has its own graph; standalone Functions, Sources and Sinks share one graph per namespace. Topics in
public/default are shown by their short names. Dashed lines are side outputs: dead letters, late data, log topics, and
topics outside of the mesh. A mesh does not have to be valid.

With --rates each topic shows its message rate in, measured over --interval, and the largest backlog of its
subscriptions if that exceeds one second of messages. Topics that do not exist have no rate. The token in PULSAR_TOKEN
is sent to the broker.")]
pub(crate) struct Args {
    #[command(flatten)]
    files: Files,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,

    /// Web service URL of Pulsar; shows the message rate of each topic
    #[cfg(feature = "cluster")]
    #[arg(long, value_name = "URL", help_heading = "Broker")]
    rates: Option<String>,

    /// Seconds over which rates are measured
    #[cfg(feature = "cluster")]
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 2,
        value_parser = clap::value_parser!(u16).range(1..),
        requires = "rates",
        help_heading = "Broker"
    )]
    interval: u16,
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let documents = read_all(&args.files)?;
    super::inputs::warn_of_repetitions(&documents, streams)?;
    let mut graphs = Vec::new();
    let mut standalone: BTreeMap<String, FunctionMeshSpec> = BTreeMap::new();
    let mut outcome = Outcome::Success;
    for document in &documents {
        match Object::decode(document, args.files.namespace()) {
            Ok(Object::Mesh(mesh)) => {
                let namespace = mesh.namespace().unwrap_or_default();
                graphs.push(Graph::of(&format!("FunctionMesh {namespace}/{}", mesh.name_any()), &mesh.spec));
            }
            Ok(Object::Function(object)) => {
                let (namespace, spec) = named(*object, |spec| &mut spec.name);
                standalone.entry(namespace).or_default().functions.get_or_insert_default().push(spec);
            }
            Ok(Object::Source(object)) => {
                let (namespace, spec) = named(*object, |spec| &mut spec.name);
                standalone.entry(namespace).or_default().sources.get_or_insert_default().push(spec);
            }
            Ok(Object::Sink(object)) => {
                let (namespace, spec) = named(*object, |spec| &mut spec.name);
                standalone.entry(namespace).or_default().sinks.get_or_insert_default().push(spec);
            }
            Ok(Object::BackendConfig(_) | Object::Other) => {}
            Err(violation) => {
                let (line, _) =
                    document.source.position(document.node.locate(violation.field.as_str()).start);
                let title = document.title();
                let name = &document.source.name;
                let text = format!("{name}:{line}: {title}: {violation}; skipped");
                screen::lines(streams.err, &text)?;
                outcome = Outcome::Invalid;
            }
        }
    }
    for (namespace, spec) in standalone {
        graphs.push(Graph::of(&format!("components of namespace {namespace}"), &spec));
    }
    if graphs.is_empty() && outcome == Outcome::Success {
        let seen = documents.len();
        return Err(Failure::Message(format!(
            "nothing to draw: no FunctionMesh, Function, Source or Sink among {seen} document(s)"
        )));
    }
    #[cfg(feature = "cluster")]
    if let Some(url) = &args.rates {
        set_rates(&mut graphs, url, std::time::Duration::from_secs(args.interval.into()))?;
    }
    let picture = match args.output {
        Format::Text => text(&graphs),
        Format::Mermaid => mermaid(&graphs),
        Format::Dot => dot(&graphs),
        Format::Svg => svg(&graphs),
    };
    streams.out.write_all(picture.as_bytes())?;
    Ok(outcome)
}

/// Measures the rates of all topics, each once.
#[cfg(feature = "cluster")]
fn set_rates(graphs: &mut [Graph], url: &str, interval: std::time::Duration) -> Result<(), Failure> {
    let topics = graphs.iter().flat_map(Graph::topic_names).map(str::to_owned).collect();
    let rates = crate::broker::rates(url, crate::broker::token(), &topics, interval)?;
    for graph in graphs {
        graph.set_rates(&rates);
    }
    Ok(())
}

/// The namespace of a component, and its spec with the name of its object.
fn named<C: Component>(
    mut object: C,
    name: impl Fn(&mut C::Spec) -> &mut Option<String>,
) -> (String, C::Spec) {
    let namespace = object.namespace().unwrap_or_default();
    let object_name = object.name_any();
    if !object_name.is_empty() {
        *name(object.spec_mut()) = Some(object_name);
    }
    (namespace, object.spec().clone())
}
