//! The clean-up Job: deletes the subscriptions of a deleted component, and the intermediate topic of a batch source.
//!
//! The controller creates it during the deletion of the component. It has no owner reference, since the deletion
//! waits for it and garbage collection would delete it too early. The controller deletes it after success; after a
//! failure its TTL expires in ten minutes; its Event has the end of its log.
//!
//! The container runs `cleanup.sh`, the same script for every component, with the targets as arguments. The script
//! succeeds only if the broker no longer lists any target.

use std::collections::BTreeMap;

use function_mesh_api::component::KindSpecific;
use function_mesh_api::names::TopicName;
use function_mesh_api::types::Subscription;
use function_mesh_api::{Role, labels};
use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::admin::{AdminTool, PulsarAdmin};
use crate::connection::Connection;
use crate::container;
use crate::context::Context;
use crate::optional::none_if_empty;
use crate::shell::{ShellWord, escape_references};
use crate::subscriptions::{self, Targets};
use crate::{container_parts, images, names, pattern, pod, volumes};

/// Backoff limit of the Job.
const BACKOFF_LIMIT: i32 = 3;
/// TTL of the finished Job in seconds, to read its log.
const TTL_SECONDS: i32 = 600;

/// Exit codes of a shell that cannot start a program, for which retries are useless.
pub const CANNOT_START: [i32; 2] = [126, 127];
/// Name of the Job's container.
pub const CONTAINER: &str = "cleanup";
/// Script of the container.
const SCRIPT: &str = include_str!("cleanup.sh");
/// Java class that matches topics like Pulsar; see `TopicMatcher.java`.
const MATCHER: &[u8] = include_bytes!("TopicMatcher.class");

/// Builds the Job that deletes all subscriptions of a component. None if the operator must not delete them.
pub(crate) fn build_job(context: &Context<'_>) -> Option<Job> {
    is_wanted(context).then(|| {
        build_job_for(context, &Targets::all(subscriptions::list(&context.view, context.object_name())))
    })
}

/// Builds the Job that deletes the given subscriptions of a component.
pub(crate) fn build_job_for(context: &Context<'_>, targets: &Targets) -> Job {
    let connection = context.cleanup_connection();
    let image = images::cleanup(context);
    let volumes = volumes::build_volumes(context, &connection, false);
    let shell = ["sh".to_owned(), "-c".to_owned(), script(context, connection, &image), CONTAINER.to_owned()];
    let container = Container {
        name: CONTAINER.to_owned(),
        image: Some(image),
        image_pull_policy: Some(images::pull_policy(context)),
        command: Some(shell.into_iter().chain(arguments(context.role(), targets)).collect()),
        env: Some(container::env(context)),
        env_from: none_if_empty(container::env_from(context)),
        resources: Some(context.settings.cleanup_resources.clone()),
        security_context: Some(container_parts::security_context()),
        volume_mounts: none_if_empty(volumes::build_cleanup_mounts(context, &connection, &volumes)),
        ..Container::default()
    };
    let name = names::cleanup_job(context.object_name(), context.role(), context.meta.uid.as_deref());
    let labels = job_labels(context, &name);
    let template = pod::build_job_metadata(context, &labels);
    Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: context.meta.namespace.clone(),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            active_deadline_seconds: Some(context.settings.cleanup_deadline),
            backoff_limit: Some(BACKOFF_LIMIT),
            pod_failure_policy: Some(fail_without_program()),
            ttl_seconds_after_finished: Some(TTL_SECONDS),
            template: PodTemplateSpec {
                metadata: Some(template),
                spec: Some(PodSpec {
                    containers: vec![container],
                    restart_policy: Some("Never".to_owned()),
                    volumes: none_if_empty(volumes),
                    ..pod::build_scheduling(context)
                }),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// Fails the Job at the first attempt if the image lacks the admin tool.
fn fail_without_program() -> PodFailurePolicy {
    let on_exit_codes = PodFailurePolicyOnExitCodesRequirement {
        container_name: Some(CONTAINER.to_owned()),
        operator: "In".to_owned(),
        values: CANNOT_START.to_vec(),
    };
    let rule = PodFailurePolicyRule {
        action: "FailJob".to_owned(),
        on_exit_codes: Some(on_exit_codes),
        on_pod_conditions: None,
    };
    PodFailurePolicy { rules: vec![rule] }
}

/// Whether the operator deletes the subscriptions of the component with it.
pub(crate) fn is_wanted(context: &Context<'_>) -> bool {
    let is_requested = match context.view.kind_specific {
        KindSpecific::Source { batch, .. } => batch.is_some(),
        KindSpecific::Function(_) | KindSpecific::Sink { .. } => {
            context.view.consuming.is_some_and(|consuming| consuming.cleanup_subscription)
        }
    };
    let is_declined = labels::annotation(context.meta, labels::NEED_CLEANUP) == Some("false");
    let labels = context.meta.labels.as_ref();
    let has_label = |key| labels.is_some_and(|labels| labels.contains_key(key));
    let is_of_worker = has_label(labels::PULSAR_CLUSTER) || has_label(labels::LEGACY_PULSAR_CLUSTER);
    is_requested && !is_declined && !is_of_worker
}

/// Labels of the Job. They differ from those of the component's pods, which the Service and autoscalers select.
fn job_labels(context: &Context<'_>, name: &str) -> BTreeMap<String, String> {
    let namespace = context.meta.namespace.as_deref().unwrap_or_default();
    let labels = [
        (labels::APP_NAME, name),
        (labels::COMPONENT, context.role().as_str()),
        (labels::NAME, context.object_name()),
        (labels::NAMESPACE, namespace),
        (labels::OWNER, context.uid()),
    ];
    labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The script, preceded by functions that call either admin tool. It uses the tool that the image contains, and prefers
/// pulsarctl if the component declares it.
fn script(context: &Context<'_>, connection: Connection<'_>, image: &str) -> String {
    let admin = |tool| PulsarAdmin { tool, connection, is_short: true }.command(std::iter::empty::<&str>());
    let (login, pulsarctl) = admin(AdminTool::Pulsarctl);
    let (_, pulsar_admin) = admin(AdminTool::PulsarAdmin);
    let programs = match images::admin_tool(context) {
        AdminTool::Pulsarctl => "pulsarctl pulsar-admin",
        AdminTool::PulsarAdmin => "pulsar-admin pulsarctl",
    };
    let login = login.run(":").into_text();
    format!(
        "programs='{programs}'\nimage={}\nmatcher={}\nlogin() {{ {login}; }}\nctl() {{ {pulsarctl} \"$@\"; }}\nadmin() {{ {pulsar_admin} \"$@\"; }}\n{SCRIPT}",
        ShellWord::from(image),
        base64(MATCHER),
    )
}

/// The targets as arguments of the script, five for each. Escaped, since Kubernetes expands arguments.
fn arguments(role: Role, targets: &Targets) -> Vec<String> {
    let keep = targets
        .keep
        .iter()
        .map(|it| ["keep".to_owned(), it.name.clone(), full(&it.topic), String::new(), String::new()]);
    let remove = targets.remove.iter().map(|it| target(role, it));
    keep.chain(remove).flatten().map(|word| escape_references(&word)).collect()
}

fn target(role: Role, subscription: &Subscription) -> [String; 5] {
    let Subscription { name, topic, is_pattern } = subscription;
    let parsed = TopicName::parse(topic);
    if let (true, Ok(parsed)) = (*is_pattern, &parsed) {
        // Pulsar matches topic names and patterns without their domain.
        let expression = topic.split_once("://").map_or(topic.as_str(), |(_, rest)| rest);
        let namespace = format!("{}/{}", parsed.tenant, parsed.namespace);
        let posix = pattern::to_posix(expression).unwrap_or_default();
        return ["pattern".to_owned(), name.clone(), namespace, posix, expression.to_owned()];
    }
    let kind = if role == Role::Source { "batch" } else { "subscription" };
    [kind.to_owned(), name.clone(), full(topic), String::new(), String::new()]
}

fn full(topic: &str) -> String {
    TopicName::parse(topic).map_or_else(|_| topic.to_owned(), |name| name.to_string())
}

/// Standard base64 with padding, for `base64 -d`.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let letter = LETTERS.get(usize::try_from(bits >> shift & 63).unwrap_or_default());
            let is_there = at <= chunk.len();
            text.push(letter.filter(|_| is_there).map_or('=', |letter| char::from(*letter)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{function, sink, source, with_defaults};
    use serde_json::{Value, json};

    fn container(job: Job) -> Container {
        job.spec.unwrap().template.spec.unwrap().containers.remove(0)
    }

    fn targets(job: Job) -> Vec<Vec<String>> {
        let command = container(job).command.unwrap();
        command[4..]
            .chunks(5)
            .map(|words| words.iter().filter(|it| !it.is_empty()).cloned().collect())
            .collect()
    }

    fn cleaned(spec: Value) -> Vec<Vec<String>> {
        let mut spec = spec;
        spec["cleanupSubscription"] = json!(true);
        targets(with_defaults(&sink(spec), super::build_job).unwrap())
    }

    #[test]
    fn no_job_by_default() {
        assert_eq!(with_defaults(&sink(json!({})), super::build_job), None);
        assert_eq!(with_defaults(&source(json!({})), super::build_job), None);
    }

    #[test]
    fn no_job_if_declined_or_owned_by_function_worker() {
        let requested = sink(json!({ "cleanupSubscription": true }));
        let meta = |annotation: Option<&str>, label: Option<&str>| {
            let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
            ObjectMeta {
                annotations: annotation.map(|value| one(labels::NEED_CLEANUP, value)),
                labels: label.map(|key| one(key, "")),
                ..ObjectMeta::default()
            }
        };
        for (meta, wanted) in [
            (meta(Some("true"), None), true),
            (meta(Some("false"), None), false),
            (meta(None, Some(labels::PULSAR_CLUSTER)), false),
            (meta(None, Some(labels::LEGACY_PULSAR_CLUSTER)), false),
        ] {
            let found =
                with_defaults(&requested, |context| is_wanted(&Context { meta: &meta, ..context.clone() }));
            assert_eq!(found, wanted, "{meta:?}");
        }
    }

    #[test]
    fn one_target_for_each_topic() {
        let expected = [
            ["subscription", "public/default/f", "persistent://public/default/a"],
            ["subscription", "public/default/f", "persistent://public/default/b"],
        ];
        assert_eq!(cleaned(json!({ "input": { "topics": ["b", "a"] } })), expected);
    }

    #[test]
    fn pattern_target_has_namespace_and_expressions() {
        let input = json!({ "topics": ["a", "t/n/b"], "topicPattern": "persistent://t/n/(?!x).*" });
        let expected = [
            vec!["subscription", "s", "persistent://public/default/a"],
            vec!["pattern", "s", "t/n", "t/n/(?!x).*"],
            vec!["subscription", "s", "persistent://t/n/b"],
        ];
        assert_eq!(cleaned(json!({ "input": input, "subscriptionName": "s" })), expected);
        let input =
            json!({ "topics": null, "sourceSpecs": { "persistent://t/n/a.*?": { "isRegexPattern": true } } });
        let expected = [["pattern", "s", "t/n", "t/n/a.*", "t/n/a.*?"]];
        assert_eq!(cleaned(json!({ "input": input, "subscriptionName": "s" })), expected);
    }

    #[test]
    fn names_are_escaped_for_kubernetes() {
        let found = cleaned(json!({ "input": { "topics": ["a"] }, "subscriptionName": "$(HOME) $$" }));
        assert_eq!(found[0][1], "$$(HOME) $$$");
    }

    #[test]
    fn batch_target_uses_cleanup_authentication() {
        let auth = |token: &str| json!({ "genericAuth": { "clientAuthenticationPlugin": "P", "clientAuthenticationParameters": token } });
        let source = source(json!({
            "batchSourceConfig": { "discoveryTriggererClassName": "T" },
            "pulsar": { "authConfig": auth("less"), "cleanupAuthConfig": auth("more") },
        }));
        let job = with_defaults(&source, super::build_job).unwrap();
        let script = container(job.clone()).command.unwrap().remove(2);
        assert!(script.contains(" --auth-plugin P --auth-params more \"$@\"; }"), "{script}");
        assert!(!script.contains("less") && !script.contains("delete -f"), "{script}");
        let topic = "persistent://public/default/f-intermediate";
        assert_eq!(targets(job), [["batch", "BatchSourceExecutor-public/default/f", topic]]);
    }

    #[test]
    fn job_labels_differ_from_the_pod_selector() {
        let sink = sink(json!({ "cleanupSubscription": true, "pod": { "sidecars": [{ "name": "side" }] } }));
        let job = with_defaults(&sink, super::build_job).unwrap();
        #[allow(clippy::redundant_closure_for_method_calls, reason = "a method is not general enough")]
        let selector = with_defaults(&sink, |context: &Context<'_>| context.labels());
        assert_eq!(job.metadata.owner_references, None);
        assert_eq!(job.metadata.labels.as_ref().unwrap()[labels::OWNER], "u-1");
        let template = job.spec.unwrap().template;
        let labels = template.metadata.unwrap().labels.unwrap();
        assert!(selector.iter().any(|(key, value)| labels.get(key) != Some(value)));
        assert_eq!(labels[labels::COMPONENT], "sink");
        assert_eq!(template.spec.unwrap().containers.len(), 1);
    }

    #[test]
    fn claim_template_volumes_are_not_mounted() {
        let function = function(json!({
            "cleanupSubscription": true, "cleanupImage": "clean", "pod": { "volumes": [{ "name": "v" }] },
            "volumeClaimTemplates": [{ "metadata": { "name": "claim" }, "spec": {} }],
            "volumeMounts": [{ "name": "claim", "mountPath": "/c" }, { "name": "v", "mountPath": "/v" }],
        }));
        let container = container(with_defaults(&function, super::build_job).unwrap());
        let paths: Vec<_> =
            container.volume_mounts.unwrap().into_iter().map(|mount| mount.mount_path).collect();
        assert_eq!(paths, ["/v"]);
        assert_eq!(container.image.as_deref(), Some("clean"));
    }

    #[test]
    fn base64_has_padding() {
        for (text, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }
}
