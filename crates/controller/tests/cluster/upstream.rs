//! Objects as upstream's operator leaves them: its shape, written by full updates as the field manager `manager`.
//! Commands are as upstream renders them, with spaces in JSON; logging is shortened.

use anyhow::Context;
use function_mesh_api::{Function, FunctionMesh, Sink, Source, labels};
use function_mesh_testkit::Kind;
use function_mesh_workloads::RunnerImages;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, from_value, json};

use crate::harness::TestResult;

/// Name of its Lease.
pub(crate) const LEASE: &str = "a3f45fce.functionmesh.io";
/// Replicas that an autoscaler set for the first function.
pub(crate) const SCALED: i32 = 3;
/// StatefulSets of the mesh.
pub(crate) const SETS: [&str; 4] = ["m-shout-function", "m-scream-function", "m-drain-sink", "m-feed-source"];

pub(crate) struct Original<'a> {
    pub(crate) client: &'a Client,
    pub(crate) namespace: &'a str,
}

fn params() -> PostParams {
    PostParams { field_manager: Some("manager".to_owned()), ..PostParams::default() }
}

fn resources() -> Value {
    json!({ "limits": { "cpu": "200m", "memory": "1100M" }, "requests": { "cpu": "100m", "memory": "1G" } })
}

fn input(topic: &str) -> Value {
    json!({ "topics": [topic], "typeClassName": "java.lang.String" })
}

fn output(topic: &str) -> Value {
    json!({ "topic": topic, "typeClassName": "java.lang.String" })
}

/// The mesh as its author wrote it.
pub(crate) fn mesh() -> Value {
    let pulsar = json!({ "pulsarConfig": "pulsar" });
    json!({
        "apiVersion": labels::API_VERSION, "kind": "FunctionMesh", "metadata": { "name": "m" },
        "spec": {
            "functions": [
                { "name": "shout", "className": "org.example.Shout", "clusterName": "c1", "minReplicas": 1,
                  "replicas": 1, "maxReplicas": 5, "input": input("words"), "output": output("shouts"),
                  "java": { "jar": "/pulsar/examples/api-examples.jar" }, "pulsar": pulsar,
                  "resources": resources(), "pod": { "env": [{ "name": "MOOD", "value": "loud" }] } },
                { "name": "scream", "className": "scream.Scream", "clusterName": "c1", "replicas": 2,
                  "input": input("shouts"), "output": output("screams"), "python": { "py": "scream.py" },
                  "pulsar": pulsar, "resources": resources() },
            ],
            "sinks": [
                { "name": "drain", "className": "org.example.Drain", "clusterName": "c1", "replicas": 1,
                  "input": input("screams"), "java": { "jar": "connectors/drain.nar" }, "pulsar": pulsar,
                  "sinkConfig": { "url": "http://drain:80" }, "cleanupSubscription": true,
                  "resources": resources() },
            ],
            "sources": [
                { "name": "feed", "className": "org.example.Feed", "clusterName": "c1", "replicas": 1,
                  "output": output("words"), "java": { "jar": "connectors/feed.nar" }, "pulsar": pulsar,
                  "sourceConfig": { "url": "http://feed:80" }, "resources": resources(),
                  "batchSourceConfig": { "discoveryTriggererClassName": "org.example.Daily" } },
            ],
        },
    })
}

/// One component.
struct Part {
    /// `function`, `sink` or `source`.
    role: &'static str,
    name: &'static str,
    replicas: i32,
    image: &'static str,
    command: String,
    env: Vec<Value>,
    uid: String,
}

impl Part {
    fn set(&self) -> String {
        format!("m-{}-{}", self.name, self.role)
    }

    fn labels(&self, namespace: &str) -> Value {
        let (set, object) = (self.set(), format!("m-{}", self.name));
        let mut labels = json!({
            labels::APP_NAME: set, labels::APP_INSTANCE: set, "component": self.role, "name": object,
            "namespace": namespace, labels::COMPONENT: self.role, labels::NAME: object,
            labels::NAMESPACE: namespace,
        });
        if self.role == "function" {
            labels["app"] = json!("function-mesh");
            labels[labels::APP] = json!("function-mesh");
        }
        labels
    }

    fn kind(&self) -> &'static str {
        match self.role {
            "function" => "Function",
            "sink" => "Sink",
            _ => "Source",
        }
    }

    fn metadata(&self, name: &str, namespace: &str) -> Value {
        json!({
            "name": name, "namespace": namespace, "labels": self.labels(namespace),
            "ownerReferences": [{
                "apiVersion": labels::API_VERSION, "kind": self.kind(), "name": format!("m-{}", self.name),
                "uid": self.uid, "controller": true, "blockOwnerDeletion": true,
            }],
        })
    }

    fn template(&self, namespace: &str) -> Value {
        let labels = self.labels(namespace);
        let mut env = vec![
            json!({ "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }),
        ];
        env.extend(self.env.clone());
        json!({
            "metadata": {
                "labels": labels,
                "annotations": { "prometheus.io/scrape": "true", "prometheus.io/port": "9094" },
            },
            "spec": {
                "affinity": { "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{
                    "weight": 100,
                    "podAffinityTerm": {
                        "labelSelector": { "matchLabels": labels }, "topologyKey": "kubernetes.io/hostname",
                    },
                }] } },
                "containers": [{
                    "name": format!("pulsar-{}", self.role), "image": self.image,
                    "command": ["bash", "-c", self.command], "env": env,
                    "envFrom": [{ "configMapRef": { "name": "pulsar" } }], "imagePullPolicy": "IfNotPresent",
                    "ports": [
                        { "name": "tcp-grpc", "containerPort": 9093, "protocol": "TCP" },
                        { "name": "http-metrics", "containerPort": 9094, "protocol": "TCP" },
                    ],
                    "resources": resources(),
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
                    },
                }],
                "securityContext": {
                    "runAsUser": 10000, "runAsGroup": 10001, "fsGroup": 10001, "runAsNonRoot": false,
                    "seccompProfile": { "type": "RuntimeDefault" },
                },
            },
        })
    }
}

fn java(name: &str, jar: &str, details: &str) -> String {
    format!(
        "SHARD_ID=${{POD_NAME##*-}} && echo shardId=${{SHARD_ID}} && mkdir -p /pulsar/conf/java-log/ && echo \"\
         <Configuration/>\" > /pulsar/conf/java-log/java_instance_log4j.xml && exec java -cp \
         /pulsar/instances/java-instance.jar -Dpulsar.function.log.file={name}-${{SHARD_ID}}  \
         org.apache.pulsar.functions.instance.JavaInstanceMain --jar {jar} --instance_id ${{SHARD_ID}} \
         --function_details '{details}' --pulsar_serviceurl $brokerServiceURL --cluster_name c1"
    )
}

fn parts() -> [Part; 4] {
    let details = |name: &str| {
        format!("{{\"tenant\":\"public\", \"namespace\":\"default\", \"name\":\"{name}\", \"autoAck\":true}}")
    };
    let part = |role, name, replicas, image, command| Part {
        role,
        name,
        replicas,
        image,
        command,
        env: Vec::new(),
        uid: String::new(),
    };
    let (runner, all) =
        ("streamnative/pulsar-functions-java-runner:2.10.0.0-rc10", "streamnative/pulsar-all:2.10.0.0-rc10");
    let python = format!(
        "SHARD_ID=${{POD_NAME##*-}} && echo shardId=${{SHARD_ID}} && exec python \
         /pulsar/instances/python-instance/python_instance_main.py --py scream.py --function_details '{}'",
        details("scream")
    );
    let jar = "/pulsar/examples/api-examples.jar";
    let shout = Part {
        // The second is from an older manifest; upstream does not compare values.
        env: vec![json!({ "name": "MOOD", "value": "loud" }), json!({ "name": "STALE", "value": "yes" })],
        ..part("function", "shout", SCALED, runner, java("shout", jar, &details("shout")))
    };
    let image = "streamnative/pulsar-functions-python-runner:2.10.0.0-rc10";
    [
        shout,
        part("function", "scream", 2, image, python),
        part("sink", "drain", 1, all, java("drain", "connectors/drain.nar", &details("drain"))),
        part("source", "feed", 1, all, java("feed", "connectors/feed.nar", &details("feed"))),
    ]
}

/// Upstream's default images.
pub(crate) fn runner_images() -> RunnerImages {
    let runner = |language: &str| format!("streamnative/pulsar-functions-{language}-runner:2.10.0.0-rc10");
    RunnerImages {
        java: runner("java"),
        python: runner("python"),
        go: runner("go"),
        other: "streamnative/pulsar-all:2.10.0.0-rc10".to_owned(),
        ..RunnerImages::default()
    }
}

fn condition(condition: &str) -> Value {
    json!({ "condition": condition, "status": "True", "action": "NoAction" })
}

impl Original<'_> {
    fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    async fn create<K: Kind>(&self, object: Value) -> anyhow::Result<K> {
        let object: K = from_value(object)?;
        Ok(self.api::<K>().create(&params(), &object).await?)
    }

    /// Creates all objects as upstream does, and exits.
    pub(crate) async fn install(&self) -> TestResult {
        let mesh: FunctionMesh = self.create(mesh()).await?;
        let owner = json!([{
            "apiVersion": labels::API_VERSION, "kind": "FunctionMesh", "name": "m", "uid": mesh.uid(),
            "controller": true, "blockOwnerDeletion": true,
        }]);
        let spec = serde_json::to_value(&mesh.spec)?;
        for mut part in parts() {
            let items = spec[format!("{}s", part.role)].as_array().context("components")?;
            let mut item = items.iter().find(|it| it["name"] == part.name).context("it has one")?.clone();
            // Upstream's webhook adds defaults.
            item["replicas"] = json!(part.replicas);
            item["autoAck"] = json!(true);
            item["subscriptionName"] = json!("");
            let name = format!("m-{}", part.name);
            let cleans = part.role != "function";
            let finalizers = if cleans { json!([labels::LEGACY_CLEANUP_FINALIZER]) } else { json!(null) };
            let object = json!({
                "apiVersion": labels::API_VERSION, "kind": part.kind(), "spec": item,
                "metadata": { "name": name, "ownerReferences": owner, "finalizers": finalizers },
            });
            let status = Self::status(&part, self.namespace);
            part.uid = match part.role {
                "function" => self.component::<Function>(object, status).await?,
                "sink" => self.component::<Sink>(object, status).await?,
                _ => self.component::<Source>(object, status).await?,
            };
            self.children(&part, cleans).await?;
        }
        let ready = |kind: &str| json!({ kind: condition("x") });
        let mut status = json!({
            "observedGeneration": 1, "condition": condition("MeshReady"),
            "functionConditions": ready("shout"), "sinkConditions": ready("drain"),
            "sourceConditions": ready("feed"),
        });
        status["functionConditions"]["gone"] =
            json!({ "condition": "Orphaned", "status": "True", "action": "Delete" });
        self.report::<FunctionMesh>("m", status).await?;
        let lease = json!({
            "metadata": { "name": LEASE },
            "spec": {
                "holderIdentity": "function-mesh-controller-manager-5b7c_1f0e", "leaseDurationSeconds": 15,
                "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:00.000000Z",
                "leaseTransitions": 4,
            },
        });
        self.create::<Lease>(lease).await.map(|_| ())
    }

    fn status(part: &Part, namespace: &str) -> Value {
        let labels = part.labels(namespace);
        let selector = labels.as_object().into_iter().flatten();
        let selector: Vec<_> = selector.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect();
        let mut status = json!({
            "conditions": {
                "StatefulSet": condition("StatefulSetReady"), "Service": condition("ServiceReady"),
            },
            "replicas": part.replicas, "selector": selector.join(","), "observedGeneration": 1,
        });
        match part.name {
            "shout" => {
                status["conditions"]["HorizontalPodAutoscaler"] = condition("HPAReady");
                status["pendingChange"] = json!("{\"spec\":{\"template\":null}}");
            }
            // Upstream keeps the condition of a removed component.
            "scream" => status["conditions"]["HorizontalPodAutoscaler"] = condition("HPAReady"),
            _ => {}
        }
        status
    }

    async fn component<K: Kind>(&self, object: Value, status: Value) -> anyhow::Result<String> {
        let made: K = self.create(object).await?;
        self.report::<K>(&made.name_any(), status).await?;
        made.uid().context("no UID")
    }

    async fn report<K: Kind>(&self, name: &str, status: Value) -> TestResult {
        let mut object = serde_json::to_value(self.api::<K>().get(name).await?)?;
        object["status"] = status;
        let object: K = from_value(object)?;
        self.api::<K>().replace_status(name, &params(), &object).await?;
        Ok(())
    }

    async fn children(&self, part: &Part, cleans: bool) -> TestResult {
        let (set, namespace) = (part.set(), self.namespace);
        let template = part.template(namespace);
        self.create::<StatefulSet>(json!({
            "metadata": part.metadata(&set, namespace),
            "spec": {
                "replicas": part.replicas, "selector": { "matchLabels": part.labels(namespace) },
                "serviceName": format!("{set}-headless"), "podManagementPolicy": "Parallel",
                "updateStrategy": { "type": "RollingUpdate" }, "template": template,
            },
        }))
        .await?;
        self.create::<Service>(json!({
            "metadata": part.metadata(&format!("{set}-headless"), namespace),
            "spec": {
                "clusterIP": "None", "selector": part.labels(namespace),
                "ports": [
                    { "name": "tcp-grpc", "port": 9093, "targetPort": 9093 },
                    { "name": "http-metrics", "port": 9094, "targetPort": 9094 },
                ],
            },
        }))
        .await?;
        if part.name == "shout" {
            let target = json!({ "type": "Utilization", "averageUtilization": 160 });
            self.create::<HorizontalPodAutoscaler>(json!({
                "metadata": part.metadata(&set, namespace),
                "spec": {
                    "minReplicas": 1, "maxReplicas": 5,
                    "scaleTargetRef": {
                        "apiVersion": labels::API_VERSION, "kind": "Function", "name": "m-shout",
                    },
                    "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": target } }],
                },
            }))
            .await?;
        }
        if cleans {
            let mut labels = part.labels(namespace);
            labels[labels::OWNER] = json!(part.uid);
            let mut template = template;
            template["spec"]["restartPolicy"] = json!("OnFailure");
            template["spec"]["containers"][0]["name"] = json!("cleanup");
            template["spec"]["containers"][0]["command"] = json!(["sh", "-c", "sleep infinity"]);
            self.create::<Job>(json!({
                "metadata": { "name": format!("{set}-cleanup"), "labels": labels },
                "spec": { "ttlSecondsAfterFinished": 0, "template": template },
            }))
            .await?;
        }
        Ok(())
    }
}
