//! What the original operator says of an object that is ours now.
//!
//! It wrote whole objects, as the field manager `manager`, and the API server goes on holding those fields for it: what
//! we apply later and then leave out would stay, since somebody else still wants it. So its part is taken over before
//! the first apply.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

/// The field manager of the original operator: the name of its program.
const ORIGINAL: &str = "manager";

/// Whose becomes what it wrote.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NewOwner<'a> {
    /// This manager, so that what it does not want goes with its next apply.
    Manager(&'a str),
    /// Nobody: what is not applied stays as it is.
    Nobody,
}

/// The list of managers without the original operator; None when it is not among them. What it wrote by way of a
/// subresource, such as a status, is not touched.
pub(crate) fn migrate(
    managers: &[ManagedFieldsEntry],
    new_owner: NewOwner<'_>,
) -> Option<Vec<ManagedFieldsEntry>> {
    let is_heritage = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(ORIGINAL)
            && entry.operation.as_deref() == Some("Update")
            && entry.subresource.is_none()
    };
    if !managers.iter().any(is_heritage) {
        return None;
    }
    // One who applied already has a list of its own, and may have no second one. Scaling is no such thing.
    let has_applied = |name: &str| {
        managers.iter().any(|entry| {
            entry.manager.as_deref() == Some(name)
                && entry.operation.as_deref() == Some("Apply")
                && entry.subresource.is_none()
        })
    };
    let new_owner = match new_owner {
        NewOwner::Manager(name) if !has_applied(name) => Some(name),
        NewOwner::Manager(_) | NewOwner::Nobody => None,
    };
    let mut left: Vec<_> = managers.iter().filter(|entry| !is_heritage(entry)).cloned().collect();
    let heritage = managers.iter().find(|entry| is_heritage(entry)).cloned();
    if let (Some(new_owner), Some(entry)) = (new_owner, heritage) {
        left.push(ManagedFieldsEntry {
            manager: Some(new_owner.to_owned()),
            operation: Some("Apply".to_owned()),
            ..entry
        });
    }
    Some(left)
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
    fn what_the_original_wrote_passes_to_us_or_to_nobody_and_others_keep_theirs() {
        let found = managers(&[
            ("manager", "Update", None),
            ("manager", "Update", Some("status")),
            ("kubectl-edit", "Update", None),
        ]);
        let ours = names(migrate(&found, NewOwner::Manager("us")));
        assert_eq!(ours.unwrap(), ["manager Update", "kubectl-edit Update", "us Apply"]);
        let nobodys = names(migrate(&found, NewOwner::Nobody));
        assert_eq!(nobodys.unwrap(), ["manager Update", "kubectl-edit Update"]);
    }

    #[test]
    fn without_the_original_nothing_is_to_be_done() {
        let found = managers(&[("us", "Apply", None), ("manager", "Update", Some("status"))]);
        assert_eq!(migrate(&found, NewOwner::Manager("us")), None);
    }

    #[test]
    fn who_applied_before_gets_no_second_list() {
        let found = managers(&[("us", "Apply", None), ("manager", "Update", None)]);
        assert_eq!(names(migrate(&found, NewOwner::Manager("us"))).unwrap(), ["us Apply"]);
    }

    #[test]
    fn who_only_scaled_before_is_the_heir() {
        let found = managers(&[("us", "Update", Some("scale")), ("manager", "Update", None)]);
        assert_eq!(names(migrate(&found, NewOwner::Manager("us"))).unwrap(), ["us Update", "us Apply"]);
    }
}
