//! Roles, and what pods may do.

use serde_json::{Value, json};

use crate::{arguments, find, names, render};

#[test]
fn watched_namespaces_limit_permissions() {
    let objects = render("{watchedNamespaces: [a, b], controllerManager: {globalBackendConfig: ''}}");
    assert_eq!(names(&objects, "ClusterRole"), [] as [&str; 0]);
    let mut places: Vec<_> = objects
        .iter()
        .filter(|object| object["kind"] == "Role" && object["metadata"]["annotations"].is_null())
        .map(|object| object["metadata"]["namespace"].as_str().unwrap())
        .collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places, ["a", "b", "ops"]);
    let deployment = find(&objects, "Deployment", "function-mesh-controller-manager");
    assert!(arguments(deployment).contains("--watched-namespace=a,b"));
    let validating =
        find(&objects, "ValidatingWebhookConfiguration", "mesh-validating-webhook-configuration");
    let selector = &validating["webhooks"][0]["namespaceSelector"]["matchExpressions"];
    assert_eq!((&selector[0]["operator"], &selector[0]["values"]), (&json!("In"), &json!(["a", "b"])));
}

#[test]
fn access_reviews_are_allowed_only_where_permissions_are_checked() {
    let off = render("");
    let names_of = |objects: &[Value]| names(objects, "ClusterRole");
    assert!(!names_of(&off).iter().any(|name| name.ends_with("webhook-permissions")));
    let on = render("admissionWebhook: {checkPermissions: true}");
    let role = find(&on, "ClusterRole", "mesh-function-mesh-webhook-permissions");
    let allowed = json!([{ "apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"] }]);
    assert_eq!(role["rules"], allowed);
    let arguments = arguments(find(&on, "Deployment", "function-mesh-webhook"));
    assert!(arguments.contains("--check-permissions"));
    assert!(
        arguments.contains("--trusted-account=system:serviceaccount:ops:function-mesh-controller-manager")
    );
}

#[test]
fn tokens_are_projected_and_never_automounted() {
    let objects =
        render("{admissionWebhook: {certificate: {provider: self-signed}}, console: {enabled: true}}");
    for account in ["function-mesh-controller-manager", "function-mesh-webhook", "function-mesh-console"] {
        assert_eq!(
            find(&objects, "ServiceAccount", account)["automountServiceAccountToken"],
            false,
            "{account}"
        );
        let pod = &find(&objects, "Deployment", account)["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false, "{account}");
        let volumes = pod["volumes"].as_array().unwrap();
        let token = volumes.iter().find(|volume| volume["name"] == "token").unwrap();
        let sources = token["projected"]["sources"].to_string();
        for file in ["\"token\"", "\"ca.crt\"", "\"namespace\""] {
            assert!(sources.contains(&format!("\"path\":{file}")), "{sources}");
        }
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        let place = json!("/var/run/secrets/kubernetes.io/serviceaccount");
        assert!(
            mounts.iter().any(|mount| mount["name"] == "token" && mount["mountPath"] == place),
            "{mounts:?}"
        );
    }
    // A webhook that sends no requests to the API server has no token.
    let plain = render("");
    let pod = &find(&plain, "Deployment", "function-mesh-webhook")["spec"]["template"]["spec"];
    assert!(!pod["volumes"].to_string().contains("serviceAccountToken"));
}

#[test]
fn all_pods_meet_the_restricted_standard() {
    for values in ["", "admissionWebhook: {certificate: {provider: self-signed}}", "console: {enabled: true}"]
    {
        for object in render(values) {
            let pod = match object["kind"].as_str().unwrap() {
                "Deployment" => &object["spec"]["template"]["spec"],
                "Pod" => &object["spec"],
                _ => continue,
            };
            let security = &pod["securityContext"];
            assert_eq!(security["runAsNonRoot"], true);
            assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
            for container in pod["containers"].as_array().unwrap() {
                let wanted = json!({
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                });
                assert_eq!(container["securityContext"], wanted);
            }
        }
    }
}

#[test]
fn clusters_backend_config_stands_in_the_releases_namespace() {
    let place = |values: &str| {
        let objects = render(values);
        let arguments = arguments(find(&objects, "Deployment", "function-mesh-controller-manager"));
        let flag = "--global-backend-config-namespace=";
        arguments.iter().find_map(|argument| argument.strip_prefix(flag)).unwrap().to_owned()
    };
    assert_eq!(place(""), "ops");
    assert_eq!(place("controllerManager: {globalBackendConfigNamespace: commons}"), "commons");
    // Without ClusterRoles, a Role lets the controller read it there.
    let objects = render("watchedNamespaces: [a]");
    let role = find(&objects, "Role", "mesh-function-mesh-controller-manager-backend");
    assert_eq!(role["metadata"]["namespace"], "ops");
}
