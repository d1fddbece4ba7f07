//! Owner references: which object controls another one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

use super::{Child, ChildError};

/// The controlling owner of an object.
pub fn controller_of<K: Resource>(object: &K) -> Option<&OwnerReference> {
    object.owner_references().iter().find(|owner| owner.controller == Some(true))
}

/// Whether the object with this UID controls another one.
pub fn is_owned_by<K: Resource>(object: &K, uid: &str) -> bool {
    controller_of(object).is_some_and(|owner| owner.uid == uid)
}

/// Fails if another object owns a live object, or none.
pub(super) fn check_owner<K: Child>(live: &K, owner_uid: &str) -> Result<(), ChildError> {
    if is_owned_by(live, owner_uid) {
        return Ok(());
    }
    let owner = controller_of(live).map_or_else(
        || "it has no owner".to_owned(),
        |owner| format!("it is owned by {} {:?}", owner.kind, owner.name),
    );
    Err(ChildError::Foreign { kind: K::kind(&()).into_owned(), name: live.name_any(), owner })
}

/// A deleted owner of the same name may have left children that are not garbage collected yet.
pub(super) fn check_previous_owner<K: Child>(live: &K, wanted: &K) -> Result<(), ChildError> {
    let (Some(earlier), Some(owner)) = (controller_of(live), controller_of(wanted)) else { return Ok(()) };
    let name_of =
        |owner: &OwnerReference| (owner.api_version.clone(), owner.kind.clone(), owner.name.clone());
    if earlier.uid == owner.uid || name_of(earlier) != name_of(owner) {
        return Ok(());
    }
    let (kind, name) = (K::kind(&()).into_owned(), live.name_any());
    Err(ChildError::PreviousOwner { kind, name, owner: owner.kind.clone() })
}
