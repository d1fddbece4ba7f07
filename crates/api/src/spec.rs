//! The specs of Function, Source and Sink.
//!
//! The three kinds share most of their fields. [`component_spec!`] lists the shared fields once and appends them to
//! the fields of each kind. Other modules read them independent of the kind, through [`crate::component`].

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, ResourceRequirements, VolumeMount};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use validator::Validate;

use crate::types::{
    BatchSourceConfig, ComponentStatus, FreeForm, FunctionSinkConfig, FunctionSourceConfig, GenericRuntime,
    GoRuntime, InputConf, JavaRuntime, LogTopicAgent, OnStall, OutputConf, PodPolicy, ProcessingGuarantee,
    PulsarMessaging, PythonRuntime, Rollout, Scaling, SecretRef, Stateful, SubscribePosition,
    VolumeClaimRetention, WindowConfig, schema,
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
            printcolumn(name = "Lag", type_ = "integer", json_path = ".status.traffic.lagSeconds", priority = 1),
            printcolumn(name = "Backlog", type_ = "integer", json_path = ".status.traffic.backlog", priority = 1),
            printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
        )]
        #[serde(rename_all = "camelCase")]
        pub struct $spec {
            $($(#[$own_meta])* pub $own: $own_type,)*

            /// Name of the component in Pulsar. Defaults to the object's name. Required in a FunctionMesh, where it
            /// also names the component's own object, `<mesh>-<name>`.
            pub name: Option<String>,
            /// Class that implements the function or connector. Required for Java and Python.
            pub class_name: Option<String>,
            /// Pulsar tenant. Defaults to `public`.
            pub tenant: Option<String>,
            /// Pulsar namespace. Defaults to `default`.
            pub namespace: Option<String>,
            /// Name of the Pulsar cluster. Defaults to `kubernetes`.
            pub cluster_name: Option<String>,
            /// Number of pods. Defaults to `minReplicas`. With `maxReplicas` the HorizontalPodAutoscaler sets it.
            #[validate(range(min = 0))]
            pub replicas: Option<i32>,
            /// Lower limit of the HorizontalPodAutoscaler. Defaults to 1.
            #[validate(range(min = 0))]
            #[schemars(extend("default" = 1))]
            pub min_replicas: Option<i32>,
            /// Upper limit of the HorizontalPodAutoscaler, 1 or more. Setting it enables horizontal autoscaling; leave it out for
            /// none.
            pub max_replicas: Option<i32>,
            /// Whether the runner gets the number of replicas as its parallelism. A change of replicas then restarts all pods.
            pub show_precise_parallelism: Option<bool>,
            /// Processing guarantee. Defaults to `atleast_once`.
            pub processing_guarantee: Option<ProcessingGuarantee>,
            /// Runtime flags, passed to the runner unchanged.
            pub runtime_flags: Option<String>,
            /// Secrets that the code reads by name: each entry maps a name to a key of a Secret.
            pub secrets_map: Option<BTreeMap<String, SecretRef>>,
            /// Topic that receives the component's logs.
            pub log_topic: Option<String>,
            /// What produces to the log topic. Defaults to `runtime` for functions, `sidecar` for sources and sinks.
            pub log_topic_agent: Option<LogTopicAgent>,
            /// Image of the Filebeat sidecar that produces to the log topic.
            pub filebeat_image: Option<String>,
            /// Compute resources of the main container. The memory limit sizes the heap of the JVM.
            pub resources: Option<ResourceRequirements>,
            /// Volume mounts of the main container, for volumes of `pod.volumes` and `volumeClaimTemplates`.
            pub volume_mounts: Option<Vec<VolumeMount>>,
            /// Settings of the pods.
            pub pod: Option<PodPolicy>,
            /// Connection to the Pulsar cluster: service URLs, authentication and TLS.
            #[validate(nested)]
            pub pulsar: Option<PulsarMessaging>,
            /// Connection to the Pulsar cluster that serves packages. Defaults to `pulsar`.
            #[validate(nested)]
            pub pulsar_package_service: Option<PulsarMessaging>,
            /// Java runtime. Required for sources and sinks.
            pub java: Option<JavaRuntime>,
            /// Python runtime, for functions.
            pub python: Option<PythonRuntime>,
            /// Go runtime, for functions.
            pub golang: Option<GoRuntime>,
            /// Generic runtime, for functions in other languages.
            #[validate(nested)]
            pub generic_runtime: Option<GenericRuntime>,
            /// State store of the component.
            pub stateful_config: Option<Stateful>,
            /// Image of the runner. Defaults to the operator's image for the runtime.
            pub image: Option<String>,
            /// Image pull policy of the runner: `Always`, `IfNotPresent` or `Never`, in any case. Another one is left out.
            pub image_pull_policy: Option<String>,
            /// Whether the image contains pulsarctl, which then downloads packages and deletes subscriptions.
            pub image_has_pulsarctl: Option<bool>,
            /// Whether the image contains wget, which then downloads packages over HTTP.
            #[serde(rename = "imageHasGet")]
            pub image_has_wget: Option<bool>,
            /// Image of the init container that downloads packages.
            pub downloader_image: Option<String>,
            /// Image of the Job that deletes subscriptions. Defaults to the runner's image.
            pub cleanup_image: Option<String>,
            /// Time without an acknowledgement, while messages wait and pods are ready, after which the component is stalled:
            /// a duration such as `5m` or `1m30s`, from one minute to a day. Defaults to `5m`.
            pub stall_after: Option<String>,
            /// What the operator does when the component is stalled. Defaults to `Report`.
            pub on_stall: Option<OnStall>,
            /// Scaling on messages instead of a HorizontalPodAutoscaler. Not together with `maxReplicas`.
            #[validate(nested)]
            pub scaling: Option<Scaling>,
            /// Rollouts of changed pods: how long one may take, and what happens to a bad one.
            pub rollout: Option<Rollout>,
        }
    };
}

component_spec! {
    /// A Pulsar Function: code that consumes topics and can produce to one.
    #[kube(kind = "Function", shortname = "fn", doc = "A Pulsar Function that runs on this cluster.")]
    pub struct FunctionSpec {
        /// Input topics and their consumers.
        pub input: Option<InputConf>,
        /// Output topic and its producer.
        pub output: Option<OutputConf>,
        /// User configuration, which the code reads from its context. Any JSON object.
        #[serde(default)]
        #[schemars(schema_with = "schema::free_form")]
        pub func_config: Option<FreeForm>,
        /// Source connector that replaces the input topics.
        pub source_config: Option<FunctionSourceConfig>,
        /// Sink connector that replaces the output topic.
        pub sink_config: Option<FunctionSinkConfig>,
        /// Acknowledgement timeout in milliseconds: Pulsar redelivers unacknowledged messages after it. 0 disables it.
        pub timeout: Option<i32>,
        /// Whether the runner acknowledges messages. Defaults to true.
        pub auto_ack: Option<bool>,
        /// Redeliveries of a failed message before it goes to the dead-letter topic.
        pub max_message_retry: Option<i32>,
        /// Dead-letter topic, for messages that failed `maxMessageRetry` redeliveries.
        pub dead_letter_topic: Option<String>,
        /// Whether messages are processed in order, with a Failover subscription: one replica consumes at a time.
        pub retain_ordering: Option<bool>,
        /// Whether messages of one key are processed in order, with a Key_Shared subscription.
        pub retain_key_ordering: Option<bool>,
        /// Whether properties of the input message are copied to the output message. Defaults to true.
        pub forward_source_message_property: Option<bool>,
        /// Most pending asynchronous requests of the function. Defaults to 1000.
        pub max_pending_async_requests: Option<i32>,
        /// Name of the subscription. Defaults to `<tenant>/<namespace>/<name>`.
        pub subscription_name: Option<String>,
        /// Whether deleting the function deletes its subscriptions. Defaults to false.
        pub cleanup_subscription: Option<bool>,
        /// Initial position of a new subscription. Defaults to `earliest`.
        pub subscription_position: Option<SubscribePosition>,
        /// Whether consumers seek to the latest message when the function starts, skipping the backlog.
        pub skip_to_latest: Option<bool>,
        /// Window over the input, for window functions.
        pub window_config: Option<WindowConfig>,
        /// PersistentVolumeClaim templates of the StatefulSet.
        pub volume_claim_templates: Option<Vec<PersistentVolumeClaim>>,
        /// Retention policy of the PersistentVolumeClaims.
        pub persistent_volume_claim_retention_policy: Option<VolumeClaimRetention>,
    }
}

component_spec! {
    /// A Pulsar IO source: a connector that produces external data to a topic.
    #[kube(kind = "Source", shortname = "src", doc = "A Pulsar IO source that runs on this cluster.")]
    pub struct SourceSpec {
        /// Output topic and its producer.
        pub output: Option<OutputConf>,
        /// Name of a built-in connector. Accepted for compatibility; `java.jar` selects the connector.
        pub source_type: Option<String>,
        /// Configuration of the connector. Any JSON object.
        #[serde(default)]
        #[schemars(schema_with = "schema::free_form")]
        pub source_config: Option<FreeForm>,
        /// Discovery of work, for batch sources.
        pub batch_source_config: Option<BatchSourceConfig>,
        /// Whether properties of the source record are copied to the message. Defaults to true.
        pub forward_source_message_property: Option<bool>,
    }
}

component_spec! {
    /// A Pulsar IO sink: a connector that consumes topics and writes to an external system.
    #[kube(kind = "Sink", shortname = "snk", doc = "A Pulsar IO sink that runs on this cluster.")]
    pub struct SinkSpec {
        /// Input topics and their consumers.
        pub input: Option<InputConf>,
        /// Name of a built-in connector. Accepted for compatibility; `java.jar` selects the connector.
        pub sink_type: Option<String>,
        /// Configuration of the connector. Any JSON object.
        #[serde(default)]
        #[schemars(schema_with = "schema::free_form")]
        pub sink_config: Option<FreeForm>,
        /// Acknowledgement timeout in milliseconds: Pulsar redelivers unacknowledged messages after it. 0 disables it.
        pub timeout: Option<i32>,
        /// Delay in milliseconds before Pulsar redelivers a negatively acknowledged message.
        pub negative_ack_redelivery_delay_ms: Option<i32>,
        /// Whether the runner acknowledges messages. Defaults to true.
        pub auto_ack: Option<bool>,
        /// Redeliveries of a failed message before it goes to the dead-letter topic.
        pub max_message_retry: Option<i32>,
        /// Dead-letter topic, for messages that failed `maxMessageRetry` redeliveries.
        pub dead_letter_topic: Option<String>,
        /// Whether messages are processed in order, with a Failover subscription: one replica consumes at a time.
        pub retain_ordering: Option<bool>,
        /// Whether messages of one key are processed in order, with a Key_Shared subscription.
        pub retain_key_ordering: Option<bool>,
        /// Name of the subscription. Defaults to `<tenant>/<namespace>/<name>`.
        pub subscription_name: Option<String>,
        /// Whether deleting the sink deletes its subscriptions. Defaults to false.
        pub cleanup_subscription: Option<bool>,
        /// Initial position of a new subscription. Defaults to `earliest`.
        pub subscription_position: Option<SubscribePosition>,
    }
}
