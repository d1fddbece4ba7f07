//! The revisions of StatefulSets, and what differs between them.

use function_mesh_api::Role;
use function_mesh_api::types::ComponentStatus;
use function_mesh_workloads::change::line;
use function_mesh_workloads::diff::all_differences_of;
use function_mesh_workloads::names;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use kube::ResourceExt;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Shown, components};
use crate::cluster::Cluster;
use crate::commands::status::{Format, data};
use crate::object_ref::ObjectRef;
use crate::{Failure, Outcome, Streams, screen};

/// The revisions of a component, the newest last.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct History {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) revisions: Vec<Revision>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "a field has the name of ControllerRevision's")]
pub(super) struct Revision {
    pub(super) revision: i64,
    pub(super) name: String,
    pub(super) created: Option<String>,
    /// Whether new pods get it.
    pub(super) is_newest: bool,
    /// Whether all its pods were ready for long enough; only the last such revision is known.
    pub(super) is_good: bool,
    /// Whether it failed and was rolled back.
    pub(super) is_failed: bool,
    /// What it changes in the revision before, a line each.
    pub(super) changes: Vec<String>,
}

pub(super) fn run(args: &Shown, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let (cluster, id) = args.named.open()?;
    let found = components(&cluster, &id)?;
    let all = found.iter().map(|it| read(&cluster, it)).collect::<Result<Vec<_>, _>>()?;
    match args.output {
        Format::Text => all.iter().try_for_each(|history| text(history, streams))?,
        format => streams.out.write_all(data(&json!({ "components": all }), format)?.as_bytes())?,
    }
    Ok(Outcome::Success)
}

/// Reads the revisions of a component.
pub(super) fn read(cluster: &Cluster, component: &Value) -> Result<History, Failure> {
    let ObjectRef { kind, namespace, name } = ObjectRef::of(component);
    let role = Role::ALL.into_iter().find(|role| role.kind() == kind).unwrap_or(Role::Function);
    let workload = names::stateful_set(&name, role);
    let set = cluster.child::<StatefulSet>(&namespace, &workload)?;
    let found = match set.as_ref().and_then(ResourceExt::uid) {
        Some(uid) => cluster.owned::<ControllerRevision>(&namespace, &name, &uid)?,
        None => Vec::new(),
    };
    let newest = set.and_then(|set| set.status?.update_revision);
    let status = component.get("status").cloned().unwrap_or_default();
    let status: ComponentStatus = serde_json::from_value(status).unwrap_or_default();
    Ok(History { kind, namespace, name, revisions: revisions(found, newest.as_deref(), &status) })
}

fn revisions(
    mut found: Vec<ControllerRevision>,
    newest: Option<&str>,
    status: &ComponentStatus,
) -> Vec<Revision> {
    found.sort_by_key(|revision| revision.revision);
    let rollout = status.rollout.clone().unwrap_or_default();
    let mut before: Option<Value> = None;
    let mut revisions = Vec::new();
    for revision in found {
        let template = revision.data.as_ref().map(|data| data.0.clone()).unwrap_or_default();
        let changes = before.as_ref().map(|before| all_differences_of("StatefulSet", &template, before));
        let name = revision.name_any();
        revisions.push(Revision {
            revision: revision.revision,
            created: revision.creation_timestamp().map(|time| time.0.to_string()),
            is_newest: newest == Some(name.as_str()),
            is_good: rollout.good_revision.as_ref() == Some(&name),
            is_failed: rollout.failed_revision.as_ref() == Some(&name),
            changes: changes.unwrap_or_default().iter().map(line).collect(),
            name,
        });
        before = Some(template);
    }
    revisions
}

fn text(history: &History, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let title = format!("{}/{}", history.kind.to_lowercase(), history.name);
    screen::line(streams.out, &screen::painted(&title, "1", streams.colour))?;
    if history.revisions.is_empty() {
        screen::line(streams.out, "  no revisions")?;
    }
    for it in &history.revisions {
        let notes = [(it.is_newest, "newest"), (it.is_good, "good"), (it.is_failed, "failed")];
        let notes: Vec<_> = notes.into_iter().filter(|(is, _)| *is).map(|(_, note)| note).collect();
        let created = it.created.as_deref().unwrap_or("-");
        let text = format!("  {:>3}  {}  {created}  {}", it.revision, it.name, notes.join(", "));
        screen::line(streams.out, text.trim_end())?;
        for change in &it.changes {
            screen::line(streams.out, &format!("         {change}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::from_value;

    use super::*;

    #[test]
    fn revisions_are_listed_with_what_each_changes() {
        let revision = |number: i64, image: &str, password: &str| -> ControllerRevision {
            let container = json!({ "name": "c", "image": image, "command": [password] });
            let template = json!({ "$patch": "replace", "spec": { "containers": [container] } });
            let data = json!({ "spec": { "template": template } });
            let object =
                json!({ "metadata": { "name": format!("f-{number}") }, "revision": number, "data": data });
            from_value(object).expect("a revision")
        };
        let found = vec![revision(3, "b", "CANARY"), revision(1, "a", "x"), revision(2, "b", "x")];
        let status =
            json!({ "rollout": { "state": "RolledBack", "failedRevision": "f-3", "goodRevision": "f-2" } });
        let found = revisions(found, Some("f-2"), &from_value(status).expect("a status"));
        let numbers: Vec<_> = found.iter().map(|it| it.revision).collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(found[0].changes, Vec::<String>::new());
        assert_eq!(
            found[1].changes,
            [r#"spec.template.spec.containers[c].image: "a" becomes "b""#.to_owned()]
        );
        assert_eq!(found[2].changes, ["spec.template.spec.containers[c].command[0]: changes".to_owned()]);
        assert!(found[1].is_newest && found[1].is_good && !found[1].is_failed);
        assert!(found[2].is_failed && !found[2].is_newest);
    }
}
