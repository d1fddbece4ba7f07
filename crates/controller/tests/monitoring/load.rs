//! A load for the operator: successful, invalid, denied and failing objects, and deletions.

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh, FunctionMeshSpec, FunctionSpec};
use function_mesh_testkit::{ControlPlane, SECONDS_30, apply, eventually, fixtures, mark_running};
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{from_value, json};

use crate::prometheus::Prometheus;
use crate::{Nothing, becomes};

pub(crate) struct Load {
    client: Client,
    namespace: String,
}

impl Load {
    /// A namespace with an invalid mesh, created before the webhook.
    pub(crate) async fn new(plane: &ControlPlane) -> anyhow::Result<Self> {
        let client = plane.client().await?;
        let namespace = plane.namespace(&client, "monitoring").await?;
        let load = Self { client, namespace };
        let twice = json!([fixtures::java_function("one"), fixtures::python_function("one")]);
        let spec: FunctionMeshSpec = from_value(json!({ "functions": twice }))?;
        apply(&load.client, &load.namespace, &FunctionMesh::new("invalid", spec)).await?;
        Ok(load)
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) async fn run(&self) -> Nothing {
        let (client, namespace) = (&self.client, &self.namespace);
        self.denied().await?;
        self.accepted().await?;
        let parts = || [fixtures::java_function("shout").into(), fixtures::sink("drain").into()];
        apply(client, namespace, &fixtures::mesh("good", parts())?).await?;
        apply(client, namespace, &fixtures::mesh("short", parts())?).await?;
        // This function fails because a foreign object has its name.
        let taken = json!({ "metadata": { "name": "blocked-function-headless" }, "spec": { "ports": [{ "port": 1 }] } });
        apply::<Service>(client, namespace, &from_value(taken)?).await?;
        apply(client, namespace, &fixtures::function(fixtures::java_function("blocked"))?).await?;
        eventually(SECONDS_30, async || {
            mark_running(client, namespace).await?;
            let status = self.api::<FunctionMesh>().get("good").await?.status.context("no status")?;
            ensure!(status.components.as_deref() == Some("2/2"), "{:?}", status.components);
            let blocked = self.api::<Function>().get("blocked").await?.status.context("no status")?;
            ensure!(blocked.phase == Phase::Degraded, "{blocked:?}");
            Ok(())
        })
        .await?;
        self.api::<FunctionMesh>().delete("short", &DeleteParams::background()).await?;
        Ok(())
    }

    /// The API server takes a moment to call a new webhook; the CRD schema rejects this function too.
    async fn denied(&self) -> Nothing {
        let (bad, dry) = (
            Function::new("bad", FunctionSpec::default()),
            PostParams { dry_run: true, ..PostParams::default() },
        );
        eventually(SECONDS_30, async || {
            let answer = self.api::<Function>().create(&dry, &bad).await;
            let refusal = answer.err().map(|error| error.to_string()).unwrap_or_default();
            ensure!(refusal.contains("admission webhook"), "{refusal}");
            Ok(())
        })
        .await
    }

    /// The API server learns the CA of each of the two webhooks separately, and the mutating one denies by itself.
    async fn accepted(&self) -> Nothing {
        let mesh = fixtures::mesh("good", [fixtures::java_function("shout").into()])?;
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        eventually(SECONDS_30, async || {
            self.api::<FunctionMesh>().create(&dry, &mesh).await?;
            Ok(())
        })
        .await
    }

    /// Metrics show the failures; the failing function is deleted at the end, and its metrics with it.
    pub(crate) async fn check(&self, prometheus: &Prometheus) -> Nothing {
        let objects =
            |kind: &str, phase: &str| format!("function_mesh_objects{{kind=\"{kind}\", phase=\"{phase}\"}}");
        becomes(prometheus, &objects("FunctionMesh", "Ready"), 1.0).await?;
        becomes(prometheus, &objects("FunctionMesh", "Invalid"), 1.0).await?;
        becomes(prometheus, &objects("Function", "Degraded"), 1.0).await?;
        becomes(prometheus, "function_mesh_objects_in_backoff{kind=\"Function\"}", 1.0).await?;
        becomes(prometheus, "function_mesh_leader", 1.0).await?;
        becomes(prometheus, "sum(function_mesh_workqueue_depth)", 0.0).await?;
        for above in [
            "function_mesh_reconcile_errors_total{kind=\"Function\", stage=\"apply\"}",
            "function_mesh_reconcile_errors_total{kind=\"FunctionMesh\", stage=\"validate\"}",
            "function_mesh_reconcile_total{kind=\"FunctionMesh\", result=\"invalid\"}",
            "function_mesh_reconcile_total{kind=\"Function\", result=\"error\"}",
            "function_mesh_workqueue_queue_duration_seconds_count{kind=\"FunctionMesh\"}",
            "function_mesh_admission_decisions_total{kind=\"Function\", outcome=\"denied\"}",
            "function_mesh_admission_decisions_total{kind=\"FunctionMesh\", outcome=\"allowed\"}",
            "function_mesh_writes_total{kind=\"StatefulSet\", change=\"created\"}",
            "function_mesh_api_requests_total{verb=\"patch\", resource=\"functions/status\", code=\"2xx\"}",
            "function_mesh_api_requests_total{verb=\"watch\", resource=\"sinks\", code=\"2xx\"}",
            "function_mesh_api_requests_total{verb=\"update\", resource=\"leases\", code=\"2xx\"}",
        ] {
            becomes(prometheus, &format!("count(sum({above}) > 0)"), 1.0).await?;
        }
        becomes(prometheus, "sum(function_mesh_api_requests_total{resource=\"other\"}) or vector(0)", 0.0)
            .await?;
        self.api::<Function>().delete("blocked", &DeleteParams::background()).await?;
        becomes(prometheus, "function_mesh_objects_in_backoff{kind=\"Function\"}", 0.0).await?;
        becomes(prometheus, &objects("Function", "Degraded"), 0.0).await
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}
