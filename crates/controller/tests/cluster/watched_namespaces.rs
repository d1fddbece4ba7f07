//! Watched namespaces: permissions in these are sufficient, and a failure in one does not affect the others.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use function_mesh_api::{BackendConfig, BackendConfigSpec, Function, FunctionMesh, labels};
use function_mesh_controller::Options;
use function_mesh_kube::leader_election::Candidate;
use function_mesh_testkit::faults::Faults;
use function_mesh_testkit::{
    ControlPlane, ControllerHarness, Kind, PATIENCE, apply, eventually, fixtures, mark_ended, mark_running,
    test_options,
};
use function_mesh_workloads::Settings;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, from_value, json};

use crate::harness::TestResult;

/// API group, resources, verbs.
type Rule = (&'static str, &'static [&'static str], &'static [&'static str]);

/// Permissions of the controller in each watched namespace.
const RULES: [Rule; 15] = [
    ("compute.functionmesh.io", &["functionmeshes"], &["list", "watch"]),
    (
        "compute.functionmesh.io",
        &["functions", "sinks", "sources"],
        &["get", "list", "watch", "create", "patch", "delete"],
    ),
    ("compute.functionmesh.io", &["backendconfigs"], &["list", "watch"]),
    (
        "compute.functionmesh.io",
        &["functionmeshes/status", "functions/status", "sinks/status", "sources/status"],
        &["patch"],
    ),
    ("compute.functionmesh.io", &["functions/scale", "sinks/scale", "sources/scale"], &["patch"]),
    ("apps", &["statefulsets"], &["get", "list", "watch", "create", "patch", "delete"]),
    ("apps", &["statefulsets/scale"], &["patch"]),
    ("apps", &["controllerrevisions"], &["get"]),
    ("", &["services"], &["get", "list", "watch", "create", "patch", "delete"]),
    ("", &["pods"], &["list", "watch"]),
    ("autoscaling", &["horizontalpodautoscalers"], &["get", "list", "watch", "create", "patch", "delete"]),
    ("autoscaling.k8s.io", &["verticalpodautoscalers"], &["get", "create", "patch", "delete"]),
    ("batch", &["jobs"], &["get", "list", "watch", "create", "delete"]),
    ("", &["events"], &["list"]),
    ("events.k8s.io", &["events"], &["create", "patch"]),
];
/// Permissions in its own namespace.
const LEASES: [Rule; 1] = [("coordination.k8s.io", &["leases"], &["get", "create", "update"])];

/// Needed but not observed in this test: applying a missing object requires `create`; there are no vertical autoscalers
/// here, no rejected pods, and no rollout that is rolled back.
const UNASKED: [&str; 9] = [
    "create functions,sinks,sources",
    "create horizontalpodautoscalers",
    "create services",
    "create statefulsets",
    "create verticalpodautoscalers",
    "delete services",
    "delete verticalpodautoscalers",
    "get controllerrevisions",
    "list events",
];

/// Grants a user these permissions in a namespace.
async fn allow(client: &Client, user: &str, namespace: &str, rules: &[Rule], names: &[&str]) -> TestResult {
    let rules = rules.iter().map(|(group, resources, verbs)| {
        let mut rule = json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
        if !names.is_empty() {
            rule["resourceNames"] = json!(names);
        }
        rule
    });
    let rules: Vec<Value> = rules.collect();
    let role: Role = from_value(json!({ "metadata": { "name": "mesh" }, "rules": rules }))?;
    let binding: RoleBinding = from_value(json!({
        "metadata": { "name": "mesh" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "mesh" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    }))?;
    let params = PostParams::default();
    Api::namespaced(client.clone(), namespace).create(&params, &role).await?;
    Api::namespaced(client.clone(), namespace).create(&params, &binding).await?;
    Ok(())
}

/// A controller with the permissions of a user.
struct Scoped {
    controller: ControllerHarness,
    faults: Faults,
}

impl Scoped {
    fn start(config: Config, options: Options) -> anyhow::Result<Self> {
        let faults = Faults::default();
        let options = Options { concurrency: 2, ..options };
        Ok(Self { controller: ControllerHarness::start(faults.client(config)?, options), faults })
    }

    /// Waits until the controller is ready, ignoring gates with this text in their names.
    async fn is_ready_but_for(&self, part: &str) -> TestResult {
        eventually(PATIENCE, async || {
            let missing = self.controller.missing();
            ensure!(missing.iter().all(|gate| !part.is_empty() && gate.ends_with(part)), "{missing:?}");
            Ok(())
        })
        .await
    }
}

async fn by_roles(plane: &ControlPlane, user: &str) -> anyhow::Result<Config> {
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig_by_roles(user).await?)?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

fn mesh() -> anyhow::Result<FunctionMesh> {
    let mut scaled = fixtures::java_function("shout");
    scaled.max_replicas = Some(3);
    let mut sink = fixtures::sink("drain");
    sink.cleanup_subscription = Some(true);
    fixtures::mesh("m", [scaled.into(), sink.into(), fixtures::source("feed").into()])
}

fn api<K: Kind>(client: &Client, namespace: &str) -> Api<K> {
    Api::namespaced(client.clone(), namespace)
}

async fn is_ready(client: &Client, namespace: &str) -> TestResult {
    eventually(PATIENCE, async || {
        mark_running(client, namespace).await?;
        let status = api::<FunctionMesh>(client, namespace).get("m").await?.status.context("no status")?;
        ensure!(status.components.as_deref() == Some("3/3"), "{:?}", status.conditions);
        Ok(())
    })
    .await
}

async fn uid(client: &Client, namespace: &str, set: &str) -> anyhow::Result<Option<String>> {
    Ok(api::<StatefulSet>(client, namespace).get(set).await?.uid())
}

/// On its own control plane with an audit log.
#[tokio::test]
async fn roles_in_watched_namespaces_are_sufficient() -> TestResult {
    let user = "scoped";
    let (plane, mut audit) = ControlPlane::start_auditing(user).await?;
    let client = plane.client().await?;
    let mut names = Vec::new();
    for prefix in ["one", "two", "other", "own", "defaults"] {
        names.push(plane.namespace(&client, prefix).await?);
    }
    let [one, two, other, own, defaults] = &names[..] else { anyhow::bail!("five namespaces") };
    for namespace in [one, two] {
        allow(&client, user, namespace, &RULES, &[]).await?;
    }
    allow(&client, user, own, &LEASES, &[]).await?;
    let reads = [("compute.functionmesh.io", &["backendconfigs"][..], &["list", "watch"][..])];
    allow(&client, user, defaults, &reads, &["global"]).await?;
    let env = Some([("COLOUR".to_owned(), "red".to_owned())].into());
    let spec = BackendConfigSpec { env, auto_update: Some(true), ..BackendConfigSpec::default() };
    apply(&client, defaults, &BackendConfig::new("global", spec)).await?;
    let settings = Settings {
        global_backend_config: Some("global".to_owned()),
        global_backend_config_namespace: defaults.clone(),
        ..Settings::default()
    };
    let candidate =
        Candidate { namespace: own.clone(), lease: "leader".into(), identity: "me".into(), owner: None };
    let options = Options { settings, candidate: Some(candidate), ..test_options(&[one, two]) };
    let scoped = Scoped::start(by_roles(&plane, user).await?, options)?;
    for namespace in [one, two, other] {
        let mut mesh = mesh()?;
        // Another component with the same subscription would keep it, and no Job would be created.
        if let Some(sink) =
            mesh.spec.sinks.as_mut().filter(|_| namespace != one).and_then(|sinks| sinks.first_mut())
        {
            sink.subscription_name = Some(namespace.clone());
        }
        apply(&client, namespace, &mesh).await?;
    }
    scoped.is_ready_but_for("").await?;
    for namespace in [one, two] {
        is_ready(&client, namespace).await?;
        let set =
            serde_json::to_string(&api::<StatefulSet>(&client, namespace).get("m-shout-function").await?)?;
        ensure!(set.contains("\"red\""), "without the cluster's defaults in {namespace}");
    }
    // All other requests: paused rollouts with scaling, changed bounds, removed components, deleted autoscalers,
    // deleted subscriptions.
    let pause = json!({ "metadata": { "annotations": { labels::PAUSE_ROLLOUT: "true" } } });
    let patch = PatchParams::default();
    api::<FunctionMesh>(&client, one).patch("m", &patch, &Patch::Merge(pause)).await?;
    // The component observes the new number before the pause if both change at once.
    eventually(PATIENCE, async || {
        let function = api::<Function>(&client, one).get("m-shout").await?;
        ensure!(labels::annotation(&function.metadata, labels::PAUSE_ROLLOUT).is_some(), "it is not paused");
        Ok(())
    })
    .await?;
    let mut changed = mesh()?;
    changed.spec.functions.as_mut().context("functions")?[0].min_replicas = Some(2);
    changed.spec.sources = None;
    let mut fixed = fixtures::java_function("fixed");
    fixed.pod = from_value(json!({ "vpa": { "updatePolicy": { "updateMode": "Off" } } }))?;
    changed.spec.functions.as_mut().context("functions")?.push(fixed);
    apply(&client, one, &changed).await?;
    eventually(PATIENCE, async || {
        let set = api::<StatefulSet>(&client, one).get("m-shout-function").await?;
        ensure!(set.spec.and_then(|spec| spec.replicas) == Some(2), "it has not two replicas");
        Ok(())
    })
    .await?;
    changed.spec.functions.as_mut().context("functions")?[0].max_replicas = None;
    changed.spec.functions.as_mut().context("functions")?[0].min_replicas = None;
    changed.spec.sinks = None;
    apply(&client, one, &changed).await?;
    eventually(PATIENCE, async || {
        mark_ended(&client, one, "m-drain-sink-cleanup", 0).await?;
        let sink = api::<function_mesh_api::Sink>(&client, one).get_opt("m-drain").await?;
        ensure!(sink.is_none(), "the sink is there");
        Ok(())
    })
    .await?;

    ensure!(api::<Function>(&client, other).get_opt("m-shout").await?.is_none(), "it acts elsewhere");
    eventually(PATIENCE, async || {
        let lease = Api::<Lease>::namespaced(client.clone(), own).get("leader").await?;
        let spec = lease.spec.context("no spec")?;
        ensure!(spec.renew_time > spec.acquire_time, "the lease is not renewed");
        Ok(())
    })
    .await?;
    let requests = audit.take()?;
    // There are no vertical autoscalers here: the API server responds "not found" to permitted requests.
    let refused: Vec<_> = requests.iter().filter(|request| request.code == 403).collect();
    ensure!(refused.is_empty(), "{refused:?}");
    let requests: BTreeSet<_> = requests.iter().map(|it| (it.resource.as_str(), it.verb.as_str())).collect();
    let mut idle = BTreeSet::new();
    for (_, resources, verbs) in RULES.iter().chain(&LEASES) {
        for verb in verbs.iter().filter(|verb| **verb != "watch") {
            if !resources.iter().any(|resource| requests.contains(&(*resource, *verb))) {
                idle.insert(format!("{verb} {}", resources.join(",")));
            }
        }
    }
    // A repeated Event is patched; whether one repeats in this test is random.
    idle.remove("patch events");
    let unasked: BTreeSet<_> = UNASKED.map(str::to_owned).into();
    ensure!(idle == unasked, "allowed and not needed: {:?}", idle.difference(&unasked));
    Ok(())
}

#[tokio::test]
async fn forbidden_namespace_does_not_block_others() -> TestResult {
    let plane = ControlPlane::shared().await?;
    let client = plane.client().await?;
    let user = "half-scoped";
    let (with, without) =
        (plane.namespace(&client, "with").await?, plane.namespace(&client, "without").await?);
    allow(&client, user, &with, &RULES, &[]).await?;
    // More objects than workers must not block others either.
    let functions = [("compute.functionmesh.io", &["functions"][..], &["list", "watch"][..])];
    allow(&client, user, &without, &functions, &[]).await?;
    for number in 0..4 {
        let function = fixtures::function(fixtures::java_function(&format!("x{number}")))?;
        apply(&client, &without, &function).await?;
    }
    let scoped = Scoped::start(by_roles(plane, user).await?, test_options(&[&without, &with]))?;
    apply(&client, &with, &mesh()?).await?;
    is_ready(&client, &with).await?;
    scoped.is_ready_but_for(&format!(" in {without}")).await?;
    let missing = scoped.controller.missing();
    ensure!(missing.contains(&format!("cache of StatefulSets of functions in {without}")), "{missing:?}");
    ensure!(api::<StatefulSet>(&client, &without).get_opt("x0-function").await?.is_none());

    let params = DeleteParams::default();
    api::<RoleBinding>(&client, &without).delete("mesh", &params).await?;
    api::<Role>(&client, &without).delete("mesh", &params).await?;
    allow(&client, user, &without, &RULES, &[]).await?;
    scoped.is_ready_but_for("").await?;
    eventually(PATIENCE, async || Ok(api::<StatefulSet>(&client, &without).get("x3-function").await?))
        .await
        .map(|_| ())
}

/// A namespace whose watch is broken for a while, in which objects are deleted at that time.
async fn is_disconnected_and_recovers(namespaces: &[&str]) -> TestResult {
    let plane = ControlPlane::shared().await?;
    let client = plane.client().await?;
    let mut names = Vec::new();
    for prefix in namespaces {
        names.push(plane.namespace(&client, prefix).await?);
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let scoped = Scoped::start(plane.config().await?, test_options(&names))?;
    scoped.is_ready_but_for("").await?;
    for namespace in &names {
        apply(&client, namespace, &mesh()?).await?;
        is_ready(&client, namespace).await?;
    }
    let (cut, others) = names.split_first().context("a namespace")?;
    let before = uid(&client, cut, "m-feed-source").await?;
    let unharmed = async || {
        let mut found = Vec::new();
        for namespace in others {
            found.push(uid(&client, namespace, "m-feed-source").await?);
        }
        anyhow::Ok(found)
    };
    let of_others = unharmed().await?;

    scoped.faults.disconnect_watches(cut);
    let at_once = DeleteParams::background();
    api::<StatefulSet>(&client, cut).delete("m-feed-source", &at_once).await?;
    api::<Function>(&client, cut).delete("m-shout", &at_once).await?;
    for namespace in others {
        api::<StatefulSet>(&client, namespace).delete("m-drain-sink", &at_once).await?;
        eventually(PATIENCE, async || uid(&client, namespace, "m-drain-sink").await).await?;
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    ensure!(uid(&client, cut, "m-feed-source").await.is_err(), "nothing is heard of {cut}, and yet it acts");

    // Watches that failed repeatedly are in backoff.
    scoped.faults.connect();
    eventually(PATIENCE, async || {
        ensure!(uid(&client, cut, "m-feed-source").await? != before);
        api::<Function>(&client, cut).get("m-shout").await?;
        Ok(())
    })
    .await?;
    is_ready(&client, cut).await?;
    ensure!(unharmed().await? == of_others, "others were disturbed");
    Ok(())
}

#[tokio::test]
async fn deletion_during_a_broken_watch_is_detected() -> TestResult {
    is_disconnected_and_recovers(&["alone"]).await
}

#[tokio::test]
async fn broken_watch_does_not_affect_other_namespaces() -> TestResult {
    is_disconnected_and_recovers(&["broken", "whole"]).await
}
