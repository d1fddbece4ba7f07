//! `render`: the objects that the operator makes of manifests.

use function_mesh_api::validate::{Valid, Violation, valid_component, valid_mesh};
use function_mesh_api::{BackendConfig, Component, FunctionMesh};
use function_mesh_workloads::{
    Backends, MeshComponents, Settings, SettingsArgs, Workload, cleanup_job, components,
};
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;

use crate::input::{Document, Files, read_all};
use crate::object::Object;
use crate::output::{self, Format};
use crate::{Failure, Outcome, Streams};

/// Stands where only a cluster could tell: the identity of an object that was never created.
const NO_UID: &str = "00000000-0000-0000-0000-000000000000";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl mesh render -f mesh.yaml
  kubectl mesh render -f function.yaml --with-cleanup -o json
  kubectl mesh render -f manifests/ --enable-init-containers --config-file operator.yaml
  cat function.yaml | kubectl mesh render -f - -n pulsar | kubectl diff -f -

Each component comes before its children; a mesh comes as its components. BackendConfigs among the documents
take effect as they would in the cluster: the one that --global-backend-config names, and in each namespace
the one that --namespaced-backend-config names. Objects of other kinds are passed over.")]
pub(crate) struct Args {
    #[command(flatten)]
    files: Files,

    /// Print the Jobs too that clean up subscriptions when a component is deleted
    #[arg(long)]
    with_cleanup: bool,

    /// Format of the output
    #[arg(short, long, value_name = "FORMAT", default_value = "yaml")]
    output: Format,

    #[command(flatten, next_help_heading = "Settings of the operator")]
    settings: SettingsArgs,
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let settings = args.settings.settings()?;
    let documents = read_all(&args.files)?;
    let mut rejected = false;
    let mut reject = |document: &Document, violations: &[Violation]| -> std::io::Result<()> {
        rejected = true;
        violations.iter().try_for_each(|violation| {
            let (line, _) = document.source.position(document.node.locate(violation.field.as_str()).start);
            writeln!(streams.err, "{}:{line}: {}: {violation}", document.source.name, document.title())
        })
    };

    let mut objects = Vec::new();
    for document in &documents {
        match Object::read(document, &args.files.namespace) {
            Ok(object) => objects.push((document, object)),
            Err(violation) => reject(document, &[violation])?,
        }
    }
    let backends: Vec<BackendConfig> = objects
        .iter()
        .filter_map(|(_, object)| match object {
            Object::BackendConfig(backend) => Some(BackendConfig::clone(backend)),
            _ => None,
        })
        .collect();
    let mut renderer =
        Renderer { settings: &settings, backends, with_cleanup: args.with_cleanup, items: Vec::new() };
    for (document, object) in objects {
        if let Err(violations) = renderer.object(object)? {
            reject(document, &violations)?;
        }
    }
    if rejected {
        writeln!(streams.err, "nothing is rendered; `kubectl mesh validate` shows these in their place")?;
        return Ok(Outcome::Rejected);
    }
    if renderer.items.is_empty() {
        let seen = documents.len();
        writeln!(streams.err, "no Function, Source, Sink or FunctionMesh among {seen} document(s)")?;
    }
    output::write(streams.out, args.output, &output::list(renderer.items))?;
    Ok(Outcome::Fine)
}

struct Renderer<'a> {
    settings: &'a Settings,
    backends: Vec<BackendConfig>,
    with_cleanup: bool,
    items: Vec<Value>,
}

/// What became of an object: rendered, or the rules that it breaks.
type Rendered = Result<Result<(), Vec<Violation>>, Failure>;

impl Renderer<'_> {
    fn object(&mut self, object: Object) -> Rendered {
        match object {
            Object::Mesh(mesh) => self.mesh(*mesh),
            Object::Function(function) => self.component(*function, false),
            Object::Source(source) => self.component(*source, false),
            Object::Sink(sink) => self.component(*sink, false),
            Object::BackendConfig(backend) => {
                let findings = function_mesh_api::validate::check_backend_config(&backend.spec);
                Ok(findings.into_result().map(drop).map_err(|all| all.0))
            }
            Object::Foreign => Ok(Ok(())),
        }
    }

    fn mesh(&mut self, mut mesh: FunctionMesh) -> Rendered {
        mesh.metadata.uid.get_or_insert_with(|| NO_UID.to_owned());
        let mesh = match valid_mesh(mesh) {
            Ok(mesh) => mesh,
            Err(violations) => return Ok(Err(violations.0)),
        };
        let MeshComponents { functions, sources, sinks } = components(&mesh);
        let mut violations = Vec::new();
        for function in functions {
            violations.extend(self.component(function, true)?.err());
        }
        for source in sources {
            violations.extend(self.component(source, true)?.err());
        }
        for sink in sinks {
            violations.extend(self.component(sink, true)?.err());
        }
        Ok(if violations.is_empty() { Ok(()) } else { Err(violations.concat()) })
    }

    /// Renders a component. One that belongs to a mesh is itself a child, and comes first.
    fn component<C: Component>(&mut self, mut component: C, is_child: bool) -> Rendered {
        if is_child {
            self.push(&component)?;
        }
        component.meta_mut().uid.get_or_insert_with(|| NO_UID.to_owned());
        match valid_component(component) {
            Ok(component) => self.children(&component).map(Ok),
            Err(violations) => Ok(Err(violations.0)),
        }
    }

    fn children<C: Component>(&mut self, component: &Valid<C>) -> Result<(), Failure> {
        let backends = self.backends_of(component.namespace().as_deref());
        let Workload { stateful_set, service, autoscaler, vertical_autoscaler } =
            function_mesh_workloads::render(component, backends, self.settings);
        let job = self.with_cleanup.then(|| cleanup_job(component, backends, self.settings)).flatten();
        self.push(&stateful_set)?;
        self.push(&service)?;
        autoscaler.iter().try_for_each(|child| self.push(child))?;
        vertical_autoscaler.iter().try_for_each(|child| self.push(child))?;
        job.iter().try_for_each(|child| self.push(child))
    }

    /// The BackendConfigs that apply in a namespace.
    fn backends_of(&self, namespace: Option<&str>) -> Backends<'_> {
        let find = |name: Option<&str>, namespace: Option<&str>| {
            let name = name?;
            self.backends
                .iter()
                .find(|backend| backend.name_any() == name && backend.namespace().as_deref() == namespace)
        };
        let global_namespace = Some(self.settings.global_backend_config_namespace.as_str());
        Backends {
            global: find(self.settings.global_backend_config.as_deref(), global_namespace),
            namespaced: find(self.settings.namespaced_backend_config.as_deref(), namespace),
        }
    }

    fn push<T: Serialize>(&mut self, object: &T) -> Result<(), Failure> {
        let mut item = serde_json::to_value(object)?;
        // Claims within another object need no kind of their own; people leave it out, and so do we.
        let claims = item.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
        for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
            claim.retain(|key, _| !matches!(key.as_str(), "apiVersion" | "kind"));
        }
        self.items.push(item);
        Ok(())
    }
}
