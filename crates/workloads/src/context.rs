//! What every builder looks at: one component, what applies to it, and the decisions they share.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use function_mesh_api::component::{Common, SpecView};
use function_mesh_api::types::{
    GenericRuntime, GoRuntime, JavaRuntime, LogTopicAgent, PodPolicy, PulsarMessaging, PythonRuntime,
};
use function_mesh_api::validate::Valid;
use function_mesh_api::{Component, Role, Spec, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::Backends;
use crate::backend::Backend;
use crate::connection::Connection;
use crate::names;
use crate::settings::Settings;

/// The identity of an object that no API server has seen.
const NO_UID: &str = "00000000-0000-0000-0000-000000000000";

static NO_POLICY: LazyLock<PodPolicy> = LazyLock::new(PodPolicy::default);
static NO_PULSAR: LazyLock<PulsarMessaging> = LazyLock::new(PulsarMessaging::default);

/// What runs the code.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Runtime<'a> {
    Java(&'a JavaRuntime),
    Python(&'a PythonRuntime),
    Go(&'a GoRuntime),
    Generic(&'a GenericRuntime),
}

impl<'a> Runtime<'a> {
    fn of(view: &SpecView<'a>) -> Option<Self> {
        let Common { java, python, golang, generic_runtime, .. } = view.common;
        let java = java.map(Self::Java);
        if view.role != Role::Function {
            return java;
        }
        java.or(python.map(Self::Python)).or(golang.map(Self::Go)).or(generic_runtime.map(Self::Generic))
    }

    /// The file that holds the code, in the container.
    pub(crate) fn file(self) -> &'a str {
        match self {
            Self::Java(java) => &java.jar,
            Self::Python(python) => &python.py,
            Self::Go(go) => &go.go,
            Self::Generic(generic) => &generic.function_file,
        }
    }

    /// Where that file is downloaded from, when it is not in the image.
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

/// One component, what applies to it, and the decisions that builders share.
#[derive(Clone, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) meta: &'a ObjectMeta,
    pub(crate) view: SpecView<'a>,
    pub(crate) common: Common<'a>,
    pub(crate) runtime: Option<Runtime<'a>>,
    pub(crate) pod: &'a PodPolicy,
    pub(crate) backend: Backend,
    pub(crate) settings: &'a Settings,
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
            runtime: Runtime::of(&view),
            pod: view.common.pod.unwrap_or(&NO_POLICY),
            backend: Backend::merge(backends, settings),
            settings,
        }
    }

    /// The component's role.
    pub(crate) fn role(&self) -> Role {
        self.view.role
    }

    /// Name of the component's object.
    pub(crate) fn object(&self) -> &'a str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    /// Identity of the component's object.
    pub(crate) fn uid(&self) -> &'a str {
        self.meta.uid.as_deref().filter(|uid| !uid.is_empty()).unwrap_or(NO_UID)
    }

    /// Name of the component in Pulsar.
    pub(crate) fn name(&self) -> &'a str {
        self.common.name.filter(|name| !name.is_empty()).unwrap_or(self.object())
    }

    /// The component's name as part of the name of a file. A slash would end the folder's name, and log4j puts
    /// dates and variables in where it finds the two others.
    pub(crate) fn file_name(&self) -> String {
        self.name().replace(['/', '%', '$'], "_")
    }

    /// Name of the container that runs the component.
    pub(crate) fn container(&self) -> String {
        format!("pulsar-{}", self.role())
    }

    /// The way to the Pulsar that the component works with.
    pub(crate) fn connection(&self) -> Connection<'a> {
        Connection::runtime(self.common.pulsar.unwrap_or(&NO_PULSAR))
    }

    /// The same way, with the rights to clean up.
    pub(crate) fn cleanup_connection(&self) -> Connection<'a> {
        Connection::cleanup(self.common.pulsar.unwrap_or(&NO_PULSAR))
    }

    /// The way to the Pulsar that packages come from, when that is another one.
    pub(crate) fn package_connection(&self) -> Option<Connection<'a>> {
        self.common.pulsar_package_service.map(Connection::packages)
    }

    /// Whether log lines reach the log topic through files, which a sidecar reads.
    pub(crate) fn logs_to_files(&self) -> bool {
        self.common.log_topic_agent == Some(LogTopicAgent::Sidecar)
    }

    /// The topic for log lines, when one is given.
    pub(crate) fn log_topic(&self) -> Option<&'a str> {
        self.common.log_topic.filter(|topic| !topic.is_empty())
    }

    /// Labels by which children are selected. They are the same for as long as the component lives.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let role = self.role();
        let name = self.object();
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

    /// Metadata of a child that lives and dies with the component.
    pub(crate) fn child(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: self.meta.namespace.clone(),
            labels: Some(self.labels()),
            owner_references: Some(vec![controller_of(self.role().kind(), self.meta)]),
            ..ObjectMeta::default()
        }
    }
}

/// A reference to the object that a child belongs to.
pub(crate) fn controller_of(kind: &str, owner: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: labels::API_VERSION.to_owned(),
        kind: kind.to_owned(),
        name: owner.name.clone().unwrap_or_default(),
        uid: owner.uid.clone().filter(|uid| !uid.is_empty()).unwrap_or_else(|| NO_UID.to_owned()),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
