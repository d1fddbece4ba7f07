//! The chart's admission policies and the SubjectAccessReviews, with a real API server.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use function_mesh_testkit::{ControlPlane, PATIENCE, eventually};
use function_mesh_webhook::authorization::SubjectAccessAuthorizer;
use function_mesh_webhook::router::{router, unsafe_config_router};
use function_mesh_webhook::{AppState, Limits, Metrics};
use k8s_openapi::api::authentication::v1::UserInfo;
use serde_json::{Value, json};
use tower::ServiceExt;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/function-mesh-operator");
/// The kinds of the chart's policies.
const POLICIES: [&str; 2] = ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];

/// The objects of these kinds that the chart renders, as YAML documents.
fn rendered(release: &str, namespace: &str, kinds: &[&str], values: &[&str]) -> String {
    let cluster = std::env::var("FUNCTION_MESH_CLUSTER").expect("FUNCTION_MESH_CLUSTER: hack/test sets it");
    let mut helm = Command::new(Path::new(&cluster).with_file_name("helm"));
    helm.args(["template", release, CHART, "--namespace", namespace, "--set", "crds.enabled=false"]);
    for value in values {
        helm.args(["--set", value]);
    }
    let output = helm.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let wanted = |document: &&str| kinds.iter().any(|kind| document.contains(&format!("\nkind: {kind}\n")));
    text.split("\n---\n").filter(wanted).collect::<Vec<_>>().join("\n---\n")
}

fn function(name: &str, change: &Value) -> String {
    let mut function = json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "Function", "metadata": { "name": name },
        "spec": {
            "className": "C", "java": { "jar": "/x.jar" }, "input": { "topics": ["a"] }, "output": { "topic": "b" },
            "pulsar": { "pulsarConfig": "c" },
        },
    });
    json_patch::merge(&mut function, change);
    function.to_string()
}

/// S4: enforced by the API server alone.
#[tokio::test]
async fn policy_denies_components_in_protected_namespaces() -> anyhow::Result<()> {
    let plane = ControlPlane::shared().await?;
    let client = plane.client().await?;
    let own = plane.namespace(&client, "own").await?;
    let infra = plane.namespace(&client, "infra").await?;
    let free = plane.namespace(&client, "free").await?;
    let apply = async |namespace: &str, object: &str| {
        plane.kubectl(&["apply", "-n", namespace, "-f", "-"], object).await
    };
    // Created before the policy.
    apply(&own, &function("old", &json!({}))).await?;
    let values = format!("protectedNamespaces={{{infra}}}");
    plane.kubectl(&["apply", "-f", "-"], &rendered(&own, &own, &POLICIES, &[&values])).await?;
    for namespace in [&own, &infra] {
        eventually(PATIENCE, async || {
            let refused = plane
                .kubectl(
                    &["create", "-n", namespace, "--dry-run=server", "-f", "-"],
                    &function("new", &json!({})),
                )
                .await;
            let Err(error) = refused else { anyhow::bail!("created in {namespace}") };
            let error = format!("{error:#}");
            ensure!(error.contains("move this one to another namespace"), "{error}");
            Ok(())
        })
        .await?;
        let mesh = json!({
            "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh",
            "metadata": { "name": "m" }, "spec": {},
        });
        assert!(apply(namespace, &mesh.to_string()).await.is_err(), "a mesh in {namespace}");
    }
    apply(&free, &function("new", &json!({}))).await?;
    // The namespace of the global BackendConfig.
    let backend = json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "BackendConfig",
        "metadata": { "name": "global-backend-config" }, "spec": {},
    });
    apply(&own, &backend.to_string()).await?;
    // Existing objects can be annotated and deleted.
    let changed = function("old", &json!({ "spec": { "pod": { "serviceAccountName": "operator" } } }));
    assert!(apply(&own, &changed).await.is_err(), "another account");
    plane.kubectl(&["annotate", "-n", &own, "function", "old", "a=b"], "").await?;
    plane.kubectl(&["delete", "-n", &own, "function", "old"], "").await?;
    plane.kubectl(&["delete", "-f", "-"], &rendered(&own, &own, &POLICIES, &[&values])).await?;
    Ok(())
}

/// S19: a compromised webhook process cannot take over the cluster.
#[tokio::test]
async fn policy_restricts_the_webhook_account_to_the_ca_bundle() -> anyhow::Result<()> {
    let plane = ControlPlane::shared().await?;
    let client = plane.client().await?;
    let namespace = plane.namespace(&client, "pin").await?;
    let release = namespace.as_str();
    // No namespace has this name, so the webhook gets no objects of other tests.
    let values = [
        "admissionWebhook.certificate.provider=self-signed",
        "watchedNamespaces={nowhere}",
        "protectedNamespaces={nowhere}",
    ];
    let kinds = [
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
        "ClusterRole",
        "ClusterRoleBinding",
    ];
    let objects = rendered(release, &namespace, &kinds, &values);
    plane.kubectl(&["apply", "-f", "-"], &objects).await?;
    let webhook = format!("--as=system:serviceaccount:{namespace}:function-mesh-webhook");
    let patch = async |kind: &str, patch: Value| {
        let name =
            format!("{release}-{}-webhook-configuration", &kind[..kind.len() - "webhookconfiguration".len()]);
        plane.kubectl(&["patch", kind, &name, &webhook, "--type=json", "-p", &patch.to_string()], "").await
    };
    for kind in ["validatingwebhookconfiguration", "mutatingwebhookconfiguration"] {
        let bundle = |index: usize| json!({ "op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": "QUJD" });
        let rule = json!({ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["secrets"] });
        let changes = [
            json!({ "op": "add", "path": "/webhooks/0/rules/-", "value": rule }),
            json!({ "op": "replace", "path": "/webhooks/0/rules/0/resources", "value": ["*"] }),
            json!({ "op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore" }),
            json!({ "op": "replace", "path": "/webhooks/1/namespaceSelector", "value": {} }),
            json!({ "op": "replace", "path": "/webhooks/0/objectSelector", "value": { "matchLabels": { "a": "b" } } }),
            json!({ "op": "remove", "path": "/webhooks/0/matchConditions" }),
            json!({ "op": "replace", "path": "/webhooks/0/matchPolicy", "value": "Exact" }),
            json!({ "op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 30 }),
            json!({ "op": "replace", "path": "/webhooks/0/sideEffects", "value": "NoneOnDryRun" }),
            json!({ "op": "replace", "path": "/webhooks/0/name", "value": "other.functionmesh.io" }),
            json!({ "op": "replace", "path": "/webhooks/0/clientConfig/service/namespace", "value": "evil" }),
            json!({ "op": "replace", "path": "/webhooks/0/clientConfig", "value": { "url": "https://evil/", "caBundle": "QUJD" } }),
            json!({ "op": "remove", "path": "/webhooks/4" }),
            json!({ "op": "copy", "from": "/webhooks/0", "path": "/webhooks/5" }),
            json!({ "op": "add", "path": "/metadata/labels/a", "value": "b" }),
            json!({ "op": "add", "path": "/metadata/annotations", "value": { "a": "b" } }),
            json!({ "op": "add", "path": "/metadata/finalizers", "value": ["a.io/b"] }),
        ];
        // The policy takes effect with a delay.
        eventually(PATIENCE, async || {
            let [first, ..] = &changes;
            let refused = patch(kind, json!([bundle(0), first])).await;
            let Err(error) = refused else { anyhow::bail!("another rule was taken") };
            let error = format!("{error:#}");
            ensure!(
                error.contains("nothing in a webhook configuration but clientConfig.caBundle"),
                "{error}"
            );
            Ok(())
        })
        .await?;
        for change in &changes {
            let error = patch(kind, json!([bundle(0), change])).await.expect_err(&change.to_string());
            // The API server itself rejects duplicate names.
            let error = format!("{error:#}");
            assert!(
                error.contains("clientConfig.caBundle") || error.contains("Duplicate"),
                "{change}: {error}"
            );
        }
        let bundles: Vec<_> = (0..5).map(bundle).collect();
        patch(kind, json!(bundles)).await?;
    }
    plane.kubectl(&["delete", "-f", "-"], &objects).await?;
    Ok(())
}

fn user(namespace: &str, name: &str) -> UserInfo {
    let username = format!("system:serviceaccount:{namespace}:{name}");
    let groups = ["system:serviceaccounts", "system:authenticated"].map(str::to_owned).to_vec();
    UserInfo { username: Some(username), groups: Some(groups), ..UserInfo::default() }
}

fn metrics() -> Metrics {
    Metrics::new(&prometheus::Registry::new()).unwrap()
}

fn review(kind: &str, operation: &str, namespace: &str, user: &Value, object: &Value) -> Value {
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "1", "kind": { "group": "compute.functionmesh.io", "version": "v1alpha1", "kind": kind },
        "operation": operation, "namespace": namespace, "name": "f", "userInfo": user, "object": object,
    }})
}

/// The response of the validating webhook.
async fn answer(router: axum::Router, kind: &str, review: Value) -> Value {
    let path = format!("/validate-compute-functionmesh-io-v1alpha1-{kind}");
    let request = axum::http::Request::post(path).body(axum::body::Body::from(review.to_string())).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice::<Value>(&body).unwrap()["response"].clone()
}

/// S5: denied unless a flag allows it.
#[tokio::test]
async fn unsafe_backend_config_is_denied_by_default() {
    let state = AppState::new(metrics(), Limits::default());
    for spec in [
        json!({ "env": { "BASH_ENV": "$(id)" } }),
        json!({ "env": { "LD_PRELOAD": "/x.so" } }),
        json!({ "env": { "brokerServiceURL": "pulsar://evil" } }),
        json!({ "pod": { "startupProbe": { "exec": { "command": ["id"] } } } }),
    ] {
        let object = json!({
            "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "BackendConfig", "metadata": { "name": "c" },
            "spec": spec,
        });
        let review = || review("BackendConfig", "CREATE", "ops", &json!({ "username": "dev" }), &object);
        let refused = answer(router(state.clone()), "backendconfig", review()).await;
        assert_eq!(refused["allowed"], false, "{object}");
        let message = refused["status"]["message"].as_str().unwrap();
        assert!(message.contains("--allow-unsafe-backend-config"), "{message}");
        assert_eq!(
            answer(unsafe_config_router(state.clone()), "backendconfig", review()).await["allowed"],
            true
        );
    }
}

/// S13: two users of one namespace, one of which may only create Functions.
#[tokio::test]
async fn permissions_are_checked_per_user() -> anyhow::Result<()> {
    let plane = ControlPlane::shared().await?;
    let client = plane.client().await?;
    let namespace = plane.namespace(&client, "rights").await?;
    let ns = namespace.as_str();
    for name in ["mallory", "carl"] {
        plane.kubectl(&["create", "sa", name, "-n", ns], "").await?;
    }
    let roles = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "carl", "namespace": ns },
            "rules": [
                { "apiGroups": [""], "resources": ["pods"], "verbs": ["create"] },
                { "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": ["get"] },
                { "apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["runner"], "verbs": ["impersonate"] },
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "carl", "namespace": ns },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "carl" },
            "subjects": [{ "kind": "ServiceAccount", "name": "carl", "namespace": ns }],
        },
    ]});
    plane.kubectl(&["apply", "-f", "-"], &roles.to_string()).await?;
    let operator = format!("system:serviceaccount:{ns}:operator");
    let access = SubjectAccessAuthorizer::new(client, [operator]);
    let given = |secret: &str, account: &str| -> Value {
        let change = json!({ "spec": { "pulsar": { "authSecret": secret }, "pod": { "serviceAccountName": account } } });
        serde_json::from_str(&function("f", &change)).unwrap()
    };
    let (mallory, carl) = (user(ns, "mallory"), user(ns, "carl"));
    // Roles take effect with a delay.
    eventually(PATIENCE, async || {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let passed = SubjectAccessAuthorizer::new(plane.client().await?, [])
            .check(&carl, "Function", ns, given("mine", "runner"), None)
            .await;
        ensure!(passed.is_ok(), "{passed:?}");
        Ok(())
    })
    .await?;
    access.check(&carl, "Function", ns, given("mine", "default"), None).await.unwrap();
    let refused = access.check(&mallory, "Function", ns, given("mine", "runner"), None).await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (403, "Forbidden"));
    for words in [
        "spec: user \"system:serviceaccount:",
        "cannot create pods",
        "spec.pulsar.authSecret: user",
        "cannot get secrets \"mine\"",
        "cannot impersonate serviceaccounts \"runner\"",
    ] {
        assert!(refused.message.contains(words), "{words}: {}", refused.message);
    }
    let others = access.check(&carl, "Function", ns, given("others", "admin"), None).await.unwrap_err();
    assert!(
        others.message.contains("cannot get secrets \"others\"")
            && others.message.contains("serviceaccounts \"admin\"")
    );
    assert!(!others.message.contains("create pods"), "{}", others.message);
    // New code in another user's Function gets its Secret; a new replica count does not.
    let mut old = given("others", "admin");
    let mut new = old.clone();
    new["spec"]["java"]["jar"] = json!("/mine.jar");
    assert!(access.check(&carl, "Function", ns, new, Some(old.clone())).await.is_err());
    old["spec"]["replicas"] = json!(1);
    let mut scaled = old.clone();
    scaled["spec"]["replicas"] = json!(3);
    access.check(&mallory, "Function", ns, scaled, Some(old)).await.unwrap();
    // The same through a whole review.
    let state = AppState::with_authorizer(metrics(), Limits::default(), Some(access.clone()));
    let decided = async |who: &UserInfo, operation: &str, secret: &str| {
        let object = given(secret, "runner");
        let review = review("Function", operation, ns, &json!(who), &object);
        answer(router(state.clone()), "function", review).await
    };
    assert_eq!(decided(&carl, "CREATE", "mine").await["allowed"], true);
    let refused = decided(&mallory, "CREATE", "mine").await;
    assert_eq!((&refused["allowed"], &refused["status"]["code"]), (&json!(false), &json!(403)));
    assert!(refused["status"]["message"].as_str().unwrap().contains("cannot get secrets"), "{refused}");
    let without_user = review("Function", "CREATE", ns, &json!({}), &given("mine", "runner"));
    assert_eq!(answer(router(state.clone()), "function", without_user).await["allowed"], false);
    // The controller writes components on behalf of the author of the mesh.
    access.check(&user(ns, "operator"), "Function", ns, given("others", "admin"), None).await.unwrap();
    Ok(())
}
