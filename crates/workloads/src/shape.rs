//! What stands where in an object, as far as two objects are compared or written by it: amounts of resources, maps
//! whose keys are the user's, configuration that is the user's own, and lists whose items have a key.
//!
//! Places are told by the object's kind and the whole path from its root, never by a field's name alone: a user's
//! own configuration may hold any name.

/// What stands in a field. Of a list it is what its items are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Fields of a Kubernetes type with nothing special in them.
    Plain,
    /// Fields of a type, as far as they hold something special.
    Type(&'static [(&'static str, Self)]),
    /// A list in which server-side apply wants each item once, the field that tells items apart, and the items.
    Keyed(&'static str, &'static Self),
    /// A map whose keys are the user's.
    Map(&'static Self),
    /// An amount of a resource: `0.5` is `500m`.
    Amount,
    /// What a user configures freely: one value, of which every part counts.
    Free,
}

use Shape::{Amount, Free, Keyed, Map, Plain, Type};

impl Shape {
    /// What an object of a kind is made of.
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
            _ => Type(&[("metadata", METADATA), ("spec", Type(&[("selector", TEXTS)]))]),
        }
    }

    /// What stands in a field of this.
    pub(crate) fn field(self, name: &str) -> Self {
        match self {
            Type(fields) => {
                fields.iter().find(|(field, _)| *field == name).map_or(Plain, |(_, shape)| *shape)
            }
            Keyed(_, items) => items.field(name),
            Map(values) => *values,
            Plain => Plain,
            Amount | Free => self,
        }
    }
}

const TEXTS: Shape = Map(&Plain);
const AMOUNTS: Shape = Map(&Amount);
const METADATA: Shape = Type(&[("labels", TEXTS), ("annotations", TEXTS)]);
const SELECTOR: Shape = Type(&[("matchLabels", TEXTS)]);
const RESOURCES: Shape = Type(&[("limits", AMOUNTS), ("requests", AMOUNTS)]);
const FIELD_REF: Shape = Type(&[("resourceFieldRef", Type(&[("divisor", Amount)]))]);
const DOWNWARD: Shape = Type(&[("items", FIELD_REF)]);

const ENV: Shape = Keyed("name", &Type(&[("valueFrom", FIELD_REF)]));
const MOUNTS: Shape = Keyed("mountPath", &Plain);
const PULL_SECRETS: Shape = Keyed("name", &Plain);
const CONTAINER: Shape = Type(&[("env", ENV), ("volumeMounts", MOUNTS), ("resources", RESOURCES)]);

const CLAIM: Shape = Type(&[
    ("metadata", METADATA),
    ("spec", Type(&[("resources", RESOURCES), ("selector", SELECTOR)])),
    (
        "status",
        Type(&[("capacity", AMOUNTS), ("allocatedResources", AMOUNTS), ("allocatedResourceStatuses", TEXTS)]),
    ),
]);
const VOLUMES: Shape = Keyed(
    "name",
    &Type(&[
        ("emptyDir", Type(&[("sizeLimit", Amount)])),
        ("ephemeral", Type(&[("volumeClaimTemplate", CLAIM)])),
        ("downwardAPI", DOWNWARD),
        ("projected", Type(&[("sources", Type(&[("downwardAPI", DOWNWARD), ("clusterTrustBundle", TERM)]))])),
        ("csi", Type(&[("volumeAttributes", TEXTS)])),
        ("flexVolume", Type(&[("options", TEXTS)])),
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
            ("overhead", AMOUNTS),
            ("nodeSelector", TEXTS),
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
    ("target", Type(&[("value", Amount), ("averageValue", Amount)])),
    ("metric", Type(&[("selector", SELECTOR)])),
]);
const METRICS: Shape = Type(&[
    ("resource", TARGET),
    ("containerResource", TARGET),
    ("pods", TARGET),
    ("object", TARGET),
    ("external", TARGET),
]);
const TOLERANCE: Shape = Type(&[("tolerance", Amount)]);
const BEHAVIOR: Shape = Type(&[("scaleUp", TOLERANCE), ("scaleDown", TOLERANCE)]);
const HORIZONTAL: Shape =
    Type(&[("metadata", METADATA), ("spec", Type(&[("metrics", METRICS), ("behavior", BEHAVIOR)]))]);
const POLICIES: Shape =
    Type(&[("containerPolicies", Type(&[("minAllowed", AMOUNTS), ("maxAllowed", AMOUNTS)]))]);
const VERTICAL: Shape = Type(&[("metadata", METADATA), ("spec", Type(&[("resourcePolicy", POLICIES)]))]);

const POLICY: Shape = Type(&[
    ("labels", TEXTS),
    ("annotations", TEXTS),
    ("nodeSelector", TEXTS),
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
const CRYPTO: Shape = Type(&[("cryptoConfig", Type(&[("cryptoKeyReaderConfig", TEXTS)]))]);
const CONSUMER: Shape = Type(&[
    ("schemaProperties", TEXTS),
    ("consumerProperties", TEXTS),
    ("cryptoConfig", Type(&[("cryptoKeyReaderConfig", TEXTS)])),
]);
const INPUT: Shape =
    Type(&[("customSerdeSources", TEXTS), ("customSchemaSources", TEXTS), ("sourceSpecs", Map(&CONSUMER))]);
const OUTPUT: Shape = Type(&[("customSchemaSinks", TEXTS), ("producerConf", CRYPTO)]);
const BATCH: Shape = Type(&[("discoveryTriggererConfig", Free)]);
const STATE: Shape = Type(&[("pulsar", Type(&[("javaProvider", Type(&[("config", Free)]))]))]);

const FUNCTION_SPEC: Shape = Type(&[
    ("funcConfig", Free),
    ("sourceConfig", Type(&[("configs", Free), ("batchSourceConfig", BATCH)])),
    ("sinkConfig", Type(&[("configs", Free)])),
    ("input", INPUT),
    ("output", OUTPUT),
    ("secretsMap", TEXTS),
    ("resources", RESOURCES),
    ("volumeMounts", MOUNTS),
    ("volumeClaimTemplates", CLAIM),
    ("statefulConfig", STATE),
    ("pod", POLICY),
]);
const SOURCE_SPEC: Shape = Type(&[
    ("sourceConfig", Free),
    ("batchSourceConfig", BATCH),
    ("output", OUTPUT),
    ("secretsMap", TEXTS),
    ("resources", RESOURCES),
    ("volumeMounts", MOUNTS),
    ("statefulConfig", STATE),
    ("pod", POLICY),
]);
const SINK_SPEC: Shape = Type(&[
    ("sinkConfig", Free),
    ("input", INPUT),
    ("secretsMap", TEXTS),
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
const BACKEND: Shape = Type(&[("metadata", METADATA), ("spec", Type(&[("env", TEXTS), ("pod", POLICY)]))]);

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Every field of the definitions that keeps all it is given is free here, every amount an amount, and every
    /// map a map.
    #[test]
    fn s10_the_definitions_say_the_same() {
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

    #[derive(Default)]
    struct Walk {
        seen: usize,
        wrong: Vec<String>,
    }

    impl Walk {
        fn schema(&mut self, schema: &Value, shape: Shape, path: &str) {
            let is = |key: &str| schema.get(key).is_some_and(|value| value == true);
            let name = path.rsplit('.').next().unwrap_or_default();
            // Numbers of ports are no amounts.
            let is_amount = is("x-kubernetes-int-or-string") && !matches!(name, "port" | "targetPort");
            let fits = match shape {
                Free => is("x-kubernetes-preserve-unknown-fields"),
                Map(_) => schema.get("additionalProperties").is_some(),
                Amount => is_amount,
                Plain | Type(_) | Keyed(..) => {
                    !is("x-kubernetes-preserve-unknown-fields")
                        && schema.get("additionalProperties").is_none()
                        && !is_amount
                }
            };
            self.seen += 1;
            if !fits {
                self.wrong.push(format!("{path} is no {shape:?}"));
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
