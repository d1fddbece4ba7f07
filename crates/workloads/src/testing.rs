//! Test fixtures: components from JSON, and a shell to run their commands.

use function_mesh_api::validate::{Valid, valid_component};
use function_mesh_api::{Component, Function, Sink, Source};
use serde_json::{Value, json};

use crate::context::Context;
use crate::{Backends, Settings};

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

fn component<C: Component>(kind: &str, mut spec: Value, patch: Value) -> Valid<C> {
    let common = json!({
        "className": "com.example.Code",
        "pulsar": { "pulsarConfig": "addresses" },
        "resources": { "requests": { "memory": "1Gi" }, "limits": { "memory": "1Gi" } },
    });
    merge(&mut spec, common);
    merge(&mut spec, patch);
    let object = json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1",
        "kind": kind,
        "metadata": { "name": "f", "namespace": "ns", "uid": "u-1" },
        "spec": spec,
    });
    let object = function_mesh_api::parse(object).unwrap_or_else(|error| panic!("{error}"));
    valid_component(object).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A function without a runtime, with additional fields.
pub(crate) fn bare_function(patch: Value) -> Valid<Function> {
    component("Function", json!({ "input": { "topics": ["in"] }, "output": { "topic": "out" } }), patch)
}

/// A Java function, with additional fields.
pub(crate) fn function(patch: Value) -> Valid<Function> {
    let mut spec = json!({ "java": { "jar": "/pulsar/f.jar" } });
    merge(&mut spec, patch);
    bare_function(spec)
}

/// A source, with additional fields.
pub(crate) fn source(patch: Value) -> Valid<Source> {
    let spec = json!({ "java": { "jar": "connectors/c.nar" }, "output": { "topic": "out" }, "sourceConfig": { "k": "v" } });
    component("Source", spec, patch)
}

/// A sink, with additional fields.
pub(crate) fn sink(patch: Value) -> Valid<Sink> {
    let spec = json!({ "java": { "jar": "connectors/c.nar" }, "input": { "topics": ["in"] }, "sinkConfig": { "k": "v" } });
    component("Sink", spec, patch)
}

/// Calls a builder with settings.
pub(crate) fn with_settings<C: Component, T>(
    component: &Valid<C>,
    settings: &Settings,
    read: impl FnOnce(&Context<'_>) -> T,
) -> T {
    read(&Context::new(component, Backends::default(), settings))
}

/// Calls a builder with default settings.
pub(crate) fn with_defaults<C: Component, T>(
    component: &Valid<C>,
    read: impl FnOnce(&Context<'_>) -> T,
) -> T {
    with_settings(component, &Settings::default(), read)
}

/// Settings with download init containers.
pub(crate) fn init_containers() -> Settings {
    Settings { enable_init_containers: true, ..Settings::default() }
}

/// The shell script of the main container.
pub(crate) fn script<C: Component>(component: &Valid<C>, settings: &Settings) -> String {
    let command = with_settings(component, settings, crate::command::build_command).expect("a command");
    command.into_iter().nth(2).expect("a script")
}

/// The `function_details` of a component.
pub(crate) fn details<C: Component>(component: &Valid<C>) -> Value {
    serde_json::from_str(&with_defaults(component, crate::details::build_function_details)).expect("JSON")
}

/// The output of a script with environment variables.
pub(crate) fn run(shell: &str, script: &str, env: &[(&str, &str)]) -> String {
    let command = std::process::Command::new(shell)
        .args(["-c", script])
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap_or_default())
        .envs(env.iter().copied())
        .output()
        .expect("a shell");
    assert!(command.status.success(), "{}", String::from_utf8_lossy(&command.stderr));
    String::from_utf8(command.stdout).expect("text")
}
