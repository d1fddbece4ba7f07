//! `status`: shows the health and the traffic of a mesh or of a component in a cluster.

use std::str::FromStr;

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;

use super::scope::Scope;
use super::watch::watch;
use crate::cluster::{Cluster, Target};
use crate::object_ref::ObjectRef;
use crate::status::text::text;
use crate::status::{Health, StatusView, component_status, mesh_status};
use crate::{Failure, Outcome, Streams, output};

/// Names that an error lists.
const LISTED: usize = 10;

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Format {
    /// Text for people
    Text,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl mesh status people                   a FunctionMesh of the context's namespace
  kubectl mesh status -n shop sink/orders-db   one component
  kubectl mesh status people --watch           redrawn every 2 seconds, cut to the height of the terminal
  kubectl mesh status people --watch > log     a block whenever something changes
  kubectl mesh status people || echo 'not healthy'
  kubectl mesh status people -o json | jq -r '.components[] | select(.health == \"Stalled\") | .name'

Components are listed along the flow, sources first, with the causes below each:
  healthy    ready, asleep, suspended, or ready with a deferred change
  not ready  starts, rolls out, is being deleted, or does not exist yet
  stalled    messages wait and none is acknowledged, though pods are ready (condition Stalled)
  degraded   pods cannot become ready, or the spec is invalid
IN/S counts messages published to the input topics per second, OUT/S those processed, BACKLOG entries that wait,
LAG the age of the oldest one, EXCEPTIONS those within ten minutes; the column is there if there are any. `-` is
unknown, never zero; `n/a` does not apply. The operator reports traffic only if it observes Pulsar.

In JSON and YAML every field is always present, and null is unknown: `health` (Healthy, NotReady, Stalled,
Degraded), `mesh` (namespace, name, health, state, since, ready, wanted, reasons) and `components` (kind, namespace,
name, mesh, exists, health, phase, pods {ready, wanted}, traffic, stalled {status, reason, message}, scaling,
reasons).
`traffic` has backlog, lagSeconds, inRate and outRate per second, exceptions, lastAcked, observedAt, restarts (pods
restarted in a row by `onStall: Restart`), lastRestart, access and message. `mesh` is null for one component.
`scaling` has mode, desiredReplicas, reason, message and limitedBy; it is null without a decision.
`observedAt` is the time of the observation that the operator wrote last: it observes every 10 seconds and writes
only when a number has changed noticeably, so numbers with an old `observedAt` are not old.

Exit code: 0 healthy, 1 something is degraded, stalled or not ready, 2 object not found, no connection or invalid
command line. With --watch the command runs until it is interrupted.")]
pub(crate) struct Args {
    /// FunctionMesh as NAME, or function/NAME, source/NAME, sink/NAME
    #[arg(value_name = "[KIND/]NAME")]
    target: Subject,

    /// Repeat every 2 seconds: redraw a terminal, else print a block when something has changed
    #[arg(short, long)]
    watch: bool,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,

    #[command(flatten)]
    scope: Scope,
}

/// A FunctionMesh or a component.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Subject {
    pub(super) kind: &'static str,
    pub(super) name: String,
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = if text.contains('/') {
            let Target { kind, name } = text.parse()?;
            (kind, name)
        } else {
            ("FunctionMesh", text.to_owned())
        };
        if kind == "BackendConfig" {
            return Err("a BackendConfig has no status".to_owned());
        }
        object_name(&name)?;
        Ok(Self { kind, name })
    }
}

/// Checks the name of an object: it becomes a part of a path and of a selector.
pub(super) fn object_name(name: &str) -> Result<String, String> {
    let is_inner = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    let is_end = |byte: Option<u8>| byte.is_some_and(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
    let bytes = name.as_bytes();
    let is_valid =
        bytes.iter().all(is_inner) && is_end(bytes.first().copied()) && is_end(bytes.last().copied());
    if is_valid && name.len() <= 253 {
        return Ok(name.to_owned());
    }
    Err("use lowercase letters, digits, `-` and `.`, as in people or function/people-clean".to_owned())
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let (cluster, namespace) = args.scope.open()?;
    let id = ObjectRef::new(args.target.kind, &namespace, &args.target.name);
    if args.watch {
        return watch(|| read(&cluster, &id), |time| cluster.sleep(time), args.output, streams);
    }
    let view = read(&cluster, &id)?;
    match args.output {
        Format::Text => {
            streams.out.write_all(text(&view, Timestamp::now(), streams.colour).as_bytes())?;
        }
        format => streams.out.write_all(data(&view, format)?.as_bytes())?,
    }
    Ok(if view.health == Health::Healthy { Outcome::Success } else { Outcome::Unhealthy })
}

/// A view as data.
pub(super) fn data(view: &impl Serialize, format: Format) -> Result<String, Failure> {
    let value = serde_json::to_value(view)?;
    Ok(match format {
        Format::Yaml => output::yaml(&output::sanitized(value))?,
        Format::Json | Format::Text => output::json(&value),
    })
}

fn read(cluster: &Cluster, id: &ObjectRef) -> Result<StatusView, Failure> {
    let object = cluster.get(id)?.ok_or_else(|| not_found(cluster, id))?;
    if id.kind == "FunctionMesh" {
        let components = cluster.components(Some(&id.namespace), mesh_selector(&id.name))?;
        return Ok(mesh_status(&object, &components));
    }
    component_status(&object).ok_or_else(|| Failure::Message(format!("{id} has no status")))
}

/// The name of a mesh as the value of a label, if it fits into one; components of others are filtered anyway.
pub(super) fn mesh_selector(name: &str) -> Option<&str> {
    (name.len() <= 63).then_some(name)
}

/// What there is instead. It is only advice, so an error of a list is no matter.
pub(super) fn not_found(cluster: &Cluster, id: &ObjectRef) -> Failure {
    let ObjectRef { kind, namespace, name } = id;
    let components = cluster.components(Some(namespace), None).unwrap_or_default();
    let objects = cluster.meshes(Some(namespace)).unwrap_or_default().into_iter().chain(components);
    let found: Vec<ObjectRef> = objects.map(|object| ObjectRef::of(&object)).collect();
    let shown = |it: &ObjectRef| match it.kind.as_str() {
        "FunctionMesh" => it.name.clone(),
        kind => format!("{}/{}", kind.to_lowercase(), it.name),
    };
    let suffix = format!("-{name}");
    let similar: Vec<_> = found.iter().filter(|it| it.name == *name || it.name.ends_with(&suffix)).collect();
    let advice = if similar.is_empty() {
        let names: Vec<_> = found.iter().filter(|it| it.kind == *kind).map(shown).collect();
        let more = if names.len() > LISTED { ", …" } else { "" };
        let names: Vec<_> = names.into_iter().take(LISTED).collect();
        if names.is_empty() {
            "there is none".to_owned()
        } else {
            format!("available: {}{more}", names.join(", "))
        }
    } else {
        let names: Vec<_> = similar.into_iter().take(LISTED).map(shown).collect();
        format!("did you mean {}?", names.join(" or "))
    };
    Failure::Message(format!("{kind} {name} not found in namespace {namespace}; {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_is_a_mesh_or_a_component() {
        let subject = |text: &str| text.parse::<Subject>().map(|it| (it.kind, it.name));
        assert_eq!(subject("people"), Ok(("FunctionMesh", "people".to_owned())));
        assert_eq!(subject("fm/people"), Ok(("FunctionMesh", "people".to_owned())));
        assert_eq!(subject("Sinks/a.b"), Ok(("Sink", "a.b".to_owned())));
        let long = "a".repeat(254);
        for invalid in ["", "pod/a", "backendconfig/a", "function/", "function/../x", "..", "a b", "A", &long]
        {
            assert!(subject(invalid).is_err(), "{invalid}");
        }
    }
}
