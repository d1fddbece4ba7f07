//! All subscriptions that the pods of a component ever created. They are in an annotation of the StatefulSet, written
//! together with the rollout that changes them, so that no crash loses them; and in the status.

use function_mesh_api::Component;
use function_mesh_api::labels::{self, SUBSCRIPTIONS};
use function_mesh_api::types::Subscription;
use function_mesh_workloads::subscriptions::{subscriptions, union, without};
use k8s_openapi::api::apps::v1::StatefulSet;

use crate::context::Shared;
use crate::error::Error;
use function_mesh_kube::status::write_status;

/// Retired subscriptions in the status, as the CRD limits them.
const MAX_RETIRED: usize = 1000;
/// Longest annotation, in bytes; the API server limits all annotations of an object to 256 KiB.
const MAX_ANNOTATION_LEN: usize = 100 << 10;

/// The current and the retired subscriptions of a StatefulSet.
pub(super) fn read(live: &StatefulSet) -> Vec<Subscription> {
    let text = labels::annotation(&live.metadata, SUBSCRIPTIONS);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Writes the subscriptions of a component into the annotation, together with the retired ones.
pub(super) fn write(wanted: &mut StatefulSet, current: &[Subscription], before: &[Subscription]) {
    let before = without(before, current);
    if current.is_empty() && before.is_empty() {
        return;
    }
    let all = limited(current.iter().chain(&before), MAX_ANNOTATION_LEN);
    if let Ok(text) = serde_json::to_string(&all) {
        wanted.metadata.annotations.get_or_insert_default().insert(SUBSCRIPTIONS.to_owned(), text);
    }
}

/// Copies the subscriptions of the live StatefulSet into the wanted one.
pub(super) fn carry_over(wanted: &mut StatefulSet, live: &StatefulSet) {
    let current = read(wanted);
    write(wanted, &current, &read(live));
}

/// Subscriptions that the pods of a StatefulSet created and the spec no longer names.
pub(super) fn retired<C: Component>(component: &C, live: &StatefulSet) -> Vec<Subscription> {
    let mut retired = without(&read(live), &subscriptions(component));
    retired.truncate(MAX_RETIRED);
    retired
}

/// Copies the retired subscriptions of a StatefulSet into the status, before it is deleted.
pub(super) async fn record_in_status<C: Component>(
    component: &C,
    live: &StatefulSet,
    shared: &Shared,
) -> Result<Vec<Subscription>, Error> {
    let mut status = component.status().cloned().unwrap_or_default();
    let mut all = union(&status.retired_subscriptions, &retired(component, live));
    all.truncate(MAX_RETIRED);
    if all == status.retired_subscriptions {
        return Ok(all);
    }
    status.retired_subscriptions.clone_from(&all);
    let written = write_status(&shared.client, component, &status, labels::managers::STATUS).await;
    written.map(|_| all).map_err(Error::report)
}

fn limited<'a>(all: impl Iterator<Item = &'a Subscription>, max_len: usize) -> Vec<&'a Subscription> {
    let mut left = max_len;
    let fits = |it: &&Subscription| {
        let length = serde_json::to_string(it).map_or(usize::MAX, |text| text.len() + 1);
        left = left.saturating_sub(length);
        left > 0
    };
    all.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(name: &str, topic: &str) -> Subscription {
        Subscription { name: name.into(), topic: topic.into(), is_pattern: false }
    }

    fn set(current: &[Subscription]) -> StatefulSet {
        let mut set = StatefulSet::default();
        write(&mut set, current, &[]);
        set
    }

    #[test]
    fn change_retires_subscriptions_and_revert_restores_them() {
        let (old, new) = (subscription("s", "a"), subscription("t", "a"));
        let live = set(std::slice::from_ref(&old));
        let mut changed = set(std::slice::from_ref(&new));
        carry_over(&mut changed, &live);
        assert_eq!(read(&changed), [new.clone(), old.clone()]);
        let mut again = set(std::slice::from_ref(&new));
        carry_over(&mut again, &changed);
        assert_eq!(again, changed, "nothing is written when nothing changes");
        let mut back = set(std::slice::from_ref(&old));
        carry_over(&mut back, &changed);
        assert_eq!(without(&read(&back), &[old]), [new]);
    }

    #[test]
    fn annotation_is_limited_and_current_ones_come_first() {
        let many: Vec<_> = (0..5000).map(|n| subscription("s", &format!("{n:0>100}"))).collect();
        let mut wanted = set(&[subscription("t", "now")]);
        carry_over(&mut wanted, &set(&many));
        let text = labels::annotation(&wanted.metadata, SUBSCRIPTIONS).expect("an annotation");
        assert!(text.len() <= MAX_ANNOTATION_LEN, "{} bytes", text.len());
        assert_eq!(read(&wanted)[0], subscription("t", "now"));
    }

    #[test]
    fn no_annotation_without_subscriptions() {
        assert_eq!(set(&[]).metadata.annotations, None);
    }
}
