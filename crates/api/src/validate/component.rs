//! Rules of a component of any role.

use crate::component::{Common, KindSpecific, Role, Spec, SpecView};
use crate::names;
use crate::types::{ProcessingGuarantee, STALL_AFTER_RANGE, parse_duration};

use super::collector::Collector;
use super::scaling::Lifecycle;
use super::violation::FieldPath;
use super::{
    field_limits, message_scaling, messaging, pod, rollout, rules, scaling, topics, volumes, warnings, window,
};

/// Validates a defaulted spec at `path`.
pub(super) fn check<S: Spec>(path: &FieldPath, spec: &S, lifecycle: Lifecycle, findings: &mut Collector) {
    field_limits::check(path, spec, findings);
    let view = spec.view();
    runtime(path, &view, findings);
    topics::check(path, &view, findings);
    delivery(path, &view, findings);
    scaling::check(path, &view, lifecycle, findings);
    message_scaling::check(path, &view, lifecycle, findings);
    scaling::resources(path, &view.common, findings);
    messaging::check(path, &view.common, findings);
    connector(path, &view, findings);
    size(path, &view, findings);
    volumes::check(path, &view, findings);
    if let Some(pod) = view.common.pod {
        pod::check(&path.field("pod"), pod, findings);
    }
    if let Some(config) = view.function().and_then(|function| function.window_config.as_ref()) {
        window::check(path, config, findings);
    }
    stall(path, &view.common, findings);
    rollout::check(path, &view, findings);
    warnings::check(path, &view, findings);
}

fn stall(path: &FieldPath, spec: &Common<'_>, findings: &mut Collector) {
    let Some(text) = spec.stall_after else { return };
    let (least, most) = STALL_AFTER_RANGE;
    if parse_duration(text).is_none_or(|duration| duration < least || duration > most) {
        let message = "must be a duration from one minute to a day, such as `5m` or `1m30s`";
        findings.deny(path.field("stallAfter"), message);
    }
}

fn is_blank(text: Option<&str>) -> bool {
    text.is_none_or(str::is_empty)
}

fn runtime(path: &FieldPath, view: &SpecView<'_>, findings: &mut Collector) {
    let Common { java, python, golang, generic_runtime, class_name, .. } = view.common;
    if view.role == Role::Function {
        let is_set = [java.is_some(), python.is_some(), golang.is_some(), generic_runtime.is_some()];
        match is_set {
            [false, false, false, false] => findings.deny_rule(path, &rules::NO_RUNTIME),
            [true, python, go, _] => {
                if python {
                    findings.deny_rule(path, &rules::PYTHON_BESIDE_JAVA);
                }
                if go {
                    findings.deny_rule(path, &rules::GO_BESIDE_JAVA);
                }
            }
            [false, true, true, _] => findings.deny_rule(path, &rules::GO_BESIDE_PYTHON),
            [false, ..] => {}
        }
    } else if java.is_none() {
        findings.deny_rule(path, &rules::CONNECTOR_WITHOUT_JAVA);
    }
    if (java.is_some() || python.is_some()) && is_blank(class_name) {
        findings.deny_rule(path, &rules::NO_CLASS);
    }
    // Connectors run in Java; other runtimes beside it are not read.
    let python = python.filter(|_| view.role == Role::Function);
    let golang = golang.filter(|_| view.role == Role::Function);
    let generic_runtime = generic_runtime.filter(|_| view.role == Role::Function);
    let files = [
        (java.map(|java| (java.jar.is_empty(), &java.jar_location)), &rules::NO_JAR),
        (python.map(|python| (python.py.is_empty(), &python.py_location)), &rules::NO_PY),
        (golang.map(|golang| (golang.go.is_empty(), &golang.go_location)), &rules::NO_GO),
    ];
    for (file, rule) in files {
        let Some((is_missing, location)) = file else { continue };
        if is_missing {
            findings.deny_rule(path, rule);
        }
        package_location(&path.field(&format!("{}Location", rule.field)), location.as_deref(), findings);
    }
    // The field limits check that the file is set.
    let generic = generic_runtime.and_then(|generic| generic.function_file_location.as_deref());
    package_location(&path.field("genericRuntime.functionFileLocation"), generic, findings);
}

fn package_location(path: &FieldPath, location: Option<&str>, findings: &mut Collector) {
    let given = location.filter(|location| !location.is_empty());
    if let Some(error) = given.and_then(names::package_location_error) {
        findings.deny(path.clone(), error);
    } else if given.is_some_and(names::is_replaceable_package) {
        findings.warn(
            path.clone(),
            "plain HTTP lets the network replace the package; use https://, or append `#sha256=` and the digest of the \
             file",
        );
    } else if given.is_some_and(names::is_bare_package_path) {
        findings.warn(
            path.clone(),
            "read as a path in the storage of Pulsar's function workers; for a package of the package service write \
             `function://`, `source://` or `sink://` before it",
        );
    }
}

fn connector(path: &FieldPath, view: &SpecView<'_>, findings: &mut Collector) {
    if let KindSpecific::Source { batch: Some(batch), .. } = view.kind_specific
        && batch.discovery_triggerer_class_name.is_empty()
    {
        findings.deny_rule(path, &rules::NO_TRIGGERER);
    }
    match view.kind_specific {
        KindSpecific::Source { config: None, .. } => findings.deny_rule(path, &rules::NO_SOURCE_CONFIG),
        KindSpecific::Sink { config: None } => findings.deny_rule(path, &rules::NO_SINK_CONFIG),
        KindSpecific::Function(_) | KindSpecific::Source { .. } | KindSpecific::Sink { .. } => {}
    }
    if let Some(stateful) = view.common.stateful_config.and_then(|config| config.pulsar.as_ref())
        && view.role == Role::Function
    {
        let Common { java, python, golang, generic_runtime, .. } = view.common;
        if golang.is_some() && java.is_none() && python.is_none() && generic_runtime.is_none() {
            findings.deny_rule(path, &rules::STATE_IN_GO);
        }
        if stateful.service_url.is_empty() {
            findings.deny_rule(path, &rules::NO_STATE_STORE);
        }
    }
}

/// Maximum bytes of one argument of a command: MAX_ARG_STRLEN of Linux without the terminating NUL.
pub const MAX_ARGUMENT: usize = 131_072 - 1;

/// The runner gets its configuration as JSON within JSON, quoted for a shell, as part of one argument. Rejects a
/// configuration that alone exceeds the limit; the controller checks the complete command.
fn size(path: &FieldPath, view: &SpecView<'_>, findings: &mut Collector) {
    let configs = match view.kind_specific {
        KindSpecific::Function(function) => vec![
            ("funcConfig", function.func_config.as_ref()),
            (
                "sourceConfig.configs",
                function.source_config.as_ref().and_then(|source| source.configs.as_ref()),
            ),
            ("sinkConfig.configs", function.sink_config.as_ref().and_then(|sink| sink.configs.as_ref())),
        ],
        KindSpecific::Source { config, .. } => vec![("sourceConfig", config)],
        KindSpecific::Sink { config } => vec![("sinkConfig", config)],
    };
    let sizes =
        configs.into_iter().filter_map(|(field, config)| Some((field, quoted_size(config?.as_str()))));
    let sizes: Vec<_> = sizes.collect();
    let sum: usize = sizes.iter().map(|(_, size)| size).sum();
    if sum > MAX_ARGUMENT
        && let Some((field, _)) = sizes.iter().max_by_key(|(_, size)| *size)
    {
        findings.deny(
            path.field(field),
            format!(
                "the runner cannot start: its configuration takes {sum} bytes of the command with quotes and escapes, \
                 and Linux limits an argument to {MAX_ARGUMENT}; move large values into a ConfigMap or Secret and \
                 mount it"
            ),
        );
    }
}

/// The minimum size of JSON as a string within JSON within single quotes of a shell.
fn quoted_size(json: &str) -> usize {
    let mut bytes = json.bytes();
    let (mut size, mut in_string) = (0, false);
    while let Some(byte) = bytes.next() {
        size += match byte {
            b' ' | b'\n' | b'\r' | b'\t' if !in_string => 0,
            b'"' => {
                in_string = !in_string;
                2
            }
            b'\\' => match bytes.next() {
                Some(b'"' | b'\\') => 4,
                // The command contains most characters of `\u` escapes unescaped.
                Some(b'u') => {
                    let _digits = bytes.nth(3);
                    1
                }
                Some(b'/') => 1,
                _ => 3,
            },
            b'\'' => 5,
            _ => 1,
        };
    }
    size
}

/// Rules of delivery: acknowledgement, redelivery and ordering.
fn delivery(path: &FieldPath, view: &SpecView<'_>, findings: &mut Collector) {
    let Some(consuming) = view.consuming else { return };
    let retries = consuming.max_message_retry.unwrap_or_default();
    if view.common.processing_guarantee == ProcessingGuarantee::EffectivelyOnce {
        if consuming.timeout.unwrap_or_default() != 0 {
            findings.deny_rule(path, &rules::TIMEOUT_ONCE);
        }
        if retries > 0 {
            findings.deny_rule(path, &rules::RETRY_ONCE);
        }
        // Upstream accepts it of sinks, so there it is one of the warnings.
        if consuming.retain_key_ordering && view.role == Role::Function {
            findings.deny_rule(path, &rules::KEY_ORDER_ONCE);
        }
    }
    let dead_letters = consuming.dead_letter_topic.filter(|topic| !topic.is_empty());
    if dead_letters.is_some() && retries <= 0 {
        findings.deny_rule(path, &rules::NO_RETRY);
    }
    if view.role == Role::Function && consuming.retain_key_ordering && consuming.retain_ordering {
        findings.deny_rule(path, &rules::TWO_ORDERS);
    }
}
