//! A kind-independent view of Function, Source and Sink.
//!
//! The three specs implement [`Spec`], the three kinds implement [`Component`]. Validation, rendering, topology and
//! reconciliation are generic over these traits.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{ResourceRequirements, VolumeMount};
use kube::core::{NamespaceResourceScope, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use validator::Validate;

use crate::defaulting::SetDefaults;
use crate::spec::{FunctionSpec, SinkSpec, SourceSpec};
use crate::types::{
    BatchSourceConfig, ComponentStatus, FreeForm, GenericRuntime, GoRuntime, InputConf, JavaRuntime,
    LogTopicAgent, OnStall, OutputConf, PodPolicy, ProcessingGuarantee, PulsarMessaging, PythonRuntime,
    Rollout, Scaling, SecretRef, Stateful, SubscribePosition,
};
use crate::{Function, Sink, Source};

/// Role of a component.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Consumes topics and can produce to one.
    Function,
    /// Produces external data to a topic.
    Source,
    /// Consumes topics and writes to an external system.
    Sink,
}

impl Role {
    /// All roles, in the order of the lists of a mesh.
    pub const ALL: [Self; 3] = [Self::Function, Self::Source, Self::Sink];

    /// The name in labels and child names: `function`, `source` or `sink`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Source => "source",
            Self::Sink => "sink",
        }
    }

    /// The Kubernetes kind.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Function => "Function",
            Self::Source => "Source",
            Self::Sink => "Sink",
        }
    }

    /// The list of a FunctionMesh that holds components of this role.
    pub const fn mesh_field(self) -> &'static str {
        match self {
            Self::Function => "functions",
            Self::Source => "sources",
            Self::Sink => "sinks",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The fields of every component, borrowed. No defaults are applied.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each field is documented in the spec of its kind")]
pub struct Common<'a> {
    pub name: Option<&'a str>,
    pub class_name: Option<&'a str>,
    pub tenant: Option<&'a str>,
    pub namespace: Option<&'a str>,
    pub cluster_name: Option<&'a str>,
    pub replicas: Option<i32>,
    pub min_replicas: Option<i32>,
    pub max_replicas: Option<i32>,
    pub show_precise_parallelism: bool,
    pub processing_guarantee: ProcessingGuarantee,
    pub runtime_flags: Option<&'a str>,
    pub secrets_map: Option<&'a BTreeMap<String, SecretRef>>,
    pub log_topic: Option<&'a str>,
    pub log_topic_agent: Option<LogTopicAgent>,
    pub filebeat_image: Option<&'a str>,
    pub resources: Option<&'a ResourceRequirements>,
    pub volume_mounts: &'a [VolumeMount],
    pub pod: Option<&'a PodPolicy>,
    pub pulsar: Option<&'a PulsarMessaging>,
    pub pulsar_package_service: Option<&'a PulsarMessaging>,
    pub java: Option<&'a JavaRuntime>,
    pub python: Option<&'a PythonRuntime>,
    pub golang: Option<&'a GoRuntime>,
    pub generic_runtime: Option<&'a GenericRuntime>,
    pub stateful_config: Option<&'a Stateful>,
    pub image: Option<&'a str>,
    pub image_pull_policy: Option<&'a str>,
    pub image_has_pulsarctl: bool,
    pub image_has_wget: bool,
    pub downloader_image: Option<&'a str>,
    pub cleanup_image: Option<&'a str>,
    pub stall_after: Option<&'a str>,
    pub on_stall: Option<OnStall>,
    pub scaling: Option<&'a Scaling>,
    pub rollout: Option<&'a Rollout>,
}

/// Consumer settings of functions and sinks.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each field is documented in the spec of its kind")]
#[allow(clippy::struct_excessive_bools, reason = "they are the booleans of the spec")]
pub struct Consuming<'a> {
    pub input: Option<&'a InputConf>,
    pub timeout: Option<i32>,
    pub auto_ack: Option<bool>,
    pub max_message_retry: Option<i32>,
    pub dead_letter_topic: Option<&'a str>,
    pub retain_ordering: bool,
    pub retain_key_ordering: bool,
    pub subscription_name: Option<&'a str>,
    pub cleanup_subscription: bool,
    pub subscription_position: Option<SubscribePosition>,
    pub skip_to_latest: bool,
    pub negative_ack_redelivery_delay_ms: Option<i32>,
}

/// Producer settings of functions and sources.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each field is documented in the spec of its kind")]
pub struct Producing<'a> {
    pub output: Option<&'a OutputConf>,
    pub forward_source_message_property: Option<bool>,
}

/// The fields of a single role.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each field is documented in the spec of its kind")]
pub enum KindSpecific<'a> {
    Function(&'a FunctionSpec),
    Source { config: Option<&'a FreeForm>, batch: Option<&'a BatchSourceConfig> },
    Sink { config: Option<&'a FreeForm> },
}

/// A spec of any role, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct SpecView<'a> {
    /// The role.
    pub role: Role,
    /// The fields of every component.
    pub common: Common<'a>,
    /// Consumer settings, unless it is a source.
    pub consuming: Option<Consuming<'a>>,
    /// Producer settings, unless it is a sink.
    pub producing: Option<Producing<'a>>,
    /// The fields of its role alone.
    pub kind_specific: KindSpecific<'a>,
}

impl<'a> SpecView<'a> {
    /// The spec, if it is a function's.
    pub fn function(&self) -> Option<&'a FunctionSpec> {
        match self.kind_specific {
            KindSpecific::Function(spec) => Some(spec),
            KindSpecific::Source { .. } | KindSpecific::Sink { .. } => None,
        }
    }

    /// The input topics.
    pub fn input(&self) -> Option<&'a InputConf> {
        self.consuming.and_then(|consuming| consuming.input)
    }

    /// The output topic and its producer.
    pub fn output(&self) -> Option<&'a OutputConf> {
        self.producing.and_then(|producing| producing.output)
    }

    /// The name of the output topic, unless it is empty.
    pub fn output_topic(&self) -> Option<&'a str> {
        self.output()?.topic.as_deref().filter(|topic| !topic.is_empty())
    }
}

/// A component spec: [`FunctionSpec`], [`SourceSpec`] or [`SinkSpec`].
pub trait Spec:
    Clone + fmt::Debug + Default + PartialEq + Serialize + DeserializeOwned + SetDefaults + Validate + Send + Sync
{
    /// The role that this spec belongs to.
    const ROLE: Role;

    /// The kind-independent view.
    fn view(&self) -> SpecView<'_>;

    /// Unsets the replicas, which another manager sets.
    fn unset_replicas(&mut self);
}

/// Borrows the fields of every component from one of the three specs.
macro_rules! common {
    ($spec:expr) => {
        Common {
            name: $spec.name.as_deref(),
            class_name: $spec.class_name.as_deref(),
            tenant: $spec.tenant.as_deref(),
            namespace: $spec.namespace.as_deref(),
            cluster_name: $spec.cluster_name.as_deref(),
            replicas: $spec.replicas,
            min_replicas: $spec.min_replicas,
            max_replicas: $spec.max_replicas,
            show_precise_parallelism: $spec.show_precise_parallelism.unwrap_or_default(),
            processing_guarantee: $spec.processing_guarantee.unwrap_or_default(),
            runtime_flags: $spec.runtime_flags.as_deref(),
            secrets_map: $spec.secrets_map.as_ref(),
            log_topic: $spec.log_topic.as_deref(),
            log_topic_agent: $spec.log_topic_agent,
            filebeat_image: $spec.filebeat_image.as_deref(),
            resources: $spec.resources.as_ref(),
            volume_mounts: $spec.volume_mounts.as_deref().unwrap_or_default(),
            pod: $spec.pod.as_ref(),
            pulsar: $spec.pulsar.as_ref(),
            pulsar_package_service: $spec.pulsar_package_service.as_ref(),
            java: $spec.java.as_ref(),
            python: $spec.python.as_ref(),
            golang: $spec.golang.as_ref(),
            generic_runtime: $spec.generic_runtime.as_ref(),
            stateful_config: $spec.stateful_config.as_ref(),
            image: $spec.image.as_deref(),
            image_pull_policy: $spec.image_pull_policy.as_deref(),
            image_has_pulsarctl: $spec.image_has_pulsarctl.unwrap_or_default(),
            image_has_wget: $spec.image_has_wget.unwrap_or_default(),
            downloader_image: $spec.downloader_image.as_deref(),
            cleanup_image: $spec.cleanup_image.as_deref(),
            stall_after: $spec.stall_after.as_deref(),
            on_stall: $spec.on_stall,
            scaling: $spec.scaling.as_ref(),
            rollout: $spec.rollout.as_ref(),
        }
    };
}

impl Spec for FunctionSpec {
    const ROLE: Role = Role::Function;

    fn view(&self) -> SpecView<'_> {
        SpecView {
            role: Self::ROLE,
            common: common!(self),
            consuming: Some(Consuming {
                input: self.input.as_ref(),
                timeout: self.timeout,
                auto_ack: self.auto_ack,
                max_message_retry: self.max_message_retry,
                dead_letter_topic: self.dead_letter_topic.as_deref(),
                retain_ordering: self.retain_ordering.unwrap_or_default(),
                retain_key_ordering: self.retain_key_ordering.unwrap_or_default(),
                subscription_name: self.subscription_name.as_deref(),
                cleanup_subscription: self.cleanup_subscription.unwrap_or_default(),
                subscription_position: self.subscription_position,
                skip_to_latest: self.skip_to_latest.unwrap_or_default(),
                negative_ack_redelivery_delay_ms: self.timeout,
            }),
            producing: Some(Producing {
                output: self.output.as_ref(),
                forward_source_message_property: self.forward_source_message_property,
            }),
            kind_specific: KindSpecific::Function(self),
        }
    }

    fn unset_replicas(&mut self) {
        self.replicas = None;
    }
}

impl Spec for SourceSpec {
    const ROLE: Role = Role::Source;

    fn view(&self) -> SpecView<'_> {
        SpecView {
            role: Self::ROLE,
            common: common!(self),
            consuming: None,
            producing: Some(Producing {
                output: self.output.as_ref(),
                forward_source_message_property: self.forward_source_message_property,
            }),
            kind_specific: KindSpecific::Source {
                config: self.source_config.as_ref(),
                batch: self.batch_source_config.as_ref(),
            },
        }
    }

    fn unset_replicas(&mut self) {
        self.replicas = None;
    }
}

impl Spec for SinkSpec {
    const ROLE: Role = Role::Sink;

    fn view(&self) -> SpecView<'_> {
        SpecView {
            role: Self::ROLE,
            common: common!(self),
            consuming: Some(Consuming {
                input: self.input.as_ref(),
                timeout: self.timeout,
                auto_ack: self.auto_ack,
                max_message_retry: self.max_message_retry,
                dead_letter_topic: self.dead_letter_topic.as_deref(),
                retain_ordering: self.retain_ordering.unwrap_or_default(),
                retain_key_ordering: self.retain_key_ordering.unwrap_or_default(),
                subscription_name: self.subscription_name.as_deref(),
                cleanup_subscription: self.cleanup_subscription.unwrap_or_default(),
                subscription_position: self.subscription_position,
                skip_to_latest: false,
                negative_ack_redelivery_delay_ms: self.negative_ack_redelivery_delay_ms,
            }),
            producing: None,
            kind_specific: KindSpecific::Sink { config: self.sink_config.as_ref() },
        }
    }

    fn unset_replicas(&mut self) {
        self.replicas = None;
    }
}

/// A component as a Kubernetes object: [`Function`], [`Source`] or [`Sink`].
pub trait Component:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The spec of this kind.
    type Spec: Spec;

    /// The role of this kind.
    const ROLE: Role = Self::Spec::ROLE;

    /// A new object with this name and spec.
    fn with_spec(name: &str, spec: Self::Spec) -> Self;
    /// The spec.
    fn spec(&self) -> &Self::Spec;
    /// The spec, mutable.
    fn spec_mut(&mut self) -> &mut Self::Spec;
    /// The status, unless none was written yet.
    fn status(&self) -> Option<&ComponentStatus>;
    /// The status, mutable.
    fn status_mut(&mut self) -> &mut Option<ComponentStatus>;
}

macro_rules! impl_component {
    ($($kind:ident: $spec:ident),*) => {$(
        impl Component for $kind {
            type Spec = $spec;

            fn with_spec(name: &str, spec: $spec) -> Self {
                Self::new(name, spec)
            }
            fn spec(&self) -> &$spec {
                &self.spec
            }
            fn spec_mut(&mut self) -> &mut $spec {
                &mut self.spec
            }
            fn status(&self) -> Option<&ComponentStatus> {
                self.status.as_ref()
            }
            fn status_mut(&mut self) -> &mut Option<ComponentStatus> {
                &mut self.status
            }
        }
    )*};
}

impl_component!(Function: FunctionSpec, Source: SourceSpec, Sink: SinkSpec);
