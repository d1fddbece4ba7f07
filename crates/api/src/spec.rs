//! The specifications of the three components.
//!
//! Function, Source and Sink share most of their fields. [`component_spec!`] lists the shared ones once and
//! puts them into each of the three structs, after the fields of its own, together with the accessor by which
//! the rest of the project reads them without knowing the kind ([`crate::component`]).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, ResourceRequirements, VolumeMount};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use validator::Validate;

use crate::types::{
    BatchSourceConfig, ComponentStatus, FreeForm, FunctionSinkConfig, FunctionSourceConfig, GenericRuntime,
    GoRuntime, InputConf, JavaRuntime, LogTopicAgent, OutputConf, PodPolicy, ProcessingGuarantee,
    PulsarMessaging, PythonRuntime, SecretRef, Stateful, SubscribePosition, VolumeClaimRetention,
    WindowConfig, schema,
};

macro_rules! component_spec {
    ($(#[$meta:meta])* pub struct $spec:ident { $($(#[$own_meta:meta])* pub $own:ident: $own_type:ty,)* }) => {
        #[skip_serializing_none]
        #[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
        $(#[$meta])*
        #[kube(
            group = "compute.functionmesh.io",
            version = "v1alpha1",
            namespaced,
            status = "ComponentStatus",
            derive = "PartialEq",
            category = "pulsar",
            scale(
                spec_replicas_path = ".spec.replicas",
                status_replicas_path = ".status.replicas",
                label_selector_path = ".status.selector"
            ),
            printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
            printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
            printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas"),
            printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
            printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
        )]
        #[serde(rename_all = "camelCase")]
        pub struct $spec {
            $($(#[$own_meta])* pub $own: $own_type,)*

            /// Name of the component in Pulsar. Default: the object's name. In a FunctionMesh it also names
            /// the component's own object, `<mesh>-<name>`.
            pub name: Option<String>,
            /// Class of the component's code; for Go and generic runtimes any text.
            pub class_name: Option<String>,
            /// Pulsar tenant. Default: public.
            pub tenant: Option<String>,
            /// Pulsar namespace. Default: default.
            pub namespace: Option<String>,
            /// Name of the Pulsar cluster. Default: kubernetes.
            pub cluster_name: Option<String>,
            /// Number of pods. Default: `minReplicas`. With `maxReplicas` set the autoscaler decides it.
            #[validate(range(min = 0))]
            pub replicas: Option<i32>,
            /// Least number of pods under an autoscaler. Default: 1.
            #[validate(range(min = 0))]
            #[schemars(extend("default" = 1))]
            pub min_replicas: Option<i32>,
            /// Greatest number of pods. Setting it turns horizontal autoscaling on.
            pub max_replicas: Option<i32>,
            /// Whether the component is told its number of replicas. Changing replicas then restarts it.
            pub show_precise_parallelism: Option<bool>,
            /// How often a message takes effect. Default: atleast_once.
            pub processing_guarantee: Option<ProcessingGuarantee>,
            /// Flags that are passed on to the runtime.
            pub runtime_flags: Option<String>,
            /// Values of Secrets that the component may read, by the names that it uses.
            pub secrets_map: Option<BTreeMap<String, SecretRef>>,
            /// Topic that the component's log lines go to.
            pub log_topic: Option<String>,
            /// Who writes to the log topic. Default: runtime for a function, sidecar for a source or sink.
            pub log_topic_agent: Option<LogTopicAgent>,
            /// Image of the log sidecar.
            pub filebeat_image: Option<String>,
            /// CPU, memory and storage. Memory is what a Java component sizes its heap by.
            pub resources: Option<ResourceRequirements>,
            /// Mounts of the volumes in `pod.volumes` and `volumeClaimTemplates`.
            pub volume_mounts: Option<Vec<VolumeMount>>,
            /// Policy of the pods.
            pub pod: Option<PodPolicy>,
            /// How the component reaches Pulsar.
            #[validate(nested)]
            pub pulsar: Option<PulsarMessaging>,
            /// Where packages are downloaded from, when that is not the Pulsar of `pulsar`.
            #[validate(nested)]
            pub pulsar_package_service: Option<PulsarMessaging>,
            /// A component in Java.
            pub java: Option<JavaRuntime>,
            /// A function in Python.
            pub python: Option<PythonRuntime>,
            /// A function in Go.
            pub golang: Option<GoRuntime>,
            /// A function in a language that the generic runner serves.
            #[validate(nested)]
            pub generic_runtime: Option<GenericRuntime>,
            /// State of the component, kept outside its pods.
            pub stateful_config: Option<Stateful>,
            /// Image of the runner. Default: the operator's image for the runtime.
            pub image: Option<String>,
            /// When the image is pulled: Always, IfNotPresent or Never.
            pub image_pull_policy: Option<String>,
            /// Whether the image has pulsarctl for downloads.
            pub image_has_pulsarctl: Option<bool>,
            /// Whether the image has wget for downloads.
            #[serde(rename = "imageHasGet")]
            pub image_has_wget: Option<bool>,
            /// Image that downloads packages in an init container.
            pub downloader_image: Option<String>,
            /// Image that cleans up subscriptions. Default: the runner's.
            pub cleanup_image: Option<String>,
        }
    };
}

component_spec! {
    /// A Pulsar Function: code that reads topics, and may write one.
    #[kube(kind = "Function", shortname = "fn", doc = "A Pulsar Function that runs on this cluster.")]
    pub struct FunctionSpec {
        /// What the function reads.
        pub input: Option<InputConf>,
        /// What the function writes.
        pub output: Option<OutputConf>,
        /// Configuration that the function's code reads.
        #[serde(default)]
        #[schemars(schema_with = "schema::free_form")]
        pub func_config: Option<FreeForm>,
        /// A source connector in place of input topics.
        pub source_config: Option<FunctionSourceConfig>,
        /// A sink connector in place of an output topic.
        pub sink_config: Option<FunctionSinkConfig>,
        /// Milliseconds after which an unacknowledged message is delivered again. 0: never.
        pub timeout: Option<i32>,
        /// Whether messages are acknowledged for the code. Default: true.
        pub auto_ack: Option<bool>,
        /// How often a message is tried again before it goes to the dead-letter topic.
        pub max_message_retry: Option<i32>,
        /// Topic for messages that failed `maxMessageRetry` times.
        pub dead_letter_topic: Option<String>,
        /// Whether messages are processed in order; one replica reads at a time.
        pub retain_ordering: Option<bool>,
        /// Whether messages of one key are processed in order.
        pub retain_key_ordering: Option<bool>,
        /// Whether properties of the input message are copied to the output. Default: true.
        pub forward_source_message_property: Option<bool>,
        /// Asynchronous requests that may be open at a time. Default: 1000.
        pub max_pending_async_requests: Option<i32>,
        /// Name of the subscription. Default: tenant/namespace/name.
        pub subscription_name: Option<String>,
        /// Whether the subscription is removed with the function. Default: false.
        pub cleanup_subscription: Option<bool>,
        /// Where a new subscription begins. Default: earliest.
        pub subscription_position: Option<SubscribePosition>,
        /// Whether the function skips what came while it did not run.
        pub skip_to_latest: Option<bool>,
        /// A window, for code that takes several messages at a time.
        pub window_config: Option<WindowConfig>,
        /// Volume claims, one set a pod.
        pub volume_claim_templates: Option<Vec<PersistentVolumeClaim>>,
        /// What becomes of the volume claims.
        pub persistent_volume_claim_retention_policy: Option<VolumeClaimRetention>,
    }
}

component_spec! {
    /// A Pulsar IO source: a connector that brings data from outside into a topic.
    #[kube(kind = "Source", shortname = "src", doc = "A Pulsar IO source that runs on this cluster.")]
    pub struct SourceSpec {
        /// What the source writes.
        pub output: Option<OutputConf>,
        /// Name of a built-in connector; kept for compatibility, `java.jar` decides.
        pub source_type: Option<String>,
        /// Configuration of the connector.
        #[serde(default)]
        #[schemars(schema_with = "schema::free_form")]
        pub source_config: Option<FreeForm>,
        /// Discovery, when the connector is a batch source.
        pub batch_source_config: Option<BatchSourceConfig>,
        /// Whether properties of the record are copied to the message. Default: true.
        pub forward_source_message_property: Option<bool>,
    }
}

component_spec! {
    /// A Pulsar IO sink: a connector that carries data from topics to the outside.
    #[kube(kind = "Sink", shortname = "snk", doc = "A Pulsar IO sink that runs on this cluster.")]
    pub struct SinkSpec {
        /// What the sink reads.
        pub input: Option<InputConf>,
        /// Name of a built-in connector; kept for compatibility, `java.jar` decides.
        pub sink_type: Option<String>,
        /// Configuration of the connector.
        #[serde(default)]
        #[schemars(schema_with = "schema::free_form")]
        pub sink_config: Option<FreeForm>,
        /// Milliseconds after which an unacknowledged message is delivered again. 0: never.
        pub timeout: Option<i32>,
        /// Milliseconds after which a message that the sink refused is delivered again.
        pub negative_ack_redelivery_delay_ms: Option<i32>,
        /// Whether messages are acknowledged for the code. Default: true.
        pub auto_ack: Option<bool>,
        /// How often a message is tried again before it goes to the dead-letter topic.
        pub max_message_retry: Option<i32>,
        /// Topic for messages that failed `maxMessageRetry` times.
        pub dead_letter_topic: Option<String>,
        /// Whether messages are processed in order; one replica reads at a time.
        pub retain_ordering: Option<bool>,
        /// Whether messages of one key are processed in order.
        pub retain_key_ordering: Option<bool>,
        /// Name of the subscription. Default: tenant/namespace/name.
        pub subscription_name: Option<String>,
        /// Whether the subscription is removed with the sink. Default: false.
        pub cleanup_subscription: Option<bool>,
        /// Where a new subscription begins. Default: earliest.
        pub subscription_position: Option<SubscribePosition>,
    }
}
