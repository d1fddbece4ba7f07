//! Webhooks, their limits and the admission policy.

use function_mesh_webhook::manifests::{ClientTarget, webhook_configurations};
use serde_json::json;

use crate::{arguments, find, names, render, render_error};

#[test]
fn webhooks_equal_those_of_the_program() {
    let objects = render("");
    let (name, namespace) = ("function-mesh-admission-webhook-service".to_owned(), "ops".to_owned());
    let (mutating, validating) =
        webhook_configurations("mesh", &ClientTarget::Service { name, namespace, port: 443 }, None);
    for (kind, wanted) in [
        ("MutatingWebhookConfiguration", serde_json::to_value(mutating).unwrap()),
        ("ValidatingWebhookConfiguration", serde_json::to_value(validating).unwrap()),
    ] {
        let found = find(&objects, kind, wanted["metadata"]["name"].as_str().unwrap());
        let mut webhooks = found["webhooks"].clone();
        for webhook in webhooks.as_array_mut().unwrap() {
            // The namespaces depend on the installation.
            let selector = webhook.as_object_mut().unwrap().remove("namespaceSelector").unwrap();
            let left_out = &selector["matchExpressions"][0];
            // The cluster's BackendConfig is in the release's namespace, and is checked.
            let is_backend = webhook["name"].as_str().unwrap().contains("backendconfig");
            let places = if is_backend { json!(["kube-system"]) } else { json!(["kube-system", "ops"]) };
            assert_eq!((&left_out["operator"], &left_out["values"]), (&json!("NotIn"), &places));
        }
        assert_eq!(webhooks, wanted["webhooks"], "{kind}");
    }
}

#[test]
fn webhook_limits_become_flags() {
    let objects = render("admissionWebhook: {limits: {memory-budget: 33554432, decision-timeout: 3s}}");
    let arguments = arguments(find(&objects, "Deployment", "function-mesh-webhook"));
    assert!(arguments.contains("--memory-budget=33554432") && arguments.contains("--decision-timeout=3s"));
    assert!(render_error("admissionWebhook: {limits: {memory: 1}}").contains("memory"));
}

#[test]
fn policy_denies_own_and_protected_namespaces() {
    let policy = "mesh-function-mesh-protected-namespaces";
    let places = |values: &str| {
        let objects = render(values);
        let policy = find(&objects, "ValidatingAdmissionPolicy", policy);
        policy["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"][0]["values"].clone()
    };
    assert_eq!(places(""), json!(["kube-system", "kube-public", "kube-node-lease", "ops"]));
    assert_eq!(places("protectedNamespaces: [infra]"), json!(["infra", "ops"]));
    assert_eq!(
        places("controllerManager: {allowComponentsInOwnNamespace: true}"),
        json!(["kube-system", "kube-public", "kube-node-lease"])
    );
    let none = [
        "admissionPolicies: {enabled: false}",
        "{protectedNamespaces: [], controllerManager: {allowComponentsInOwnNamespace: true}}",
    ];
    for values in none {
        assert_eq!(names(&render(values), "ValidatingAdmissionPolicy"), [] as [&str; 0], "{values}");
    }
    let objects = render("protectedNamespaces: [infra]");
    let binding = find(&objects, "ValidatingAdmissionPolicyBinding", policy);
    assert_eq!(
        (&binding["spec"]["policyName"], &binding["spec"]["validationActions"]),
        (&json!(policy), &json!(["Deny"]))
    );
    let deployment = find(&objects, "Deployment", "function-mesh-controller-manager");
    let arguments = arguments(deployment);
    assert!(
        arguments.contains("--protected-namespaces=infra")
            && arguments.contains("--allow-own-namespace=false")
    );
}
