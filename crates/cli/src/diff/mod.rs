//! What would change: objects as they would be, beside objects as they are. Pure: no client.
//!
//! The comparison is the operator's own. What is rendered must be a part of what is there, since the API server
//! only ever adds; what the operator applied before and no longer wants is taken away; and fields of a
//! StatefulSet that nobody can change are kept.

mod compare;
mod owned;
pub(crate) mod report;

use std::collections::BTreeSet;

use function_mesh_api::labels;
use function_mesh_workloads::diff::{Difference, dedup_keyed_lists};
use serde_json::Value;

use crate::id::{Id, Snapshot, controller, uid};
use crate::rendering::{Item, Maker, NO_UID};

/// What objects are compared with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Against {
    /// Live objects: others write to them too.
    Cluster,
    /// Objects of older manifests: what is not said any more is gone.
    Files,
}

/// What becomes of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    New,
    Changed,
    Unchanged,
    Removed,
    /// The operator will not touch it.
    Refused,
}

impl Change {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Removed => "removed",
            Self::Refused => "refused",
        }
    }
}

/// What a difference means for pods.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Effect {
    /// Kubernetes refuses the change; the operator keeps the field as it is.
    Kept,
    /// Running pods are not touched.
    Stay,
    /// The template of the pods is another one, so they are replaced.
    Restart,
}

impl Effect {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "cannot be changed in place",
            Self::Stay => "pods stay",
            Self::Restart => "pods restart",
        }
    }
}

/// One place at which an object would change.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) difference: Difference,
    pub(crate) effect: Effect,
}

/// What becomes of one object, and why.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: Id,
    pub(crate) change: Change,
    pub(crate) places: Vec<Place>,
    /// What it means for pods, where it is pods that it is about.
    pub(crate) verdict: Option<Effect>,
    pub(crate) notes: Vec<String>,
}

/// Compares objects with those that are there.
pub(crate) fn compare(items: Vec<Item>, before: &Snapshot, against: Against) -> Vec<Entry> {
    let mut items = items;
    for item in &mut items {
        dedup_keyed_lists(&mut item.value);
    }
    let alone = left_alone(&items);
    let told = |item: &Item| {
        let entry = entry(item, before, against);
        let is_left = owner(&item.value).is_some_and(|owner| alone.contains(&owner));
        if !is_left {
            return entry;
        }
        let notes = vec![format!("left alone: its owner is annotated {}=false", labels::MANAGED)];
        Entry { id: entry.id, change: Change::Unchanged, places: Vec::new(), verdict: None, notes }
    };
    let mut entries: Vec<Entry> = items.iter().map(told).collect();
    let gone = removed(&items, before, against).into_iter();
    entries.extend(
        gone.filter(|entry| {
            before.get(&entry.id).and_then(owner).is_none_or(|owner| !alone.contains(&owner))
        }),
    );
    entries
}

/// The object that controls another one.
fn owner(object: &Value) -> Option<Id> {
    let (kind, name, _) = controller(object)?;
    Some(Id::new(kind, &Id::of(object).namespace, name))
}

/// Objects that the operator is told to leave alone, and their components. What they own stays as it is.
fn left_alone(items: &[Item]) -> BTreeSet<Id> {
    let mut alone = BTreeSet::new();
    // A mesh comes before its components.
    for item in items {
        let marks = item.value.pointer("/metadata/annotations");
        let is_told = marks.and_then(|marks| marks.get(labels::MANAGED)).is_some_and(|mark| mark == "false");
        if is_told || owner(&item.value).is_some_and(|owner| alone.contains(&owner)) {
            alone.insert(Id::of(&item.value));
        }
    }
    alone
}

fn entry(item: &Item, before: &Snapshot, against: Against) -> Entry {
    let id = Id::of(&item.value);
    let is_set = id.kind == "StatefulSet";
    let Some(live) = before.get(&id) else {
        let notes = if is_set { vec!["pods start".to_owned()] } else { Vec::new() };
        return Entry { id, change: Change::New, places: Vec::new(), verdict: None, notes };
    };
    if let Some((change, note)) = foreign(item, live, against) {
        return Entry { id, change, places: Vec::new(), verdict: None, notes: vec![note] };
    }
    let mut live = live.clone();
    dedup_keyed_lists(&mut live);
    let places = compare::places(item, &live, against);
    let change = if places.is_empty() { Change::Unchanged } else { Change::Changed };
    let mut notes = Vec::new();
    let mut verdict = None;
    // Components have pods too, but what becomes of those their StatefulSets tell.
    let worst = places.iter().map(|place| place.effect).max();
    if let Some(worst) = worst.filter(|_| is_set || item.maker == Maker::Component) {
        verdict = Some(worst);
        if worst == Effect::Restart {
            match live.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1) {
                0 => {
                    verdict = Some(Effect::Stay);
                    notes.push("none runs now".to_owned());
                }
                1 => {}
                pods => notes.push(format!("{pods} of them, one after another")),
            }
        }
    }
    Entry { id, change, places, verdict, notes }
}

/// What becomes of an object whose name is taken by one that is not ours.
fn foreign(item: &Item, live: &Value, against: Against) -> Option<(Change, String)> {
    if item.maker == Maker::Author || against == Against::Files {
        return None;
    }
    let (kind, name, wanted) = controller(&item.value)?;
    let whose = match controller(live) {
        Some((.., uid)) if uid == wanted => return None,
        Some((other, its_name, _)) if (other, its_name) == (kind, name) => {
            let note = format!("one that belonged to an earlier {kind} {name} goes first");
            return Some((Change::New, note));
        }
        Some((other, its_name, _)) => format!("it belongs to {other} {its_name}"),
        None => "nothing owns it".to_owned(),
    };
    Some((Change::Refused, format!("{whose}; rename the component, or remove that object")))
}

/// What is there and is not wanted any more: all that older files have besides; in a cluster what belongs to the
/// objects that were compared, and what belongs to that.
fn removed(items: &[Item], before: &Snapshot, against: Against) -> Vec<Entry> {
    let wanted: BTreeSet<Id> = items.iter().map(|item| Id::of(&item.value)).collect();
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
    let entry = |id: Id| {
        let notes = if id.kind == "StatefulSet" { vec!["its pods end".to_owned()] } else { Vec::new() };
        Entry { id, change: Change::Removed, places: Vec::new(), verdict: None, notes }
    };
    gone.into_iter().map(entry).collect()
}

/// Notes where a change waits: a BackendConfig without `autoUpdate` reaches a component only together with the
/// component's own next change.
#[cfg(feature = "cluster")]
pub(crate) fn note_what_waits(entries: &mut [Entry], before: &Snapshot, waits: impl Fn(&Id, &Value) -> bool) {
    let unchanged: Vec<Id> = entries
        .iter()
        .filter(|entry| entry.change == Change::Unchanged)
        .filter(|entry| before.get(&entry.id).is_some_and(|live| waits(&entry.id, live)))
        .map(|entry| entry.id.clone())
        .collect();
    for entry in entries.iter_mut().filter(|entry| entry.id.kind == "StatefulSet") {
        let owner = before.get(&entry.id).and_then(controller);
        let is_held = owner.is_some_and(|(kind, name, _)| {
            unchanged
                .iter()
                .any(|id| id.kind == kind && id.name == name && id.namespace == entry.id.namespace)
        });
        if entry.change == Change::Changed && is_held {
            entry.verdict = Some(Effect::Stay);
            entry.notes.push(
                "held back until the component itself changes: its BackendConfig has no `autoUpdate: true`"
                    .to_owned(),
            );
        }
    }
}

/// Who applies an object that comes from this.
fn manager(maker: Maker) -> &'static str {
    match maker {
        Maker::Mesh => labels::managers::MESH,
        Maker::Author | Maker::Component => labels::managers::WORKLOAD,
    }
}

#[cfg(test)]
mod tests;
