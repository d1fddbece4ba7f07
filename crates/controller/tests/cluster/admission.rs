//! Admission webhook: denies invalid meshes and allows typical ones.

use anyhow::Context;
use function_mesh_api::{Function, FunctionMesh};
use function_mesh_testkit::Webhook;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::ListParams;
use serde_json::json;

use crate::harness::{Harness, TestResult, json as to_json};

#[tokio::test]
async fn admission_denies_with_all_violations() -> TestResult {
    let harness = Harness::new("denied").await?;
    let _webhook = Webhook::start(&harness.client, &harness.namespace).await?;
    let mesh = json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh",
        "metadata": { "name": "m", "namespace": harness.namespace },
        "spec": { "functions": [
            { "name": "one", "className": "C", "input": { "topics": ["persistent://words"] }, "java": { "jar": "/a.jar" },
              "pulsar": { "pulsarConfig": "pulsar" } },
            { "name": "two", "input": { "topics": ["a"] }, "pulsar": { "pulsarConfig": "pulsar" } },
            { "name": "two", "className": "C", "input": { "topics": ["a"] }, "python": { "py": "/a.py" },
              "pulsar": { "pulsarConfig": "pulsar" } },
        ] },
    });
    let refused = harness.plane.kubectl(&["apply", "-f", "-"], &mesh.to_string()).await;
    let message = refused.err().context("it was let in")?.to_string();
    for field in ["spec.functions[0].input.topics[0]", "spec.functions[1].java", "spec.functions[2].name"] {
        assert!(message.contains(field), "{field}: {message}");
    }
    assert!(harness.find::<FunctionMesh>("m").await?.is_none());
    assert!(harness.api::<Function>().list(&ListParams::default()).await?.items.is_empty());
    Ok(())
}

#[tokio::test]
async fn admission_allows_a_minimal_mesh() -> TestResult {
    let harness = Harness::new("let-in").await?;
    let _webhook = Webhook::start(&harness.client, &harness.namespace).await?;
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
        harness.namespace
    );
    harness.plane.kubectl(&["apply", "-f", "-"], &mesh).await?;
    let set = to_json(&harness.appears::<StatefulSet>("m-shout-function").await?)?;
    let resources = &set["spec"]["template"]["spec"]["containers"][0]["resources"];
    assert_eq!(resources["requests"], json!({ "cpu": "500m", "memory": "1G" }));
    // The second apply changes nothing, neither in the API server nor in our children.
    harness.settle().await?;
    let before = harness.get::<FunctionMesh>("m").await?.metadata.resource_version;
    harness.plane.kubectl(&["apply", "-f", "-"], &mesh).await?;
    assert_eq!(harness.get::<FunctionMesh>("m").await?.metadata.resource_version, before);
    assert_eq!(harness.settle().await?, []);
    Ok(())
}

#[tokio::test]
async fn kubectl_explain_describes_fields() -> TestResult {
    let harness = Harness::without_controller("explains").await?;
    let text = harness.plane.kubectl(&["explain", "functionmesh.spec.functions.input"], "").await?;
    for word in ["KIND:", "FunctionMesh", "topics", "DESCRIPTION:"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    Ok(())
}
