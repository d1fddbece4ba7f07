//! What people do to an operator, one flow each. A new one is a start, an action, and a line in [`all`].

use std::time::Duration;

use function_mesh_api::{BackendConfig, BackendConfigSpec, Function, FunctionMesh, labels};
use function_mesh_testkit::{fixtures, play_kubelet};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::operator::Nothing;
use crate::stage::{Helper, Stage};

/// Until a start in two steps has come to its first.
const PATIENCE: Duration = Duration::from_secs(40);

type Step = fn(Stage) -> BoxFuture<'static, Nothing>;

/// From a start, at which all is settled, by an action to an end, at which all is settled again.
#[derive(Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) name: &'static str,
    pub(crate) start: Step,
    pub(crate) action: Step,
    /// Plays the kubelet: pods run, Jobs succeed, unless a flow has another one.
    pub(crate) helper: Helper,
    /// Whether the operator has nothing to write.
    pub(crate) is_quiet: bool,
}

impl Flow {
    pub(crate) const fn new(name: &'static str, start: Step, action: Step) -> Self {
        let helper: Helper = |client, namespace| play_kubelet(client, namespace).boxed();
        Self { name, start, action, helper, is_quiet: false }
    }

    const fn without_writes(self) -> Self {
        Self { is_quiet: true, ..self }
    }
}

#[allow(clippy::too_many_lines, reason = "it is a list")]
pub(crate) fn all() -> Vec<Flow> {
    vec![
        Flow::new(
            "create a mesh",
            |_| async { Ok(()) }.boxed(),
            |stage| async move { stage.apply(&three()?).await }.boxed(),
        ),
        Flow::new(
            "edit a component",
            |stage| async move { stage.apply(&single("shout")?).await }.boxed(),
            |stage| async move { stage.apply(&edited()?).await }.boxed(),
        ),
        Flow::new(
            "scale a component",
            |stage| async move { stage.apply(&scaled(Some(5))?).await }.boxed(),
            |stage| async move { stage.scale::<Function>("m-shout", 3).await }.boxed(),
        ),
        Flow::new(
            "add an autoscaler",
            |stage| async move { stage.apply(&scaled(None)?).await }.boxed(),
            |stage| async move { stage.apply(&scaled(Some(5))?).await }.boxed(),
        ),
        Flow::new(
            "remove an autoscaler",
            |stage| async move { stage.apply(&scaled(Some(5))?).await }.boxed(),
            |stage| async move { stage.apply(&scaled(None)?).await }.boxed(),
        ),
        Flow::new(
            "rename a component",
            |stage| async move { stage.apply(&single("shout")?).await }.boxed(),
            |stage| async move { stage.apply(&single("cry")?).await }.boxed(),
        ),
        Flow::new(
            "remove a component",
            |stage| async move { stage.apply(&pair()?).await }.boxed(),
            |stage| async move { stage.apply(&single("shout")?).await }.boxed(),
        ),
        Flow::new(
            "delete a mesh",
            |stage| async move { stage.apply(&pair()?).await }.boxed(),
            |stage| async move { stage.delete::<FunctionMesh>("m").await }.boxed(),
        ),
        Flow::new(
            "delete a function",
            |stage| {
                async move { stage.apply(&fixtures::function(fixtures::java_function("f"))?).await }.boxed()
            },
            |stage| async move { stage.delete::<Function>("f").await }.boxed(),
        ),
        Flow::new(
            "clean up after a function",
            |stage| async move { stage.apply(&cleaned()?).await }.boxed(),
            |stage| async move { stage.delete::<Function>("f").await }.boxed(),
        ),
        Flow::new(
            "a clean-up of the original operator",
            |_| async { Ok(()) }.boxed(),
            |stage| {
                async move {
                    stage.operator.lock().await.stop().await?;
                    let mut old = cleaned()?;
                    old.metadata.finalizers = Some(vec![labels::LEGACY_CLEANUP_FINALIZER.to_owned()]);
                    stage.create(&old).await?;
                    stage.start().await
                }
                .boxed()
            },
        ),
        Flow::new(
            "hold a rollout back",
            |stage| async move { stage.apply(&steered("shout", labels::PAUSE_ROLLOUT)?).await }.boxed(),
            |stage| async move { stage.apply(&defaults("red")).await }.boxed(),
        ),
        Flow::new(
            "let a rollout go",
            |stage| {
                async move {
                    stage.apply(&steered("shout", labels::PAUSE_ROLLOUT)?).await?;
                    stage.settle(PATIENCE, Duration::ZERO, &[]).await?;
                    stage.apply(&defaults("red")).await
                }
                .boxed()
            },
            |stage| async move { stage.apply(&single("shout")?).await }.boxed(),
        ),
        Flow::new(
            "suspend a mesh",
            |stage| async move { stage.apply(&scaled(Some(5))?).await }.boxed(),
            |stage| {
                async move {
                    let mut mesh = scaled(Some(5))?;
                    mesh.metadata.annotations =
                        Some([(labels::SUSPEND.to_owned(), "true".to_owned())].into());
                    stage.apply(&mesh).await
                }
                .boxed()
            },
        ),
        Flow::new(
            "resume a mesh",
            |stage| async move { stage.apply(&steered("shout", labels::SUSPEND)?).await }.boxed(),
            |stage| async move { stage.apply(&single("shout")?).await }.boxed(),
        ),
        Flow::new(
            "upgrade the operator",
            |stage| async move { stage.apply(&pair()?).await }.boxed(),
            |stage| {
                async move {
                    let mut operator = stage.operator.lock().await;
                    operator.stop().await?;
                    // What a new version renders in another way.
                    operator.settings.resource_labels.insert("version".to_owned(), "two".to_owned());
                    operator.start()
                }
                .boxed()
            },
        ),
        Flow::new(
            "edit while it is stopped",
            |stage| async move { stage.apply(&single("shout")?).await }.boxed(),
            |stage| {
                async move {
                    stage.operator.lock().await.stop().await?;
                    stage.apply(&edited()?).await?;
                    stage.start().await
                }
                .boxed()
            },
        ),
        Flow::new(
            "restart, nothing changed",
            |stage| async move { stage.apply(&pair()?).await }.boxed(),
            |stage| async move { stage.restart().await }.boxed(),
        )
        .without_writes(),
    ]
}

fn three() -> anyhow::Result<FunctionMesh> {
    let function = fixtures::java_function("shout").into();
    fixtures::mesh("m", [fixtures::source("feed").into(), function, fixtures::sink("drain").into()])
}

/// A function and a sink.
fn pair() -> anyhow::Result<FunctionMesh> {
    fixtures::mesh("m", [fixtures::java_function("shout").into(), fixtures::sink("drain").into()])
}

/// A function whose subscription goes with it.
fn cleaned() -> anyhow::Result<Function> {
    let mut function = fixtures::java_function("f");
    function.cleanup_subscription = Some(true);
    fixtures::function(function)
}

/// One function, with an annotation that is on.
fn steered(function: &str, annotation: &str) -> anyhow::Result<FunctionMesh> {
    let mut mesh = single(function)?;
    mesh.metadata.annotations = Some([(annotation.to_owned(), "true".to_owned())].into());
    Ok(mesh)
}

/// Defaults that change the pods of all components at once.
fn defaults(colour: &str) -> BackendConfig {
    let env = Some([("COLOUR".to_owned(), colour.to_owned())].into());
    BackendConfig::new(
        "backend-config",
        BackendConfigSpec { env, auto_update: Some(true), ..Default::default() },
    )
}

/// One function of this name. Applying a component costs the API server more than all the rest,
/// so a start has no more of them than the flow needs.
fn single(function: &str) -> anyhow::Result<FunctionMesh> {
    fixtures::mesh("m", [fixtures::java_function(function).into()])
}

fn edited() -> anyhow::Result<FunctionMesh> {
    let mut function = fixtures::java_function("shout");
    function.image = Some("runner:2".to_owned());
    function.class_name = Some("org.example.Other".to_owned());
    fixtures::mesh("m", [function.into()])
}

/// One function, with an autoscaler when it has a most.
fn scaled(most: Option<i32>) -> anyhow::Result<FunctionMesh> {
    let mut function = fixtures::java_function("shout");
    function.replicas = Some(1);
    function.max_replicas = most;
    fixtures::mesh("m", [function.into()])
}
