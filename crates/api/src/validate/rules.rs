//! The table of simple rules. The webhook, the controller and the command line check them in Rust, the API server
//! evaluates the same rules as CEL expressions, with or without the webhook. Field and message are the same in both.
//!
//! A CEL expression sees an object before or without defaulting. It can accept what the Rust rule rejects, never the
//! reverse.

use crate::component::Role::{self, Function, Sink, Source};

/// A rule on a component spec.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The roles whose CRDs contain the rule.
    pub roles: &'static [Role],
    /// The field of the violation, relative to the component spec.
    pub field: &'static str,
    /// What is wrong, and what to do.
    pub message: &'static str,
    /// The CEL expression that is true for a valid spec, `$`.
    pub cel: &'static str,
}

const ALL_ROLES: &[Role] = &Role::ALL;
const READERS: &[Role] = &[Function, Sink];
const CONNECTORS: &[Role] = &[Source, Sink];

const FILE: &str = "must be the path of the file in the container";
const POSITIVE: &str = "must be 1 or more";
const NOT_ONCE: &str = "must not be set with processingGuarantee `effectively_once`";
const NO_INPUT: &str = "at least one input topic is required, here or in `topicPattern`, `customSerdeSources`, `customSchemaSources` or `sourceSpecs`";
const NO_ADDRESS: &str = "must name a ConfigMap with the keys `webServiceURL` and `brokerServiceURL`";
const RETENTION: &str = "must be `Retain` or `Delete`";

macro_rules! some_input {
    ($before:literal) => {
        concat!(
            $before,
            "(has($.input) && ((has($.input.topics) && size($.input.topics) > 0)",
            " || (has($.input.topicPattern) && $.input.topicPattern != '')",
            " || (has($.input.customSerdeSources) && size($.input.customSerdeSources) > 0)",
            " || (has($.input.customSchemaSources) && size($.input.customSchemaSources) > 0)",
            " || (has($.input.sourceSpecs) && size($.input.sourceSpecs) > 0)))"
        )
    };
}

macro_rules! not_once {
    ($field:literal, $unset:literal) => {
        concat!(
            "!has($.processingGuarantee) || $.processingGuarantee != 'effectively_once' || !has($.",
            $field,
            ") || $.",
            $field,
            " ",
            $unset
        )
    };
}

macro_rules! window {
    ($field:literal) => {
        concat!(
            "!has($.windowConfig) || !has($.windowConfig.",
            $field,
            ") || $.windowConfig.",
            $field,
            " >= 1"
        )
    };
}

macro_rules! rules {
    ($($name:ident: $roles:expr, $field:expr, $message:expr, $cel:expr;)*) => {
        $(
            #[allow(missing_docs, reason = "the message is the documentation")]
            pub const $name: Rule = Rule { roles: $roles, field: $field, message: $message, cel: $cel };
        )*

        /// All rules.
        pub const ALL: &[Rule] = &[$($name),*];
    };
}

rules! {
    NO_RUNTIME: &[Function], "java",
        "a function requires a runtime: set one of `java`, `python`, `golang` or `genericRuntime`",
        "has($.java) || has($.python) || has($.golang) || has($.genericRuntime)";
    PYTHON_BESIDE_JAVA: &[Function], "python", "only one of `java`, `python` and `golang` may be set",
        "!has($.python) || !has($.java)";
    GO_BESIDE_JAVA: &[Function], "golang", "only one of `java`, `python` and `golang` may be set",
        "!has($.golang) || !has($.java)";
    GO_BESIDE_PYTHON: &[Function], "golang", "only one of `java`, `python` and `golang` may be set",
        "!has($.golang) || !has($.python) || has($.java)";
    CONNECTOR_WITHOUT_JAVA: CONNECTORS, "java", "a connector requires `java`, with the connector as its `jar`",
        "has($.java)";
    NO_CLASS: ALL_ROLES, "className", "must be the class of the function or connector",
        "!(has($.java) || has($.python)) || (has($.className) && $.className != '')";
    NO_JAR: ALL_ROLES, "java.jar", FILE, "!has($.java) || (has($.java.jar) && $.java.jar != '')";
    NO_PY: &[Function], "python.py", FILE, "!has($.python) || (has($.python.py) && $.python.py != '')";
    NO_GO: &[Function], "golang.go", FILE, "!has($.golang) || (has($.golang.go) && $.golang.go != '')";
    NO_SOURCE_CONFIG: &[Source], "sourceConfig", "a source requires the configuration of its connector",
        "has($.sourceConfig)";
    NO_SINK_CONFIG: &[Sink], "sinkConfig", "a sink requires the configuration of its connector",
        "has($.sinkConfig)";
    NO_TRIGGERER: &[Source], "batchSourceConfig.discoveryTriggererClassName",
        "must be the discovery triggerer class",
        "!has($.batchSourceConfig) || (has($.batchSourceConfig.discoveryTriggererClassName) && $.batchSourceConfig.discoveryTriggererClassName != '')";
    NO_FUNCTION_INPUT: &[Function], "input.topics", NO_INPUT, some_input!("has($.sourceConfig) || ");
    NO_SINK_INPUT: &[Sink], "input.topics", NO_INPUT, some_input!("");
    NO_PULSAR: ALL_ROLES, "pulsar.pulsarConfig", NO_ADDRESS,
        "has($.pulsar) && has($.pulsar.pulsarConfig) && $.pulsar.pulsarConfig != ''";
    NO_PACKAGE_SERVICE: ALL_ROLES, "pulsarPackageService.pulsarConfig", NO_ADDRESS,
        "!has($.pulsarPackageService) || (has($.pulsarPackageService.pulsarConfig) && $.pulsarPackageService.pulsarConfig != '')";
    NO_MAX: ALL_ROLES, "maxReplicas", "must be 1 or more; leave it out for no autoscaler",
        "!has($.maxReplicas) || $.maxReplicas >= 1";
    ZERO_UNDER_AUTOSCALER: ALL_ROLES, "replicas",
        "must not be 0 with `maxReplicas`; remove `maxReplicas` to scale to zero",
        "!has($.maxReplicas) || $.maxReplicas < 1 || !has($.replicas) || $.replicas != 0";
    LEAST_REPLICAS: ALL_ROLES, "minReplicas", POSITIVE,
        "!has($.maxReplicas) || $.maxReplicas < 1 || !has($.minReplicas) || $.minReplicas >= 1";
    MIN_OVER_MAX: ALL_ROLES, "minReplicas", "must not exceed `maxReplicas`",
        "!has($.maxReplicas) || $.maxReplicas < 1 || !has($.minReplicas) || $.minReplicas <= $.maxReplicas";
    TWO_AUTOSCALERS: ALL_ROLES, "pod.vpa", "must not be set with `maxReplicas`; scale either vertically or horizontally",
        "!has($.maxReplicas) || !has($.pod) || !has($.pod.vpa)";
    SCALING_BESIDE_HPA: ALL_ROLES, "scaling",
        "must not be set with `maxReplicas`, which asks for a HorizontalPodAutoscaler; keep one of the two",
        "!has($.scaling) || !has($.maxReplicas)";
    SCALING_OF_SOURCE: &[Source], "scaling",
        "a source without `batchSourceConfig` has no backlog to scale by; set `replicas`, or `maxReplicas` to scale by CPU",
        "!has($.scaling) || has($.batchSourceConfig)";
    SCALING_PARALLELISM: ALL_ROLES, "showPreciseParallelism",
        "must not be set with `scaling`: each change of the replicas would restart all pods",
        "!has($.scaling) || !has($.showPreciseParallelism) || !$.showPreciseParallelism";
    SCALING_ONCE: ALL_ROLES, "scaling.mode",
        "must be `Recommend` with processingGuarantee `effectively_once`: a change of the replicas moves partitions between pods, whose producers have the same names, and pods fail",
        "!has($.scaling) || !has($.processingGuarantee) || $.processingGuarantee != 'effectively_once' || (has($.scaling.mode) && $.scaling.mode == 'Recommend')";
    SCALING_MIN_OVER_MAX: ALL_ROLES, "scaling.minReplicas", "must not exceed `scaling.maxReplicas`",
        "!has($.scaling) || !has($.scaling.minReplicas) || !has($.scaling.maxReplicas) || $.scaling.minReplicas <= $.scaling.maxReplicas";
    TIMEOUT_ONCE: READERS, "timeout", NOT_ONCE, not_once!("timeout", "== 0");
    RETRY_ONCE: READERS, "maxMessageRetry", NOT_ONCE, not_once!("maxMessageRetry", "<= 0");
    KEY_ORDER_ONCE: &[Function], "retainKeyOrdering", NOT_ONCE, not_once!("retainKeyOrdering", "== false");
    TWO_ORDERS: &[Function], "retainKeyOrdering", "only one of `retainOrdering` and `retainKeyOrdering` may be set",
        "!has($.retainKeyOrdering) || !has($.retainOrdering) || !$.retainKeyOrdering || !$.retainOrdering";
    NO_RETRY: READERS, "maxMessageRetry",
        "must be 1 or more with `deadLetterTopic`, which gets messages after that many redeliveries",
        "!has($.deadLetterTopic) || $.deadLetterTopic == '' || (has($.maxMessageRetry) && $.maxMessageRetry > 0)";
    STATE_IN_GO: &[Function], "statefulConfig", "the Go runtime does not support state; use Java or Python",
        "!has($.statefulConfig) || !has($.statefulConfig.pulsar) || !has($.golang) || has($.java) || has($.python) || has($.genericRuntime)";
    NO_STATE_STORE: &[Function], "statefulConfig.pulsar.serviceUrl", "must be the service URL of the state store",
        "!has($.statefulConfig) || !has($.statefulConfig.pulsar) || (has($.statefulConfig.pulsar.serviceUrl) && $.statefulConfig.pulsar.serviceUrl != '')";
    WINDOW_WITHOUT_LENGTH: &[Function], "windowConfig.windowLengthCount",
        "a window requires a length: set `windowLengthCount` or `windowLengthDurationMs`",
        "!has($.windowConfig) || has($.windowConfig.windowLengthCount) || has($.windowConfig.windowLengthDurationMs)";
    WINDOW_OF_TWO_LENGTHS: &[Function], "windowConfig.windowLengthCount",
        "only one of `windowLengthCount` and `windowLengthDurationMs` may be set",
        "!has($.windowConfig) || !has($.windowConfig.windowLengthCount) || !has($.windowConfig.windowLengthDurationMs)";
    WINDOW_COUNT: &[Function], "windowConfig.windowLengthCount", POSITIVE, window!("windowLengthCount");
    WINDOW_DURATION: &[Function], "windowConfig.windowLengthDurationMs", POSITIVE,
        window!("windowLengthDurationMs");
    WINDOW_STEP: &[Function], "windowConfig.slidingIntervalCount", POSITIVE, window!("slidingIntervalCount");
    WINDOW_STEP_DURATION: &[Function], "windowConfig.slidingIntervalDurationMs", POSITIVE,
        window!("slidingIntervalDurationMs");
    CLAIMS_WHEN_DELETED: &[Function], "persistentVolumeClaimRetentionPolicy.whenDeleted", RETENTION,
        "!has($.persistentVolumeClaimRetentionPolicy) || !has($.persistentVolumeClaimRetentionPolicy.whenDeleted) || $.persistentVolumeClaimRetentionPolicy.whenDeleted in ['', 'Retain', 'Delete']";
    CLAIMS_WHEN_SCALED: &[Function], "persistentVolumeClaimRetentionPolicy.whenScaled", RETENTION,
        "!has($.persistentVolumeClaimRetentionPolicy) || !has($.persistentVolumeClaimRetentionPolicy.whenScaled) || $.persistentVolumeClaimRetentionPolicy.whenScaled in ['', 'Retain', 'Delete']";
}

/// The rule that every component of a mesh has a name.
pub const NO_NAME: Rule = Rule {
    roles: ALL_ROLES,
    field: "name",
    message: "each component of a mesh requires a name",
    cel: "has($.name) && $.name != ''",
};

/// The message of the CEL rule on the name of a component object.
pub const OBJECT_NAME: &str = "metadata.name: must be at most 43 lowercase letters, digits and `-`, starting and ending with a letter or digit";

/// Maximum components of one role in a mesh, more than fit into the largest object that the API server stores.
pub const MAX_COMPONENTS: usize = 2000;

impl Rule {
    /// The CEL expression for the spec at `path`.
    pub fn cel_for(&self, path: &str) -> String {
        self.cel.replace('$', path)
    }
}
