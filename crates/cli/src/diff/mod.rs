//! Compares rendered objects with live objects, or with those rendered from older files. Pure: no client.
//!
//! The comparison is the operator's own: a rendered object must be a subset of the live one, since the API server adds
//! defaults; fields that the operator applied before and no longer renders are removed; immutable fields of a
//! StatefulSet are kept.

mod compare;
mod owned;
pub(crate) mod report;

use std::collections::BTreeSet;

use function_mesh_api::labels;
use function_mesh_workloads::diff::{Difference, dedup_keyed_lists};
use serde_json::Value;

use crate::object_ref::{ObjectRef, Snapshot, controller, uid};
use crate::rendering::{Item, NO_UID, Origin};

/// The other side of the comparison.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Against {
    /// Live objects, which other clients write too.
    Cluster,
    /// Objects of older manifests: missing fields are removed.
    Files,
}

/// The change of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    New,
    Changed,
    Unchanged,
    Removed,
    /// The operator does not write the object, since it does not own it.
    Foreign,
}

impl Change {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Removed => "removed",
            Self::Foreign => "foreign",
        }
    }
}

/// The effect of a change on pods.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Effect {
    /// Kubernetes rejects the change; the operator keeps the field.
    Immutable,
    /// Running pods do not restart.
    Stay,
    /// The pod template changes, so pods are replaced.
    Restart,
}

impl Effect {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Immutable => "immutable",
            Self::Stay => "pods stay",
            Self::Restart => "pods restart",
        }
    }
}

/// One changed field.
#[derive(Clone, Debug)]
pub(crate) struct FieldChange {
    pub(crate) difference: Difference,
    pub(crate) effect: Effect,
}

/// The changes of one object.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: ObjectRef,
    pub(crate) change: Change,
    pub(crate) fields: Vec<FieldChange>,
    /// The effect on pods, for objects that affect pods.
    pub(crate) verdict: Option<Effect>,
    pub(crate) notes: Vec<String>,
}

/// Compares rendered objects with `before`.
pub(crate) fn compare(items: Vec<Item>, before: &Snapshot, against: Against) -> Vec<Entry> {
    let mut items = items;
    for item in &mut items {
        dedup_keyed_lists(&mut item.value);
    }
    let unmanaged = unmanaged(&items);
    let compare_item = |item: &Item| {
        let entry = entry(item, before, against);
        let is_unmanaged = owner(&item.value).is_some_and(|owner| unmanaged.contains(&owner));
        if !is_unmanaged {
            return entry;
        }
        let notes = vec![format!("not managed: its owner has the annotation {}=false", labels::MANAGED)];
        Entry { id: entry.id, change: Change::Unchanged, fields: Vec::new(), verdict: None, notes }
    };
    let mut entries: Vec<Entry> = items.iter().map(compare_item).collect();
    let removed = removed(&items, before, against).into_iter();
    entries.extend(removed.filter(|entry| {
        before.get(&entry.id).and_then(owner).is_none_or(|owner| !unmanaged.contains(&owner))
    }));
    entries
}

/// The controller owner of an object.
fn owner(object: &Value) -> Option<ObjectRef> {
    let (kind, name, _) = controller(object)?;
    Some(ObjectRef::new(kind, &ObjectRef::of(object).namespace, name))
}

/// Objects with the annotation `managed: "false"`, and their components. Their children do not change.
fn unmanaged(items: &[Item]) -> BTreeSet<ObjectRef> {
    let mut unmanaged = BTreeSet::new();
    // Items are ordered: a mesh comes before its components.
    for item in items {
        let annotations = item.value.pointer("/metadata/annotations");
        let is_annotated =
            annotations.and_then(|all| all.get(labels::MANAGED)).is_some_and(|value| value == "false");
        if is_annotated || owner(&item.value).is_some_and(|owner| unmanaged.contains(&owner)) {
            unmanaged.insert(ObjectRef::of(&item.value));
        }
    }
    unmanaged
}

fn entry(item: &Item, before: &Snapshot, against: Against) -> Entry {
    let id = ObjectRef::of(&item.value);
    let is_set = id.kind == "StatefulSet";
    let Some(live) = before.get(&id) else {
        let notes = if is_set { vec!["pods start".to_owned()] } else { Vec::new() };
        return Entry { id, change: Change::New, fields: Vec::new(), verdict: None, notes };
    };
    if let Some((change, note)) = other_owner(item, live, against) {
        return Entry { id, change, fields: Vec::new(), verdict: None, notes: vec![note] };
    }
    let mut live = live.clone();
    dedup_keyed_lists(&mut live);
    let fields = compare::field_changes(item, &live, against);
    let change = if fields.is_empty() { Change::Unchanged } else { Change::Changed };
    let mut notes = Vec::new();
    let mut verdict = None;
    // The verdict on pods is that of StatefulSets, not of components.
    let worst = fields.iter().map(|field| field.effect).max();
    if let Some(worst) = worst.filter(|_| is_set || item.origin == Origin::Component) {
        verdict = Some(worst);
        if worst == Effect::Restart {
            match live.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1) {
                0 => {
                    verdict = Some(Effect::Stay);
                    notes.push("no running pods".to_owned());
                }
                1 => {}
                pods => notes.push(format!("{pods} pods, one at a time")),
            }
        }
    }
    Entry { id, change, fields, verdict, notes }
}

/// The change of an object whose name belongs to another owner.
fn other_owner(item: &Item, live: &Value, against: Against) -> Option<(Change, String)> {
    if item.origin == Origin::User || against == Against::Files {
        return None;
    }
    let (kind, name, wanted) = controller(&item.value)?;
    let whose = match controller(live) {
        Some((.., uid)) if uid == wanted => return None,
        Some((other, its_name, _)) if (other, its_name) == (kind, name) => {
            let note = format!("after deletion of the one that an earlier {kind} {name} owned");
            return Some((Change::New, note));
        }
        Some((other, its_name, _)) => format!("it is owned by {other} {its_name:?}"),
        None => "it has no owner".to_owned(),
    };
    Some((Change::Foreign, format!("{whose}; rename the component, or delete that object")))
}

/// Removed objects: against files all that the new files lack; against a cluster those that compared objects own,
/// directly or indirectly.
fn removed(items: &[Item], before: &Snapshot, against: Against) -> Vec<Entry> {
    let wanted: BTreeSet<ObjectRef> = items.iter().map(|item| ObjectRef::of(&item.value)).collect();
    let mut owners: Vec<String> = wanted
        .iter()
        .filter_map(|id| uid(before.get(id)?))
        .filter(|uid| *uid != NO_UID)
        .map(str::to_owned)
        .collect();
    let mut gone = BTreeSet::new();
    loop {
        let seen = gone.len();
        for (id, object) in before.iter().filter(|(id, _)| !wanted.contains(id)) {
            let is_owned = controller(object).is_some_and(|(.., uid)| owners.iter().any(|it| it == uid));
            if (is_owned || against == Against::Files) && gone.insert(id.clone()) {
                owners.extend(uid(object).map(str::to_owned));
            }
        }
        if gone.len() == seen {
            break;
        }
    }
    let entry = |id: ObjectRef| {
        let notes = if id.kind == "StatefulSet" { vec!["pods terminate".to_owned()] } else { Vec::new() };
        Entry { id, change: Change::Removed, fields: Vec::new(), verdict: None, notes }
    };
    gone.into_iter().map(entry).collect()
}

/// Marks deferred changes: a BackendConfig without `autoUpdate` takes effect with the next change of the component.
#[cfg(feature = "cluster")]
pub(crate) fn mark_deferred(
    entries: &mut [Entry],
    before: &Snapshot,
    is_deferred: impl Fn(&ObjectRef, &Value) -> bool,
) {
    let unchanged: Vec<ObjectRef> = entries
        .iter()
        .filter(|entry| entry.change == Change::Unchanged)
        .filter(|entry| before.get(&entry.id).is_some_and(|live| is_deferred(&entry.id, live)))
        .map(|entry| entry.id.clone())
        .collect();
    for entry in entries.iter_mut().filter(|entry| entry.id.kind == "StatefulSet") {
        let owner = before.get(&entry.id).and_then(controller);
        let is_deferred = owner.is_some_and(|(kind, name, _)| {
            unchanged
                .iter()
                .any(|id| id.kind == kind && id.name == name && id.namespace == entry.id.namespace)
        });
        if entry.change == Change::Changed && is_deferred {
            entry.verdict = Some(Effect::Stay);
            entry.notes.push(
                "deferred until the component changes: its BackendConfig does not set `autoUpdate: true`"
                    .to_owned(),
            );
        }
    }
}

/// The field manager of objects of this origin.
fn manager(origin: Origin) -> &'static str {
    match origin {
        Origin::Mesh => labels::managers::MESH,
        Origin::User | Origin::Component => labels::managers::WORKLOAD,
    }
}

#[cfg(test)]
mod tests;
