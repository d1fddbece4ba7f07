//! Permissions of the operator's accounts compared with their requests in the API server's audit log. This test runs
//! last, since it covers all others, after a tour of rare requests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::{Function, FunctionMesh, labels};
use function_mesh_e2e::{Harness, OPERATOR, Scenario};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::authorization::v1::{SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

const KINDS: [&str; 3] = ["functions", "sources", "sinks"];
const TIMEOUT: Duration = Duration::from_mins(2);

/// The kind in the audit log.
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

/// Permissions that the API server checks while it handles another request, so they appear in no request. The API server
/// of the tests does check them (OwnerReferencesPermissionEnforcement): without them no child could be created or adopted.
fn is_checked_by_api_server(permission: &Permission) -> bool {
    let Permission { resource, verb, .. } = permission;
    resource.ends_with("/finalizers") || (verb == "delete" && resource == "services")
}

/// What only `stalls`, `rollback` and `recreate` do, which run with `hack/test --all`: a stalled or stuck pod is deleted, and a
/// good revision is read.
fn is_of_longer_suites(permission: &Permission) -> bool {
    let Permission { resource, verb, .. } = permission;
    matches!((resource.as_str(), verb.as_str()), ("pods", "delete") | ("controllerrevisions", "get"))
}

/// The Secret of the webhook's certificates, the only one that an account of ours may read.
const OWN_CERTIFICATE: &str = "function-mesh-webhook-own-certificate";

/// A verb on a resource.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Permission {
    group: String,
    resource: String,
    verb: String,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, resource, verb } = self;
        if group.is_empty() { write!(f, "{verb} {resource}") } else { write!(f, "{verb} {resource}.{group}") }
    }
}

/// Permissions of an account in a namespace, as `kubectl auth can-i --list` lists them.
async fn granted(harness: &Harness, account: &str, namespace: &str) -> Result<BTreeSet<Permission>> {
    let mut config = harness.config.clone();
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{OPERATOR}:{account}"));
    let groups = ["system:serviceaccounts", "system:authenticated"].map(str::to_owned);
    config.auth_info.impersonate_groups = Some(groups.into());
    let reviews = Api::<SelfSubjectRulesReview>::all(Client::try_from(config)?);
    let spec = SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) };
    let review = SelfSubjectRulesReview { spec, ..SelfSubjectRulesReview::default() };
    let status = reviews.create(&PostParams::default(), &review).await?.status.context("no answer")?;
    let mut permissions = BTreeSet::new();
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
                    permissions.insert(Permission { group, resource, verb });
                }
            }
        }
    }
    Ok(permissions)
}

/// Requests of an account, and those that were forbidden.
#[derive(Default)]
struct Requests {
    used: BTreeSet<Permission>,
    forbidden: BTreeMap<Permission, u64>,
}

fn requests(harness: &Harness) -> Result<BTreeMap<String, Requests>> {
    let path = harness.state.join("audit/audit.log");
    let file = File::open(&path).context("no audit log: hack/test e2e has the API server write one")?;
    let mut all = BTreeMap::<String, Requests>::new();
    for line in BufReader::new(file).lines() {
        let event: Value = serde_json::from_str(&line?)?;
        let text = |pointer| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let account = text("/user/username").rsplit(':').next().unwrap_or_default().to_owned();
        let (resource, subresource) = (text("/objectRef/resource"), text("/objectRef/subresource"));
        if resource.is_empty() {
            continue; // discovery, which every account may use
        }
        let resource =
            if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
        let permission = Permission {
            group: text("/objectRef/apiGroup").to_owned(),
            resource,
            verb: text("/verb").to_owned(),
        };
        let requests = all.entry(account).or_default();
        match event.pointer("/responseStatus/code").and_then(Value::as_u64) {
            Some(403) => *requests.forbidden.entry(permission).or_default() += 1,
            code => {
                // Applying a missing object creates it, which needs its own permission.
                if code == Some(201) && permission.verb == "patch" {
                    requests.used.insert(Permission { verb: "create".to_owned(), ..permission.clone() });
                }
                requests.used.insert(permission);
            }
        }
    }
    Ok(all)
}

fn list(permissions: &BTreeSet<Permission>) -> String {
    permissions.iter().map(Permission::to_string).collect::<Vec<_>>().join(", ")
}

/// Permissions of an account, without those of every account.
async fn permissions(harness: &Harness, account: &str) -> Result<BTreeSet<Permission>> {
    let mut permissions = BTreeSet::new();
    for namespace in ["default", OPERATOR] {
        let baseline = granted(harness, "nobody", namespace).await?;
        permissions.extend(granted(harness, account, namespace).await?.difference(&baseline).cloned());
    }
    Ok(permissions)
}

/// Checks that an account has used all of its permissions and was never forbidden anything.
#[allow(clippy::print_stdout, reason = "people read the comparison, too")]
async fn compare(harness: &Harness, account: &str) -> Result<()> {
    let (permissions, requests) = (permissions(harness, account).await?, requests(harness)?);
    let nothing = Requests::default();
    let Requests { used, forbidden } = requests.get(account).unwrap_or(&nothing);
    let unused = permissions.difference(used).filter(|permission| !is_of_longer_suites(permission));
    let (by_others, unused): (BTreeSet<_>, _) = unused.cloned().partition(is_checked_by_api_server);
    println!("{account}\n  may: {}\n  did: {}", list(&permissions), list(used));
    println!("  may, for the API server to check: {}", list(&by_others));
    // During a change of the certificate provider, old pods lose permissions before they stop.
    let denied: Vec<_> =
        forbidden.iter().filter(|(permission, _)| !permissions.contains(permission)).collect();
    ensure!(denied.is_empty(), "{account} was forbidden {denied:?}");
    ensure!(unused.is_empty(), "{account} has unused permissions: {}", list(&unused));
    for permission in &permissions {
        let Permission { group, resource, verb } = permission;
        ensure!(
            resource != "pods/exec" && ![group, resource, verb].contains(&&"*".to_owned()),
            "{account} may {permission}"
        );
    }
    Ok(())
}

/// Replicas of the mesh's components, in ascending order.
async fn replicas(scenario: &Scenario) -> Result<Vec<i32>> {
    let sets = scenario.api::<StatefulSet>().list(&ListParams::default()).await?;
    let mut replicas: Vec<_> =
        sets.iter().filter_map(|set| set.spec.as_ref().and_then(|spec| spec.replicas)).collect();
    replicas.sort_unstable();
    Ok(replicas)
}

/// Creates and deletes every kind of child. None of the components has pods, so this is fast.
async fn tour(scenario: &Scenario) -> Result<()> {
    scenario.harness.run("kubectl", &["apply", "--server-side", "-f", "-"], VERTICAL_AUTOSCALERS).await?;
    let established =
        ["wait", "--for=condition=Established", "crd/verticalpodautoscalers.autoscaling.k8s.io"];
    scenario.harness.kubectl(&established).await?;
    let whole: Value = serde_saphyr::from_str(include_str!("../../../examples/mesh.yaml"))?;
    let mut mesh = whole.clone();
    mesh["metadata"]["namespace"] = json!(scenario.namespace);
    mesh["metadata"]["annotations"] = json!({ labels::SUSPEND: "true" });
    for kind in KINDS {
        mesh["spec"][kind][0]["maxReplicas"] = json!(3);
    }
    mesh["spec"]["functions"][1]["pod"] = json!({ "vpa": { "updatePolicy": { "updateMode": "Off" } } });
    scenario.apply::<FunctionMesh>(mesh.clone()).await?;
    scenario.await_ready("pipeline", TIMEOUT).await?;
    // Resuming creates the autoscalers; removing them from the manifest deletes them.
    mesh["metadata"]["annotations"] = json!({});
    scenario.apply::<FunctionMesh>(mesh.clone()).await?;
    let scalers = async || {
        let listed =
            scenario.harness.kubectl(&["get", "hpa,vpa", "-n", &scenario.namespace, "-o", "name"]).await?;
        anyhow::Ok(listed.lines().filter(|line| line.contains("autoscaler")).count())
    };
    scenario.eventually("all autoscalers are there", TIMEOUT, async || Ok(scalers().await? == 4)).await?;
    // New bounds change a number of replicas outside of them.
    for kind in KINDS {
        mesh["spec"][kind][0]["minReplicas"] = json!(2);
    }
    scenario.apply::<FunctionMesh>(mesh.clone()).await?;
    scenario
        .eventually("all are doubled", TIMEOUT, async || Ok(replicas(scenario).await? == [2, 2, 2, 2]))
        .await?;
    mesh["spec"] = whole["spec"].clone();
    scenario.apply::<FunctionMesh>(mesh.clone()).await?;
    scenario.eventually("all autoscalers are gone", TIMEOUT, async || Ok(scalers().await? == 0)).await?;
    // During a paused rollout, a separate request applies replicas.
    mesh["metadata"]["annotations"] = json!({ labels::PAUSE_ROLLOUT: "true" });
    for kind in KINDS {
        mesh["spec"][kind][0]["replicas"] = json!(3);
    }
    scenario.apply::<FunctionMesh>(mesh.clone()).await?;
    scenario
        .eventually("all are tripled", TIMEOUT, async || Ok(replicas(scenario).await? == [2, 3, 3, 3]))
        .await?;
    // Remove all components, one of each kind.
    mesh["spec"] = json!({ "functions": [whole["spec"]["functions"][0]] });
    scenario.apply::<FunctionMesh>(mesh).await?;
    let one = async || Ok(scenario.api::<StatefulSet>().list(&ListParams::default()).await?.items.len() == 1);
    scenario.eventually("one is left", TIMEOUT, one).await?;
    // Events have the reason why the API server rejects pods.
    let rejected = scenario
        .python("rejected", "double.Double", "in", "out")
        .with(json!({ "pod": { "serviceAccountName": "missing" } }));
    scenario.apply::<Function>(rejected.alone()).await?;
    let reported = async || {
        let function = scenario.kubectl(&["get", "function", "rejected", "-o", "json"]).await?;
        Ok(function.contains("pod is not created"))
    };
    scenario.eventually("the rejection is reported", TIMEOUT, reported).await?;
    scenario.api::<Function>().delete("rejected", &DeleteParams::default()).await?;
    // Declining a started clean-up cancels it.
    let component = scenario
        .python("declined", "double.Double", "in", "out")
        .with(json!({ "cleanupSubscription": true }));
    scenario.apply::<Function>(component.alone()).await?;
    let made = async || Ok(scenario.api::<StatefulSet>().get_opt("declined-function").await?.is_some());
    scenario.eventually("it is made", TIMEOUT, made).await?;
    scenario.api::<Function>().delete("declined", &DeleteParams::default()).await?;
    let cleans = async || Ok(!scenario.api::<Job>().list(&ListParams::default()).await?.items.is_empty());
    scenario.eventually("it is cleaned up", TIMEOUT, cleans).await?;
    scenario
        .kubectl(&["annotate", "function", "declined", &format!("{}=false", labels::NEED_CLEANUP)])
        .await?;
    let gone = async || Ok(scenario.api::<Function>().get_opt("declined").await?.is_none());
    scenario.eventually("it is gone", TIMEOUT, gone).await
}

#[tokio::test]
async fn accounts_may_do_what_they_did_and_nothing_more() -> Result<()> {
    Scenario::run("permissions", async |scenario| {
        tour(scenario).await?;
        let own = "admissionWebhook.certificate.provider=self-signed";
        scenario.harness.install("helm", &[own]).await?;
        let result = compare(&scenario.harness, "function-mesh-webhook").await;
        scenario.harness.install("helm", &[]).await?;
        result?;
        ensure!(
            permissions(&scenario.harness, "function-mesh-webhook").await?.is_empty(),
            "a webhook with unused permissions"
        );
        compare(&scenario.harness, "function-mesh-controller-manager").await
    })
    .await
}
