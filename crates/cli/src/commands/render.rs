//! `render`: prints the objects that the operator creates from manifests.

use function_mesh_api::validate::Violation;

use super::inputs::{self, Inputs};
use crate::input::{Document, Files};
use crate::object::Object;
use crate::operator::OperatorArgs;
use crate::output::{self, Format};
use crate::rendering::{Origin, Renderer, backends};
use crate::{Failure, Outcome, Streams, screen};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl mesh render -f mesh.yaml
  kubectl mesh render -f function.yaml --with-cleanup -o json
  kubectl mesh render -f manifests/ --enable-init-containers --config-file operator.yaml
  cat function.yaml | kubectl mesh render -f - -n pulsar
  kubectl mesh render --from-cluster -n pulsar functionmesh/pipe   a mesh in the cluster

The output has each component of a mesh before its children. BackendConfigs among the documents take effect as in the
cluster: the one of --global-backend-config, and in each namespace the one of --namespaced-backend-config. Objects of
other kinds are ignored.")]
pub(crate) struct Args {
    #[command(flatten)]
    files: Files,

    #[cfg(feature = "cluster")]
    #[command(flatten)]
    cluster: crate::cluster::Selection,

    /// Print the Jobs too that delete subscriptions after a component is deleted
    #[arg(long)]
    with_cleanup: bool,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "yaml")]
    output: Format,

    #[command(flatten, next_help_heading = "Settings of the operator")]
    operator: OperatorArgs,
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    #[cfg(feature = "cluster")]
    let (operator, mut inputs) = Inputs::read_with_settings(&args.files, &args.cluster, &args.operator)?;
    #[cfg(not(feature = "cluster"))]
    let (operator, mut inputs) = (args.operator.offline()?, Inputs::from_files(&args.files));
    let settings = &operator.settings;
    let documents = inputs.take_documents()?;
    super::inputs::warn_of_repetitions(&documents, streams)?;
    let mut rejected = false;
    let mut reject = |document: &Document, violations: &[Violation]| -> std::io::Result<()> {
        rejected = true;
        violations.iter().try_for_each(|violation| {
            let (line, _) = document.source.position(document.node.locate(violation.field.as_str()).start);
            let text = format!("{}:{line}: {}: {violation}", document.source.name, document.title());
            screen::lines(streams.err, &text)
        })
    };

    let mut objects = Vec::new();
    for document in &documents {
        match Object::decode(document, &inputs.namespace) {
            Ok(object) => objects.push((document, object)),
            Err(violation) => reject(document, &[violation])?,
        }
    }
    let backends = backends(objects.iter().map(|(_, object)| object));
    let mut renderer = Renderer {
        settings,
        backends: &backends,
        with_cleanup: args.with_cleanup,
        live: &inputs.live,
        leaves_replicas: false,
        items: Vec::new(),
    };
    for (document, object) in objects {
        if let Err(violations) = renderer.object(object)? {
            reject(document, &violations)?;
        }
    }
    if rejected {
        writeln!(streams.err, "not rendered; run `kubectl mesh validate` for details")?;
        return Ok(Outcome::Invalid);
    }
    inputs::note(&operator, streams)?;
    let items = renderer.items.into_iter().filter(|item| item.origin != Origin::User);
    let items: Vec<_> = items.map(|item| item.value).collect();
    if items.is_empty() {
        let seen = documents.len();
        writeln!(streams.err, "no Function, Source, Sink or FunctionMesh among {seen} document(s)")?;
    }
    output::write(streams.out, args.output, &output::list(items))?;
    Ok(Outcome::Success)
}
