//! Flows: user actions, one each. A flow is a start, an action, and a line in [`all`].

use std::time::Duration;

use function_mesh_api::types::{
    Canary, CanaryAnalysis, CanaryStep, OnInconclusive, OnRolloutFailure, Rollout, RolloutStrategy,
};
use function_mesh_api::{BackendConfig, BackendConfigSpec, Function, FunctionMesh, labels};
use function_mesh_testkit::{fake_kubelet, fixtures};
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::fixture::{Fixture, Helper, LIMIT};
use crate::images::picky_kubelet;

type Step = fn(Fixture) -> BoxFuture<'static, anyhow::Result<()>>;

/// A start in steady state, an action, and an end in steady state.
#[derive(Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) name: &'static str,
    pub(crate) start: Step,
    pub(crate) action: Step,
    /// Runs the fake kubelet: pods run, Jobs succeed, unless a flow has another one.
    pub(crate) helper: Helper,
    /// Whether the operator must not write anything.
    pub(crate) is_quiet: bool,
}

impl Flow {
    pub(crate) const fn new(name: &'static str, start: Step, action: Step) -> Self {
        let helper: Helper = |client, namespace| fake_kubelet(client, namespace).boxed();
        Self { name, start, action, helper, is_quiet: false }
    }

    const fn with_helper(self, helper: Helper) -> Self {
        Self { helper, ..self }
    }

    const fn without_writes(self) -> Self {
        Self { is_quiet: true, ..self }
    }
}

#[allow(clippy::too_many_lines, reason = "it is a list")]
pub(crate) fn all() -> Vec<Flow> {
    vec![
        // Those that wait longest are first.
        Flow::new(
            "roll back",
            |fixture| async move { fixture.apply(&rolled_out("good:1")?).await }.boxed(),
            |fixture| async move { fixture.apply(&rolled_out("missing:2")?).await }.boxed(),
        )
        .with_helper(|client, namespace| picky_kubelet(client, namespace).boxed()),
        Flow::new(
            "try a canary",
            |fixture| async move { fixture.apply(&canaried("good:1")?).await }.boxed(),
            |fixture| async move { fixture.apply(&canaried("good:2")?).await }.boxed(),
        )
        .with_helper(|client, namespace| picky_kubelet(client, namespace).boxed()),
        Flow::new(
            "create a mesh",
            |_| async { Ok(()) }.boxed(),
            |fixture| async move { fixture.apply(&three()?).await }.boxed(),
        ),
        Flow::new(
            "edit a component",
            |fixture| async move { fixture.apply(&single("shout")?).await }.boxed(),
            |fixture| async move { fixture.apply(&edited()?).await }.boxed(),
        ),
        Flow::new(
            "recreate a component",
            |fixture| async move { fixture.apply(&recreated("runner:1")?).await }.boxed(),
            |fixture| async move { fixture.apply(&recreated("runner:2")?).await }.boxed(),
        ),
        Flow::new(
            "scale a component",
            |fixture| async move { fixture.apply(&scaled(Some(5))?).await }.boxed(),
            |fixture| async move { fixture.scale::<Function>("m-shout", 3).await }.boxed(),
        ),
        Flow::new(
            "add an autoscaler",
            |fixture| async move { fixture.apply(&scaled(None)?).await }.boxed(),
            |fixture| async move { fixture.apply(&scaled(Some(5))?).await }.boxed(),
        ),
        Flow::new(
            "remove an autoscaler",
            |fixture| async move { fixture.apply(&scaled(Some(5))?).await }.boxed(),
            |fixture| async move { fixture.apply(&scaled(None)?).await }.boxed(),
        ),
        Flow::new(
            "rename a component",
            |fixture| async move { fixture.apply(&single("shout")?).await }.boxed(),
            |fixture| async move { fixture.apply(&single("cry")?).await }.boxed(),
        ),
        Flow::new(
            "remove a component",
            |fixture| async move { fixture.apply(&pair()?).await }.boxed(),
            |fixture| async move { fixture.apply(&single("shout")?).await }.boxed(),
        ),
        Flow::new(
            "delete a mesh",
            |fixture| async move { fixture.apply(&pair()?).await }.boxed(),
            |fixture| async move { fixture.delete::<FunctionMesh>("m").await }.boxed(),
        ),
        Flow::new(
            "delete a function",
            |fixture| {
                async move { fixture.apply(&fixtures::function(fixtures::java_function("f"))?).await }.boxed()
            },
            |fixture| async move { fixture.delete::<Function>("f").await }.boxed(),
        ),
        Flow::new(
            "delete a function with clean-up",
            |fixture| async move { fixture.apply(&cleaned()?).await }.boxed(),
            |fixture| async move { fixture.delete::<Function>("f").await }.boxed(),
        ),
        Flow::new(
            "a clean-up Job of upstream",
            |_| async { Ok(()) }.boxed(),
            |fixture| {
                async move {
                    fixture.operator.lock().await.stop().await?;
                    let mut old = cleaned()?;
                    old.metadata.finalizers = Some(vec![labels::LEGACY_CLEANUP_FINALIZER.to_owned()]);
                    fixture.create(&old).await?;
                    fixture.start().await
                }
                .boxed()
            },
        ),
        Flow::new(
            "defer a rollout",
            |fixture| async move { fixture.apply(&steered("shout", labels::PAUSE_ROLLOUT)?).await }.boxed(),
            |fixture| async move { fixture.apply(&defaults("red")).await }.boxed(),
        ),
        Flow::new(
            "release a rollout",
            |fixture| {
                async move {
                    fixture.apply(&steered("shout", labels::PAUSE_ROLLOUT)?).await?;
                    fixture.settle(LIMIT, Duration::ZERO, &[]).await?;
                    fixture.apply(&defaults("red")).await
                }
                .boxed()
            },
            |fixture| async move { fixture.apply(&single("shout")?).await }.boxed(),
        ),
        Flow::new(
            "suspend a mesh",
            |fixture| async move { fixture.apply(&scaled(Some(5))?).await }.boxed(),
            |fixture| {
                async move {
                    let mut mesh = scaled(Some(5))?;
                    mesh.metadata.annotations =
                        Some([(labels::SUSPEND.to_owned(), "true".to_owned())].into());
                    fixture.apply(&mesh).await
                }
                .boxed()
            },
        ),
        Flow::new(
            "resume a mesh",
            |fixture| async move { fixture.apply(&steered("shout", labels::SUSPEND)?).await }.boxed(),
            |fixture| async move { fixture.apply(&single("shout")?).await }.boxed(),
        ),
        Flow::new(
            "upgrade the operator",
            |fixture| async move { fixture.apply(&pair()?).await }.boxed(),
            |fixture| {
                async move {
                    let mut operator = fixture.operator.lock().await;
                    operator.stop().await?;
                    // A field that an operator upgrade renders differently.
                    operator.options.settings.resource_labels.insert("version".to_owned(), "two".to_owned());
                    operator.start()
                }
                .boxed()
            },
        ),
        Flow::new(
            "edit while the operator is stopped",
            |fixture| async move { fixture.apply(&single("shout")?).await }.boxed(),
            |fixture| {
                async move {
                    fixture.operator.lock().await.stop().await?;
                    fixture.apply(&edited()?).await?;
                    fixture.start().await
                }
                .boxed()
            },
        ),
        Flow::new(
            "adopt restored orphans",
            |fixture| async move { fixture.apply(&scaled(Some(5))?).await }.boxed(),
            |fixture| {
                async move {
                    fixture.operator.lock().await.stop().await?;
                    fixture.strip::<Function>("m-shout").await?;
                    fixture.strip::<StatefulSet>("m-shout-function").await?;
                    fixture.strip::<Service>("m-shout-function-headless").await?;
                    fixture.strip::<HorizontalPodAutoscaler>("m-shout-function").await?;
                    fixture.start().await
                }
                .boxed()
            },
        ),
        Flow::new(
            "restart without changes",
            |fixture| async move { fixture.apply(&pair()?).await }.boxed(),
            |fixture| async move { fixture.restart().await }.boxed(),
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

/// A function with a clean-up of its subscription.
fn cleaned() -> anyhow::Result<Function> {
    let mut function = fixtures::java_function("f");
    function.cleanup_subscription = Some(true);
    fixtures::function(function)
}

/// A function that is rolled back if its pods do not start.
fn rolled_out(image: &str) -> anyhow::Result<Function> {
    let mut function = fixtures::java_function("f");
    function.image = Some(image.to_owned());
    function.rollout = Some(Rollout {
        progress_deadline: Some("10s".to_owned()),
        min_ready: Some("0s".to_owned()),
        on_failure: Some(OnRolloutFailure::RollBack),
        mode: None,
        ..Rollout::default()
    });
    fixtures::function(function)
}

/// A function of two pods with a canary that continues, though nothing is known of its pods.
fn canaried(image: &str) -> anyhow::Result<Function> {
    let mut function = fixtures::java_function("f");
    (function.image, function.replicas) = (Some(image.to_owned()), Some(2));
    let step = CanaryStep { replicas: IntOrString::Int(1), duration: "10s".to_owned() };
    let analysis =
        CanaryAnalysis { on_inconclusive: Some(OnInconclusive::Promote), ..CanaryAnalysis::default() };
    function.rollout = Some(Rollout {
        min_ready: Some("0s".to_owned()),
        canary: Some(Box::new(Canary { steps: vec![step], analysis: Some(analysis) })),
        ..Rollout::default()
    });
    fixtures::function(function)
}

/// One function with an annotation.
fn steered(function: &str, annotation: &str) -> anyhow::Result<FunctionMesh> {
    let mut mesh = single(function)?;
    mesh.metadata.annotations = Some([(annotation.to_owned(), "true".to_owned())].into());
    Ok(mesh)
}

/// Defaults that change the pods of all components.
fn defaults(colour: &str) -> BackendConfig {
    let env = Some([("COLOUR".to_owned(), colour.to_owned())].into());
    BackendConfig::new(
        "backend-config",
        BackendConfigSpec { env, auto_update: Some(true), ..Default::default() },
    )
}

/// One function of this name. Applying a component is the most expensive request, so a start has no more of them than
/// the flow needs.
fn single(function: &str) -> anyhow::Result<FunctionMesh> {
    fixtures::mesh("m", [fixtures::java_function(function).into()])
}

fn edited() -> anyhow::Result<FunctionMesh> {
    let mut function = fixtures::java_function("shout");
    function.image = Some("runner:2".to_owned());
    function.class_name = Some("org.example.Other".to_owned());
    fixtures::mesh("m", [function.into()])
}

/// One function whose old pods are stopped before new ones start.
fn recreated(image: &str) -> anyhow::Result<FunctionMesh> {
    let mut function = fixtures::java_function("shout");
    (function.image, function.replicas) = (Some(image.to_owned()), Some(2));
    function.rollout = Some(Rollout {
        strategy: Some(RolloutStrategy::Recreate),
        min_ready: Some("0s".to_owned()),
        ..Rollout::default()
    });
    fixtures::mesh("m", [function.into()])
}

/// One function, with an autoscaler if `max_replicas` is set.
fn scaled(most: Option<i32>) -> anyhow::Result<FunctionMesh> {
    let mut function = fixtures::java_function("shout");
    function.replicas = Some(1);
    function.max_replicas = most;
    fixtures::mesh("m", [function.into()])
}
