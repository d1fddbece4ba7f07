//! The revisions of StatefulSets, and what differs between them.

use function_mesh_api::types::ComponentStatus;
use function_mesh_api::{Role, labels};
use function_mesh_status::object_ref::ObjectRef;
use function_mesh_workloads::change::line;
use function_mesh_workloads::diff::all_differences_of;
use function_mesh_workloads::names;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde_json::Value;

use crate::ActionError;

/// The revisions of a component, the newest last.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Kind of the component.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name of the component.
    pub name: String,
    /// Its revisions.
    pub revisions: Vec<Revision>,
}

/// A revision of a StatefulSet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "a field has the name of ControllerRevision's")]
pub struct Revision {
    /// Its number.
    pub revision: i64,
    /// Name of the ControllerRevision.
    pub name: String,
    /// When it was created.
    pub created: Option<String>,
    /// Whether new pods get it.
    pub is_newest: bool,
    /// Whether all its pods were ready for long enough; only the last such revision is known.
    pub is_good: bool,
    /// Whether it failed and was rolled back.
    pub is_failed: bool,
    /// What it changes in the revision before, a line each.
    pub changes: Vec<String>,
}

/// Reads the revisions of a component.
pub async fn read(client: &Client, component: &Value) -> Result<History, ActionError> {
    let ObjectRef { kind, namespace, name } = ObjectRef::of(component);
    let role = Role::ALL.into_iter().find(|role| role.kind() == kind).unwrap_or(Role::Function);
    let set = stateful_set(client, &namespace, &names::stateful_set(&name, role)).await?;
    let found = match set.as_ref().and_then(ResourceExt::uid) {
        Some(uid) => owned(client, &namespace, &name, &uid).await?,
        None => Vec::new(),
    };
    let newest = set.and_then(|set| set.status?.update_revision);
    let status = component.get("status").cloned().unwrap_or_default();
    let status: ComponentStatus = serde_json::from_value(status).unwrap_or_default();
    Ok(History { kind, namespace, name, revisions: revisions(found, newest.as_deref(), &status) })
}

async fn stateful_set(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<StatefulSet>, ActionError> {
    let api: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
    api.get_opt(name).await.map_err(|source| {
        let id = ObjectRef::new("StatefulSet", namespace, name);
        ActionError::Read { id, source: Box::new(source) }
    })
}

/// The ControllerRevisions of a component that the object with this UID controls.
async fn owned(
    client: &Client,
    namespace: &str,
    component: &str,
    owner: &str,
) -> Result<Vec<ControllerRevision>, ActionError> {
    let api: Api<ControllerRevision> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(&format!("{}={component}", labels::NAME));
    let found = api.list(&params).await.map_err(|source| ActionError::List {
        plural: "controllerrevisions.apps".to_owned(),
        namespace: namespace.to_owned(),
        source: Box::new(source),
    })?;
    let is_owned = |object: &ControllerRevision| {
        let owners = object.metadata.owner_references.iter().flatten();
        owners.into_iter().any(|it| it.controller == Some(true) && it.uid == owner)
    };
    Ok(found.items.into_iter().filter(is_owned).collect())
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

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

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
