//! The load: functions, and the children that the controller creates for them.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use function_mesh_api::{Function, FunctionMesh, FunctionSpec, SetDefaults};
use function_mesh_testkit::{ControlPlane, Kind, fixtures};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::sleep;

/// One of this number of functions is autoscaled, unless they have no pods.
const AUTOSCALED: u32 = 4;

/// Timeout until all children exist.
const LIMIT: Duration = Duration::from_mins(20);

const PAUSE: Duration = Duration::from_millis(100);

const BETWEEN_EDITS: Duration = Duration::from_secs(1);

/// A client with a namespace for each stage.
pub(crate) struct Load {
    client: Client,
    functions: String,
    mesh: String,
    bare: String,
    edited: String,
    /// Of each function.
    replicas: i32,
    /// Concurrent requests.
    at_a_time: usize,
}

/// How long an edit of a function took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edited {
    /// Until its author had the response.
    pub(crate) accepted: Duration,
    /// From there until the pod template had changed; zero if that was earlier.
    pub(crate) acted_on: Duration,
}

impl Load {
    /// Creates the namespaces.
    pub(crate) async fn new(plane: &ControlPlane, replicas: i32, at_a_time: usize) -> anyhow::Result<Self> {
        let client = plane.client().await?;
        Ok(Self {
            functions: plane.namespace(&client, "functions").await?,
            mesh: plane.namespace(&client, "mesh").await?,
            bare: plane.namespace(&client, "bare").await?,
            edited: plane.namespace(&client, "edited").await?,
            client,
            replicas,
            at_a_time,
        })
    }

    fn api<K: Kind>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A function with the defaults of the webhook.
    fn function(&self, number: u32) -> FunctionSpec {
        let name = format!("function-{number}");
        let mut spec = fixtures::java_function(&name);
        spec.replicas = Some(self.replicas);
        if self.replicas > 0 && number.is_multiple_of(AUTOSCALED) {
            (spec.min_replicas, spec.max_replicas) = (Some(1), Some(5));
        }
        spec.set_defaults(&name);
        spec
    }

    /// Creates functions, and returns how long that took.
    pub(crate) async fn create_functions(&self, count: u32) -> anyhow::Result<Duration> {
        let functions: Result<Vec<_>, _> =
            (0..count).map(|number| fixtures::function(self.function(number))).collect();
        let functions = functions?;
        let start = Instant::now();
        self.create_all::<Function>(&self.functions, &functions).await?;
        Ok(start.elapsed())
    }

    /// Creates functions while another one is edited again and again. Returns how long the creation took, and the edits.
    pub(crate) async fn create_functions_beside_edits(
        &self,
        count: u32,
    ) -> anyhow::Result<(Duration, Vec<Edited>)> {
        let edited = fixtures::function(self.function(1))?;
        self.api::<Function>(&self.edited).create(&PostParams::default(), &edited).await?;
        let mut times = Vec::new();
        let edits = async {
            loop {
                times.push(self.edit_function(times.len()).await?);
                sleep(BETWEEN_EDITS).await;
            }
        };
        let created = tokio::select! {
            created = self.create_functions(count) => created?,
            error = edits => return error,
        };
        Ok((created, times))
    }

    async fn edit_function(&self, number: usize) -> anyhow::Result<Edited> {
        let mut generations = self.generations();
        let before = generations.next().await.context("no StatefulSet")??;
        let change = Patch::Merge(json!({ "spec": { "className": format!("org.example.Edited{number}") } }));
        let start = Instant::now();
        self.api::<Function>(&self.edited).patch("function-1", &PatchParams::default(), &change).await?;
        let accepted = start.elapsed();
        while generations.next().await.context("no StatefulSet")?? <= before {
            ensure!(start.elapsed() < LIMIT, "an edit has no effect");
        }
        Ok(Edited { accepted, acted_on: start.elapsed().saturating_sub(accepted) })
    }

    /// The generations of the StatefulSet of the edited function, from the current one on. They are watched: each request
    /// waits for those of all others.
    fn generations(&self) -> BoxStream<'static, Result<i64, watcher::Error>> {
        let api = Api::<PartialObjectMeta<StatefulSet>>::namespaced(self.client.clone(), &self.edited);
        watcher(api, watcher::Config::default())
            .applied_objects()
            .map_ok(|found| found.metadata.generation.unwrap_or_default())
            .boxed()
    }

    /// Waits until this number of functions have all their children, and returns how long that took.
    pub(crate) async fn children_of(&self, functions: u32) -> anyhow::Result<Duration> {
        self.children_in(&self.functions, functions).await
    }

    /// Waits until the functions of a mesh have all their children.
    pub(crate) async fn children_of_mesh(&self, functions: u32) -> anyhow::Result<Duration> {
        self.children_in(&self.mesh, functions).await
    }

    async fn children_in(&self, namespace: &str, functions: u32) -> anyhow::Result<Duration> {
        let start = Instant::now();
        // The index of the first autoscaled function is 0.
        let autoscaled = if self.replicas > 0 { functions.div_ceil(AUTOSCALED) } else { 0 };
        let wanted = [functions, functions, autoscaled].map(u64::from);
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
        let mut mesh = fixtures::mesh("m", (0..functions).map(|number| self.function(number).into()))?;
        mesh.spec.set_defaults();
        Ok(self.api(&self.mesh).create(&PostParams::default(), &mesh).await?)
    }

    /// Edits one function in the middle of a mesh, so that its pods have to change.
    pub(crate) async fn edit(&self, mesh: FunctionMesh) -> anyhow::Result<()> {
        // Its status has been written since then.
        let api = self.api::<FunctionMesh>(&self.mesh);
        let mut mesh = api.get(&mesh.name_any()).await?;
        let functions = mesh.spec.functions.as_mut().context("a mesh without functions")?;
        let middle = functions.len() / 2;
        functions[middle].class_name = Some("org.example.Edited".to_owned());
        api.replace(&mesh.name_any(), &PostParams::default(), &mesh).await?;
        Ok(())
    }

    /// Writes the children of the functions again, to another namespace, and returns how long that took.
    pub(crate) async fn write_children_again(&self) -> anyhow::Result<Duration> {
        let stateful_sets = copies(&self.api::<StatefulSet>(&self.functions)).await?;
        let mut services = copies(&self.api::<Service>(&self.functions)).await?;
        for spec in services.iter_mut().filter_map(|service| service.spec.as_mut()) {
            // Two Services cannot have the same address.
            (spec.cluster_ip, spec.cluster_ips) = (None, None);
        }
        let autoscalers = copies(&self.api::<HorizontalPodAutoscaler>(&self.functions)).await?;
        let start = Instant::now();
        self.create_all(&self.bare, &services).await?;
        self.create_all(&self.bare, &stateful_sets).await?;
        self.create_all(&self.bare, &autoscalers).await?;
        Ok(start.elapsed())
    }

    async fn create_all<K: Kind>(&self, namespace: &str, objects: &[K]) -> anyhow::Result<()> {
        let (api, params) = (self.api::<K>(namespace), PostParams::default());
        let created =
            stream::iter(objects).map(|object| api.create(&params, object)).buffer_unordered(self.at_a_time);
        created.try_for_each(async |_| Ok(())).await?;
        Ok(())
    }
}

/// The number of objects. A list of one item contains the number of remaining items.
async fn count<K: Kind>(api: &Api<K>) -> anyhow::Result<u64> {
    let list = api.list_metadata(&ListParams::default().limit(1)).await?;
    let left_out = list.metadata.remaining_item_count.unwrap_or_default();
    Ok(u64::try_from(list.items.len())? + u64::try_from(left_out)?)
}

/// All objects of a kind, without metadata of the server and without owners.
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
