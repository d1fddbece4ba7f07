//! The page of all meshes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::mesh::{clean, is_asleep, status, value};
use super::parts::{MeshRow, OverviewHead};
use crate::state::State;
use crate::store::{MeshKey, Store};

/// The page of all meshes of a namespace, or of all namespaces.
pub fn overview(store: &Store, namespace: Option<&str>) -> State {
    let head = OverviewHead {
        synced: store.has_synced(),
        problem: store.problem(),
        namespace: namespace.map(str::to_owned),
    };
    let rows =
        store.meshes().into_iter().map(|key| (format!("{}/{}", key.namespace, key.name), row(store, &key)));
    State { head: value(&head), items: rows.collect::<BTreeMap<String, Value>>() }
}

fn row(store: &Store, key: &MeshKey) -> Value {
    let (view, _) = status(store, key);
    let own = view.mesh.as_ref();
    let traffic = || view.components.iter().filter_map(|it| it.traffic.as_ref());
    let sum = |numbers: &mut dyn Iterator<Item = u64>| numbers.reduce(u64::saturating_add);
    let is_asleep = |name: &str, kind| store.component(&key.namespace, kind, name).is_some_and(is_asleep);
    let worst = view.components.iter().filter(|it| it.health == view.health);
    let reasons = own.map(|mesh| mesh.reasons.as_slice()).unwrap_or_default();
    let reason = reasons.first().or_else(|| worst.flat_map(|it| &it.reasons).next());
    value(&MeshRow {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        health: view.health,
        state: own.map_or_else(|| view.health.as_str().to_owned(), |mesh| mesh.state.clone()),
        since: own.and_then(|mesh| mesh.since.clone()),
        ready: own
            .map_or_else(|| view.components.iter().filter(|it| it.is_ready()).count(), |mesh| mesh.ready),
        wanted: own.map_or(view.components.len(), |mesh| mesh.wanted),
        asleep: view.components.iter().filter(|it| it.exists && is_asleep(&it.name, it.kind)).count(),
        backlog: sum(&mut traffic().filter_map(|it| it.backlog)),
        lag_seconds: traffic().filter_map(|it| it.lag_seconds).max(),
        exceptions: sum(&mut traffic().filter_map(|it| it.exceptions)),
        reason: reason.and_then(|reason| clean(std::slice::from_ref(reason)).pop()),
    })
}
