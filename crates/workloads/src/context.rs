//! The input of all builders: a component with its BackendConfigs and settings, and values that builders share.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use function_mesh_api::component::{Common, SpecView};
use function_mesh_api::types::{
    GenericRuntime, GoRuntime, JavaRuntime, LogTopicAgent, PodPolicy, PulsarMessaging, PythonRuntime,
};
use function_mesh_api::validate::Valid;
use function_mesh_api::{Component, Role, Spec, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::backend::{Backend, Backends};
use crate::connection::Connection;
use crate::edition::Edition;
use crate::names;
use crate::settings::Settings;

/// The UID of an object that is not in the cluster.
const NO_UID: &str = "00000000-0000-0000-0000-000000000000";

static NO_POLICY: LazyLock<PodPolicy> = LazyLock::new(PodPolicy::default);
static NO_PULSAR: LazyLock<PulsarMessaging> = LazyLock::new(PulsarMessaging::default);

/// The runtime of a component.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Runtime<'a> {
    Java(&'a JavaRuntime),
    Python(&'a PythonRuntime),
    Go(&'a GoRuntime),
    Generic(&'a GenericRuntime),
}

impl<'a> Runtime<'a> {
    fn select(view: &SpecView<'a>) -> Option<Self> {
        let Common { java, python, golang, generic_runtime, .. } = view.common;
        let java = java.map(Self::Java);
        if view.role != Role::Function {
            return java;
        }
        java.or(python.map(Self::Python)).or(golang.map(Self::Go)).or(generic_runtime.map(Self::Generic))
    }

    /// Path of the code in the container.
    pub(crate) fn file(self) -> &'a str {
        match self {
            Self::Java(java) => &java.jar,
            Self::Python(python) => &python.py,
            Self::Go(go) => &go.go,
            Self::Generic(generic) => &generic.function_file,
        }
    }

    /// Location of the package, unless the code is in the image.
    pub(crate) fn location(self) -> Option<&'a str> {
        let location = match self {
            Self::Java(java) => java.jar_location.as_deref(),
            Self::Python(python) => python.py_location.as_deref(),
            Self::Go(go) => go.go_location.as_deref(),
            Self::Generic(generic) => generic.function_file_location.as_deref(),
        };
        location.filter(|location| !location.is_empty())
    }
}

/// A component with its BackendConfigs and settings.
#[derive(Clone, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) meta: &'a ObjectMeta,
    pub(crate) view: SpecView<'a>,
    pub(crate) common: Common<'a>,
    pub(crate) runtime: Option<Runtime<'a>>,
    pub(crate) pod: &'a PodPolicy,
    pub(crate) backend: Backend,
    pub(crate) settings: &'a Settings,
    /// Edition of the pod template.
    pub(crate) edition: Edition,
    /// The UID in the function IDs, if it is not that of the component.
    pub(crate) function_uid: Option<&'a str>,
}

impl<'a> Context<'a> {
    pub(crate) fn new<C: Component>(
        component: &'a Valid<C>,
        backends: Backends<'_>,
        settings: &'a Settings,
    ) -> Self {
        let view = component.spec().view();
        Self {
            meta: component.meta(),
            view,
            common: view.common,
            runtime: Runtime::select(&view),
            pod: view.common.pod.unwrap_or(&NO_POLICY),
            backend: Backend::merge(backends, settings),
            settings,
            edition: Edition::NEWEST,
            function_uid: None,
        }
    }

    /// Whether the pod template has what its second edition added.
    pub(crate) fn is_second_edition(&self) -> bool {
        self.edition >= Edition::Second
    }

    /// Role of the component.
    pub(crate) fn role(&self) -> Role {
        self.view.role
    }

    /// Name of the component object.
    pub(crate) fn object_name(&self) -> &'a str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    /// UID of the component object.
    pub(crate) fn uid(&self) -> &'a str {
        self.meta.uid.as_deref().filter(|uid| !uid.is_empty()).unwrap_or(NO_UID)
    }

    /// The UID in the function IDs.
    pub(crate) fn function_uid(&self) -> &'a str {
        self.function_uid.unwrap_or(self.uid())
    }

    /// Name of the component in Pulsar.
    pub(crate) fn name(&self) -> &'a str {
        self.common.name.filter(|name| !name.is_empty()).unwrap_or(self.object_name())
    }

    /// The component name as part of a file name. Replaces `/`, which separates directories, and `%` and `$`, which
    /// Log4j expands.
    pub(crate) fn file_name(&self) -> String {
        self.name().replace(['/', '%', '$'], "_")
    }

    /// Name of the main container.
    pub(crate) fn container_name(&self) -> String {
        format!("pulsar-{}", self.role())
    }

    /// Connection to the Pulsar cluster of the component.
    pub(crate) fn connection(&self) -> Connection<'a> {
        Connection::runtime(self.common.pulsar.unwrap_or(&NO_PULSAR))
    }

    /// Connection to the same cluster with the clean-up authentication.
    pub(crate) fn cleanup_connection(&self) -> Connection<'a> {
        Connection::cleanup(self.common.pulsar.unwrap_or(&NO_PULSAR))
    }

    /// Connection to the package service, if it is another cluster.
    pub(crate) fn package_connection(&self) -> Option<Connection<'a>> {
        self.common.pulsar_package_service.map(Connection::packages)
    }

    /// Whether a sidecar reads log files and produces to the log topic.
    pub(crate) fn logs_to_files(&self) -> bool {
        self.common.log_topic_agent == Some(LogTopicAgent::Sidecar)
    }

    /// The log topic, unless it is empty.
    pub(crate) fn log_topic(&self) -> Option<&'a str> {
        self.common.log_topic.filter(|topic| !topic.is_empty())
    }

    /// Labels of the selector, which are immutable.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let role = self.role();
        let name = self.object_name();
        let namespace = self.meta.namespace.as_deref().unwrap_or_default();
        let stateful_set = names::stateful_set(name, role);
        let [legacy_app, legacy_component, legacy_name, legacy_namespace] = labels::LEGACY;
        let mut all = vec![
            (labels::APP_NAME, stateful_set.as_str()),
            (labels::APP_INSTANCE, stateful_set.as_str()),
            (labels::COMPONENT, role.as_str()),
            (labels::NAME, name),
            (labels::NAMESPACE, namespace),
            (legacy_component, role.as_str()),
            (legacy_name, name),
            (legacy_namespace, namespace),
        ];
        if role == Role::Function {
            all.extend([(labels::APP, "function-mesh"), (legacy_app, "function-mesh")]);
        }
        all.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Metadata of a child, with labels and the controller reference.
    pub(crate) fn child_metadata(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: self.meta.namespace.clone(),
            labels: Some(self.labels()),
            owner_references: Some(vec![owner_reference(self.role().kind(), self.meta)]),
            ..ObjectMeta::default()
        }
    }
}

/// The controller reference of a child.
pub(crate) fn owner_reference(kind: &str, owner: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: labels::API_VERSION.to_owned(),
        kind: kind.to_owned(),
        name: owner.name.clone().unwrap_or_default(),
        uid: owner.uid.clone().filter(|uid| !uid.is_empty()).unwrap_or_else(|| NO_UID.to_owned()),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
