//! The Job that removes what a component leaves behind in Pulsar: subscriptions, and the topic between the
//! parts of a batch source.
//!
//! It is made when the component is deleted, and does its work at once. It has no owner: the garbage collector
//! would remove it together with the component whose deletion waits for it. Kubernetes removes it some time
//! after it has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use function_mesh_api::component::Particular;
use function_mesh_api::labels;
use function_mesh_api::validate::grammar::TopicName;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::admin::{Admin, Program};
use crate::container::{self, some};
use crate::context::Context;
use crate::shell::Script;
use crate::{details, images, names, pod, volumes};

/// Attempts before the Job counts as failed.
const ATTEMPTS: i32 = 3;
/// Seconds for which the Job and its log can be looked at afterwards.
const KEPT: i32 = 3600;

/// What is to be done after a component is deleted.
#[derive(Clone, Debug, PartialEq)]
pub struct Cleanup {
    /// The Job that does it.
    pub job: Job,
    /// What stays in Pulsar if it is not done, in words.
    pub leftovers: String,
}

/// The clean-up after a component, if there is anything to clean up and it is the operator's to do.
pub(crate) fn of(context: &Context<'_>) -> Option<Cleanup> {
    if !is_wanted(context) {
        return None;
    }
    let targets = targets(context);
    let leftovers = targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Some(Cleanup { job: job(context, &targets), leftovers })
}

fn job(context: &Context<'_>, targets: &[Target]) -> Job {
    let connection = context.cleanup_connection();
    let admin = Admin { program: images::admin_program(context), connection };
    let script = script(admin, targets);
    let volumes = volumes::of(context, &connection, false);
    let container = Container {
        name: "cleanup".to_owned(),
        image: Some(images::cleanup(context)),
        image_pull_policy: Some(images::pull_policy(context)),
        command: Some(script.into_command("sh")),
        env: Some(container::env(context)),
        env_from: some(container::env_from(context)),
        resources: Some(resources()),
        security_context: Some(container::security_context()),
        volume_mounts: some(volumes::cleanup_mounts(context, &connection, &volumes)),
        ..Container::default()
    };
    let name = names::cleanup_job(context.object(), context.role());
    let labels = job_labels(context, &name);
    let template = ObjectMeta { labels: Some(labels.clone()), ..ObjectMeta::default() };
    Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: context.meta.namespace.clone(),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            active_deadline_seconds: Some(context.settings.cleanup_deadline),
            backoff_limit: Some(ATTEMPTS),
            ttl_seconds_after_finished: Some(KEPT),
            template: PodTemplateSpec {
                metadata: Some(template),
                spec: Some(PodSpec {
                    containers: vec![container],
                    restart_policy: Some("OnFailure".to_owned()),
                    volumes: some(volumes),
                    ..pod::placement(context)
                }),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn is_wanted(context: &Context<'_>) -> bool {
    let is_asked_for = match context.view.particular {
        Particular::Source { batch, .. } => batch.is_some(),
        Particular::Function(_) | Particular::Sink { .. } => {
            context.view.consuming.is_some_and(|consuming| consuming.cleanup_subscription)
        }
    };
    let is_declined = labels::annotation(context.meta, labels::NEED_CLEANUP) == Some("false");
    let labels = context.meta.labels.as_ref();
    let has_label = |key| labels.is_some_and(|labels| labels.contains_key(key));
    let is_of_worker = has_label(labels::PULSAR_CLUSTER) || has_label(labels::LEGACY_PULSAR_CLUSTER);
    is_asked_for && !is_declined && !is_of_worker
}

/// Labels that find the Job and yet are not those of the component's pods, which a Service and autoscalers
/// select.
fn job_labels(context: &Context<'_>, name: &str) -> BTreeMap<String, String> {
    let namespace = context.meta.namespace.as_deref().unwrap_or_default();
    let labels = [
        (labels::APP_NAME, name),
        (labels::COMPONENT, context.role().as_str()),
        (labels::NAME, context.object()),
        (labels::NAMESPACE, namespace),
        (labels::OWNER, context.uid()),
    ];
    labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Enough for the administration program, which may be one in Java.
fn resources() -> ResourceRequirements {
    let amounts = |cpu: &str, memory: &str| {
        let amounts = [("cpu", cpu), ("memory", memory)];
        Some(amounts.map(|(key, amount)| (key.to_owned(), Quantity(amount.to_owned()))).into())
    };
    ResourceRequirements { requests: amounts("50m", "128Mi"), limits: amounts("1", "512Mi"), claims: None }
}

/// Runs a command until it is done, for a while: consumers take their time to disconnect. What is not there is
/// gone already, so that a second attempt goes on where the first one failed.
const TRY: &str = "try() { n=0; until out=$(\"$@\" 2>&1); do echo \"$out\"; \
    case $out in *'HTTP 404'* | *'code: 404'* | *'ot found'* | *'ot Found'*) return 0 ;; esac; \
    n=$((n + 1)); test $n -lt 6 || return 1; sleep 10; done; echo \"$out\"; }";

/// Administration commands of which each is tried, whatever becomes of the others.
struct Commands<'a> {
    admin: Admin<'a>,
    script: Script,
}

impl<'a> Commands<'a> {
    fn new(admin: Admin<'a>) -> Self {
        Self { admin, script: Script::default().run(TRY).run("failed=") }
    }

    fn add<'w>(self, words: impl IntoIterator<Item = &'w str>) -> Self {
        let (before, command) = self.admin.command(words);
        let script = self.script.append(before).run(format!("{{ try {command} || failed=yes; }}"));
        Self { script, ..self }
    }

    fn remove(self, target: &Target) -> Self {
        match (self.admin.program, target) {
            (Program::Pulsarctl, Target::Subscription { name, topic }) => {
                self.add(["subscriptions", "delete", topic, name])
            }
            (Program::PulsarAdmin, Target::Subscription { name, topic }) => {
                self.add(["topics", "unsubscribe", "-s", name, topic])
            }
            (Program::Pulsarctl, Target::Subscriptions { name, namespace }) => {
                self.add(["namespaces", "unsubscribe", namespace, name])
            }
            (Program::PulsarAdmin, Target::Subscriptions { name, namespace }) => {
                self.add(["namespaces", "unsubscribe", "-s", name, namespace])
            }
            (_, Target::Topic(topic)) => self.add(["topics", "delete", "-f", topic]),
        }
    }

    fn finish(self) -> Script {
        self.script.run("test -z \"$failed\"")
    }
}

fn script(admin: Admin<'_>, targets: &[Target]) -> Script {
    targets.iter().fold(Commands::new(admin), Commands::remove).finish()
}

/// One thing that a component leaves behind.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Target {
    /// Its subscription of one topic.
    Subscription { name: String, topic: String },
    /// Its subscriptions of all topics of a namespace.
    Subscriptions { name: String, namespace: String },
    /// A topic of its own.
    Topic(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscription { name, topic } => write!(f, "subscription {name} of {topic}"),
            Self::Subscriptions { name, namespace } => {
                write!(f, "subscription {name} of all topics in {namespace}")
            }
            Self::Topic(topic) => write!(f, "topic {topic}"),
        }
    }
}

fn targets(context: &Context<'_>) -> Vec<Target> {
    let common = context.common;
    let path = [common.tenant.unwrap_or_default(), common.namespace.unwrap_or_default(), context.name()];
    let path = path.join("/");
    let Some(consuming) = context.view.consuming else {
        let topic = format!("persistent://{path}-intermediate");
        let name = format!("BatchSourceExecutor-{path}");
        return vec![Target::Subscription { name, topic: topic.clone() }, Target::Topic(topic)];
    };
    let given = consuming.subscription_name.filter(|name| !name.is_empty());
    subscriptions(context, given.unwrap_or(&path))
}

/// The subscription of all that the component read. A pattern stands for topics that nobody knows any more, so
/// that the subscription is taken out of its whole namespace.
fn subscriptions(context: &Context<'_>, name: &str) -> Vec<Target> {
    let specs = context.view.input().map(details::input_specs).unwrap_or_default();
    let mut namespaces = BTreeSet::new();
    let mut topics = Vec::new();
    for (topic, spec) in &specs {
        let namespace =
            TopicName::parse(topic).ok().map(|name| format!("{}/{}", name.tenant, name.namespace));
        match namespace {
            Some(namespace) if spec.is_regex_pattern => _ = namespaces.insert(namespace),
            namespace => topics.push((*topic, namespace)),
        }
    }
    topics
        .retain(|(_, namespace)| namespace.as_ref().is_none_or(|namespace| !namespaces.contains(namespace)));
    let everywhere =
        namespaces.into_iter().map(|namespace| Target::Subscriptions { name: name.to_owned(), namespace });
    let of_topics = topics
        .into_iter()
        .map(|(topic, _)| Target::Subscription { name: name.to_owned(), topic: topic.to_owned() });
    everywhere.chain(of_topics).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{function, of as look, sink, source};
    use serde_json::{Value, json};

    fn cleaned(spec: Value) -> Option<Cleanup> {
        let mut spec = spec;
        spec["cleanupSubscription"] = json!(true);
        look(&sink(spec), super::of)
    }

    fn container(job: Job) -> Container {
        job.spec.unwrap().template.spec.unwrap().containers.remove(0)
    }

    fn commands(cleanup: Cleanup) -> Vec<String> {
        let script = container(cleanup.job).command.unwrap().remove(2);
        let script = script.strip_prefix(&format!("{TRY} && failed= && ")).expect("a start");
        let script = script.strip_suffix(" && test -z \"$failed\"").expect("an end");
        let plain = |command: &str| {
            let command =
                command.strip_prefix("{ try ").and_then(|rest| rest.strip_suffix(" || failed=yes; }"));
            let command =
                command.expect("a command that is tried").replace("/pulsar/bin/pulsar-admin", "admin");
            command.replace(" --admin-url \"${webServiceURL}\"", "")
        };
        script.split(" && ").map(plain).collect()
    }

    #[test]
    fn nothing_is_cleaned_up_unasked() {
        assert_eq!(look(&sink(json!({})), super::of), None);
        assert_eq!(look(&source(json!({})), super::of), None);
    }

    #[test]
    fn it_can_be_declined_and_is_not_done_for_the_function_worker() {
        let asked = sink(json!({ "cleanupSubscription": true }));
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
            let found = look(&asked, |context| is_wanted(&Context { meta: &meta, ..context.clone() }));
            assert_eq!(found, wanted, "{meta:?}");
        }
    }

    #[test]
    fn each_topic_loses_the_subscription() {
        let job = cleaned(json!({ "input": { "topics": ["b", "a"] } })).unwrap();
        let expected = [
            "admin topics unsubscribe -s public/default/f a",
            "admin topics unsubscribe -s public/default/f b",
        ];
        assert_eq!(commands(job), expected);
    }

    #[test]
    fn a_pattern_takes_the_subscription_out_of_its_namespace_and_topics_elsewhere_follow() {
        let input = json!({ "topics": ["a", "t/n/b"], "topicPattern": "persistent://t/n/.*" });
        let cleanup = cleaned(json!({ "input": input, "subscriptionName": "s" })).unwrap();
        assert_eq!(cleanup.leftovers, "subscription s of all topics in t/n, subscription s of a");
        assert_eq!(
            commands(cleanup),
            ["admin namespaces unsubscribe -s s t/n", "admin topics unsubscribe -s s a"]
        );
    }

    #[test]
    fn the_topic_inside_a_batch_source_is_removed_with_the_rights_to_do_so() {
        let auth = |token: &str| json!({ "genericAuth": { "clientAuthenticationPlugin": "P", "clientAuthenticationParameters": token } });
        let source = source(json!({
            "batchSourceConfig": { "discoveryTriggererClassName": "T" },
            "pulsar": { "authConfig": auth("less"), "cleanupAuthConfig": auth("more") },
        }));
        let topic = "persistent://public/default/f-intermediate";
        let admin = "admin --auth-plugin P --auth-params more topics";
        let subscription = "BatchSourceExecutor-public/default/f";
        let expected =
            [format!("{admin} unsubscribe -s {subscription} {topic}"), format!("{admin} delete -f {topic}")];
        assert_eq!(commands(look(&source, super::of).unwrap()), expected);
    }

    #[test]
    fn neither_a_service_nor_an_autoscaler_takes_it_for_the_component() {
        let sink = sink(json!({ "cleanupSubscription": true, "pod": { "sidecars": [{ "name": "side" }] } }));
        let job = look(&sink, super::of).unwrap().job;
        #[allow(clippy::redundant_closure_for_method_calls, reason = "a method is not general enough")]
        let selector = look(&sink, |context: &Context<'_>| context.labels());
        assert_eq!(job.metadata.owner_references, None);
        assert_eq!(job.metadata.labels.as_ref().unwrap()[labels::OWNER], "u-1");
        let template = job.spec.unwrap().template;
        let labels = template.metadata.unwrap().labels.unwrap();
        assert!(selector.iter().any(|(key, value)| labels.get(key) != Some(value)));
        assert_eq!(labels[labels::COMPONENT], "sink");
        assert_eq!(template.spec.unwrap().containers.len(), 1);
    }

    #[test]
    fn volumes_that_belong_to_a_replica_are_left_out() {
        let function = function(json!({
            "cleanupSubscription": true, "cleanupImage": "clean", "pod": { "volumes": [{ "name": "v" }] },
            "volumeClaimTemplates": [{ "metadata": { "name": "claim" }, "spec": {} }],
            "volumeMounts": [{ "name": "claim", "mountPath": "/c" }, { "name": "v", "mountPath": "/v" }],
        }));
        let container = container(look(&function, super::of).unwrap().job);
        let paths: Vec<_> =
            container.volume_mounts.unwrap().into_iter().map(|mount| mount.mount_path).collect();
        assert_eq!(paths, ["/v"]);
        assert_eq!(container.image.as_deref(), Some("clean"));
    }

    #[test]
    fn what_fails_is_tried_again_and_what_is_gone_is_done() {
        let attempts = |reply: &str| {
            let stub = format!("c() {{ echo tried >&2; {reply} }}; sleep() {{ :; }}; {TRY}; ");
            crate::testing::run(
                "sh",
                &format!("{stub} if try c x; then echo done; else echo failed; fi"),
                &[],
            )
        };
        assert_eq!(attempts("echo fine;"), "tried\nfine\ndone\n");
        assert_eq!(attempts("echo 'Reason: HTTP 404 Not Found'; false;").lines().last(), Some("done"));
        let hopeless = attempts("echo 'has active consumers'; false;");
        assert_eq!(hopeless.matches("tried").count(), 6, "{hopeless}");
        assert_eq!(hopeless.lines().last(), Some("failed"));
    }
}
