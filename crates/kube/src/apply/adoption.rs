//! Adoption of orphans: children of ours that nothing controls. A backup is restored without owner references, and
//! `kubectl delete --cascade=orphan` removes them.
//!
//! An orphan carries our mark, the hash of what we applied, and labels that name its owner. Upstream's children have
//! the labels and no mark, so they stay foreign. A UID does not count: a restored owner has another one.

use std::collections::BTreeMap;
use std::sync::Arc;

use function_mesh_api::labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{GetParams, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind, Request};
use kube::{Resource, ResourceExt};
use serde::Deserialize;
use serde_json::json;

use super::{Child, ChildApplier, ChildError, controller_of, decode};
use crate::compact::managed_fields;
use crate::managed_fields::{NewOwner, migrate_restored};
use crate::request::send_for_text;

/// Labels that name the component of a child.
const OF_COMPONENT: [&str; 3] = [labels::COMPONENT, labels::NAME, labels::NAMESPACE];
/// Labels that name the mesh of a component.
const OF_MESH: [&str; 1] = [labels::MESH];

/// Whether a live object is an orphan of the owner that these labels, those of the wanted child, name.
pub fn is_orphan_of<K: Resource>(live: &K, wanted: &BTreeMap<String, String>) -> bool {
    let has_all = |keys: &[&str]| {
        keys.iter().all(|key| wanted.get(*key).is_some_and(|value| live.labels().get(*key) == Some(value)))
    };
    let names_owner =
        if wanted.contains_key(labels::COMPONENT) { has_all(&OF_COMPONENT) } else { has_all(&OF_MESH) };
    names_owner
        && is_marked(live)
        && controller_of(live).is_none()
        && live.meta().deletion_timestamp.is_none()
}

/// Whether we applied this object, or the one that it was restored from.
fn is_marked<K: Resource>(live: &K) -> bool {
    let mark = labels::annotation(live.meta(), labels::APPLIED_HASH);
    mark.is_some_and(|hash| hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl ChildApplier<'_> {
    /// Sets the owner reference of an orphan again, and returns whether it did. Other objects are returned unchanged.
    pub async fn adopt<K: Child>(&self, wanted: &K, live: Arc<K>) -> Result<(Arc<K>, bool), ChildError> {
        let Some(owner) = controller_of(wanted) else { return Ok((live, false)) };
        if !is_orphan_of(&*live, wanted.labels()) {
            return Ok((live, false));
        }
        let name = live.name_any();
        let stale = || ChildError::Stale { kind: K::kind(&()).into_owned(), name: name.clone() };
        // The garbage collector orphans the children of an owner that is being deleted; adopted, they would be deleted.
        if !self.is_live(owner).await? {
            return Err(stale());
        }
        // Cached objects have no `managedFields`.
        let json = self.read_text::<K>(&name, &GetParams::default()).await?.ok_or_else(stale)?;
        let read: K = decode(&name, &json)?;
        if read.uid() != live.uid() || !is_orphan_of(&read, wanted.labels()) {
            return Err(stale());
        }
        let mut owners: Vec<_> = read.owner_references().to_vec();
        owners.retain(|it| it.uid != owner.uid);
        owners.push(owner.clone());
        let mut patch = json!({ "metadata": {
            "uid": read.uid(), "resourceVersion": read.resource_version(), "ownerReferences": owners,
        } });
        let new_owner =
            if K::group(&()) == labels::GROUP { NewOwner::None } else { NewOwner::Manager(self.manager) };
        if let Some(migrated) = migrate_restored(&managed_fields(&json).unwrap_or_default(), new_owner) {
            patch["metadata"]["managedFields"] = json!(migrated);
        }
        tracing::info!(kind = %K::kind(&()), namespace = self.namespace, name, "adopting an orphan");
        let params = PatchParams {
            field_manager: Some(labels::managers::ADOPTION.to_owned()),
            ..PatchParams::default()
        };
        let request = self.request::<K>().patch(&name, &params, &Patch::Merge(patch));
        Ok((Arc::new(self.send("adopt", &name, request).await?), true))
    }

    /// Whether the owner exists and is not being deleted, by the API server and not by a cache.
    async fn is_live(&self, owner: &OwnerReference) -> Result<bool, ChildError> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Item>,
        }
        #[derive(Deserialize)]
        struct Item {
            metadata: ObjectMeta,
        }
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &owner.kind));
        let path = format!("/apis/{}/namespaces/{}/{}", owner.api_version, self.namespace, resource.plural);
        // Not a get, which the controller may not do for meshes.
        let params = ListParams::default().fields(&format!("metadata.name={}", owner.name));
        let failed = |source| ChildError::Api {
            verb: "read",
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            source: Box::new(source),
        };
        let listed =
            send_for_text(self.client, Request::new(path).list_metadata(&params)).await.map_err(failed)?;
        let list: List = serde_json::from_str(&listed).map_err(kube::Error::SerdeError).map_err(failed)?;
        Ok(list.items.iter().any(|it| {
            it.metadata.uid.as_deref() == Some(&*owner.uid) && it.metadata.deletion_timestamp.is_none()
        }))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use serde_json::{Value, from_value};

    use super::*;

    const MARK: &str = "0123456789abcdef0123456789abcdef";

    fn object(change: impl Fn(&mut Value)) -> Service {
        let mut object = json!({ "metadata": {
            "name": "f-function-headless", "namespace": "n",
            "labels": { labels::COMPONENT: "function", labels::NAME: "f", labels::NAMESPACE: "n", "more": "x" },
            "annotations": { labels::APPLIED_HASH: MARK },
        } });
        change(&mut object["metadata"]);
        from_value(object).expect("a Service")
    }

    #[test]
    fn orphans_have_our_mark_and_name_their_owner() {
        let wanted = object(|meta| meta["annotations"] = Value::Null);
        let is_orphan = |live: &Service| is_orphan_of(live, wanted.labels());
        let other = |controller: bool| json!([{ "apiVersion": "v1", "kind": "Other", "name": "o", "uid": "u", "controller": controller }]);
        for (what, orphan) in [
            ("as we left it", object(|_| {})),
            ("with another label", object(|meta| meta["labels"]["team"] = json!("a"))),
            ("with an owner that does not control it", object(|meta| meta["ownerReferences"] = other(false))),
        ] {
            assert!(is_orphan(&orphan), "{what}");
        }
        for (what, foreign) in [
            ("without mark, as upstream's", object(|meta| meta["annotations"] = Value::Null)),
            ("with another mark", object(|meta| meta["annotations"][labels::APPLIED_HASH] = json!("yes"))),
            ("of another component", object(|meta| meta["labels"][labels::NAME] = json!("g"))),
            ("of another role", object(|meta| meta["labels"][labels::COMPONENT] = json!("sink"))),
            ("of another namespace", object(|meta| meta["labels"][labels::NAMESPACE] = json!("m"))),
            ("without labels", object(|meta| meta["labels"] = Value::Null)),
            ("controlled by another object", object(|meta| meta["ownerReferences"] = other(true))),
            ("being deleted", object(|meta| meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"))),
        ] {
            assert!(!is_orphan(&foreign), "{what}");
        }
    }

    #[test]
    fn components_are_orphans_of_the_mesh_in_their_label() {
        let of = |mesh: &str| object(|meta| meta["labels"] = json!({ labels::MESH: mesh }));
        assert!(is_orphan_of(&of("m"), of("m").labels()));
        assert!(!is_orphan_of(&of("m"), of("other").labels()));
        // A mesh whose name is no label value has no label to compare.
        let unlabelled = object(|meta| meta["labels"] = Value::Null);
        assert!(!is_orphan_of(&unlabelled, unlabelled.labels()));
    }
}
