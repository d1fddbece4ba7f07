//! What a page shows, as a head and items by ID, and the difference between two such states.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A head, and items by ID. An item is a JSON object; a field that is unknown is null.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct State {
    /// The part that a page has once, such as the health of a mesh.
    pub head: Value,
    /// Meshes by `namespace/name`, or components, topics and edges of one mesh.
    pub items: BTreeMap<String, Value>,
}

/// What turns one state into another.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Delta {
    /// The new head, if it has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Value>,
    /// New and changed items in full; null removes an item.
    #[serde(default)]
    pub items: BTreeMap<String, Option<Value>>,
}

impl State {
    /// What turns this state into the one after it; None if they are equal.
    pub fn delta_to(&self, after: &Self) -> Option<Delta> {
        let head = (self.head != after.head).then(|| after.head.clone());
        let mut items = BTreeMap::new();
        for id in self.items.keys().filter(|id| !after.items.contains_key(*id)) {
            items.insert(id.clone(), None);
        }
        for (id, item) in after.items.iter().filter(|(id, item)| self.items.get(*id) != Some(item)) {
            items.insert(id.clone(), Some(item.clone()));
        }
        (head.is_some() || !items.is_empty()).then_some(Delta { head, items })
    }

    /// Applies a difference, as the page does.
    pub fn apply(&mut self, delta: Delta) {
        if let Some(head) = delta.head {
            self.head = head;
        }
        for (id, item) in delta.items {
            match item {
                Some(item) => self.items.insert(id, item),
                None => self.items.remove(&id),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn states() -> impl Strategy<Value = State> {
        let items = proptest::collection::btree_map("[a-d]", 0..3_u8, 0..4);
        (0..3_u8, items).prop_map(|(head, items)| State {
            head: json!({ "head": head }),
            items: items.into_iter().map(|(id, n)| (id, json!({ "n": n, "unknown": null }))).collect(),
        })
    }

    proptest! {
        #[test]
        fn a_delta_leads_from_one_state_to_the_next(before in states(), after in states()) {
            let mut state = before.clone();
            if let Some(delta) = before.delta_to(&after) {
                // As it arrives at the page.
                let sent = serde_json::to_string(&delta).unwrap();
                state.apply(serde_json::from_str(&sent).unwrap());
            } else {
                prop_assert_eq!(&before, &after);
            }
            prop_assert_eq!(state, after);
        }
    }

    #[test]
    fn a_delta_has_only_what_changed() {
        let state = |n: u8| State {
            head: json!({ "name": "m" }),
            items: BTreeMap::from([("a".to_owned(), json!({ "n": n })), ("b".to_owned(), json!({ "n": 0 }))]),
        };
        let delta = state(1).delta_to(&state(2)).unwrap();
        assert_eq!(serde_json::to_value(delta).unwrap(), json!({ "items": { "a": { "n": 2 } } }));
    }
}
