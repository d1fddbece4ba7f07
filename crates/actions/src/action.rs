//! The actions: what each writes, and the command line that does the same.

use function_mesh_api::labels;
use function_mesh_status::object_ref::ObjectRef;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::run::resource;

/// What is done to a component, or to all components of a mesh.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Action {
    /// Stops all pods, and keeps spec and subscriptions.
    Suspend,
    /// Ends [`Action::Suspend`].
    Resume,
    /// Replaces all pods, as the component's strategy says.
    Restart {
        /// The value of the annotation.
        at: Restart,
    },
    /// Sets the number of replicas, of a component only.
    Scale {
        /// The number.
        replicas: i32,
    },
    /// Defers changes of running pods that do not come from the spec.
    PauseRollout,
    /// Applies deferred changes.
    ResumeRollout,
    /// Gives the pods an earlier revision, until the spec changes.
    UndoRollout {
        /// The revision, of a component only; the one before if none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to_revision: Option<i64>,
    },
    /// Gives all pods the version that a canary tries, regardless of its analysis.
    PromoteCanary,
}

/// The time of a restart, which is the value of its annotation.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Restart(Timestamp);

impl Restart {
    /// A restart at this time; fractions of a second are dropped.
    pub fn at(time: Timestamp) -> Self {
        Self(Timestamp::from_second(time.as_second()).unwrap_or(time))
    }
}

impl TryFrom<String> for Restart {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, jiff::Error> {
        text.parse().map(Self::at)
    }
}

impl From<Restart> for String {
    fn from(Restart(time): Restart) -> Self {
        time.to_string()
    }
}

/// What an action writes, unless it has to read revisions first.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Write {
    /// An annotation; None removes it.
    Annotation(&'static str, Option<String>),
    /// The replicas of the scale subresource.
    Replicas(i32),
}

impl Action {
    /// What is written; None if that depends on what the components run.
    pub(crate) fn write(&self) -> Option<Write> {
        let on = || Some("true".to_owned());
        Some(match self {
            Self::Suspend => Write::Annotation(labels::SUSPEND, on()),
            Self::Resume => Write::Annotation(labels::SUSPEND, None),
            Self::Restart { at } => Write::Annotation(labels::RESTARTED_AT, Some((*at).into())),
            Self::Scale { replicas } => Write::Replicas(*replicas),
            Self::PauseRollout => Write::Annotation(labels::PAUSE_ROLLOUT, on()),
            Self::ResumeRollout => Write::Annotation(labels::PAUSE_ROLLOUT, None),
            Self::UndoRollout { .. } | Self::PromoteCanary => return None,
        })
    }

    /// The command line that does the same, for a shell. `flags` are those that select the cluster, such as `--context`.
    ///
    /// ```
    /// use function_mesh_actions::Action;
    /// use function_mesh_status::object_ref::ObjectRef;
    ///
    /// let clean = ObjectRef::new("Function", "shop", "orders-clean");
    /// assert_eq!(
    ///     Action::Scale { replicas: 3 }.command(&clean, &[]),
    ///     "kubectl scale functions.compute.functionmesh.io/orders-clean -n shop --replicas=3",
    /// );
    /// ```
    pub fn command(&self, id: &ObjectRef, flags: &[String]) -> String {
        // Crossplane and others have kinds of the same names.
        let plural = resource(&id.kind).map(|it| format!("{}.{}", it.plural, it.group)).unwrap_or_default();
        let object = format!("{plural}/{}", id.name);
        let ours = match id.kind.as_str() {
            "FunctionMesh" => id.name.clone(),
            kind => format!("{}/{}", kind.to_lowercase(), id.name),
        };
        let (command, more) = match self.write() {
            Some(Write::Replicas(number)) => {
                (format!("kubectl scale {object}"), format!("--replicas={number}"))
            }
            _ if matches!(self, Self::PauseRollout) => {
                (format!("kubectl mesh rollout pause {ours}"), String::new())
            }
            _ if matches!(self, Self::ResumeRollout) => {
                (format!("kubectl mesh rollout resume {ours}"), String::new())
            }
            Some(Write::Annotation(key, Some(value))) => {
                (format!("kubectl annotate {object}"), format!("{key}={value} --overwrite"))
            }
            Some(Write::Annotation(key, None)) => (format!("kubectl annotate {object}"), format!("{key}-")),
            None if matches!(self, Self::PromoteCanary) => {
                (format!("kubectl mesh rollout promote {ours}"), String::new())
            }
            None => {
                let revision = match self {
                    Self::UndoRollout { to_revision: Some(number) } => format!("--to-revision {number}"),
                    _ => String::new(),
                };
                (format!("kubectl mesh rollout undo {ours}"), revision)
            }
        };
        let namespace = format!("-n {}", id.namespace);
        let flags = flags.iter().map(|flag| quoted(flag)).collect::<Vec<_>>().join(" ");
        let words = [command, namespace, flags, more];
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// A word of a POSIX shell.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=./:@,+%".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn each_action_has_the_command_that_does_the_same() {
        let component = ObjectRef::new("Function", "shop", "m-clean");
        let mesh = ObjectRef::new("FunctionMesh", "shop", "m");
        let at = Restart::try_from("2026-01-02T03:04:05.6Z".to_owned()).unwrap();
        let functions = "functions.compute.functionmesh.io/m-clean -n shop";
        let meshes = "functionmeshes.compute.functionmesh.io/m -n shop";
        let suspend = "compute.functionmesh.io/suspend";
        for (action, id, expected) in [
            (Action::Suspend, &component, format!("kubectl annotate {functions} {suspend}=true --overwrite")),
            (Action::Resume, &mesh, format!("kubectl annotate {meshes} {suspend}-")),
            (
                Action::Restart { at },
                &mesh,
                format!(
                    "kubectl annotate {meshes} kubectl.kubernetes.io/restartedAt=2026-01-02T03:04:05Z --overwrite"
                ),
            ),
            (Action::Scale { replicas: 0 }, &component, format!("kubectl scale {functions} --replicas=0")),
            (Action::PauseRollout, &mesh, "kubectl mesh rollout pause m -n shop".to_owned()),
            (
                Action::ResumeRollout,
                &component,
                "kubectl mesh rollout resume function/m-clean -n shop".to_owned(),
            ),
            (
                Action::UndoRollout { to_revision: Some(2) },
                &component,
                "kubectl mesh rollout undo function/m-clean -n shop --to-revision 2".to_owned(),
            ),
            (Action::PromoteCanary, &mesh, "kubectl mesh rollout promote m -n shop".to_owned()),
        ] {
            assert_eq!(action.command(id, &[]), expected);
        }
        let flags = ["--context=it's".to_owned()];
        let text = Action::PauseRollout.command(&mesh, &flags);
        assert_eq!(text, r"kubectl mesh rollout pause m -n shop '--context=it'\''s'");
    }

    #[test]
    fn only_known_actions_are_read() {
        let read = |value| from_value::<Action>(value).ok();
        assert_eq!(read(json!({ "action": "suspend" })), Some(Action::Suspend));
        assert_eq!(read(json!({ "action": "scale", "replicas": 3 })), Some(Action::Scale { replicas: 3 }));
        let undo = json!({ "action": "undo-rollout", "toRevision": 3 });
        assert_eq!(read(undo), Some(Action::UndoRollout { to_revision: Some(3) }));
        for wrong in [
            json!({}),
            json!({ "action": "delete" }),
            json!({ "action": "scale" }),
            json!({ "action": "scale", "replicas": 3, "force": true }),
            json!({ "action": "scale", "replicas": 3.5 }),
            json!({ "action": "scale", "replicas": 3_000_000_000_u64 }),
            json!({ "action": "restart", "at": "now; rm -rf /" }),
            json!({ "action": "restart" }),
        ] {
            assert_eq!(read(wrong.clone()), None, "{wrong}");
        }
    }
}
