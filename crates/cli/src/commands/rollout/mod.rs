//! `rollout`: shows the rollouts of components in a cluster, and undoes, promotes, pauses and resumes them.
//!
//! What writes, writes one annotation of an object, and prints it.

mod history;

use clap::Subcommand;
use function_mesh_actions::{Action, ActionError};
use function_mesh_api::conditions::{ConditionType, Reason};
use function_mesh_api::types::{CanaryStatus, ComponentStatus, Phase, RolloutState};
use serde::Serialize;
use serde_json::{Value, json};

use super::scope::Scope;
use super::status::{Format, Subject, data, not_found};
use crate::cluster::Cluster;
use crate::object_ref::ObjectRef;
use crate::{Failure, Outcome, Streams, screen};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl mesh rollout status people                        the rollouts of a mesh
  kubectl mesh rollout history people                       revisions, and what differs between them
  kubectl mesh rollout history function/people-clean        those of one component
  kubectl mesh rollout undo function/people-clean           back to the revision before
  kubectl mesh rollout undo function/people-clean --to-revision 3
  kubectl mesh rollout undo people                          the components of the last change
  kubectl mesh rollout promote function/people-clean        all pods get the version of a canary
  kubectl mesh rollout pause people
  kubectl mesh rollout resume people

`undo` writes the annotation `compute.functionmesh.io/undo-rollout: FROM/TO` of a component, two revisions of its
StatefulSet: as long as the spec asks for the first one, its pods get the second. The spec stays as it is; a changed
spec rolls out. `promote` writes the annotation `compute.functionmesh.io/promote-canary: REVISION`: all pods get the
version that a canary tries, regardless of what its analysis finds. `pause` and `resume` write the annotation
`compute.functionmesh.io/pause-rollout`.

Exit code: 0 success, 1 `status` found a rollout that is not complete, 2 object or revision not found, no connection or
invalid command line.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the state of rollouts
    Status(Shown),
    /// Show revisions, and what differs between them
    History(Shown),
    /// Give the pods an earlier revision, until the spec changes
    Undo(Undone),
    /// Give all pods the version of a canary, regardless of its analysis
    Promote(Named),
    /// Defer changes of running pods that do not come from the spec
    Pause(Named),
    /// Apply deferred changes
    Resume(Named),
}

/// An object of a cluster.
#[derive(Debug, clap::Args)]
struct Named {
    /// FunctionMesh as NAME, or function/NAME, source/NAME, sink/NAME
    #[arg(value_name = "[KIND/]NAME")]
    target: Subject,

    #[command(flatten)]
    scope: Scope,
}

#[derive(Debug, clap::Args)]
struct Shown {
    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,

    #[command(flatten)]
    named: Named,
}

#[derive(Debug, clap::Args)]
struct Undone {
    /// Revision of a component, as `history` numbers them [default: the one before]
    #[arg(long, value_name = "N")]
    to_revision: Option<i64>,

    #[command(flatten)]
    named: Named,
}

impl Named {
    fn open(&self) -> Result<(Cluster, ObjectRef), Failure> {
        let (cluster, namespace) = self.scope.open()?;
        let id = ObjectRef::new(self.target.kind, &namespace, &self.target.name);
        Ok((cluster, id))
    }
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    match &args.command {
        Command::Status(args) => status(args, streams),
        Command::History(args) => history::run(args, streams),
        Command::Undo(args) => {
            let action = Action::UndoRollout { to_revision: args.to_revision };
            act(&args.named, &action, streams)
        }
        Command::Pause(named) => act(named, &Action::PauseRollout, streams),
        Command::Resume(named) => act(named, &Action::ResumeRollout, streams),
        Command::Promote(named) => act(named, &Action::PromoteCanary, streams),
    }
}

/// The component, or all those of the mesh, by kind and name.
fn components(cluster: &Cluster, id: &ObjectRef) -> Result<Vec<Value>, Failure> {
    let found = cluster.block_on(function_mesh_actions::components(&cluster.client(), id));
    found.map_err(|error| failure(cluster, id, error))
}

/// A missing object with what there is instead.
fn failure(cluster: &Cluster, id: &ObjectRef, error: ActionError) -> Failure {
    match error {
        ActionError::NotFound(missing) if missing == *id => not_found(cluster, id),
        error => Failure::Action(error),
    }
}

/// The rollout of a component.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RolloutView {
    kind: String,
    namespace: String,
    name: String,
    state: RolloutState,
    generation: Option<i64>,
    failed_revision: Option<String>,
    good_revision: Option<String>,
    since: Option<String>,
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    canary: Option<CanaryStatus>,
}

impl RolloutView {
    fn of(component: &Value) -> Self {
        let ObjectRef { kind, namespace, name } = ObjectRef::of(component);
        let status = component.get("status").cloned().unwrap_or_default();
        let status: ComponentStatus = serde_json::from_value(status).unwrap_or_default();
        let is_current =
            status.observed_generation == component.pointer("/metadata/generation").and_then(Value::as_i64);
        let rollout = status.rollout.clone().unwrap_or_default();
        let state = match &status.rollout {
            _ if !is_current => RolloutState::Progressing,
            Some(rollout) => rollout.state,
            // Without a policy the phase says as much.
            None if matches!(status.phase, Phase::Pending | Phase::Progressing | Phase::Degraded) => {
                let is_exceeded = status.standard_conditions.iter().any(|it| {
                    it.type_ == ConditionType::Progressing.as_str()
                        && it.reason == Reason::ProgressDeadlineExceeded.as_str()
                });
                if is_exceeded { RolloutState::Failed } else { RolloutState::Progressing }
            }
            None => RolloutState::Complete,
        };
        Self {
            kind,
            namespace,
            name,
            state,
            generation: rollout.generation.or(status.observed_generation),
            failed_revision: rollout.failed_revision,
            good_revision: rollout.good_revision,
            since: rollout.since.map(|since| since.0.to_string()),
            message: rollout.message.or(status.message),
            canary: rollout.canary.filter(|_| is_current),
        }
    }
}

fn status(args: &Shown, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let (cluster, id) = args.named.open()?;
    let found = components(&cluster, &id)?;
    let views: Vec<_> = found.iter().map(RolloutView::of).collect();
    match args.output {
        Format::Text => {
            for view in &views {
                let RolloutView { kind, name, state, .. } = view;
                let since = view.since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
                let message = view.message.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
                let text = format!("{}/{name}: {state:?}{since}{message}", kind.to_lowercase());
                screen::line(streams.out, &text)?;
                if let Some(canary) = &view.canary {
                    screen::line(streams.out, &format!("  {}", canary_text(canary)))?;
                }
            }
        }
        format => streams.out.write_all(data(&json!({ "rollouts": views }), format)?.as_bytes())?,
    }
    let is_complete = views.iter().all(|view| view.state == RolloutState::Complete);
    Ok(if is_complete { Outcome::Success } else { Outcome::Unhealthy })
}

/// The canary of a component, in a line.
fn canary_text(canary: &CanaryStatus) -> String {
    let step = canary.step.zip(canary.of).map(|(step, of)| format!(", step {step} of {of}"));
    let pods = canary.replicas.map(|pods| format!(", {pods} {}", if pods == 1 { "pod" } else { "pods" }));
    let revision = canary.revision.as_ref().map(|revision| format!(" with revision {revision}"));
    let message = canary.message.as_ref().map(|message| format!(": {message}"));
    let parts = [step, pods, revision, message].into_iter().flatten();
    format!("canary {:?}{}", canary.state, parts.collect::<String>())
}

/// Carries out an action, and prints what it wrote.
fn act(named: &Named, action: &Action, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let (cluster, id) = named.open()?;
    let written = cluster.block_on(function_mesh_actions::run(&cluster.client(), &id, action, None));
    for line in written.map_err(|error| failure(&cluster, &id, error))? {
        screen::line(streams.out, &line)?;
    }
    Ok(Outcome::Success)
}
