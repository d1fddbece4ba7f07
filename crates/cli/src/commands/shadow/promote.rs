//! Makes the change of a shadow part of the spec, or drops it.

use function_mesh_shadow::function;
use function_mesh_workloads::names;
use serde_json::{Value, json};

use super::{Named, real, refused, shadow_of};
use crate::cluster::Cluster;
use crate::object_ref::{ObjectRef, controller};
use crate::{Failure, Outcome, Streams, screen};

/// The change goes first: if the shadow is not deleted then, the command can run again.
pub(super) fn promote(named: &Named, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let (cluster, id) = named.open()?;
    let (shadow_id, shadow) = shadow_of(&cluster, &id)?;
    let change = function::change_of(&shadow).map_err(|error| refused(&error))?;
    let object = real(&cluster, &id)?;
    let mesh = controller(&object).filter(|(kind, ..)| *kind == "FunctionMesh").map(|(_, name, _)| name);
    let (owner, patch) = match mesh {
        Some(mesh) => {
            let owner = ObjectRef::new("FunctionMesh", &id.namespace, mesh);
            let patch = patch_of_mesh(&real(&cluster, &owner)?, &id.name, &change);
            (
                owner,
                patch.ok_or_else(|| {
                    Failure::Message(format!("functionmesh/{mesh} has no function for {}", id.name))
                })?,
            )
        }
        None => (id.clone(), patch_of_function(&object, &change)),
    };
    cluster.patch_json(&owner, &patch)?;
    let text = format!("{}/{} changed: {change}", owner.kind.to_lowercase(), owner.name);
    screen::line(streams.out, &text)?;
    delete(&cluster, &shadow_id, &shadow, streams)?;
    screen::line(
        streams.out,
        "Change the manifest too: the next apply of an old one takes the change back.",
    )?;
    Ok(Outcome::Success)
}

pub(super) fn discard(named: &Named, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let (cluster, id) = named.open()?;
    let (shadow_id, shadow) = shadow_of(&cluster, &id)?;
    delete(&cluster, &shadow_id, &shadow, streams)?;
    Ok(Outcome::Success)
}

fn delete(
    cluster: &Cluster,
    id: &ObjectRef,
    shadow: &Value,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let uid = shadow.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    cluster.delete_function(id, uid)?;
    screen::line(streams.out, &format!("function/{} deleted", id.name))?;
    if let Some(topic) = function::output_of(shadow) {
        screen::line(streams.out, &format!("Its output topic {topic} stays."))?;
    }
    Ok(())
}

/// Operations that change an object only as it was read.
fn patch(object: &Value, path: &str, value: &Value) -> Value {
    json!([
        { "op": "test", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"] },
        { "op": "replace", "path": path, "value": value },
    ])
}

fn patch_of_function(object: &Value, change: &Value) -> Value {
    patch(object, "/spec", &function::merged(&object["spec"], change))
}

fn patch_of_mesh(mesh: &Value, component: &str, change: &Value) -> Option<Value> {
    let name = mesh.pointer("/metadata/name")?.as_str()?;
    let functions = mesh.pointer("/spec/functions")?.as_array()?;
    let is_wanted =
        |spec: &Value| spec["name"].as_str().is_some_and(|it| names::component(name, it) == component);
    let index = functions.iter().position(is_wanted)?;
    Some(patch(mesh, &format!("/spec/functions/{index}"), &function::merged(&functions[index], change)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promotion_changes_one_component_as_it_was_read() {
        let mesh = json!({
            "metadata": { "name": "people", "resourceVersion": "7" },
            "spec": { "functions": [{ "name": "a" }, { "name": "clean", "image": "clean:1", "replicas": 2 }] },
        });
        let change = json!({ "image": "clean:2" });
        let expected = json!([
            { "op": "test", "path": "/metadata/resourceVersion", "value": "7" },
            { "op": "replace", "path": "/spec/functions/1", "value": { "name": "clean", "image": "clean:2", "replicas": 2 } },
        ]);
        assert_eq!(patch_of_mesh(&mesh, "people-clean", &change), Some(expected));
        assert_eq!(patch_of_mesh(&mesh, "people-other", &change), None);
        let function = json!({ "metadata": { "resourceVersion": "8" }, "spec": { "image": "clean:1" } });
        assert_eq!(patch_of_function(&function, &change)[1]["value"], change);
    }
}
