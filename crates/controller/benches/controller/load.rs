//! What is asked of the controller, and the children that it makes of it.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use function_mesh_api::{Function, FunctionMesh, FunctionSpec, SetDefaults};
use function_mesh_testkit::{ControlPlane, Kind, fixtures};
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use tokio::time::sleep;

/// Requests under way at a time.
const AT_A_TIME: usize = 100;

/// One function in so many is autoscaled.
const AUTOSCALED: u32 = 4;

/// Children that are not there after this time will never be.
const LIMIT: Duration = Duration::from_mins(10);

const PAUSE: Duration = Duration::from_millis(100);

/// A user of the cluster with a namespace for each stage.
pub(crate) struct Load {
    client: Client,
    functions: String,
    mesh: String,
    bare: String,
}

impl Load {
    /// Makes the namespaces.
    pub(crate) async fn new(plane: &ControlPlane) -> anyhow::Result<Self> {
        let client = plane.client().await?;
        Ok(Self {
            functions: plane.namespace(&client, "functions").await?,
            mesh: plane.namespace(&client, "mesh").await?,
            bare: plane.namespace(&client, "bare").await?,
            client,
        })
    }

    fn api<K: Kind>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates functions, and says how long that took.
    pub(crate) async fn create_functions(&self, count: u32) -> anyhow::Result<Duration> {
        let functions: Result<Vec<_>, _> =
            (0..count).map(|number| fixtures::function(function(number))).collect();
        let functions = functions?;
        let start = Instant::now();
        create_all::<Function>(&self.api(&self.functions), &functions).await?;
        Ok(start.elapsed())
    }

    /// Waits until so many functions have all their children, and says how long that took.
    pub(crate) async fn children_of(&self, functions: u32) -> anyhow::Result<Duration> {
        self.children_in(&self.functions, functions).await
    }

    /// Waits until a mesh of so many functions has all children of theirs.
    pub(crate) async fn children_of_mesh(&self, functions: u32) -> anyhow::Result<Duration> {
        self.children_in(&self.mesh, functions).await
    }

    async fn children_in(&self, namespace: &str, functions: u32) -> anyhow::Result<Duration> {
        let start = Instant::now();
        // The numbers of the autoscaled begin with 0.
        let wanted = [functions, functions, functions.div_ceil(AUTOSCALED)].map(u64::from);
        loop {
            let found = [
                count(&self.api::<StatefulSet>(namespace)).await?,
                count(&self.api::<Service>(namespace)).await?,
                count(&self.api::<HorizontalPodAutoscaler>(namespace)).await?,
            ];
            if found == wanted {
                return Ok(start.elapsed());
            }
            ensure!(start.elapsed() < LIMIT, "there are {found:?} children, not {wanted:?}");
            sleep(PAUSE).await;
        }
    }

    /// Creates a mesh of functions.
    pub(crate) async fn create_mesh(&self, functions: u32) -> anyhow::Result<FunctionMesh> {
        let mut mesh = fixtures::mesh("m", (0..functions).map(|number| function(number).into()))?;
        mesh.spec.set_defaults();
        Ok(self.api(&self.mesh).create(&PostParams::default(), &mesh).await?)
    }

    /// Edits one function in the middle of a mesh, such that its pods have to change.
    pub(crate) async fn edit(&self, mesh: FunctionMesh) -> anyhow::Result<()> {
        // Its status has been written since.
        let api = self.api::<FunctionMesh>(&self.mesh);
        let mut mesh = api.get(&mesh.name_any()).await?;
        let functions = mesh.spec.functions.as_mut().context("a mesh without functions")?;
        let middle = functions.len() / 2;
        functions[middle].class_name = Some("org.example.Edited".to_owned());
        api.replace(&mesh.name_any(), &PostParams::default(), &mesh).await?;
        Ok(())
    }

    /// Writes the children of the functions once more, to another namespace, and says how long that took.
    pub(crate) async fn write_children_again(&self) -> anyhow::Result<Duration> {
        let stateful_sets = copies(&self.api::<StatefulSet>(&self.functions)).await?;
        let mut services = copies(&self.api::<Service>(&self.functions)).await?;
        for spec in services.iter_mut().filter_map(|service| service.spec.as_mut()) {
            // Two Services cannot have the same address.
            (spec.cluster_ip, spec.cluster_ips) = (None, None);
        }
        let autoscalers = copies(&self.api::<HorizontalPodAutoscaler>(&self.functions)).await?;
        let start = Instant::now();
        create_all(&self.api(&self.bare), &services).await?;
        create_all(&self.api(&self.bare), &stateful_sets).await?;
        create_all(&self.api(&self.bare), &autoscalers).await?;
        Ok(start.elapsed())
    }
}

/// A function as the webhook lets it through.
fn function(number: u32) -> FunctionSpec {
    let name = format!("function-{number}");
    let mut spec = fixtures::java_function(&name);
    if number.is_multiple_of(AUTOSCALED) {
        (spec.min_replicas, spec.max_replicas) = (Some(1), Some(5));
    }
    spec.set_defaults(&name);
    spec
}

async fn create_all<K: Kind>(api: &Api<K>, objects: &[K]) -> anyhow::Result<()> {
    let params = PostParams::default();
    for batch in objects.chunks(AT_A_TIME) {
        try_join_all(batch.iter().map(|object| api.create(&params, object))).await?;
    }
    Ok(())
}

/// How many there are. Asked for one of them alone, the API server says how many it leaves out.
async fn count<K: Kind>(api: &Api<K>) -> anyhow::Result<u64> {
    let list = api.list_metadata(&ListParams::default().limit(1)).await?;
    let left_out = list.metadata.remaining_item_count.unwrap_or_default();
    Ok(u64::try_from(list.items.len())? + u64::try_from(left_out)?)
}

/// All of a kind, as somebody would write them who knows neither their past nor their owner.
async fn copies<K: Kind>(api: &Api<K>) -> anyhow::Result<Vec<K>> {
    let mut objects = api.list(&ListParams::default()).await?.items;
    for object in &mut objects {
        let known = object.meta_mut();
        *known = ObjectMeta {
            name: known.name.take(),
            labels: known.labels.take(),
            annotations: known.annotations.take(),
            ..ObjectMeta::default()
        };
    }
    Ok(objects)
}
