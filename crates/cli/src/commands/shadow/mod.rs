//! `shadow`: runs a new version of a function beside the real one, compares what both write, and promotes or discards it.
//!
//! A shadow is a separate Function, which the operator runs as any other. It is created, changed and deleted with the
//! user's permissions.

mod diff;
mod promote;
mod start;

use std::str::FromStr;

use clap::Subcommand;
use function_mesh_shadow::function;
use serde_json::Value;

use super::explain_scaling::Subject;
use super::scope::Scope;
use super::status::not_found;
use crate::cluster::Cluster;
use crate::object_ref::ObjectRef;
use crate::{Failure, Outcome, Streams};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl mesh shadow start people/clean --image clean:2     the new version, beside function/people-clean
  kubectl mesh shadow start people/clean --patch '{\"funcConfig\": {\"limit\": 5}}'
  kubectl mesh shadow diff people/clean --pulsar http://broker:8080
  kubectl mesh shadow promote people/clean                   the change becomes part of the spec
  kubectl mesh shadow discard people/clean

The shadow is function/NAME-shadow: one pod, with a separate subscription that begins with the newest message, and the
output topic OUTPUT-shadow. No consumer reads that topic. What else its code does, such as writing to a database, it does
twice. `diff` compares the newest messages of both output topics by the input message that caused each, as the runners
of Java and Python record it. It reads them through the admin API of Pulsar, and acknowledges nothing.

`start` creates one Function, `promote` changes the FunctionMesh or Function, `promote` and `discard` delete the shadow;
its subscription is deleted with it, its output topic is not.

Exit code: 0 success, 1 `diff` found differences, 2 nothing to compare yet, object not found, no connection or invalid
command line.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run a new version beside the real one
    Start(start::Args),
    /// Compare what both wrote
    Diff(diff::Args),
    /// Make the change part of the spec, and delete the shadow
    Promote(Named),
    /// Delete the shadow
    Discard(Named),
}

/// The real function.
#[derive(Debug, clap::Args)]
struct Named {
    /// Function as MESH/COMPONENT, function/NAME or NAME
    #[arg(value_name = "FUNCTION")]
    target: FunctionName,

    #[command(flatten)]
    scope: Scope,
}

/// The name of a Function object.
#[derive(Clone, Debug, Eq, PartialEq)]
struct FunctionName(String);

impl FromStr for FunctionName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse()? {
            Subject { kind: None | Some("Function"), name } => Ok(Self(name)),
            Subject { .. } => {
                Err("only a function can have a shadow: name it as people/clean or function/people-clean"
                    .to_owned())
            }
        }
    }
}

impl Named {
    fn open(&self) -> Result<(Cluster, ObjectRef), Failure> {
        let (cluster, namespace) = self.scope.open()?;
        let id = ObjectRef::new("Function", &namespace, &self.target.0);
        Ok((cluster, id))
    }
}

/// The shadow of a function.
fn shadow_of(cluster: &Cluster, real: &ObjectRef) -> Result<(ObjectRef, Value), Failure> {
    let id = ObjectRef::new("Function", &real.namespace, &function::name_of(&real.name));
    let found = cluster.get(&id)?.ok_or_else(|| {
        Failure::Message(format!(
            "function/{} has no shadow; create one with `kubectl mesh shadow start`",
            real.name
        ))
    })?;
    // An object of this name can belong to another client.
    if function::of(&found) != Some(&real.name) {
        return Err(refused(&function::Refusal::NoShadow(id.name)));
    }
    Ok((id, found))
}

fn real(cluster: &Cluster, id: &ObjectRef) -> Result<Value, Failure> {
    cluster.get(id)?.ok_or_else(|| not_found(cluster, id))
}

fn refused(refusal: &function::Refusal) -> Failure {
    Failure::Message(refusal.to_string())
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    match &args.action {
        Action::Start(args) => start::run(args, streams),
        Action::Diff(args) => diff::run(args, streams),
        Action::Promote(named) => promote::promote(named, streams),
        Action::Discard(named) => promote::discard(named, streams),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_named_by_its_mesh_or_its_object() {
        let name = |text: &str| text.parse::<FunctionName>().map(|it| it.0);
        for text in ["people/clean", "people-clean", "function/people-clean"] {
            assert_eq!(name(text), Ok("people-clean".to_owned()));
        }
        for invalid in ["", "sink/a", "fm/people", "a/", "a/b/c", "A"] {
            assert!(name(invalid).is_err(), "{invalid}");
        }
    }
}
