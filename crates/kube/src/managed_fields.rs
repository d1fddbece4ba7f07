//! Migration of `managedFields` from upstream's operator, or from the restore of a backup, as client-go's `csaupgrade`
//! migrates client-side apply.
//!
//! Both write whole objects with `Update`: upstream as the field manager `manager`. The API server keeps that entry, so
//! a field that we apply and later leave out would remain: the other manager still owns it. Therefore its entry is
//! migrated before the first apply.

use function_mesh_api::labels;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

/// Upstream's field manager: the name of its executable.
const UPSTREAM: &str = "manager";

/// New owner of the migrated fields.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NewOwner<'a> {
    /// This field manager: its next apply removes the fields that it leaves out.
    Manager(&'a str),
    /// None: fields that are not applied keep their values.
    None,
}

/// The entries without upstream's; None if upstream has none. Its entries for subresources, such as the status, remain.
pub(crate) fn migrate(
    managers: &[ManagedFieldsEntry],
    new_owner: NewOwner<'_>,
) -> Option<Vec<ManagedFieldsEntry>> {
    migrate_where(managers, new_owner, |entry| entry.manager.as_deref() == Some(UPSTREAM))
}

/// The same for a restored object: its fields belong to the manager that wrote our mark, which only a copy of what we
/// applied contains.
pub(crate) fn migrate_restored(
    managers: &[ManagedFieldsEntry],
    new_owner: NewOwner<'_>,
) -> Option<Vec<ManagedFieldsEntry>> {
    let mark = format!("f:{}", labels::APPLIED_HASH);
    migrate_where(managers, new_owner, |entry| {
        let annotations =
            entry.fields_v1.as_ref().and_then(|it| it.0.get("f:metadata")?.get("f:annotations"));
        annotations.is_some_and(|annotations| annotations.get(&mark).is_some())
    })
}

fn migrate_where(
    managers: &[ManagedFieldsEntry],
    new_owner: NewOwner<'_>,
    is_earlier: impl Fn(&ManagedFieldsEntry) -> bool,
) -> Option<Vec<ManagedFieldsEntry>> {
    let is_earlier = |entry: &ManagedFieldsEntry| {
        entry.operation.as_deref() == Some("Update") && entry.subresource.is_none() && is_earlier(entry)
    };
    if !managers.iter().any(is_earlier) {
        return None;
    }
    // A manager has at most one `Apply` entry for the main resource. An entry for `scale` does not count.
    let has_applied = |name: &str| {
        managers.iter().any(|entry| {
            entry.manager.as_deref() == Some(name)
                && entry.operation.as_deref() == Some("Apply")
                && entry.subresource.is_none()
        })
    };
    let new_owner = match new_owner {
        NewOwner::Manager(name) if !has_applied(name) => Some(name),
        NewOwner::Manager(_) | NewOwner::None => None,
    };
    let mut migrated: Vec<_> = managers.iter().filter(|entry| !is_earlier(entry)).cloned().collect();
    let earlier = managers.iter().find(|entry| is_earlier(entry)).cloned();
    if let (Some(new_owner), Some(entry)) = (new_owner, earlier) {
        migrated.push(ManagedFieldsEntry {
            manager: Some(new_owner.to_owned()),
            operation: Some("Apply".to_owned()),
            ..entry
        });
    }
    Some(migrated)
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn managers(list: &[(&str, &str, Option<&str>)]) -> Vec<ManagedFieldsEntry> {
        let entry = |(manager, operation, subresource): &(&str, &str, Option<&str>)| {
            from_value(json!({
                "manager": manager, "operation": operation, "subresource": subresource, "apiVersion": "apps/v1",
                "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": {} },
            }))
            .unwrap()
        };
        list.iter().map(entry).collect()
    }

    fn names(list: Option<Vec<ManagedFieldsEntry>>) -> Option<Vec<String>> {
        let name = |it: ManagedFieldsEntry| {
            format!("{} {}", it.manager.unwrap_or_default(), it.operation.unwrap_or_default())
        };
        list.map(|list| list.into_iter().map(name).collect())
    }

    #[test]
    fn upstream_entry_moves_to_the_new_owner_or_is_dropped() {
        let found = managers(&[
            ("manager", "Update", None),
            ("manager", "Update", Some("status")),
            ("kubectl-edit", "Update", None),
        ]);
        let ours = names(migrate(&found, NewOwner::Manager("us")));
        assert_eq!(ours.unwrap(), ["manager Update", "kubectl-edit Update", "us Apply"]);
        let dropped = names(migrate(&found, NewOwner::None));
        assert_eq!(dropped.unwrap(), ["manager Update", "kubectl-edit Update"]);
    }

    #[test]
    fn restored_fields_move_from_the_manager_with_our_mark() {
        let mut found = managers(&[("velero-server", "Update", None), ("kubectl-edit", "Update", None)]);
        assert_eq!(migrate_restored(&found, NewOwner::Manager("us")), None);
        let mark =
            json!({ "f:metadata": { "f:annotations": { (format!("f:{}", labels::APPLIED_HASH)): {} } } });
        found[0].fields_v1 = from_value(mark).unwrap();
        let ours = names(migrate_restored(&found, NewOwner::Manager("us")));
        assert_eq!(ours.unwrap(), ["kubectl-edit Update", "us Apply"]);
        // As we left it: our own apply wrote the mark.
        (found[0].manager, found[0].operation) = (Some("us".to_owned()), Some("Apply".to_owned()));
        assert_eq!(migrate_restored(&found, NewOwner::Manager("us")), None);
    }

    #[test]
    fn without_upstream_entry_nothing_changes() {
        let found = managers(&[("us", "Apply", None), ("manager", "Update", Some("status"))]);
        assert_eq!(migrate(&found, NewOwner::Manager("us")), None);
    }

    #[test]
    fn manager_with_apply_entry_gets_no_second_one() {
        let found = managers(&[("us", "Apply", None), ("manager", "Update", None)]);
        assert_eq!(names(migrate(&found, NewOwner::Manager("us"))).unwrap(), ["us Apply"]);
    }

    #[test]
    fn manager_with_scale_entry_alone_gets_the_fields() {
        let found = managers(&[("us", "Update", Some("scale")), ("manager", "Update", None)]);
        assert_eq!(names(migrate(&found, NewOwner::Manager("us"))).unwrap(), ["us Update", "us Apply"]);
    }
}
