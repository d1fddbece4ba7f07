//! What the operator's accounts may do, against what they did: the API server's own log of the whole run says it.
//! The last of all stories, since it looks back on them, after a tour of what others had no reason to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::{Function, FunctionMesh, labels};
use function_mesh_e2e::{OPERATOR, Story, World};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::authorization::v1::{SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

const KINDS: [&str; 3] = ["functions", "sources", "sinks"];
const PATIENCE: Duration = Duration::from_mins(2);

/// The kind, as far as the API server is concerned.
const VERTICAL_AUTOSCALERS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: verticalpodautoscalers.autoscaling.k8s.io
  annotations: {api-approved.kubernetes.io: \"unapproved, a stand-in for tests\"}
spec:
  group: autoscaling.k8s.io
  scope: Namespaced
  names: {kind: VerticalPodAutoscaler, plural: verticalpodautoscalers, shortNames: [vpa]}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

/// Rights that the API server asks about while it handles another request, so that no request of their own tells of
/// them. The run's API server does ask (OwnerReferencesPermissionEnforcement), so that without them nothing that the
/// operator makes could be made.
const ASKED_FOR_BY_OTHERS: &str = "/finalizers";

/// Where the webhook keeps certificates of its own: the one Secret that anybody of ours may see.
const OWN_CERTIFICATE: &str = "function-mesh-webhook-own-certificate";

/// One thing to do with one kind of object.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Right {
    group: String,
    resource: String,
    verb: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, resource, verb } = self;
        if group.is_empty() { write!(f, "{verb} {resource}") } else { write!(f, "{verb} {resource}.{group}") }
    }
}

/// What an account may do in a namespace, as `kubectl auth can-i --list` has it.
async fn granted(world: &World, account: &str, namespace: &str) -> Result<BTreeSet<Right>> {
    let mut config = world.config.clone();
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{OPERATOR}:{account}"));
    let groups = ["system:serviceaccounts", "system:authenticated"].map(str::to_owned);
    config.auth_info.impersonate_groups = Some(groups.into());
    let reviews = Api::<SelfSubjectRulesReview>::all(Client::try_from(config)?);
    let spec = SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) };
    let review = SelfSubjectRulesReview { spec, ..SelfSubjectRulesReview::default() };
    let status = reviews.create(&PostParams::default(), &review).await?.status.context("no answer")?;
    let mut rights = BTreeSet::new();
    for rule in status.resource_rules {
        let secrets = rule.resources.iter().flatten().any(|resource| resource.starts_with("secrets"));
        ensure!(
            !secrets || rule.resource_names.as_deref() == Some(&[OWN_CERTIFICATE.to_owned()]),
            "{account} may see Secrets: {rule:?}"
        );
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    let (group, resource, verb) = (group.clone(), resource.clone(), verb.clone());
                    rights.insert(Right { group, resource, verb });
                }
            }
        }
    }
    Ok(rights)
}

/// What accounts asked for, and what of that was forbidden.
#[derive(Default)]
struct Asked {
    used: BTreeSet<Right>,
    forbidden: BTreeMap<Right, u64>,
}

fn asked(world: &World) -> Result<BTreeMap<String, Asked>> {
    let path = world.state.join("audit/audit.log");
    let file = File::open(&path).context("no audit log: hack/test e2e has the API server write one")?;
    let mut all = BTreeMap::<String, Asked>::new();
    for line in BufReader::new(file).lines() {
        let event: Value = serde_json::from_str(&line?)?;
        let text = |pointer| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let account = text("/user/username").rsplit(':').next().unwrap_or_default().to_owned();
        let (resource, part) = (text("/objectRef/resource"), text("/objectRef/subresource"));
        if resource.is_empty() {
            continue; // what is served, and under which versions: everybody may ask
        }
        let resource = if part.is_empty() { resource.to_owned() } else { format!("{resource}/{part}") };
        let right =
            Right { group: text("/objectRef/apiGroup").to_owned(), resource, verb: text("/verb").to_owned() };
        let asked = all.entry(account).or_default();
        match event.pointer("/responseStatus/code").and_then(Value::as_u64) {
            Some(403) => *asked.forbidden.entry(right).or_default() += 1,
            code => {
                // What is applied and was not there is created: that is a right of its own.
                if code == Some(201) && right.verb == "patch" {
                    asked.used.insert(Right { verb: "create".to_owned(), ..right.clone() });
                }
                asked.used.insert(right);
            }
        }
    }
    Ok(all)
}

fn list(rights: &BTreeSet<Right>) -> String {
    rights.iter().map(Right::to_string).collect::<Vec<_>>().join(", ")
}

/// What an account may do, less what everybody may.
async fn given(world: &World, account: &str) -> Result<BTreeSet<Right>> {
    let mut given = BTreeSet::new();
    for namespace in ["default", OPERATOR] {
        let everybody = granted(world, "nobody", namespace).await?;
        given.extend(granted(world, account, namespace).await?.difference(&everybody).cloned());
    }
    Ok(given)
}

/// An account has used all of its rights and was never refused.
#[allow(clippy::print_stdout, reason = "the comparison is for people, too")]
async fn compare(world: &World, account: &str) -> Result<()> {
    let (given, asked) = (given(world, account).await?, asked(world)?);
    let nothing = Asked::default();
    let Asked { used, forbidden } = asked.get(account).unwrap_or(&nothing);
    let (by_others, unused): (BTreeSet<_>, _) =
        given.difference(used).cloned().partition(|right| right.resource.ends_with(ASKED_FOR_BY_OTHERS));
    println!("{account}\n  may: {}\n  did: {}", list(&given), list(used));
    println!("  may, for the API server to check: {}", list(&by_others));
    // While another way of making certificates is installed, pods of the old one are refused what was theirs.
    let refused: Vec<_> = forbidden.iter().filter(|(right, _)| !given.contains(right)).collect();
    ensure!(refused.is_empty(), "{account} was refused {refused:?}");
    ensure!(unused.is_empty(), "{account} may and never did: {}", list(&unused));
    for right in &given {
        let Right { group, resource, verb } = right;
        ensure!(
            resource != "pods/exec" && ![group, resource, verb].contains(&&"*".to_owned()),
            "{account} may {right}"
        );
    }
    Ok(())
}

/// How many replicas the components of the mesh have, the fewest first.
async fn replicas(story: &Story) -> Result<Vec<i32>> {
    let sets = story.api::<StatefulSet>().list(&ListParams::default()).await?;
    let mut replicas: Vec<_> =
        sets.iter().filter_map(|set| set.spec.as_ref().and_then(|spec| spec.replicas)).collect();
    replicas.sort_unstable();
    Ok(replicas)
}

/// Whatever components may have comes and goes. None has pods, so this takes a moment.
async fn tour(story: &Story) -> Result<()> {
    story.world.run("kubectl", &["apply", "--server-side", "-f", "-"], VERTICAL_AUTOSCALERS).await?;
    let established =
        ["wait", "--for=condition=Established", "crd/verticalpodautoscalers.autoscaling.k8s.io"];
    story.world.kubectl(&established).await?;
    let whole: Value = serde_saphyr::from_str(include_str!("../../examples/mesh.yaml"))?;
    let mut mesh = whole.clone();
    mesh["metadata"]["namespace"] = json!(story.namespace);
    mesh["metadata"]["annotations"] = json!({ labels::SUSPEND: "true" });
    for kind in KINDS {
        mesh["spec"][kind][0]["maxReplicas"] = json!(3);
    }
    mesh["spec"]["functions"][1]["pod"] = json!({ "vpa": { "updatePolicy": { "updateMode": "Off" } } });
    story.apply::<FunctionMesh>(mesh.clone()).await?;
    story.await_ready("pipeline", PATIENCE).await?;
    // Resumed, there are autoscalers; without them in the manifest they go.
    mesh["metadata"]["annotations"] = json!({});
    story.apply::<FunctionMesh>(mesh.clone()).await?;
    let scalers = async || {
        let listed = story.world.kubectl(&["get", "hpa,vpa", "-n", &story.namespace, "-o", "name"]).await?;
        anyhow::Ok(listed.lines().filter(|line| line.contains("autoscaler")).count())
    };
    story.eventually("all autoscalers are there", PATIENCE, async || Ok(scalers().await? == 4)).await?;
    // Bounds that move past the number of replicas take it along.
    for kind in KINDS {
        mesh["spec"][kind][0]["minReplicas"] = json!(2);
    }
    story.apply::<FunctionMesh>(mesh.clone()).await?;
    story
        .eventually("all are doubled", PATIENCE, async || Ok(replicas(story).await? == [2, 2, 2, 2]))
        .await?;
    mesh["spec"] = whole["spec"].clone();
    story.apply::<FunctionMesh>(mesh.clone()).await?;
    story.eventually("all autoscalers are gone", PATIENCE, async || Ok(scalers().await? == 0)).await?;
    // A number of replicas, while changes of pods are held back, goes by a way of its own.
    mesh["metadata"]["annotations"] = json!({ labels::PAUSE_ROLLOUT: "true" });
    for kind in KINDS {
        mesh["spec"][kind][0]["replicas"] = json!(3);
    }
    story.apply::<FunctionMesh>(mesh.clone()).await?;
    story
        .eventually("all are tripled", PATIENCE, async || Ok(replicas(story).await? == [2, 3, 3, 3]))
        .await?;
    // All components are removed, one of each kind.
    mesh["spec"] = json!({ "functions": [whole["spec"]["functions"][0]] });
    story.apply::<FunctionMesh>(mesh).await?;
    let one = async || Ok(story.api::<StatefulSet>().list(&ListParams::default()).await?.items.len() == 1);
    story.eventually("one is left", PATIENCE, one).await?;
    // A clean-up that is declined half-way is called off.
    let part =
        story.python("declined", "double.Double", "in", "out").with(json!({ "cleanupSubscription": true }));
    story.apply::<Function>(part.alone()).await?;
    let made = async || Ok(story.api::<StatefulSet>().get_opt("declined-function").await?.is_some());
    story.eventually("it is made", PATIENCE, made).await?;
    story.api::<Function>().delete("declined", &DeleteParams::default()).await?;
    let cleans = async || Ok(!story.api::<Job>().list(&ListParams::default()).await?.items.is_empty());
    story.eventually("it is cleaned up", PATIENCE, cleans).await?;
    story.kubectl(&["annotate", "function", "declined", &format!("{}=false", labels::NEED_CLEANUP)]).await?;
    let gone = async || Ok(story.api::<Function>().get_opt("declined").await?.is_none());
    story.eventually("it is gone", PATIENCE, gone).await
}

#[tokio::test]
async fn accounts_may_do_what_they_did_and_nothing_more() -> Result<()> {
    Story::tell("rights", async |story| {
        tour(story).await?;
        let own = "admissionWebhook.certificate.provider=self-signed";
        story.world.install("helm", &[own]).await?;
        let result = compare(&story.world, "function-mesh-webhook").await;
        story.world.install("helm", &[]).await?;
        result?;
        ensure!(
            given(&story.world, "function-mesh-webhook").await?.is_empty(),
            "a webhook with rights of no use"
        );
        compare(&story.world, "function-mesh-controller-manager").await
    })
    .await
}
