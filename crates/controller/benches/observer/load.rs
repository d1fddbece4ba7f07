//! The load: functions whose ConfigMap points to the stand-in for Pulsar, and their pods.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, SetDefaults};
use function_mesh_testkit::{ControlPlane, Kind, StandInTopics, apply, fixtures, mark_running, set_pod_ip};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use reqwest::StatusCode;
use serde_json::{from_value, json};
use tokio::time::sleep;

/// Concurrent requests.
const AT_A_TIME: usize = 100;

/// Timeout until all functions are ready.
const LIMIT: Duration = Duration::from_mins(15);

const PAUSE: Duration = Duration::from_secs(1);

/// The topics of this number of functions.
pub(crate) fn topics(functions: u32, partitions: usize, rate: u64, delay: Duration) -> StandInTopics {
    let topic = |number| format!("persistent://public/default/{}", input(number));
    // A subscription without a name has the function's full name.
    let subscription = |number| format!("public/default/{}", name(number));
    let subscriptions = (0..functions).map(|number| (topic(number), subscription(number))).collect();
    StandInTopics { subscriptions, partitions, rate, backlog: 0, delay }
}

fn name(number: u32) -> String {
    format!("function-{number}")
}

fn input(number: u32) -> String {
    format!("in-{number}")
}

/// A namespace for functions.
pub(crate) struct Load {
    client: Client,
    namespace: String,
    functions: u32,
    replicas: i32,
}

impl Load {
    pub(crate) async fn new(plane: &ControlPlane, functions: u32, replicas: i32) -> anyhow::Result<Self> {
        let client = plane.client().await?;
        let namespace = plane.namespace(&client, "observed").await?;
        Ok(Self { client, namespace, functions, replicas })
    }

    fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates the functions, and the ConfigMap with the address of Pulsar.
    pub(crate) async fn create(&self, url: &str) -> anyhow::Result<()> {
        let mut functions = Vec::new();
        for number in 0..self.functions {
            let mut spec = fixtures::java_function(&name(number));
            if let Some(input_conf) = &mut spec.input {
                input_conf.topics = Some(vec![input(number)]);
            }
            spec.replicas = Some(self.replicas);
            spec.set_defaults(&name(number));
            functions.push(fixtures::function(spec)?);
        }
        let mut pulsar = functions.iter().filter_map(|function| function.spec.pulsar.as_ref());
        if let Some(config_map) = pulsar.find_map(|pulsar| pulsar.pulsar_config.clone()) {
            let data = json!({ "webServiceURL": url, "brokerServiceURL": "pulsar://192.0.2.1:6650" });
            let object = json!({ "metadata": { "name": config_map }, "data": data });
            apply::<ConfigMap>(&self.client, &self.namespace, &from_value(object)?).await?;
        }
        let (api, params) = (self.api::<Function>(), PostParams::default());
        for batch in functions.chunks(AT_A_TIME) {
            try_join_all(batch.iter().map(|function| api.create(&params, function))).await?;
        }
        Ok(())
    }

    /// Creates the topics and subscriptions of all functions on a real broker.
    pub(crate) async fn create_topics(&self, url: &str) -> anyhow::Result<()> {
        let http = reqwest::Client::builder().http1_only().no_proxy().build()?;
        let create = async |number: u32| {
            let topic = format!("{url}/admin/v2/persistent/public/default/{}", input(number));
            let subscription = format!("public%2Fdefault%2F{}", name(number));
            for url in [topic.clone(), format!("{topic}/subscription/{subscription}")] {
                let status = http.put(&url).send().await?.status();
                // It is there already, of a former run.
                ensure!(status.is_success() || status == StatusCode::CONFLICT, "{url}: {status}");
            }
            anyhow::Ok(())
        };
        let numbers: Vec<_> = (0..self.functions).collect();
        for batch in numbers.chunks(AT_A_TIME) {
            try_join_all(batch.iter().map(|number| create(*number))).await?;
        }
        Ok(())
    }

    /// Marks all pods as running at this address, and waits until the functions are ready, or suspended without pods.
    pub(crate) async fn run_pods(&self, ip: IpAddr) -> anyhow::Result<()> {
        let start = Instant::now();
        let wanted = usize::try_from(self.functions)? * usize::try_from(self.replicas)?;
        let pods = self.api::<Pod>();
        while pods.list_metadata(&ListParams::default()).await?.items.len() < wanted {
            ensure!(start.elapsed() < LIMIT, "there are fewer than {wanted} pods");
            sleep(PAUSE).await;
        }
        mark_running(&self.client, &self.namespace).await?;
        set_pod_ip(&self.client, &self.namespace, ip).await?;
        let phase = if self.replicas == 0 { Phase::Suspended } else { Phase::Ready };
        loop {
            let ready =
                self.count(|function| function.status.as_ref().is_some_and(|it| it.phase == phase)).await?;
            if ready == self.functions {
                return Ok(());
            }
            ensure!(start.elapsed() < LIMIT, "{ready} of {} functions are {phase}", self.functions);
            sleep(PAUSE).await;
        }
    }

    /// The number of functions with a known backlog.
    pub(crate) async fn observed(&self) -> anyhow::Result<u32> {
        self.count(|function| {
            let traffic = function.status.as_ref().and_then(|status| status.traffic.as_ref());
            traffic.is_some_and(|traffic| traffic.backlog.is_some())
        })
        .await
    }

    async fn count(&self, is_counted: impl Fn(&Function) -> bool) -> anyhow::Result<u32> {
        let functions = self.api::<Function>().list(&ListParams::default()).await?.items;
        Ok(u32::try_from(functions.iter().filter(|function| is_counted(function)).count())?)
    }
}
