//! What the program has to be allowed: this and no more.

use anyhow::ensure;
use function_mesh_testkit::{SECONDS_30, eventually};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{from_value, json};

use crate::world::{Lives, Nothing, SECRET, World};

async fn allow(world: &World, user: &str) -> Nothing {
    let (params, client) = (PostParams::default(), &world.client);
    let name = format!("{}-certificates", world.namespace);
    let subjects = json!([{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }]);
    let role: Role = from_value(json!({
        "metadata": { "name": name },
        "rules": [{ "apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET], "verbs": ["get", "update"] }],
    }))?;
    let binding: RoleBinding = from_value(json!({
        "metadata": { "name": name }, "subjects": subjects,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
    }))?;
    Api::namespaced(client.clone(), &world.namespace).create(&params, &role).await?;
    Api::namespaced(client.clone(), &world.namespace).create(&params, &binding).await?;
    let patching = |resource: &str, name: String| {
        json!({
            "apiGroups": ["admissionregistration.k8s.io"], "resources": [resource], "resourceNames": [name],
            "verbs": ["get", "patch"],
        })
    };
    let role: ClusterRole = from_value(json!({
        "metadata": { "name": name },
        "rules": [
            patching("mutatingwebhookconfigurations", world.mutating()),
            patching("validatingwebhookconfigurations", world.validating()),
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
async fn get_and_update_of_one_secret_and_get_and_patch_of_two_configurations_suffice() -> Nothing {
    let world = World::new("rights").await?;
    let user = format!("{}-webhook", world.namespace);
    let kubeconfig = world.plane.kubeconfig_by_roles(&user).await?;

    // Without any right, and then without the Secret, it waits.
    let replica = world.replica(&kubeconfig, &Lives::SHORT).await?;
    let fails = async |more: u64| {
        let before = replica.metric("function_mesh_authority_failures_total").await?;
        eventually(SECONDS_30, async || {
            let now = replica.metric("function_mesh_authority_failures_total").await?;
            ensure!(now >= before + more, "{now} failures");
            Ok(())
        })
        .await
    };
    fails(1).await?;
    allow(&world, &user).await?;
    fails(2).await?;
    assert_eq!(replica.readiness().await?, "not ready: certificate\n");
    world.put_secret(&[]).await?;
    replica.is_ready().await?;

    // Nor does it need the configurations to be there first.
    world.configure().await?;
    world.trusts().await?;
    world.admits().await?;
    eventually(SECONDS_30, async || {
        for step in ["certificate", "introduce", "switch", "drop"] {
            let series = format!("function_mesh_authority_steps_total{{step=\"{step}\"}}");
            ensure!(replica.metric(&series).await? >= 1, "no {step}");
        }
        Ok(())
    })
    .await?;
    world.admits().await?;

    // Whatever is taken away from it, it serves what it has.
    let name = format!("{}-certificates", world.namespace);
    let params = DeleteParams::default();
    Api::<ClusterRoleBinding>::all(world.client.clone()).delete(&name, &params).await?;
    Api::<RoleBinding>::namespaced(world.client.clone(), &world.namespace).delete(&name, &params).await?;
    fails(3).await?;
    assert_eq!(replica.readiness().await?, "ok\n");
    replica.served().await?;
    Ok(())
}
