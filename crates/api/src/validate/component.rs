//! The rules of one component, of whichever role.

use crate::component::{Common, Particular, Role, Spec, SpecView};
use crate::types::ProcessingGuarantee;

use super::{FieldPath, Findings, grammar, messaging, scaling, topics, window};

/// Checks a complete specification that stands at `path`.
pub(super) fn check<S: Spec>(path: &FieldPath, spec: &S, findings: &mut Findings) {
    super::check_shape(path, spec, findings);
    let view = spec.view();
    runtime(path, &view, findings);
    topics::check(path, &view, findings);
    delivery(path, &view, findings);
    scaling::check(path, &view.common, findings);
    scaling::resources(path, &view.common, findings);
    messaging::check(path, &view.common, findings);
    connector(path, &view, findings);
    if let Some(config) = view.function().and_then(|function| function.window_config.as_ref()) {
        window::check(&path.field("windowConfig"), config, findings);
    }
}

fn is_blank(text: Option<&str>) -> bool {
    text.is_none_or(str::is_empty)
}

fn runtime(path: &FieldPath, view: &SpecView<'_>, findings: &mut Findings) {
    let Common { java, python, golang, generic_runtime, class_name, .. } = view.common;
    if view.role == Role::Function {
        let set: Vec<_> =
            [("java", java.is_some()), ("python", python.is_some()), ("golang", golang.is_some())]
                .into_iter()
                .filter_map(|(name, is_set)| is_set.then_some(name))
                .collect();
        if set.is_empty() && generic_runtime.is_none() {
            findings.deny(
                path.field("java"),
                "a function needs a runtime: set one of `java`, `python`, `golang` and `genericRuntime`",
            );
        }
        if let [first, others @ ..] = set.as_slice() {
            for other in others {
                findings.deny(path.field(other), format!("`{first}` is set too; a function has one runtime"));
            }
        }
    } else if java.is_none() {
        findings.deny(
            path.field("java"),
            format!("a {} needs `java`, with the connector as its `jar`", view.role),
        );
    }
    if (java.is_some() || python.is_some()) && is_blank(class_name) {
        findings.deny(path.field("className"), "must name the class that runs");
    }
    let files = [
        (java.map(|java| (java.jar.as_str(), java.jar_location.as_deref())), "java", "jar"),
        (python.map(|python| (python.py.as_str(), python.py_location.as_deref())), "python", "py"),
        (golang.map(|golang| (golang.go.as_str(), golang.go_location.as_deref())), "golang", "go"),
    ];
    for (file, runtime, field) in files {
        let Some((file, location)) = file else { continue };
        let at = path.field(runtime);
        if file.is_empty() {
            findings.deny(at.field(field), "must be the path of the file in the container");
        }
        let location = location.filter(|location| !location.is_empty());
        if let Some(fault) = location.and_then(grammar::package_location_fault) {
            findings.deny(at.field(&format!("{field}Location")), fault);
        }
    }
}

fn connector(path: &FieldPath, view: &SpecView<'_>, findings: &mut Findings) {
    match view.particular {
        Particular::Source { config: None, .. } => {
            findings.deny(path.field("sourceConfig"), "a source needs the configuration of its connector");
        }
        Particular::Sink { config: None } => {
            findings.deny(path.field("sinkConfig"), "a sink needs the configuration of its connector");
        }
        Particular::Source { batch: Some(batch), .. } if batch.discovery_triggerer_class_name.is_empty() => {
            findings.deny(
                path.field("batchSourceConfig.discoveryTriggererClassName"),
                "must name the class that triggers a discovery",
            );
        }
        Particular::Function(_) | Particular::Source { .. } | Particular::Sink { .. } => {}
    }
    if let Some(stateful) = view.common.stateful_config.and_then(|config| config.pulsar.as_ref())
        && view.role == Role::Function
    {
        let at = path.field("statefulConfig");
        let Common { java, python, golang, generic_runtime, .. } = view.common;
        if golang.is_some() && java.is_none() && python.is_none() && generic_runtime.is_none() {
            findings.deny(at.clone(), "the Go runtime has no state; use Java or Python");
        }
        if stateful.service_url.is_empty() {
            findings.deny(at.field("pulsar.serviceUrl"), "must be the address of the state store");
        }
    }
}

/// Delivery: acknowledgement, retries and order.
fn delivery(path: &FieldPath, view: &SpecView<'_>, findings: &mut Findings) {
    let Some(consuming) = view.consuming else { return };
    let retries = consuming.max_message_retry.unwrap_or_default();
    if view.common.processing_guarantee == ProcessingGuarantee::EffectivelyOnce {
        if consuming.timeout.unwrap_or_default() != 0 {
            findings.deny(path.field("timeout"), "cannot be set with processingGuarantee `effectively_once`");
        }
        if retries > 0 {
            findings.deny(
                path.field("maxMessageRetry"),
                "cannot be set with processingGuarantee `effectively_once`",
            );
        }
        if consuming.retain_key_ordering {
            findings.deny(
                path.field("retainKeyOrdering"),
                "cannot be set with processingGuarantee `effectively_once`",
            );
        }
    }
    let dead_letters = consuming.dead_letter_topic.filter(|topic| !topic.is_empty());
    if dead_letters.is_some() && retries <= 0 {
        findings.deny(
            path.field("maxMessageRetry"),
            "must be 1 or more, since messages reach `deadLetterTopic` after that many retries",
        );
    }
    if view.role == Role::Function && consuming.retain_key_ordering && consuming.retain_ordering {
        findings.deny(path.field("retainKeyOrdering"), "`retainOrdering` is set too; set only one of them");
    }
}
