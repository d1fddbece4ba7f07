//! What a component's pods subscribed to before: kept on the StatefulSet, in the very write that rolls a change out, so
//! that no end of the controller loses it; and shown in the status.

use function_mesh_api::Component;
use function_mesh_api::labels::{self, SUBSCRIPTIONS};
use function_mesh_api::types::Subscription;
use function_mesh_workloads::subscriptions::{subscriptions, union, without};
use k8s_openapi::api::apps::v1::StatefulSet;

use crate::context::Shared;
use crate::error::Error;
use function_mesh_kube::status::write_status;

/// Most subscriptions of before that are kept, as the definition of the status says.
const MOST: usize = 1000;
/// Longest annotation, in bytes; all of an object have 256 KiB.
const LONGEST: usize = 100 << 10;

/// The subscriptions that a StatefulSet's pods make or once made.
pub(super) fn read(live: &StatefulSet) -> Vec<Subscription> {
    let text = labels::annotation(&live.metadata, SUBSCRIPTIONS);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Puts the subscriptions of a component onto its StatefulSet, with those of before.
pub(super) fn write(wanted: &mut StatefulSet, current: &[Subscription], before: &[Subscription]) {
    let before = without(before, current);
    if current.is_empty() && before.is_empty() {
        return;
    }
    let all = bounded(current.iter().chain(&before), LONGEST);
    if let Ok(text) = serde_json::to_string(&all) {
        wanted.metadata.annotations.get_or_insert_default().insert(SUBSCRIPTIONS.to_owned(), text);
    }
}

/// Carries what the live StatefulSet says of before over to the wanted one.
pub(super) fn carry_over(wanted: &mut StatefulSet, live: &StatefulSet) {
    let current = read(wanted);
    write(wanted, &current, &read(live));
}

/// Those that a StatefulSet's pods once made and the component no longer names.
pub(super) fn retired<C: Component>(component: &C, live: &StatefulSet) -> Vec<Subscription> {
    let mut retired = without(&read(live), &subscriptions(component));
    retired.truncate(MOST);
    retired
}

/// Notes in the status what a StatefulSet that is about to go says of before.
pub(super) async fn note<C: Component>(
    component: &C,
    live: &StatefulSet,
    shared: &Shared,
) -> Result<Vec<Subscription>, Error> {
    let mut status = component.status().cloned().unwrap_or_default();
    let mut all = union(&status.retired_subscriptions, &retired(component, live));
    all.truncate(MOST);
    if all == status.retired_subscriptions {
        return Ok(all);
    }
    status.retired_subscriptions.clone_from(&all);
    let written = write_status(&shared.client, component, &status, labels::managers::STATUS).await;
    written.map(|()| all).map_err(Error::report)
}

fn bounded<'a>(all: impl Iterator<Item = &'a Subscription>, longest: usize) -> Vec<&'a Subscription> {
    let mut left = longest;
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
    fn a_change_keeps_what_was_before_and_one_back_forgets_it() {
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
    fn it_is_bounded_and_what_is_current_comes_first() {
        let many: Vec<_> = (0..5000).map(|n| subscription("s", &format!("{n:0>100}"))).collect();
        let mut wanted = set(&[subscription("t", "now")]);
        carry_over(&mut wanted, &set(&many));
        let text = labels::annotation(&wanted.metadata, SUBSCRIPTIONS).expect("an annotation");
        assert!(text.len() <= LONGEST, "{} bytes", text.len());
        assert_eq!(read(&wanted)[0], subscription("t", "now"));
    }

    #[test]
    fn a_source_without_batches_has_none() {
        assert_eq!(set(&[]).metadata.annotations, None);
    }
}
