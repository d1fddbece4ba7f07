//! The write of a StatefulSet whose component has `strategy: Recreate`.

use std::sync::Arc;

use function_mesh_api::labels;
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::Value;

use super::{Next, Recreate, Template, next};
use crate::component::observe::Observed;
use crate::component::plan::{SetStep, set_step};

/// A StatefulSet whose pods are stopped before they are recreated.
#[derive(Debug, PartialEq)]
pub(in crate::component) struct Stop {
    pub(in crate::component) live: Arc<StatefulSet>,
    /// The wanted StatefulSet.
    pub(in crate::component) wanted: StatefulSet,
    /// The fields to write, if there are some.
    pub(in crate::component) part: Option<Value>,
    /// What it waits for.
    pub(in crate::component) recreate: Recreate,
}

/// The write of the StatefulSet, which `strategy: Recreate` stops first; and where that is.
pub(in crate::component) fn step(
    mut wanted: StatefulSet,
    observed: &Observed,
) -> (SetStep, Option<Recreate>) {
    let (Some(facts), Some(live)) = (&observed.recreate, observed.stateful_set.clone()) else {
        return (set_step(wanted, observed), None);
    };
    let template = match (observed.pause, &observed.rollout.good) {
        (Some(_), _) => Template::Deferred,
        (None, Some(_)) => Template::RolledBack,
        (None, None) => Template::Rendered,
    };
    match next(facts, &wanted, &live, template) {
        Next::Hold(part, recreate) => (SetStep::Stop(Box::new(Stop { live, wanted, part, recreate })), None),
        Next::Apply(record, recreate) => {
            if let Some(record) = record {
                let annotations = wanted.metadata.annotations.get_or_insert_default();
                annotations.insert(labels::RECREATE.to_owned(), record);
            }
            (set_step(wanted, observed), Some(recreate))
        }
    }
}
