//! Who sets the replicas of a component, by its `managedFields`. Pure.
//!
//! An owner by `Apply` means to keep the number: GitOps applies it again and again. `Update` says only that the number was set
//! once, so that it counts for a while. The API server drops the entry of a write to the scale subresource of a custom resource
//! with the next apply of the status: such a writer shows by its number alone, and has no name.

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
/// A writer without an entry.
const UNNAMED: &str = "another client";
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

    /// Who else sets the replicas. One without an end counts more.
    pub(super) fn other_writer(&self, known: &Known, now: UnixMillis) -> Option<OtherWriter> {
        let managed = self.metadata.managed_fields.iter();
        let owners = managed.filter(|entry| {
            let spec = entry.fields_v1.as_ref().and_then(|fields| fields.spec.as_ref());
            spec.is_some_and(|spec| spec.replicas.is_some())
        });
        let (ours, others): (Vec<_>, Vec<_>) = owners.partition(|entry| entry.manager.starts_with(OURS));
        let holds = others.iter().filter_map(|entry| entry.hold(known, now));
        let named = holds.min_by_key(|hold| hold.until.is_some());
        let is_foreign = self.replicas().is_some() && self.replicas() == known.foreign;
        if named.is_some() || !ours.is_empty() || !is_foreign {
            return named;
        }
        // An entry that was there at the last look has the name.
        let before = known.writer.clone().filter(|writer| writer.until.is_some());
        let writer = before.unwrap_or_else(|| OtherWriter::once(UNNAMED.to_owned(), now));
        (known.has_scaled && writer.until.is_some_and(|until| now < until)).then_some(writer)
    }
}

impl Entry {
    /// Whether it holds the replicas.
    fn hold(&self, known: &Known, now: UnixMillis) -> Option<OtherWriter> {
        let manager = self.manager.clone();
        if self.operation == "Apply" {
            return Some(OtherWriter { manager, until: None });
        }
        // Before the first change of the operator it is the number to begin with, which an HPA of before may have set.
        if CONTROLLERS.contains(&manager.as_str()) {
            return known.has_scaled.then_some(OtherWriter { manager, until: None });
        }
        let since = self.time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
        // An entry of the scale subresource has no time: it counts from when it was found.
        let before =
            known.writer.clone().filter(|writer| writer.manager == manager && writer.until.is_some());
        let writer = match since {
            Some(since) => OtherWriter::once(manager, UnixMillis(since)),
            None => before.unwrap_or_else(|| OtherWriter::once(manager, now)),
        };
        (known.has_scaled && writer.until.is_some_and(|until| now < until)).then_some(writer)
    }
}

/// What the operator knows of the replicas of a component.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Whether the operator ever changed them: its write takes the field from every other owner, so that any other owner set
    /// it later. Times of two clocks need not be compared.
    pub(super) has_scaled: bool,
    /// Who else was found before.
    pub(super) writer: Option<OtherWriter>,
    /// A number that appeared and is not the operator's.
    pub(super) foreign: Option<u32>,
}

/// Another field manager that sets the replicas.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct OtherWriter {
    /// Its name.
    pub(super) manager: String,
    /// When the operator sets them again; None as long as it owns the field.
    pub(super) until: Option<UnixMillis>,
}

impl OtherWriter {
    /// One that set them at a time, once.
    fn once(manager: String, since: UnixMillis) -> Self {
        let hold = u64::try_from(UPDATE_HOLD.as_millis()).unwrap_or(u64::MAX);
        Self { manager, until: Some(UnixMillis(since.0.saturating_add(hold))) }
    }
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
        let known = Known { has_scaled, ..Known::default() };
        live(entries).other_writer(&known, NOON).map(|found| (found.manager, found.until.is_some()))
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
        let scaled = Known { has_scaled: true, ..Known::default() };
        let found = live.other_writer(&scaled, NOON).expect("a hold");
        assert_eq!(found.until, Some(UnixMillis(NOON.0 + 600_000)));
        let found_before = Known { writer: Some(found.clone()), ..scaled };
        let later = |minutes: u64| live.other_writer(&found_before, UnixMillis(NOON.0 + minutes * 60_000));
        assert_eq!((later(9), later(10)), (Some(found.clone()), None));
        assert_eq!(live.other_writer(&Known::default(), NOON), None);
    }

    #[test]
    fn a_number_without_an_entry_has_a_writer_without_a_name() {
        let foreign = Known { has_scaled: true, writer: None, foreign: Some(3) };
        let found = live(&[]).other_writer(&foreign, NOON).expect("a hold");
        assert_eq!(found, OtherWriter::once(UNNAMED.to_owned(), NOON));
        let later = |writer: &OtherWriter, minutes: u64| {
            let known = Known { writer: Some(writer.clone()), ..foreign.clone() };
            live(&[]).other_writer(&known, UnixMillis(NOON.0 + minutes * 60_000))
        };
        assert_eq!((later(&found, 9), later(&found, 10)), (Some(found.clone()), None));
        let named = OtherWriter::once("kubectl".to_owned(), NOON);
        assert_eq!(later(&named, 1), Some(named.clone()), "its entry was there before");

        for (why, known) in [
            ("the number to begin with", Known { has_scaled: false, ..foreign.clone() }),
            ("another number", Known { foreign: Some(2), ..foreign.clone() }),
            ("the operator's", Known { foreign: None, ..foreign.clone() }),
        ] {
            assert_eq!(live(&[]).other_writer(&known, NOON), None, "{why}");
        }
        let ours = [("functionmesh.io/autoscaler", "Update", "2026-01-05T11:00:00Z", replicas())];
        assert_eq!(live(&ours).other_writer(&foreign, NOON), None, "a former process of ours");
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
