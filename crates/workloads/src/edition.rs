//! Editions of the pod template: an improvement of the template must not restart running pods.
//!
//! A StatefulSet keeps the edition that it was written with as long as that edition renders the live template. As soon
//! as the template changes for another reason, pods restart anyway, and the newest edition is rendered.

use std::fmt::Write;

use function_mesh_api::labels;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::diff::{dedup_keyed_lists, differences_of};

/// An edition of the pod template.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Edition {
    /// As upstream renders it.
    First,
    /// With probes, the default container, resources of added containers, and folders that any user may write.
    Second,
}

impl Edition {
    /// The edition of new StatefulSets.
    pub const NEWEST: Self = Self::Second;

    /// The value of the annotation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "1",
            Self::Second => "2",
        }
    }

    /// The edition of a live StatefulSet. An unknown one, of a later release, is rendered again.
    pub fn of(live: &StatefulSet) -> Self {
        match labels::annotation(&live.metadata, labels::TEMPLATE_EDITION) {
            None => Self::First,
            Some(text) if text == Self::First.as_str() => Self::First,
            Some(_) => Self::NEWEST,
        }
    }
}

/// Whether a rendered template is the live one. `rendered` must have the edition of the live StatefulSet.
pub(crate) fn is_live(rendered: &StatefulSet, live: &StatefulSet) -> bool {
    // A field that is no longer rendered makes no difference, since the API server adds fields too; the hash shows it.
    // Earlier releases wrote none.
    let written = labels::annotation(&live.metadata, labels::TEMPLATE_HASH);
    if written.is_some() && written != labels::annotation(&rendered.metadata, labels::TEMPLATE_HASH) {
        return false;
    }
    has_same_template(live, rendered)
}

/// Whether each field of a StatefulSet's wanted template has the live value.
pub fn has_same_template(live: &StatefulSet, wanted: &StatefulSet) -> bool {
    let (Some(wanted), Some(live)) = (&wanted.spec, &live.spec) else { return false };
    let mut template = wanted.template.clone();
    // The selector is immutable, so a write keeps the labels of the live one.
    let selected = live.selector.match_labels.clone().unwrap_or_default();
    template.metadata.get_or_insert_default().labels.get_or_insert_default().extend(selected);
    let (Some(wanted), Some(live)) = (stateful_set(&template), stateful_set(&live.template)) else {
        return false;
    };
    differences_of("StatefulSet", &wanted, &live).is_empty()
}

/// Whether a live StatefulSet was written with the template of a rendered one, regardless of what admission made of it.
pub fn has_template_of(live: &StatefulSet, rendered: &StatefulSet) -> bool {
    let hash =
        |set: &StatefulSet| labels::annotation(&set.metadata, labels::TEMPLATE_HASH).map(str::to_owned);
    hash(live)
        .zip(hash(rendered))
        .map_or_else(|| is_live(rendered, live), |(live, rendered)| live == rendered)
}

/// A StatefulSet with nothing but a template, without duplicates, as it is written.
fn stateful_set(template: &PodTemplateSpec) -> Option<Value> {
    let mut set =
        json!({ "kind": "StatefulSet", "spec": { "template": serde_json::to_value(template).ok()? } });
    dedup_keyed_lists(&mut set);
    Some(set)
}

/// The annotations that identify a rendered template.
pub(crate) fn annotations(edition: Edition, template: &PodTemplateSpec) -> [(String, String); 2] {
    let text = stateful_set(template).unwrap_or_default().to_string();
    let digest = Sha256::digest(text.as_bytes());
    let hash = digest.iter().take(8).fold(String::new(), |mut hash, byte| {
        _ = write!(hash, "{byte:02x}");
        hash
    });
    [
        (labels::TEMPLATE_EDITION.to_owned(), edition.as_str().to_owned()),
        (labels::TEMPLATE_HASH.to_owned(), hash),
    ]
}

#[cfg(test)]
mod tests;
