//! Reads objects from a cluster, and writes those of shadows.

mod shadow;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use function_mesh_api::{BackendConfig, Function, FunctionMesh, Sink, Source, labels};
use function_mesh_kube::connect::{ConnectArgs, ConnectError};
use function_mesh_workloads::{
    OPERATOR_NAMESPACE, PublishedSettings, SETTINGS_CONFIG_MAP, SettingsError, VerticalPodAutoscaler,
    Workload,
};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client};
use serde_json::Value;

use crate::Failure;
use crate::object_ref::{ObjectRef, Snapshot};
use crate::operator::{OperatorArgs, OperatorSettings};

/// Connect timeout.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The cluster to connect to, and its operator.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Connection {
    #[command(flatten, next_help_heading = "Cluster")]
    connect: ConnectArgs,

    /// Operator to read the settings of, by its namespace and ConfigMap; without a cluster to compare with they are
    /// read only if this is set [default: function-mesh/function-mesh-settings]
    #[arg(long, env = "FUNCTION_MESH_OPERATOR", value_name = "NAMESPACE[/NAME]", help_heading = "Cluster")]
    pub(crate) operator: Option<OperatorRef>,
}

impl Connection {
    /// The settings for files: flags, over those that the operator publishes if one is asked for.
    pub(crate) fn operator_settings(&self, flags: &OperatorArgs) -> Result<OperatorSettings, Failure> {
        Ok(match &self.operator {
            Some(_) => Cluster::connect(self)?.settings(flags, [])?,
            None => flags.offline()?,
        })
    }
}

/// The ConfigMap in which an operator publishes its settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct OperatorRef {
    namespace: String,
    name: String,
}

impl Default for OperatorRef {
    fn default() -> Self {
        Self { namespace: OPERATOR_NAMESPACE.to_owned(), name: SETTINGS_CONFIG_MAP.to_owned() }
    }
}

impl FromStr for OperatorRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) = text.split_once('/').unwrap_or((text, SETTINGS_CONFIG_MAP));
        if namespace.is_empty() || name.is_empty() || name.contains('/') {
            return Err("use NAMESPACE or NAMESPACE/NAME, for example function-mesh".to_owned());
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for OperatorRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Selects objects of the cluster instead of files.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Selection {
    #[command(flatten)]
    pub(crate) connection: Connection,

    /// Read the objects from the cluster instead of files
    #[arg(long, conflicts_with = "paths", help_heading = "Cluster")]
    pub(crate) from_cluster: bool,

    /// Read them from all namespaces
    #[arg(
        short = 'A',
        long,
        requires = "from_cluster",
        conflicts_with = "namespace",
        help_heading = "Cluster"
    )]
    pub(crate) all_namespaces: bool,

    /// Objects to read from the cluster [default: all]
    #[arg(value_name = "KIND/NAME", requires = "from_cluster", help_heading = "Cluster")]
    pub(crate) targets: Vec<Target>,
}

/// One object, as for kubectl: `function/shout`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let advice = "use KIND/NAME, for example function/shout; kinds are functionmesh (fm), function, source, sink and backendconfig";
        let (kind, name) = text.split_once('/').ok_or_else(|| advice.to_owned())?;
        // Also accept `functions.compute.functionmesh.io/shout`, as kubectl prints it.
        let kind = kind.split('.').next().unwrap_or_default().to_ascii_lowercase();
        let kind = match kind.as_str() {
            "functionmesh" | "functionmeshes" | "fm" | "mesh" => "FunctionMesh",
            "function" | "functions" => "Function",
            "source" | "sources" => "Source",
            "sink" | "sinks" => "Sink",
            "backendconfig" | "backendconfigs" => "BackendConfig",
            _ => return Err(advice.to_owned()),
        };
        if name.is_empty() {
            return Err(advice.to_owned());
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

/// Why the cluster could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error("{0}; check --kubeconfig, --context and $KUBECONFIG")]
    Connect(#[from] ConnectError),
    #[error("failed to create a client for the cluster: {0}")]
    Client(Box<kube::Error>),
    #[error("failed to create a client for the cluster: {0}")]
    Runtime(#[from] std::io::Error),
    #[error("failed to list {plural}{scope}: {source}{advice}")]
    List { plural: String, scope: String, source: Box<kube::Error>, advice: String },
    #[error("failed to read {id}: {source}")]
    Get { id: ObjectRef, source: Box<kube::Error> },
    #[error("failed to {verb} {id}: {source}")]
    Change { verb: &'static str, id: ObjectRef, source: Box<kube::Error> },
}

/// A connection to a cluster.
pub(crate) struct Cluster {
    runtime: tokio::runtime::Runtime,
    client: Client,
    namespace: String,
    operator: OperatorRef,
}

impl Cluster {
    pub(crate) fn connect(connection: &Connection) -> Result<Self, ClusterError> {
        let operator = connection.operator.clone().unwrap_or_default();
        Ok(Self { operator, ..Self::open(&connection.connect)? })
    }

    /// Connects without regard to an operator.
    pub(crate) fn open(args: &ConnectArgs) -> Result<Self, ClusterError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (client, namespace) = runtime.block_on(async {
            let mut config = args.config().await?;
            config.connect_timeout = Some(TIMEOUT);
            let namespace = config.default_namespace.clone();
            let client = Client::try_from(config).map_err(|error| ClusterError::Client(Box::new(error)))?;
            Ok::<_, ClusterError>((client, namespace))
        })?;
        Ok(Self { runtime, client, namespace, operator: OperatorRef::default() })
    }

    /// The namespace of the context.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Waits, while connections stay alive.
    pub(crate) fn sleep(&self, time: Duration) {
        self.block_on(async { tokio::time::sleep(time).await });
    }

    /// Runs a future to its end.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// A client with the permissions of the kubeconfig.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The settings to render objects of these namespaces with: flags, over what the operator publishes.
    pub(crate) fn settings<'a>(
        &self,
        flags: &OperatorArgs,
        namespaces: impl IntoIterator<Item = &'a str>,
    ) -> Result<OperatorSettings, SettingsError> {
        let published = self.published_settings().and_then(|published| {
            match namespaces.into_iter().find(|namespace| !published.watches(namespace)) {
                Some(other) => {
                    Err(format!("the operator of {} does not watch namespace {other}", self.operator))
                }
                None => Ok(published),
            }
        });
        flags.over(published, self.operator.to_string())
    }

    fn published_settings(&self) -> Result<PublishedSettings, String> {
        let OperatorRef { namespace, name } = &self.operator;
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let object = match self.runtime.block_on(api.get_opt(name)) {
            Ok(Some(object)) => object,
            Ok(None) => return Err(format!("ConfigMap {} not found", self.operator)),
            Err(kube::Error::Api(status)) => return Err(status.message),
            Err(error) => return Err(format!("failed to read ConfigMap {}: {error}", self.operator)),
        };
        PublishedSettings::from_config_map(&object)
            .map_err(|error| format!("ConfigMap {}: {error}", self.operator))
    }

    /// All objects of Function Mesh kinds in a namespace, or in all namespaces.
    pub(crate) fn mesh_objects(&self, namespace: Option<&str>) -> Result<Snapshot, ClusterError> {
        self.snapshot(namespace, &mesh_kinds())
    }

    /// All BackendConfigs of a namespace.
    pub(crate) fn backend_configs(&self, namespace: &str) -> Result<Snapshot, ClusterError> {
        self.snapshot(Some(namespace), &[ApiResource::erase::<BackendConfig>(&())])
    }

    /// All objects of Function Mesh kinds and of their children's kinds in a namespace.
    pub(crate) fn objects_and_children(&self, namespace: &str) -> Result<Snapshot, ClusterError> {
        let mut kinds = mesh_kinds();
        kinds.extend(child_kinds());
        self.snapshot(Some(namespace), &kinds)
    }

    fn snapshot(&self, namespace: Option<&str>, kinds: &[ApiResource]) -> Result<Snapshot, ClusterError> {
        let mut found = Snapshot::new();
        for kind in kinds {
            for object in self.list(namespace, kind, &ListParams::default())? {
                found.insert(ObjectRef::of(&object), object);
            }
        }
        Ok(found)
    }

    /// One object of a Function Mesh kind; None if it does not exist.
    pub(crate) fn get(&self, id: &ObjectRef) -> Result<Option<Value>, ClusterError> {
        let Some(kind) = mesh_kinds().into_iter().find(|kind| kind.kind == id.kind) else { return Ok(None) };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &id.namespace, &kind);
        match self.runtime.block_on(api.get_opt(&id.name)) {
            Ok(object) => Ok(object.and_then(|object| with_type_meta(object, &kind))),
            Err(source) => Err(ClusterError::Get { id: id.clone(), source: Box::new(source) }),
        }
    }

    /// All FunctionMeshes of a namespace, or of all namespaces.
    pub(crate) fn meshes(&self, namespace: Option<&str>) -> Result<Vec<Value>, ClusterError> {
        self.list(namespace, &ApiResource::erase::<FunctionMesh>(&()), &ListParams::default())
    }

    /// All Functions, Sources and Sinks of a namespace or of all namespaces, and of a mesh if one is given.
    pub(crate) fn components(
        &self,
        namespace: Option<&str>,
        mesh: Option<&str>,
    ) -> Result<Vec<Value>, ClusterError> {
        let params = ListParams {
            label_selector: mesh.map(|mesh| format!("{}={mesh}", labels::MESH)),
            ..ListParams::default()
        };
        let mut found = Vec::new();
        for kind in component_kinds() {
            found.extend(self.list(namespace, &kind, &params)?);
        }
        Ok(found)
    }

    fn list(
        &self,
        namespace: Option<&str>,
        kind: &ApiResource,
        params: &ListParams,
    ) -> Result<Vec<Value>, ClusterError> {
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, kind),
            None => Api::all_with(self.client.clone(), kind),
        };
        let items = match self.runtime.block_on(api.list(params)) {
            Ok(list) => list.items,
            // The CRD is not installed.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
            Err(source) => return Err(list_error(kind, namespace, source)),
        };
        Ok(items.into_iter().filter_map(|object| with_type_meta(object, kind)).collect())
    }
}

fn mesh_kinds() -> Vec<ApiResource> {
    let mut kinds = vec![ApiResource::erase::<FunctionMesh>(&())];
    kinds.extend(component_kinds());
    kinds.push(ApiResource::erase::<BackendConfig>(&()));
    kinds
}

fn component_kinds() -> [ApiResource; 3] {
    [ApiResource::erase::<Function>(&()), ApiResource::erase::<Source>(&()), ApiResource::erase::<Sink>(&())]
}

/// The kinds of children. Their number is that of the rendered ones.
fn child_kinds() -> [ApiResource; Workload::KINDS.len()] {
    [
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<HorizontalPodAutoscaler>(&()),
        ApiResource::erase::<VerticalPodAutoscaler>(&()),
    ]
}

/// A list item with apiVersion and kind, which the API server omits in lists.
fn with_type_meta(object: DynamicObject, kind: &ApiResource) -> Option<Value> {
    let mut value = serde_json::to_value(object).ok()?;
    let fields = value.as_object_mut()?;
    fields.insert("apiVersion".to_owned(), kind.api_version.clone().into());
    fields.insert("kind".to_owned(), kind.kind.clone().into());
    Some(value)
}

fn list_error(kind: &ApiResource, namespace: Option<&str>, source: kube::Error) -> ClusterError {
    let group = if kind.group.is_empty() { String::new() } else { format!(".{}", kind.group) };
    let plural = format!("{}{group}", kind.plural);
    let is_forbidden = matches!(&source, kube::Error::Api(status) if status.code == 403);
    let flag = namespace.map_or("-A".to_owned(), |namespace| format!("-n {namespace}"));
    let advice = if is_forbidden {
        format!("; grant the permission: `kubectl auth can-i list {plural} {flag}` must print yes")
    } else {
        String::new()
    };
    let scope =
        namespace.map_or(" of all namespaces".to_owned(), |namespace| format!(" in namespace {namespace}"));
    ClusterError::List { plural, scope, source: Box::new(source), advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operator_is_a_namespace_with_an_optional_name() {
        let operator = |text: &str| text.parse::<OperatorRef>().map(|it| it.to_string());
        assert_eq!(operator("ops"), Ok("ops/function-mesh-settings".to_owned()));
        assert_eq!(operator("ops/mine"), Ok("ops/mine".to_owned()));
        for invalid in ["", "/a", "a/", "a/b/c"] {
            assert!(operator(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn target_parses_kubectl_names() {
        let target = |text: &str| text.parse::<Target>().map(|target| (target.kind, target.name));
        assert_eq!(target("fm/a"), Ok(("FunctionMesh", "a".to_owned())));
        assert_eq!(target("Functions.compute.functionmesh.io/b"), Ok(("Function", "b".to_owned())));
        for invalid in ["a", "pod/a", "function/"] {
            assert!(target(invalid).unwrap_err().contains("function/shout"), "{invalid}");
        }
    }
}
