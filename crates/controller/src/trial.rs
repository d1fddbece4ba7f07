//! A trial of an installed operator, for `helm test`: what a user does first, told as it happens.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use function_mesh_api::FunctionMesh;
use function_mesh_serving::args::duration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, Config, ResourceExt};
use tokio::time::{Instant, sleep};

/// Whose fields are those of the trial's mesh.
const MANAGER: &str = "functionmesh.io/trial";
const LOOK: Duration = Duration::from_millis(250);

/// What to try, and where.
#[derive(Args, Debug)]
pub(crate) struct TrialArgs {
    /// The FunctionMesh to make, as YAML or JSON
    #[arg(long, env = "TRIAL_MESH", value_name = "TEXT")]
    mesh: String,
    /// Namespace to make it in
    #[arg(long, value_name = "NAME")]
    namespace: String,
    /// Whether a broken mesh must be refused by the admission webhook
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    admission: bool,
    /// How long the mesh may take to be ready
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = duration)]
    timeout: Duration,
}

impl TrialArgs {
    /// Makes the mesh, waits until it is ready, and removes it in any case.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self { mesh, namespace, admission, timeout } = self;
        let mesh: FunctionMesh = serde_saphyr::from_str(&mesh).context("--mesh is no FunctionMesh")?;
        let client = Client::try_from(Config::infer().await.context("found no cluster")?)?;
        let api = Api::<FunctionMesh>::namespaced(client, &namespace);
        let until = Instant::now() + timeout;
        if admission {
            refuses_what_is_broken(&api, &mesh, until).await?;
            tell("a broken mesh is refused by the admission webhook")?;
        }
        // Somebody else's mesh of that name is neither changed nor removed.
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        api.create(&params, &mesh).await.context("the mesh cannot be made")?;
        let result = becomes_ready(&api, &mesh.name_any(), until).await;
        let removed = remove(&api, &mesh.name_any()).await;
        result?;
        removed?;
        tell("removed; the operator works")
    }
}

/// Tries to create what no webhook lets pass: two components of one name. Right after an installation, the API
/// server may not know the webhook yet.
async fn refuses_what_is_broken(
    api: &Api<FunctionMesh>,
    mesh: &FunctionMesh,
    until: Instant,
) -> anyhow::Result<()> {
    let mut broken = mesh.clone();
    let functions = broken.spec.functions.get_or_insert_default();
    let first = functions.first().cloned().context("--mesh has no function")?;
    functions.push(first);
    let dry_run = PostParams { dry_run: true, field_manager: Some(MANAGER.to_owned()) };
    loop {
        let answer = match api.create(&dry_run, &broken).await {
            Ok(_) => "it was let pass".to_owned(),
            Err(error) if is_refusal(&error) => return Ok(()),
            Err(error) => error.to_string(),
        };
        ensure!(Instant::now() < until, "a broken mesh is not refused by the admission webhook: {answer}");
        sleep(LOOK).await;
    }
}

/// Whether it is the webhook that refuses, and not the API server that cannot reach it.
fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status)
        if status.message.contains("admission webhook") && status.message.contains("denied the request"))
}

async fn becomes_ready(api: &Api<FunctionMesh>, name: &str, until: Instant) -> anyhow::Result<()> {
    tell(&format!("made {name}"))?;
    let mut told = String::new();
    loop {
        let seen = api.get(name).await.context("the mesh cannot be read")?;
        let ready = condition(&seen).map(|ready| format!("{}: {}", ready.reason, ready.message));
        let words = ready.unwrap_or_else(|| "no controller has spoken of it yet".to_owned());
        if words != told {
            tell(&words)?;
            told.clone_from(&words);
        }
        if condition(&seen).is_some_and(|ready| ready.status == "True") {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("the mesh is not ready: {words}");
        }
        sleep(LOOK).await;
    }
}

/// What the status says of the mesh as it is now.
fn condition(mesh: &FunctionMesh) -> Option<&Condition> {
    let conditions = mesh.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    (ready.observed_generation == mesh.metadata.generation).then_some(ready)
}

/// Removes the mesh, and waits until all that it was made of has gone.
async fn remove(api: &Api<FunctionMesh>, name: &str) -> anyhow::Result<()> {
    if api.get_opt(name).await?.is_none() {
        return Ok(());
    }
    api.delete(name, &DeleteParams::foreground()).await.context("the mesh cannot be removed")?;
    for _ in 0..720 {
        if api.get_opt(name).await?.is_none() {
            return Ok(());
        }
        sleep(LOOK).await;
    }
    bail!("the mesh is still there three minutes after it was deleted")
}

fn tell(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot write")
}
