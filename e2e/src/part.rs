//! Manifests of components, told in few words: what runs, what it reads and what it writes.

use std::env;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use function_mesh_api::{Function, Role};
use serde_json::{Value, json};

use crate::Story;

/// Where the ConfigMap `functions` is mounted.
const CODE: &str = "/functions";

/// A file of what `hack/functions` has built.
pub fn code(file: &str) -> Result<Vec<u8>> {
    let folder = env::var("FUNCTION_MESH_FUNCTIONS").context("set it to what hack/functions prints")?;
    std::fs::read(Path::new(&folder).join(file)).context(file.to_owned())
}

/// A component, as part of a mesh or on its own.
#[derive(Clone, Debug)]
pub struct Part {
    role: Role,
    spec: Value,
}

impl Part {
    fn new(role: Role, story: &Story, name: &str, class: &str, more: Value) -> Self {
        let spec = json!({
            "name": name, "className": class, "namespace": story.namespace,
            "pulsar": { "pulsarConfig": "pulsar" },
            "volumeMounts": [{ "name": "functions", "mountPath": CODE }],
            "pod": {
                "volumes": [{ "name": "functions", "configMap": { "name": "functions" } }],
                // Nothing here waits for long.
                "terminationGracePeriodSeconds": 10,
            },
        });
        Self { role, spec }.with(more)
    }

    fn java(role: Role, story: &Story, name: &str, class: &str, jar: &str) -> Self {
        Self::new(
            role,
            story,
            name,
            class,
            json!({
                // A small heap, since a whole mesh is to fit onto a small machine.
                "java": { "jar": jar, "javaOpts": ["-XX:TieredStopAtLevel=1", "-Xmx128m"] },
                "resources": { "requests": { "cpu": "20m", "memory": "200Mi" }, "limits": { "memory": "400Mi" } },
            }),
        )
    }

    /// Changes it: maps are merged, all else is replaced, and null removes.
    #[must_use]
    pub fn with(mut self, more: Value) -> Self {
        merge(&mut self.spec, more);
        self
    }

    /// Its specification.
    pub fn spec(&self) -> &Value {
        &self.spec
    }

    /// It as an object of its own, named like the component.
    pub fn alone(&self) -> Value {
        json!({
            "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": self.role.kind(),
            "metadata": { "name": self.spec["name"] }, "spec": self.spec,
        })
    }
}

impl Story {
    /// A function in Java: strings from one topic to another.
    pub fn java(&self, name: &str, class: &str, from: &str, to: &str) -> Part {
        Part::java(Role::Function, self, name, class, &format!("{CODE}/functions.jar"))
            .with(self.reads(from))
            .with(self.writes(to))
    }

    /// A function in Python, of the module that stands first in the class's name.
    pub fn python(&self, name: &str, class: &str, from: &str, to: &str) -> Part {
        let module = class.split('.').next().unwrap_or_default();
        Part::new(Role::Function, self, name, class, json!({
            "python": { "py": format!("{CODE}/{module}.py") },
            "resources": { "requests": { "cpu": "20m", "memory": "64Mi" }, "limits": { "memory": "200Mi" } },
        }))
        .with(self.reads(from))
        .with(self.writes(to))
    }

    /// A source from this file of its container.
    pub fn source(&self, name: &str, class: &str, jar: &str, to: &str) -> Part {
        Part::java(Role::Source, self, name, class, jar).with(self.image()).with(self.writes(to))
    }

    /// A sink from this file of its container.
    pub fn sink(&self, name: &str, class: &str, jar: &str, from: &str) -> Part {
        Part::java(Role::Sink, self, name, class, jar).with(self.image()).with(self.reads(from))
    }

    /// Connectors that are no packages have another image of their own, with all of Pulsar's; here is one for all.
    fn image(&self) -> Value {
        json!({ "image": self.world.runner_image().ok() })
    }

    /// Applies a function as an object of its own, and waits until each of its replicas consumes this topic.
    pub async fn start(&self, function: &Part, topic: &str, patience: Duration) -> Result<()> {
        self.apply::<Function>(function.alone()).await?;
        let replicas = function.spec["replicas"].as_u64().unwrap_or(1);
        self.pulsar.await_consumers(topic, usize::try_from(replicas)?, patience).await
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

    /// A mesh of these parts.
    pub fn mesh(&self, name: &str, parts: &[Part]) -> Value {
        let of = |role| parts.iter().filter(|part| part.role == role).map(Part::spec).collect::<Vec<_>>();
        json!({
            "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh",
            "metadata": { "name": name },
            "spec": {
                "functions": of(Role::Function), "sources": of(Role::Source), "sinks": of(Role::Sink),
            },
        })
    }
}

/// Maps are merged, all else is replaced; null removes.
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
