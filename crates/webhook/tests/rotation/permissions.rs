//! The RBAC permissions that the certificate rotation needs.

use anyhow::ensure;
use function_mesh_testkit::{PATIENCE, eventually};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{from_value, json};

use crate::harness::{Harness, SECRET, Validity};

async fn grant(harness: &Harness, user: &str) -> anyhow::Result<()> {
    let (params, client) = (PostParams::default(), &harness.client);
    let name = format!("{}-certificates", harness.namespace);
    let subjects = json!([{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }]);
    let role: Role = from_value(json!({
        "metadata": { "name": name },
        "rules": [{ "apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET], "verbs": ["get", "update"] }],
    }))?;
    let binding: RoleBinding = from_value(json!({
        "metadata": { "name": name }, "subjects": subjects,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
    }))?;
    Api::namespaced(client.clone(), &harness.namespace).create(&params, &role).await?;
    Api::namespaced(client.clone(), &harness.namespace).create(&params, &binding).await?;
    let patching = |resource: &str, name: String| {
        json!({
            "apiGroups": ["admissionregistration.k8s.io"], "resources": [resource], "resourceNames": [name],
            "verbs": ["get", "patch"],
        })
    };
    let role: ClusterRole = from_value(json!({
        "metadata": { "name": name },
        "rules": [
            patching("mutatingwebhookconfigurations", harness.mutating()),
            patching("validatingwebhookconfigurations", harness.validating()),
        ],
    }))?;
    let binding: ClusterRoleBinding = from_value(json!({
        "metadata": { "name": name }, "subjects": subjects,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
    }))?;
    Api::all(client.clone()).create(&params, &role).await?;
    Api::all(client.clone()).create(&params, &binding).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn minimal_permissions_suffice() -> anyhow::Result<()> {
    let harness = Harness::new("rights").await?;
    let user = format!("{}-webhook", harness.namespace);
    let kubeconfig = harness.plane.kubeconfig_by_roles(&user).await?;

    // Not ready without permissions, and then without the Secret.
    let replica = harness.replica(&kubeconfig, &Validity::SHORT).await?;
    let fails = async |more: u64| {
        let before = replica.metric("function_mesh_webhook_ca_rotation_failures_total").await?;
        eventually(PATIENCE, async || {
            let now = replica.metric("function_mesh_webhook_ca_rotation_failures_total").await?;
            ensure!(now >= before + more, "{now} failures");
            Ok(())
        })
        .await
    };
    fails(1).await?;
    grant(&harness, &user).await?;
    fails(2).await?;
    assert_eq!(replica.readiness().await?, "not ready: certificate\n");
    harness.put_secret(&[]).await?;
    replica.is_ready().await?;

    // The webhook configurations may be created later.
    harness.configure().await?;
    harness.wait_in_sync().await?;
    harness.wait_admits().await?;
    eventually(PATIENCE, async || {
        for step in ["issue", "add", "promote", "retire"] {
            let series = format!("function_mesh_webhook_ca_rotations_total{{step=\"{step}\"}}");
            ensure!(replica.metric(&series).await? >= 1, "no {step}");
        }
        Ok(())
    })
    .await?;
    harness.wait_admits().await?;

    // Without permissions it keeps serving its certificate.
    let name = format!("{}-certificates", harness.namespace);
    let params = DeleteParams::default();
    Api::<ClusterRoleBinding>::all(harness.client.clone()).delete(&name, &params).await?;
    Api::<RoleBinding>::namespaced(harness.client.clone(), &harness.namespace).delete(&name, &params).await?;
    fails(3).await?;
    assert_eq!(replica.readiness().await?, "ok\n");
    replica.served().await?;
    Ok(())
}
