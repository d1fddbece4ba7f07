//! A load for the operator: successful, invalid, denied and failing objects, deletions, and message traffic.

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh, FunctionMeshSpec, FunctionSpec};
use function_mesh_testkit::{
    ControlPlane, PATIENCE, PulsarStandIn, StandInTopics, apply, eventually, fake_kubelet, fixtures,
    set_pod_ip,
};
use futures::try_join;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{from_value, json};
use tokio::task::JoinSet;

use crate::prometheus::Prometheus;
use crate::{Nothing, becomes};

pub(crate) struct Load {
    client: Client,
    namespace: String,
    pulsar: PulsarStandIn,
    _kubelet: JoinSet<()>,
}

/// A mesh of two components.
fn mesh(name: &str) -> anyhow::Result<FunctionMesh> {
    fixtures::mesh(name, [fixtures::java_function("shout").into(), fixtures::sink("drain").into()])
}

/// Messages per second in the input of each component of the mesh.
const RATE: u64 = 10;

impl Load {
    /// A namespace with an invalid and a good mesh, created before the webhook, and a stand-in for Pulsar. A component is
    /// judged only 30 seconds after its pods are ready, so that they get ready at once.
    pub(crate) async fn new(plane: &ControlPlane) -> anyhow::Result<Self> {
        let client = plane.client().await?;
        let namespace = plane.namespace(&client, "monitoring").await?;
        let subscriptions = [("words", "shout"), ("louder", "drain")].map(|(topic, name)| {
            (format!("persistent://public/default/{topic}"), format!("public/default/{name}"))
        });
        let topics =
            StandInTopics { subscriptions: subscriptions.into(), rate: RATE, ..StandInTopics::default() };
        let mut pulsar = PulsarStandIn::start(topics).await?;
        pulsar.serve_pods().await?;
        let mut kubelet = JoinSet::new();
        kubelet.spawn(fake_kubelet(client.clone(), namespace.clone()));
        let load = Self { client, namespace, pulsar, _kubelet: kubelet };
        let data =
            json!({ "webServiceURL": load.pulsar.url(), "brokerServiceURL": "pulsar://192.0.2.1:6650" });
        let config_map = json!({ "metadata": { "name": "pulsar" }, "data": data });
        apply::<ConfigMap>(&load.client, &load.namespace, &from_value(config_map)?).await?;
        let twice = json!([fixtures::java_function("one"), fixtures::python_function("one")]);
        let spec: FunctionMeshSpec = from_value(json!({ "functions": twice }))?;
        apply(&load.client, &load.namespace, &FunctionMesh::new("invalid", spec)).await?;
        apply(&load.client, &load.namespace, &mesh("good")?).await?;
        Ok(load)
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) async fn run(&self) -> Nothing {
        try_join!(self.ready(), self.changes())?;
        self.api::<FunctionMesh>().delete("short", &DeleteParams::background()).await?;
        Ok(())
    }

    async fn ready(&self) -> Nothing {
        eventually(PATIENCE, async || {
            set_pod_ip(&self.client, &self.namespace, self.pulsar.ip()).await?;
            let status = self.api::<FunctionMesh>().get("good").await?.status.context("no status")?;
            ensure!(status.components.as_deref() == Some("2/2"), "{:?}", status.components);
            Ok(())
        })
        .await
    }

    async fn changes(&self) -> Nothing {
        let (client, namespace) = (&self.client, &self.namespace);
        self.denied().await?;
        self.accepted().await?;
        apply(client, namespace, &mesh("short")?).await?;
        // This function fails because a foreign object has its name.
        let taken = json!({ "metadata": { "name": "blocked-function-headless" }, "spec": { "ports": [{ "port": 1 }] } });
        apply::<Service>(client, namespace, &from_value(taken)?).await?;
        apply(client, namespace, &fixtures::function(fixtures::java_function("blocked"))?).await?;
        eventually(PATIENCE, async || {
            let blocked = self.api::<Function>().get("blocked").await?.status.context("no status")?;
            ensure!(blocked.phase == Phase::Degraded, "{blocked:?}");
            Ok(())
        })
        .await
    }

    /// The API server takes a moment to call a new webhook; the CRD schema rejects this function too.
    async fn denied(&self) -> Nothing {
        let (bad, dry) = (
            Function::new("bad", FunctionSpec::default()),
            PostParams { dry_run: true, ..PostParams::default() },
        );
        eventually(PATIENCE, async || {
            let answer = self.api::<Function>().create(&dry, &bad).await;
            let refusal = answer.err().map(|error| error.to_string()).unwrap_or_default();
            ensure!(refusal.contains("admission webhook"), "{refusal}");
            Ok(())
        })
        .await
    }

    /// The API server learns the CA of each of the two webhooks separately, and the mutating one denies by itself.
    async fn accepted(&self) -> Nothing {
        let mesh = mesh("probe")?;
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        eventually(PATIENCE, async || {
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
        self.check_traffic(prometheus).await?;
        becomes(prometheus, "sum(function_mesh_api_requests_total{resource=\"other\"}) or vector(0)", 0.0)
            .await?;
        self.api::<Function>().delete("blocked", &DeleteParams::background()).await?;
        becomes(prometheus, "function_mesh_objects_in_backoff{kind=\"Function\"}", 0.0).await?;
        becomes(prometheus, &objects("Function", "Degraded"), 0.0).await
    }

    /// The mesh keeps up; the topic of the failing function does not have its subscription.
    async fn check_traffic(&self, prometheus: &Prometheus) -> Nothing {
        becomes(prometheus, "function_mesh_observer_components{state=\"observed\"}", 2.0).await?;
        becomes(prometheus, "sum(function_mesh_stalled_components)", 0.0).await?;
        for name in ["backlog", "lag_seconds", "exceptions", "stalled"] {
            let of_mesh = format!("function_mesh_component_{name}{{namespace=\"{}\"}}", self.namespace);
            becomes(prometheus, &format!("count({of_mesh})"), 2.0).await?;
            becomes(prometheus, &format!("sum({of_mesh})"), 0.0).await?;
        }
        for name in ["in_messages_per_second", "out_messages_per_second"] {
            let near = format!("function_mesh_component_{name} > {}", RATE - 1);
            becomes(prometheus, &format!("count({near})"), 2.0).await?;
        }
        for kind in ["partitions", "stats", "pod_metrics"] {
            let answered =
                format!("function_mesh_observer_requests_total{{kind=\"{kind}\", outcome=\"answered\"}}");
            becomes(prometheus, &format!("count({answered} > 0)"), 1.0).await?;
        }
        Ok(())
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}
