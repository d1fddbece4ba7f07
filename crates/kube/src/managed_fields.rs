//! Migration of `managedFields` from upstream's operator, as client-go's `csaupgrade` migrates client-side apply.
//!
//! Upstream wrote whole objects with `Update`, as the field manager `manager`. The API server keeps that entry, so a
//! field that we apply and later leave out would remain: `manager` still owns it. Therefore its entry is migrated
//! before the first apply.

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
    let is_upstream = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(UPSTREAM)
            && entry.operation.as_deref() == Some("Update")
            && entry.subresource.is_none()
    };
    if !managers.iter().any(is_upstream) {
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
    let mut migrated: Vec<_> = managers.iter().filter(|entry| !is_upstream(entry)).cloned().collect();
    let upstream = managers.iter().find(|entry| is_upstream(entry)).cloned();
    if let (Some(new_owner), Some(entry)) = (new_owner, upstream) {
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
