//! `explain scaling`: why a component has its number of replicas.

use std::str::FromStr;

use function_mesh_workloads::names;
use jiff::Timestamp;
use serde_json::Value;

use super::scope::Scope;
use super::status::{Format, data, object_name};
use crate::cluster::Target;
use crate::object_ref::ObjectRef;
use crate::status::ScalingView;
use crate::{Failure, Outcome, Streams};

/// Names that an error lists.
const LISTED: usize = 10;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl mesh explain scaling people/clean              a component of a FunctionMesh
  kubectl mesh explain scaling function/people-clean -n shop
  kubectl mesh explain scaling people-clean -o json | jq .status.learned

It prints what the operator wrote to status.scaling: the decision with every term of it, what limits it, what would
change it, and what was learned about the component. The operator writes when the decision changes, so an old
decision still holds.

Exit code: 0 success, 2 object not found, no decision to explain, or no connection.")]
pub(crate) struct Args {
    /// Component as MESH/COMPONENT, or its object as function/NAME, source/NAME, sink/NAME or NAME
    #[arg(value_name = "COMPONENT")]
    target: Subject,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,

    #[command(flatten)]
    scope: Scope,
}

/// A component: the name of its object, and the kind if that is given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Subject {
    pub(super) kind: Option<&'static str>,
    pub(super) name: String,
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let subject = match text.split_once('/') {
            None => Self { kind: None, name: text.to_owned() },
            Some((before, after)) => match text.parse::<Target>() {
                Ok(Target { kind: "FunctionMesh" | "BackendConfig", .. }) => {
                    return Err("name a component, as in people/clean or function/people-clean".to_owned());
                }
                Ok(Target { kind, name }) => Self { kind: Some(kind), name },
                Err(_) => {
                    object_name(after)?;
                    Self { kind: None, name: names::component(&object_name(before)?, after) }
                }
            },
        };
        object_name(&subject.name)?;
        Ok(subject)
    }
}

impl Subject {
    fn matches(&self, id: &ObjectRef) -> bool {
        id.name == self.name && self.kind.is_none_or(|kind| kind == id.kind)
    }
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let (cluster, namespace) = args.scope.open()?;
    let all = cluster.components(Some(&namespace), None)?;
    let object = find(&all, &args.target, &namespace)?;
    let view = ScalingView::of(object).map_err(|unexplained| Failure::Message(unexplained.0))?;
    let text = match args.output {
        Format::Text => view.text(Timestamp::now()),
        format => data(&view, format)?,
    };
    streams.out.write_all(text.as_bytes())?;
    Ok(Outcome::Success)
}

/// The object, or what there is instead.
fn find<'a>(all: &'a [Value], wanted: &Subject, namespace: &str) -> Result<&'a Value, Failure> {
    let found: Vec<_> = all.iter().filter(|object| wanted.matches(&ObjectRef::of(object))).collect();
    let shown = |object: &Value| {
        let ObjectRef { kind, name, .. } = ObjectRef::of(object);
        format!("{}/{name}", kind.to_lowercase())
    };
    match found.as_slice() {
        [object] => Ok(object),
        [] => {
            let is_scaled = |object: &&Value| object.pointer("/spec/scaling").is_some_and(|it| !it.is_null());
            let names: Vec<_> = all.iter().filter(is_scaled).map(shown).collect();
            let more = if names.len() > LISTED { ", …" } else { "" };
            let there = if names.is_empty() {
                "no component has spec.scaling".to_owned()
            } else {
                let names: Vec<_> = names.into_iter().take(LISTED).collect();
                format!("with spec.scaling: {}{more}", names.join(", "))
            };
            let kind = wanted.kind.unwrap_or("component");
            Err(Failure::Message(format!(
                "{kind} {} not found in namespace {namespace}; {there}",
                wanted.name
            )))
        }
        several => {
            let names: Vec<_> = several.iter().map(|object| shown(object)).collect();
            Err(Failure::Message(format!(
                "{} names several objects: write {}",
                wanted.name,
                names.join(" or ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_component_is_named_by_its_mesh_or_its_object() {
        let subject = |text: &str| text.parse::<Subject>().map(|it| (it.kind, it.name));
        assert_eq!(subject("people/clean"), Ok((None, "people-clean".to_owned())));
        assert_eq!(subject("people-clean"), Ok((None, "people-clean".to_owned())));
        assert_eq!(subject("Sinks/db"), Ok((Some("Sink"), "db".to_owned())));
        for invalid in ["", "a/", "/a", "fm/people", "backendconfig/a", "a/b/c", "A", "a b"] {
            assert!(subject(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn an_object_is_found_or_what_there_is_named() {
        let object = |kind: &str, name: &str, scaling: Value| json!({ "kind": kind, "metadata": { "namespace": "shop", "name": name }, "spec": { "scaling": scaling } });
        let all = [
            object("Function", "a", json!({})),
            object("Sink", "a", Value::Null),
            object("Sink", "b", json!({})),
        ];
        let look = |text: &str| {
            let found = find(&all, &text.parse().expect("a subject"), "shop");
            found.map(|it| it["kind"].to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(look("sink/a"), Ok("\"Sink\"".to_owned()));
        assert_eq!(look("b"), Ok("\"Sink\"".to_owned()));
        assert_eq!(look("a"), Err("a names several objects: write function/a or sink/a".to_owned()));
        let expected = "component x not found in namespace shop; with spec.scaling: function/a, sink/b";
        assert_eq!(look("x"), Err(expected.to_owned()));
    }
}
