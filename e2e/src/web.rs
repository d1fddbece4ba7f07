//! A web server in a pod, which records what sinks post and serves the files of the ConfigMap `functions`.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::{Value, json};

use crate::{Component, Scenario};

const NAME: &str = "web";
const TIMEOUT: Duration = Duration::from_mins(2);

/// The web server of a scenario.
pub struct Web<'a>(&'a Scenario);

impl Scenario {
    /// Starts the web server and returns when it is ready.
    pub async fn web(&self) -> Result<Web<'_>> {
        let labels = json!({ "app": NAME });
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": NAME, "labels": labels },
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": NAME, "image": self.harness.runner_image()?,
                    "command": ["python3", "/functions/web.py"],
                    "readinessProbe": { "httpGet": { "path": "/web.py", "port": 8080 }, "periodSeconds": 1 },
                    "volumeMounts": [{ "name": "functions", "mountPath": "/functions" }],
                }],
                "volumes": [{ "name": "functions", "configMap": { "name": "functions" } }],
            },
        });
        let ports = json!([{ "port": 8080 }]);
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": NAME },
            "spec": { "selector": labels, "ports": ports },
        });
        self.apply::<Pod>(pod).await?;
        self.apply::<Service>(service).await?;
        self.eventually("the web server serves", TIMEOUT, async || {
            let pod = self.api::<Pod>().get(NAME).await?;
            let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
            Ok(conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
        })
        .await?;
        Ok(Web(self))
    }
}

impl Scenario {
    /// Uploads a connector of Pulsar's distribution as a package and returns its URL.
    pub async fn connector(&self, kind: &str, name: &str) -> Result<String> {
        let path = self.harness.hack("pulsar/dist", &["connector", name]).await?;
        self.pulsar.upload(kind, name, std::fs::read(path)?).await
    }

    /// Pulsar's HTTP sink, as a package, which posts a topic's messages to an address.
    pub async fn posting(&self, name: &str, from: &str, to: &str) -> Result<Component> {
        let package = self.connector("sink", "pulsar-io-http").await?;
        let class = "org.apache.pulsar.io.http.HttpSink";
        let more = json!({ "java": { "jarLocation": package }, "sinkConfig": { "url": to } });
        Ok(self.sink(name, class, "/pulsar/connectors/http.nar", from).with(more))
    }
}

impl Web<'_> {
    /// A sink that posts a topic's messages here.
    pub async fn sink(&self, name: &str, from: &str) -> Result<Component> {
        let sink = self.0.posting(name, from, &self.address("")).await?;
        // This connector takes messages of any schema.
        let any = json!({ (self.0.pulsar.topic(from)): { "schemaType": "auto_consume" } });
        Ok(sink.with(json!({ "input": { "topics": null, "typeClassName": null, "sourceSpecs": any } })))
    }

    /// The URL of a file, as pods reach it; any path accepts POST.
    pub fn address(&self, file: &str) -> String {
        format!("http://{NAME}.{}.svc:8080/{file}", self.0.namespace)
    }

    /// The posted JSON documents, in order.
    pub async fn received(&self) -> Result<Vec<Value>> {
        let path = format!("/api/v1/namespaces/{}/pods/{NAME}:8080/proxy/received", self.0.namespace);
        let request = http::Request::get(path).body(Vec::new())?;
        let posted: Vec<String> = self.0.harness.client.request(request).await?;
        posted.iter().map(|body| serde_json::from_str(body).with_context(|| body.clone())).collect()
    }
}
