//! Builder of component manifests for tests: class, input and output.

use std::env;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use function_mesh_api::{Function, Role};
use serde_json::{Value, json};

use crate::{Pulsar, Scenario};

/// Where the ConfigMap `functions` is mounted.
const CODE: &str = "/functions";

/// A file that `hack/functions` built.
pub fn code(file: &str) -> Result<Vec<u8>> {
    let folder = env::var("FUNCTION_MESH_FUNCTIONS").context("set it to what hack/functions prints")?;
    std::fs::read(Path::new(&folder).join(file)).context(file.to_owned())
}

/// A component of a mesh, or a standalone one.
#[derive(Clone, Debug)]
pub struct Component {
    role: Role,
    spec: Value,
}

impl Component {
    fn new(role: Role, scenario: &Scenario, name: &str, class: &str, more: Value) -> Self {
        let spec = json!({
                    "name": name, "className": class, "namespace": scenario.namespace,
                    "pulsar": { "pulsarConfig": "pulsar" },
                    "volumeMounts": [{ "name": "functions", "mountPath": CODE }],
                    "pod": {
                        "volumes": [{ "name": "functions", "configMap": { "name": "functions" } }],
        // Test functions stop quickly.
                        "terminationGracePeriodSeconds": 10,
                    },
                });
        Self { role, spec }.with(more)
    }

    fn java(role: Role, scenario: &Scenario, name: &str, class: &str, jar: &str) -> Self {
        Self::new(
            role,
            scenario,
            name,
            class,
            json!({
            // A small heap, so that a whole mesh fits onto a small machine.
                            "java": { "jar": jar, "javaOpts": ["-XX:TieredStopAtLevel=1", "-Xmx128m"] },
                            "resources": { "requests": { "cpu": "20m", "memory": "200Mi" }, "limits": { "memory": "400Mi" } },
                        }),
        )
    }

    /// Overrides fields: maps are merged, null removes a key, other values are replaced.
    #[must_use]
    pub fn with(mut self, more: Value) -> Self {
        merge(&mut self.spec, more);
        self
    }

    /// Runs this code, which it downloads, instead of the mounted one.
    #[must_use]
    pub fn with_code(self, code: Value) -> Self {
        self.with(json!({ "volumeMounts": null, "pod": { "volumes": null } })).with(code)
    }

    /// Its spec.
    pub fn spec(&self) -> &Value {
        &self.spec
    }

    /// The manifest of a standalone component with the same name.
    pub fn alone(&self) -> Value {
        json!({
            "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": self.role.kind(),
            "metadata": { "name": self.spec["name"] }, "spec": self.spec,
        })
    }
}

impl Scenario {
    /// A Java function from one string topic to another.
    pub fn java(&self, name: &str, class: &str, from: &str, to: &str) -> Component {
        Component::java(Role::Function, self, name, class, &format!("{CODE}/functions.jar"))
            .with(self.reads(from))
            .with(self.writes(to))
    }

    /// A Python function; the module is the first segment of the class name.
    pub fn python(&self, name: &str, class: &str, from: &str, to: &str) -> Component {
        let module = class.split('.').next().unwrap_or_default();
        Component::new(Role::Function, self, name, class, json!({
            "python": { "py": format!("{CODE}/{module}.py") },
            "resources": { "requests": { "cpu": "20m", "memory": "64Mi" }, "limits": { "memory": "200Mi" } },
        }))
        .with(self.reads(from))
        .with(self.writes(to))
    }

    /// A source whose connector is this file in its container.
    pub fn source(&self, name: &str, class: &str, jar: &str, to: &str) -> Component {
        Component::java(Role::Source, self, name, class, jar).with(self.image()).with(self.writes(to))
    }

    /// A sink whose connector is this file in its container.
    pub fn sink(&self, name: &str, class: &str, jar: &str, from: &str) -> Component {
        Component::java(Role::Sink, self, name, class, jar).with(self.image()).with(self.reads(from))
    }

    /// Connectors without a package need an image that contains them; the runner image does.
    fn image(&self) -> Value {
        json!({ "image": self.harness.runner_image().ok() })
    }

    /// Applies a standalone function and waits until each of its replicas consumes this topic.
    pub async fn start(&self, function: &Component, topic: &str, timeout: Duration) -> Result<()> {
        self.start_at(function, &self.pulsar, topic, timeout).await
    }

    /// The same at another broker.
    pub async fn start_at(
        &self,
        function: &Component,
        pulsar: &Pulsar,
        topic: &str,
        timeout: Duration,
    ) -> Result<()> {
        self.apply::<Function>(function.alone()).await?;
        let replicas = function.spec["replicas"].as_u64().unwrap_or(1);
        pulsar.await_consumers(topic, usize::try_from(replicas)?, timeout).await
    }

    fn reads(&self, topic: &str) -> Value {
        json!({
            "input": { "topics": [self.pulsar.topic(topic)], "typeClassName": "java.lang.String" },
            "subscriptionPosition": "earliest",
        })
    }

    fn writes(&self, topic: &str) -> Value {
        json!({ "output": { "topic": self.pulsar.topic(topic), "typeClassName": "java.lang.String" } })
    }

    /// A mesh of these components.
    pub fn mesh(&self, name: &str, components: &[Component]) -> Value {
        let of = |role| {
            components
                .iter()
                .filter(|component| component.role == role)
                .map(Component::spec)
                .collect::<Vec<_>>()
        };
        json!({
            "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh",
            "metadata": { "name": name },
            "spec": {
                "functions": of(Role::Function), "sources": of(Role::Source), "sinks": of(Role::Sink),
            },
        })
    }
}

/// Merges maps; null removes a key, other values are replaced.
fn merge(target: &mut Value, more: Value) {
    match (target, more) {
        (Value::Object(target), Value::Object(more)) => {
            for (key, value) in more {
                if value.is_null() {
                    target.remove(&key);
                } else {
                    merge(target.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (target, more) => *target = more,
    }
}
