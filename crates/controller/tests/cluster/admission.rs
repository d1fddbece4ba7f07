//! With the webhook in front: what breaks a rule does not get in, and what people write does.

use anyhow::Context;
use function_mesh_api::{Function, FunctionMesh};
use function_mesh_testkit::Webhook;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::ListParams;
use serde_json::json;

use crate::world::{Nothing, World, json as to_json};

#[tokio::test]
async fn a_mesh_with_faults_is_denied_with_each_of_them_named() -> Nothing {
    let world = World::new("denied").await?;
    let _webhook = Webhook::start(&world.client, &world.namespace).await?;
    let mesh = json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh",
        "metadata": { "name": "m", "namespace": world.namespace },
        "spec": { "functions": [
            { "name": "one", "className": "C", "input": { "topics": ["persistent://words"] }, "java": { "jar": "/a.jar" },
              "pulsar": { "pulsarConfig": "pulsar" } },
            { "name": "two", "input": { "topics": ["a"] }, "pulsar": { "pulsarConfig": "pulsar" } },
            { "name": "two", "className": "C", "input": { "topics": ["a"] }, "python": { "py": "/a.py" },
              "pulsar": { "pulsarConfig": "pulsar" } },
        ] },
    });
    let refused = world.plane.kubectl(&["apply", "-f", "-"], &mesh.to_string()).await;
    let message = refused.err().context("it was let in")?.to_string();
    for field in ["spec.functions[0].input.topics[0]", "spec.functions[1].java", "spec.functions[2].name"] {
        assert!(message.contains(field), "{field}: {message}");
    }
    assert!(world.find::<FunctionMesh>("m").await?.is_none());
    assert!(world.api::<Function>().list(&ListParams::default()).await?.items.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_mesh_as_people_write_it_is_let_in_and_runs() -> Nothing {
    let world = World::new("let-in").await?;
    let _webhook = Webhook::start(&world.client, &world.namespace).await?;
    let mesh = format!(
        r"
apiVersion: compute.functionmesh.io/v1alpha1
kind: FunctionMesh
metadata:
  name: m
  namespace: {}
spec:
  sources:
  functions:
    - name: shout
      className: C
      input: {{topics: [words]}}
      output:
      java: {{jar: /a.jar, jarLocation: null}}
      pulsar: {{pulsarConfig: pulsar}}
      resources:
        requests: {{cpu: 0.5, memory: 1000000000}}
        limits: {{cpu: 1}}
",
        world.namespace
    );
    world.plane.kubectl(&["apply", "-f", "-"], &mesh).await?;
    let set = to_json(&world.appears::<StatefulSet>("m-shout-function").await?)?;
    let resources = &set["spec"]["template"]["spec"]["containers"][0]["resources"];
    assert_eq!(resources["requests"], json!({ "cpu": "500m", "memory": "1G" }));
    // The second time nothing is new: neither to the API server nor to us.
    world.settle().await?;
    let before = world.get::<FunctionMesh>("m").await?.metadata.resource_version;
    world.plane.kubectl(&["apply", "-f", "-"], &mesh).await?;
    assert_eq!(world.get::<FunctionMesh>("m").await?.metadata.resource_version, before);
    assert_eq!(world.settle().await?, []);
    Ok(())
}

#[tokio::test]
async fn kubectl_explains_a_field() -> Nothing {
    let world = World::without_controller("explains").await?;
    let text = world.plane.kubectl(&["explain", "functionmesh.spec.functions.input"], "").await?;
    for word in ["KIND:", "FunctionMesh", "topics", "DESCRIPTION:"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    Ok(())
}
