//! Users of the cluster: ServiceAccounts with roles and tokens, and the account of the console with those of the chart.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::harness::Harness;

/// The objects that the chart renders for the console.
async fn rendered(values: &[&str]) -> anyhow::Result<Vec<Value>> {
    let cluster =
        std::env::var("FUNCTION_MESH_CLUSTER").context("FUNCTION_MESH_CLUSTER: hack/test sets it")?;
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/function-mesh-operator");
    let output = tokio::process::Command::new(Path::new(&cluster).with_file_name("helm"))
        .args(["template", "mesh", chart, "--namespace", "ops", "--show-only", "templates/console/rbac.yaml"])
        .args(["--set", "console.enabled=true"])
        .args(values)
        .output()
        .await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_saphyr::from_multiple(&String::from_utf8(output.stdout)?)?)
}

impl Harness {
    /// A kubeconfig of a user with the roles of the console, as the chart renders them. Their names are prefixed, since
    /// tests share a cluster.
    pub(crate) async fn console_account(&self, values: &[&str]) -> anyhow::Result<PathBuf> {
        let user = format!("console-{}", self.namespace);
        for mut object in rendered(values).await? {
            if object["kind"] == "ServiceAccount" {
                continue;
            }
            for pointer in ["/metadata/name", "/roleRef/name"] {
                if let Some(Value::String(name)) = object.pointer_mut(pointer) {
                    name.insert_str(0, &format!("{}-", self.namespace));
                }
            }
            if let Some(subjects) = object.get_mut("subjects") {
                *subjects =
                    json!([{ "kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io" }]);
            }
            self.create_manifest(&object).await?;
        }
        self.plane.kubeconfig_by_roles(&user).await
    }

    /// A ServiceAccount of the namespace, which may do this there. The result is its token.
    pub(crate) async fn user(&self, name: &str, rules: &Value) -> anyhow::Result<String> {
        let metadata = json!({ "name": name, "namespace": self.namespace });
        self.create_manifest(&json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }))
            .await?;
        let group = "rbac.authorization.k8s.io";
        let api = format!("{group}/v1");
        let role = json!({ "apiVersion": api, "kind": "Role", "metadata": metadata, "rules": rules });
        self.create_manifest(&role).await?;
        self.create_manifest(&json!({
            "apiVersion": api, "kind": "RoleBinding", "metadata": metadata,
            "roleRef": { "apiGroup": group, "kind": "Role", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": self.namespace }],
        }))
        .await?;
        self.token(name, &[]).await
    }

    /// A token of a ServiceAccount.
    pub(crate) async fn token(&self, name: &str, args: &[&str]) -> anyhow::Result<String> {
        let own = ["create", "token", name, "-n", &self.namespace];
        Ok(self.plane.kubectl(&[&own, args].concat(), "").await?.trim().to_owned())
    }
}

/// A rule of a role.
pub(crate) fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
}

/// Rules for the kinds of the mesh.
pub(crate) fn ours(resources: &[&str], verbs: &[&str]) -> Value {
    rule("compute.functionmesh.io", resources, verbs)
}

/// Rules for everything that the console shows.
pub(crate) fn everything() -> Value {
    json!([
        ours(&["*"], &["get", "list"]),
        rule("", &["pods", "events"], &["list"]),
        rule("", &["pods/log"], &["get"]),
    ])
}
