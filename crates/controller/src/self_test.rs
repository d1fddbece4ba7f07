//! A self-test of an installation, for `helm test`: creates a mesh, waits until it is ready, and deletes it.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use function_mesh_api::FunctionMesh;
use function_mesh_kube::compact::Compact;
use function_mesh_serving::args::duration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, Config, ResourceExt};
use tokio::time::{Instant, sleep};

/// Field manager of the test's mesh.
const MANAGER: &str = "functionmesh.io/self-test";
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Flags of the self-test.
#[derive(Args, Debug)]
pub(crate) struct SelfTestArgs {
    /// FunctionMesh to create, as YAML or JSON
    #[arg(long, env = "SELF_TEST_MESH", value_name = "TEXT")]
    mesh: String,
    /// Namespace of the mesh
    #[arg(long, value_name = "NAME")]
    namespace: String,
    /// Check that the admission webhook denies an invalid mesh
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    admission: bool,
    /// Timeout until the mesh is ready
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = duration)]
    timeout: Duration,
}

impl SelfTestArgs {
    /// Creates the mesh, waits until it is ready, and deletes it in any case. Never modifies an existing mesh.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self { mesh, namespace, admission, timeout } = self;
        let mesh = parse(&mesh).context("--mesh is not a valid FunctionMesh")?;
        let client = Client::try_from(Config::infer().await.context("no kubeconfig found")?)?;
        let api = Api::<FunctionMesh>::namespaced(client, &namespace);
        let deadline = Instant::now() + timeout;
        if admission {
            wait_for_denial(&api, &mesh, deadline).await?;
            print("the admission webhook denies an invalid mesh")?;
        }
        // `create` fails if a mesh of that name exists, so it is neither modified nor deleted.
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        api.create(&params, &mesh).await.context("failed to create the mesh")?;
        let result = wait_until_ready(&api, &mesh.name_any(), deadline).await;
        let deleted = delete(&api, &mesh.name_any()).await;
        result?;
        deleted?;
        print("mesh deleted; self-test passed")
    }
}

/// From YAML by way of JSON, which the cache decodes anyway: all types of pods for another format are a sixth of the program.
fn parse(yaml: &str) -> anyhow::Result<FunctionMesh> {
    let json: serde_json::Value = serde_saphyr::from_str(yaml)?;
    Ok(Compact::<FunctionMesh>::from_json(&json.to_string())?.decode()?)
}

/// Dry-runs the creation of an invalid mesh until the webhook denies it: two components of the same name. Right after
/// an installation the API server may not call the webhook yet.
async fn wait_for_denial(
    api: &Api<FunctionMesh>,
    mesh: &FunctionMesh,
    deadline: Instant,
) -> anyhow::Result<()> {
    let mut invalid = mesh.clone();
    let functions = invalid.spec.functions.get_or_insert_default();
    let first = functions.first().cloned().context("--mesh has no functions")?;
    functions.push(first);
    let dry_run = PostParams { dry_run: true, field_manager: Some(MANAGER.to_owned()) };
    loop {
        let result = match api.create(&dry_run, &invalid).await {
            Ok(_) => "it was allowed".to_owned(),
            Err(error) if is_denial(&error) => return Ok(()),
            Err(error) => error.to_string(),
        };
        ensure!(Instant::now() < deadline, "the admission webhook does not deny an invalid mesh: {result}");
        sleep(POLL_INTERVAL).await;
    }
}

/// Whether the webhook denied the request; the API server's error about an unreachable webhook does not count.
fn is_denial(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status)
        if status.message.contains("admission webhook") && status.message.contains("denied the request"))
}

async fn wait_until_ready(api: &Api<FunctionMesh>, name: &str, deadline: Instant) -> anyhow::Result<()> {
    print(&format!("created {name}"))?;
    let mut printed = String::new();
    loop {
        let mesh = api.get(name).await.context("failed to read the mesh")?;
        let ready = condition(&mesh).map(|ready| format!("{}: {}", ready.reason, ready.message));
        let progress = ready.unwrap_or_else(|| "waiting for the controller to reconcile it".to_owned());
        if progress != printed {
            print(&progress)?;
            printed.clone_from(&progress);
        }
        if condition(&mesh).is_some_and(|ready| ready.status == "True") {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("timed out waiting for the mesh: {progress}");
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// The condition `Ready` of the current generation.
fn condition(mesh: &FunctionMesh) -> Option<&Condition> {
    let conditions = mesh.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    (ready.observed_generation == mesh.metadata.generation).then_some(ready)
}

/// Deletes the mesh, and waits until its components are deleted.
async fn delete(api: &Api<FunctionMesh>, name: &str) -> anyhow::Result<()> {
    if api.get_opt(name).await?.is_none() {
        return Ok(());
    }
    api.delete(name, &DeleteParams::foreground()).await.context("failed to delete the mesh")?;
    for _ in 0..720 {
        if api.get_opt(name).await?.is_none() {
            return Ok(());
        }
        sleep(POLL_INTERVAL).await;
    }
    bail!("timed out: the mesh still exists three minutes after its deletion")
}

fn print(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("failed to write to stdout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mesh_is_read_from_yaml_and_an_error_names_its_field() {
        let mesh = |replicas: &str| {
            format!("metadata: {{name: m}}\nspec:\n  functions:\n  - name: f\n    replicas: {replicas}\n")
        };
        let found = parse(&mesh("2")).expect("a mesh");
        assert_eq!(found.spec.functions.and_then(|all| all.first()?.replicas), Some(2));
        let error = format!("{:#}", parse(&mesh("two")).expect_err("no number"));
        assert!(error.starts_with("spec.functions[0].replicas: "), "{error}");
    }
}
