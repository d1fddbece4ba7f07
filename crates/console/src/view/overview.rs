//! The page of all meshes.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::mesh::{clean, is_asleep, mesh_view, status, value};
use super::parts::{MeshRow, OverviewHead};
use crate::seen::Seen;
use crate::state::State;
use crate::store::MeshKey;
use crate::visible::Kinds;

/// Rows of an update. Viewers with different permissions share those of the meshes of which they see the same.
#[derive(Debug, Default)]
pub struct Rows(HashMap<(MeshKey, Kinds), Value>);

/// The page of all meshes of some namespaces, or of all namespaces if none is named.
pub fn overview(seen: Seen<'_>, namespaces: &[String], rows: &mut Rows) -> State {
    let head =
        OverviewHead { synced: seen.has_synced(), problem: seen.problem(), namespaces: namespaces.to_vec() };
    let item = |key: MeshKey| {
        let id = format!("{}/{}", key.namespace, key.name);
        let kinds = seen.kinds(&key.namespace);
        let row = rows.0.entry((key, kinds));
        (id, row.or_insert_with_key(|(key, _)| row_of(seen, key)).clone())
    };
    let items: BTreeMap<String, Value> = seen.meshes().into_iter().map(item).collect();
    State { head: value(&head), items }
}

fn row_of(seen: Seen<'_>, key: &MeshKey) -> Value {
    let (view, _) = status(seen, key);
    let mut mesh = mesh_view(key, &view);
    let traffic = || view.components.iter().filter_map(|it| it.traffic.as_ref());
    let sum = |numbers: &mut dyn Iterator<Item = u64>| numbers.reduce(u64::saturating_add);
    let is_asleep = |name: &str, kind| seen.component(&key.namespace, kind, name).is_some_and(is_asleep);
    let worst = view.components.iter().filter(|it| it.health == view.health);
    mesh.reasons.extend(worst.flat_map(|it| clean(&it.reasons)).next());
    mesh.reasons.truncate(1);
    value(&MeshRow {
        mesh,
        asleep: view.components.iter().filter(|it| it.exists && is_asleep(&it.name, it.kind)).count(),
        backlog: sum(&mut traffic().filter_map(|it| it.backlog)),
        lag_seconds: traffic().filter_map(|it| it.lag_seconds).max(),
        exceptions: sum(&mut traffic().filter_map(|it| it.exceptions)),
    })
}
