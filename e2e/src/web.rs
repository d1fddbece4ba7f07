//! A web server in a pod: what a sink posts to it can be asked for, and it gives the files of the ConfigMap
//! `functions` to whoever downloads them.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::{Value, json};

use crate::{Part, Story};

const NAME: &str = "web";
const PATIENCE: Duration = Duration::from_mins(2);

/// The web server of a story.
pub struct Web<'a>(&'a Story);

impl Story {
    /// Starts a web server of this story, and returns when it serves.
    pub async fn web(&self) -> Result<Web<'_>> {
        let labels = json!({ "app": NAME });
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": NAME, "labels": labels },
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": NAME, "image": self.world.runner_image()?,
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
        self.eventually("the web server serves", PATIENCE, async || {
            let pod = self.api::<Pod>().get(NAME).await?;
            let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
            Ok(conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
        })
        .await?;
        Ok(Web(self))
    }
}

impl Story {
    /// Uploads a connector of Pulsar's distribution as a package, and returns its address.
    pub async fn connector(&self, kind: &str, name: &str) -> Result<String> {
        let path = self.world.hack("pulsar/dist", &["connector", name]).await?;
        self.pulsar.upload(kind, name, std::fs::read(path)?).await
    }

    /// A sink that posts to an address what comes on a topic: Pulsar's own connector, as a package.
    pub async fn posting(&self, name: &str, from: &str, to: &str) -> Result<Part> {
        let package = self.connector("sink", "pulsar-io-http").await?;
        let class = "org.apache.pulsar.io.http.HttpSink";
        let more = json!({ "java": { "jarLocation": package }, "sinkConfig": { "url": to } });
        Ok(self.sink(name, class, "/pulsar/connectors/http.nar", from).with(more))
    }
}

impl Web<'_> {
    /// A sink that posts here what comes on a topic.
    pub async fn sink(&self, name: &str, from: &str) -> Result<Part> {
        let sink = self.0.posting(name, from, &self.address("")).await?;
        // Messages of any schema, which is what this connector takes.
        let any = json!({ (self.0.pulsar.topic(from)): { "schemaType": "auto_consume" } });
        Ok(sink.with(json!({ "input": { "topics": null, "typeClassName": null, "sourceSpecs": any } })))
    }

    /// Where pods find one of its files, or post what they like.
    pub fn address(&self, file: &str) -> String {
        format!("http://{NAME}.{}.svc:8080/{file}", self.0.namespace)
    }

    /// What was posted, in the order in which it came; each is JSON.
    pub async fn received(&self) -> Result<Vec<Value>> {
        let path = format!("/api/v1/namespaces/{}/pods/{NAME}:8080/proxy/received", self.0.namespace);
        let request = http::Request::get(path).body(Vec::new())?;
        let posted: Vec<String> = self.0.world.client.request(request).await?;
        posted.iter().map(|body| serde_json::from_str(body).with_context(|| body.clone())).collect()
    }
}
