//! Who sets the replicas of a component, by its `managedFields`. Pure.
//!
//! An owner by `Apply` means to keep the number: GitOps applies it again and again. `Update` says only that the number was set
//! once, so that it counts for a while.

use std::time::Duration;

use function_mesh_observer::UnixMillis;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// How long a number that a user set by hand is left alone.
const UPDATE_HOLD: Duration = Duration::from_mins(10);
/// Controllers that set the number again and again, though by `Update`: the HorizontalPodAutoscaler's, and KEDA. One that is
/// there sets it again within seconds of the operator.
const CONTROLLERS: [&str; 3] = ["kube-controller-manager", "keda", "keda-operator"];
/// Our own field managers begin so.
const OURS: &str = "functionmesh.io/";

/// A component as it is on the API server.
#[derive(Debug, Deserialize)]
pub(super) struct Live {
    pub(super) metadata: Metadata,
    spec: Option<Spec>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) uid: String,
    pub(super) resource_version: String,
    #[serde(default)]
    managed_fields: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Spec {
    replicas: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    manager: String,
    #[serde(default)]
    operation: String,
    time: Option<Timestamp>,
    fields_v1: Option<Fields>,
}

/// What is decoded of a set of fields. Anything else in it may be nested to any depth.
#[derive(Debug, Deserialize)]
struct Fields {
    #[serde(rename = "f:spec")]
    spec: Option<SpecFields>,
}

#[derive(Debug, Deserialize)]
struct SpecFields {
    #[serde(rename = "f:replicas")]
    replicas: Option<IgnoredAny>,
}

impl Live {
    /// The replicas that are set.
    pub(super) fn replicas(&self) -> Option<u32> {
        self.spec.as_ref()?.replicas.and_then(|replicas| u32::try_from(replicas).ok())
    }

    /// Who else sets the replicas. `has_scaled` says whether the operator ever did: its write takes the field from every
    /// other owner, so that any other owner set it later. Times of two clocks need not be compared. `known` is who was
    /// found before: an entry of the scale subresource has no time, so that it counts from when it was found.
    pub(super) fn other_writer(
        &self,
        has_scaled: bool,
        known: Option<&OtherWriter>,
        now: UnixMillis,
    ) -> Option<OtherWriter> {
        let entries = self.metadata.managed_fields.iter();
        let owners = entries.filter(|entry| {
            let spec = entry.fields_v1.as_ref().and_then(|fields| fields.spec.as_ref());
            spec.is_some_and(|spec| spec.replicas.is_some()) && !entry.manager.starts_with(OURS)
        });
        let holds = owners.filter_map(|entry| {
            let manager = entry.manager.clone();
            if entry.operation == "Apply" {
                return Some(OtherWriter { manager, until: None });
            }
            // Before the first change of the operator it is the number to begin with, which an HPA of before may have set.
            if CONTROLLERS.contains(&manager.as_str()) {
                return has_scaled.then_some(OtherWriter { manager, until: None });
            }
            let since = entry.time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
            let hold = u64::try_from(UPDATE_HOLD.as_millis()).unwrap_or(u64::MAX);
            let known = known.filter(|known| known.manager == manager).and_then(|known| known.until);
            let from_now = UnixMillis(now.0.saturating_add(hold));
            let until =
                since.map(|since| UnixMillis(since.saturating_add(hold))).or(known).unwrap_or(from_now);
            (has_scaled && now < until).then_some(OtherWriter { manager, until: Some(until) })
        });
        // One without an end counts more.
        holds.min_by_key(|hold| hold.until.is_some())
    }
}

/// Another field manager that sets the replicas.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct OtherWriter {
    /// Its name.
    pub(super) manager: String,
    /// When the operator sets them again; None as long as it owns the field.
    pub(super) until: Option<UnixMillis>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOON: UnixMillis = UnixMillis(1_767_614_400_000);

    fn live(entries: &[(&str, &str, &str, Value)]) -> Live {
        let entry = |(manager, operation, time, fields): &(&str, &str, &str, Value)| {
            json!({ "manager": manager, "operation": operation, "time": time, "apiVersion": "v1",
                "fieldsType": "FieldsV1", "fieldsV1": fields })
        };
        let managed: Vec<_> = entries.iter().map(entry).collect();
        let metadata = json!({ "name": "f", "uid": "u", "resourceVersion": "7", "managedFields": managed });
        serde_json::from_str(&json!({ "metadata": metadata, "spec": { "replicas": 3 } }).to_string())
            .expect("an object")
    }

    fn replicas() -> Value {
        json!({ "f:spec": { "f:replicas": {}, "f:input": { ".": {}, "k:{\"a\":1}": {} } } })
    }

    fn writer(entries: &[(&str, &str, &str, Value)], has_scaled: bool) -> Option<(String, bool)> {
        live(entries).other_writer(has_scaled, None, NOON).map(|found| (found.manager, found.until.is_some()))
    }

    #[test]
    fn gitops_and_other_autoscalers_hold_while_they_own_the_field() {
        let early = "2026-01-01T00:00:00Z";
        let found = writer(&[("argocd-controller", "Apply", early, replicas())], false);
        assert_eq!(found, Some(("argocd-controller".to_owned(), false)));
        for manager in ["kube-controller-manager", "keda"] {
            let at = |has_scaled| writer(&[(manager, "Update", early, replicas())], has_scaled);
            assert_eq!(at(true), Some((manager.to_owned(), false)));
            assert_eq!(at(false), None, "it was there before");
        }
        let other = json!({ "f:spec": { "f:image": {} }, "f:metadata": {} });
        assert_eq!(writer(&[("argocd-controller", "Apply", early, other)], false), None);
    }

    #[test]
    fn our_own_managers_do_not_hold() {
        use function_mesh_api::labels::managers;
        for manager in [managers::AUTOSCALER, managers::REPLICAS, managers::MESH, managers::WORKLOAD] {
            for operation in ["Apply", "Update"] {
                let found = writer(&[(manager, operation, "2026-01-05T11:59:00Z", replicas())], true);
                assert_eq!(found, None);
            }
        }
    }

    #[test]
    fn a_number_set_by_hand_holds_for_ten_minutes() {
        let at = |time: &str, has_scaled| writer(&[("kubectl", "Update", time, replicas())], has_scaled);
        let held = Some(("kubectl".to_owned(), true));
        assert_eq!(at("2026-01-05T11:55:00Z", true), held);
        assert_eq!(at("2026-01-05T11:49:00Z", true), None, "it is over");
        assert_eq!(at("2026-01-05T11:55:00Z", false), None, "the number to begin with");
    }

    #[test]
    fn kubectl_scale_leaves_no_time_and_counts_from_when_it_was_found() {
        let mut live = live(&[("kubectl", "Update", "2026-01-05T11:55:00Z", replicas())]);
        live.metadata.managed_fields[0].time = None;
        let found = live.other_writer(true, None, NOON).expect("a hold");
        assert_eq!(found.until, Some(UnixMillis(NOON.0 + 600_000)));
        let later =
            |minutes: u64| live.other_writer(true, Some(&found), UnixMillis(NOON.0 + minutes * 60_000));
        assert_eq!((later(9), later(10)), (Some(found.clone()), None));
        assert_eq!(live.other_writer(false, None, NOON), None);
    }

    #[test]
    fn an_owner_without_end_counts_more() {
        let both = [
            ("kubectl", "Update", "2026-01-05T11:55:00Z", replicas()),
            ("flux", "Apply", "2026-01-05T11:00:00Z", replicas()),
        ];
        assert_eq!(writer(&both, true), Some(("flux".to_owned(), false)));
        assert_eq!(live(&both).replicas(), Some(3));
    }
}
