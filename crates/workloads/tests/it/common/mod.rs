//! Fixtures of several tests: components from JSON, and a sandbox that runs commands of containers.

pub(crate) mod sandbox;

use function_mesh_api::validate::{Valid, valid_component};
use function_mesh_api::{Component, parse};
use function_mesh_workloads::{Backends, Settings, cleanup, render};
use serde_json::{Value, json};

/// A component object with a spec.
pub(crate) fn object(kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": kind,
        "metadata": { "name": "f", "namespace": "ns", "uid": "u-1" }, "spec": spec,
    })
}

/// A valid component.
pub(crate) fn valid<C: Component>(object: Value) -> Valid<C> {
    valid_component(parse(object).expect("an object")).expect("a valid object")
}

/// All objects of a component, including the clean-up Job.
pub(crate) fn rendered<C: Component>(
    component: &Valid<C>,
    backends: Backends<'_>,
    settings: &Settings,
) -> Vec<Value> {
    let children = render(component, backends, settings).to_json().expect("JSON");
    let job = cleanup(component, backends, settings).map(|job| serde_json::to_value(job).expect("JSON"));
    children.into_iter().chain([job]).flatten().collect()
}

/// A container of a rendered StatefulSet or Job, by name.
pub(crate) fn container<'a>(object: &'a Value, name: &str) -> &'a Value {
    let spec = &object["spec"]["template"]["spec"];
    let lists = [&spec["containers"], &spec["initContainers"]];
    let mut all = lists.into_iter().filter_map(Value::as_array).flatten();
    all.find(|container| container["name"] == name).expect(name)
}

/// The command of a container.
pub(crate) fn command(object: &Value, name: &str) -> Vec<String> {
    serde_json::from_value(container(object, name)["command"].clone()).expect("a command")
}
