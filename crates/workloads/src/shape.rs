//! Schemas of objects for comparison and server-side apply: which fields are quantities, maps with user-defined keys,
//! free-form configuration or list maps.
//!
//! A field is identified by the kind and its full path, never by its name alone: free-form configuration can contain
//! any name.

/// The shape of a field. That of a list is the shape of its items.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A value without special fields.
    Plain,
    /// An object with special fields.
    Type(&'static [(&'static str, Self)]),
    /// A list map of server-side apply: the key of its items, and their shape.
    ListMap(&'static str, &'static Self),
    /// A map with user-defined keys.
    Map(&'static Self),
    /// A quantity: `0.5` equals `500m`.
    Quantity,
    /// Free-form configuration, in which every value counts.
    FreeForm,
}

use Shape::{FreeForm, ListMap, Map, Plain, Quantity, Type};

impl Shape {
    /// The shape of a kind.
    pub(crate) fn of_kind(kind: &str) -> Self {
        match kind {
            "StatefulSet" | "Deployment" | "DaemonSet" | "ReplicaSet" => STATEFUL_SET,
            "Job" => JOB,
            "HorizontalPodAutoscaler" => HORIZONTAL,
            "VerticalPodAutoscaler" => VERTICAL,
            "Function" => FUNCTION,
            "Source" => SOURCE,
            "Sink" => SINK,
            "FunctionMesh" => MESH,
            "BackendConfig" => BACKEND,
            "PersistentVolumeClaim" => CLAIM,
            _ => Type(&[("metadata", METADATA), ("spec", Type(&[("selector", STRINGS)]))]),
        }
    }

    /// The shape of a field.
    pub(crate) fn field(self, name: &str) -> Self {
        match self {
            Type(fields) => {
                fields.iter().find(|(field, _)| *field == name).map_or(Plain, |(_, shape)| *shape)
            }
            ListMap(_, items) => items.field(name),
            Map(values) => *values,
            Plain => Plain,
            Quantity | FreeForm => self,
        }
    }
}

const STRINGS: Shape = Map(&Plain);
const QUANTITIES: Shape = Map(&Quantity);
const METADATA: Shape = Type(&[("labels", STRINGS), ("annotations", STRINGS)]);
const SELECTOR: Shape = Type(&[("matchLabels", STRINGS)]);
const RESOURCES: Shape = Type(&[("limits", QUANTITIES), ("requests", QUANTITIES)]);
const FIELD_REF: Shape = Type(&[("resourceFieldRef", Type(&[("divisor", Quantity)]))]);
const DOWNWARD: Shape = Type(&[("items", FIELD_REF)]);

const ENV: Shape = ListMap("name", &Type(&[("valueFrom", FIELD_REF)]));
const MOUNTS: Shape = ListMap("mountPath", &Plain);
const PULL_SECRETS: Shape = ListMap("name", &Plain);
const CONTAINER: Shape = Type(&[("env", ENV), ("volumeMounts", MOUNTS), ("resources", RESOURCES)]);

const CLAIM: Shape = Type(&[
    ("metadata", METADATA),
    ("spec", Type(&[("resources", RESOURCES), ("selector", SELECTOR)])),
    (
        "status",
        Type(&[
            ("capacity", QUANTITIES),
            ("allocatedResources", QUANTITIES),
            ("allocatedResourceStatuses", STRINGS),
        ]),
    ),
]);
const VOLUMES: Shape = ListMap(
    "name",
    &Type(&[
        ("emptyDir", Type(&[("sizeLimit", Quantity)])),
        ("ephemeral", Type(&[("volumeClaimTemplate", CLAIM)])),
        ("downwardAPI", DOWNWARD),
        ("projected", Type(&[("sources", Type(&[("downwardAPI", DOWNWARD), ("clusterTrustBundle", TERM)]))])),
        ("csi", Type(&[("volumeAttributes", STRINGS)])),
        ("flexVolume", Type(&[("options", STRINGS)])),
    ]),
);

const TERM: Shape = Type(&[("labelSelector", SELECTOR), ("namespaceSelector", SELECTOR)]);
const TERMS: Shape = Type(&[
    ("requiredDuringSchedulingIgnoredDuringExecution", TERM),
    ("preferredDuringSchedulingIgnoredDuringExecution", Type(&[("podAffinityTerm", TERM)])),
]);
const AFFINITY: Shape = Type(&[("podAffinity", TERMS), ("podAntiAffinity", TERMS)]);
const POD: Shape = Type(&[
    ("metadata", METADATA),
    (
        "spec",
        Type(&[
            ("volumes", VOLUMES),
            ("imagePullSecrets", PULL_SECRETS),
            ("containers", CONTAINER),
            ("initContainers", CONTAINER),
            ("ephemeralContainers", CONTAINER),
            ("resources", RESOURCES),
            ("overhead", QUANTITIES),
            ("nodeSelector", STRINGS),
            ("affinity", AFFINITY),
            ("topologySpreadConstraints", TERM),
        ]),
    ),
]);

const STATEFUL_SET: Shape = Type(&[
    ("metadata", METADATA),
    ("spec", Type(&[("selector", SELECTOR), ("template", POD), ("volumeClaimTemplates", CLAIM)])),
]);
const JOB: Shape =
    Type(&[("metadata", METADATA), ("spec", Type(&[("selector", SELECTOR), ("template", POD)]))]);

const TARGET: Shape = Type(&[
    ("target", Type(&[("value", Quantity), ("averageValue", Quantity)])),
    ("metric", Type(&[("selector", SELECTOR)])),
]);
const METRICS: Shape = Type(&[
    ("resource", TARGET),
    ("containerResource", TARGET),
    ("pods", TARGET),
    ("object", TARGET),
    ("external", TARGET),
]);
const TOLERANCE: Shape = Type(&[("tolerance", Quantity)]);
const BEHAVIOR: Shape = Type(&[("scaleUp", TOLERANCE), ("scaleDown", TOLERANCE)]);
const HORIZONTAL: Shape =
    Type(&[("metadata", METADATA), ("spec", Type(&[("metrics", METRICS), ("behavior", BEHAVIOR)]))]);
const POLICIES: Shape =
    Type(&[("containerPolicies", Type(&[("minAllowed", QUANTITIES), ("maxAllowed", QUANTITIES)]))]);
const VERTICAL: Shape = Type(&[("metadata", METADATA), ("spec", Type(&[("resourcePolicy", POLICIES)]))]);

const POLICY: Shape = Type(&[
    ("labels", STRINGS),
    ("annotations", STRINGS),
    ("nodeSelector", STRINGS),
    ("affinity", AFFINITY),
    ("volumes", VOLUMES),
    ("imagePullSecrets", PULL_SECRETS),
    ("initContainers", CONTAINER),
    ("sidecars", CONTAINER),
    ("env", ENV),
    ("autoScalingMetrics", METRICS),
    ("autoScalingBehavior", BEHAVIOR),
    ("vpa", Type(&[("resourcePolicy", POLICIES)])),
]);
const CRYPTO: Shape = Type(&[("cryptoConfig", Type(&[("cryptoKeyReaderConfig", STRINGS)]))]);
const CONSUMER: Shape = Type(&[
    ("schemaProperties", STRINGS),
    ("consumerProperties", STRINGS),
    ("cryptoConfig", Type(&[("cryptoKeyReaderConfig", STRINGS)])),
]);
const INPUT: Shape = Type(&[
    ("customSerdeSources", STRINGS),
    ("customSchemaSources", STRINGS),
    ("sourceSpecs", Map(&CONSUMER)),
]);
const OUTPUT: Shape = Type(&[("customSchemaSinks", STRINGS), ("producerConf", CRYPTO)]);
const BATCH: Shape = Type(&[("discoveryTriggererConfig", FreeForm)]);
const STATE: Shape = Type(&[("pulsar", Type(&[("javaProvider", Type(&[("config", FreeForm)]))]))]);

const FUNCTION_SPEC: Shape = Type(&[
    ("funcConfig", FreeForm),
    ("sourceConfig", Type(&[("configs", FreeForm), ("batchSourceConfig", BATCH)])),
    ("sinkConfig", Type(&[("configs", FreeForm)])),
    ("input", INPUT),
    ("output", OUTPUT),
    ("secretsMap", STRINGS),
    ("resources", RESOURCES),
    ("volumeMounts", MOUNTS),
    ("volumeClaimTemplates", CLAIM),
    ("statefulConfig", STATE),
    ("pod", POLICY),
]);
const SOURCE_SPEC: Shape = Type(&[
    ("sourceConfig", FreeForm),
    ("batchSourceConfig", BATCH),
    ("output", OUTPUT),
    ("secretsMap", STRINGS),
    ("resources", RESOURCES),
    ("volumeMounts", MOUNTS),
    ("statefulConfig", STATE),
    ("pod", POLICY),
]);
const SINK_SPEC: Shape = Type(&[
    ("sinkConfig", FreeForm),
    ("input", INPUT),
    ("secretsMap", STRINGS),
    ("resources", RESOURCES),
    ("volumeMounts", MOUNTS),
    ("statefulConfig", STATE),
    ("pod", POLICY),
]);
const FUNCTION: Shape = Type(&[("metadata", METADATA), ("spec", FUNCTION_SPEC)]);
const SOURCE: Shape = Type(&[("metadata", METADATA), ("spec", SOURCE_SPEC)]);
const SINK: Shape = Type(&[("metadata", METADATA), ("spec", SINK_SPEC)]);
const MESH: Shape = Type(&[
    ("metadata", METADATA),
    ("spec", Type(&[("functions", FUNCTION_SPEC), ("sources", SOURCE_SPEC), ("sinks", SINK_SPEC)])),
]);
const BACKEND: Shape = Type(&[("metadata", METADATA), ("spec", Type(&[("env", STRINGS), ("pod", POLICY)]))]);

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Free-form fields, quantities and maps of the CRDs have the same shape here.
    #[test]
    fn shapes_match_the_crds() {
        for crd in function_mesh_api::crd::all().unwrap() {
            let kind = crd.spec.names.kind.clone();
            let crd = serde_json::to_value(crd).unwrap();
            let spec = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap();
            let mut walk = Walk::default();
            walk.schema(spec, Shape::of_kind(&kind).field("spec"), &format!("{kind}.spec"));
            assert!(walk.seen > 10, "{kind}: {}", walk.seen);
            assert_eq!(walk.wrong, [""; 0]);
        }
    }

    /// Quantities of the children are found by type, wherever they stand.
    #[test]
    fn quantities_of_children_are_found_by_type() {
        use k8s_openapi::api::apps::v1::StatefulSet;
        use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
        use k8s_openapi::api::batch::v1::Job;
        use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
        for (kind, schema, least) in [
            ("StatefulSet", schemars::schema_for!(StatefulSet), 20),
            ("Job", schemars::schema_for!(Job), 15),
            ("HorizontalPodAutoscaler", schemars::schema_for!(HorizontalPodAutoscaler), 12),
            ("PersistentVolumeClaim", schemars::schema_for!(PersistentVolumeClaim), 2),
            ("Service", schemars::schema_for!(Service), 0),
        ] {
            let root = serde_json::to_value(schema).unwrap();
            let mut found = Quantities { root: &root, seen: 0, wrong: Vec::new() };
            for part in ["metadata", "spec"] {
                let schema = root.pointer(&format!("/properties/{part}")).unwrap();
                found.schema(schema, Shape::of_kind(kind).field(part), &format!("{kind}.{part}"));
            }
            assert_eq!(found.wrong, [""; 0]);
            assert!(found.seen >= least, "{kind}: {}", found.seen);
        }
    }

    struct Quantities<'a> {
        root: &'a Value,
        seen: usize,
        wrong: Vec<String>,
    }

    impl Quantities<'_> {
        fn schema(&mut self, schema: &Value, shape: Shape, path: &str) {
            let refers = schema.get("$ref").and_then(Value::as_str);
            if refers.is_some_and(|name| name.ends_with("api.resource.Quantity")) {
                self.seen += 1;
                if !matches!(shape, Quantity) {
                    self.wrong.push(format!("{path} is a quantity, not {shape:?}"));
                }
                return;
            }
            if matches!(shape, Quantity) && refers.is_none() && schema.get("additionalProperties").is_none() {
                self.wrong.push(format!("{path} is no quantity"));
            }
            if let Some(name) = refers {
                let root = self.root;
                let schema = root.pointer(name.trim_start_matches('#')).expect(name);
                self.schema(schema, shape, path);
            }
            for name in ["allOf", "anyOf", "oneOf"] {
                for part in schema.get(name).and_then(Value::as_array).into_iter().flatten() {
                    self.schema(part, shape, path);
                }
            }
            if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
                self.schema(values, shape.field("any"), &format!("{path}.*"));
            }
            if let Some(items) = schema.get("items") {
                self.schema(items, shape, &format!("{path}[]"));
            }
            for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                self.schema(field, shape.field(name), &format!("{path}.{name}"));
            }
        }
    }

    #[derive(Default)]
    struct Walk {
        seen: usize,
        wrong: Vec<String>,
    }

    impl Walk {
        fn schema(&mut self, schema: &Value, shape: Shape, path: &str) {
            let is = |key: &str| schema.get(key).is_some_and(|value| value == true);
            let name = path.rsplit('.').next().unwrap_or_default();
            // Ports and the pods of a step are not quantities. Quantities have no type, so that fractions are accepted.
            let is_free = is("x-kubernetes-preserve-unknown-fields");
            let is_quantity = is("x-kubernetes-int-or-string")
                && !matches!(name, "port" | "targetPort" | "replicas")
                || is_free && schema.get("type").is_none();
            let fits = match shape {
                FreeForm => is_free && !is_quantity,
                Map(_) => schema.get("additionalProperties").is_some(),
                Quantity => is_quantity,
                Plain | Type(_) | ListMap(..) => {
                    !is_free && schema.get("additionalProperties").is_none() && !is_quantity
                }
            };
            self.seen += 1;
            if !fits {
                self.wrong.push(format!("{path} is not {shape:?}"));
            }
            if let Some(values) = schema.get("additionalProperties") {
                self.schema(values, shape.field("any"), &format!("{path}.*"));
            }
            if let Some(items) = schema.get("items") {
                self.schema(items, shape, &format!("{path}[]"));
            }
            for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                self.schema(field, shape.field(name), &format!("{path}.{name}"));
            }
        }
    }
}
