//! The console in the cluster: nothing without it, and no more than it needs with it.

use serde_json::{Value, json};

use crate::{arguments, find, names, render, render_error};

const CONSOLE: &str = "function-mesh-console";
const ON: &str = "{console: {enabled: true}, networkPolicy: {enabled: true}}";

fn of_console(objects: &[Value]) -> Vec<&Value> {
    let is_ours =
        |object: &&Value| object["metadata"]["labels"]["app.kubernetes.io/component"] == json!("console");
    objects.iter().filter(is_ours).collect()
}

#[test]
fn nothing_changes_without_it() {
    let off = render("networkPolicy: {enabled: true}");
    assert!(of_console(&off).is_empty());
    let on = render(ON);
    let rest: Vec<_> =
        on.iter().filter(|object| !of_console(&on).iter().any(|ours| ours == object)).collect();
    assert!(rest.into_iter().eq(off.iter()), "other objects differ");
    let kinds: Vec<_> = of_console(&on).iter().map(|object| object["kind"].as_str().unwrap()).collect();
    for kind in ["Deployment", "NetworkPolicy", "Service", "ServiceAccount"] {
        assert_eq!(kinds.iter().filter(|of| **of == kind).count(), 1, "{kind}: {kinds:?}");
    }
}

#[test]
fn it_reads_and_reviews_and_writes_nothing() {
    let objects = render(ON);
    let rules = |name: &str| find(&objects, "ClusterRole", name)["rules"].as_array().unwrap().clone();
    for rule in rules("mesh-function-mesh-console") {
        for verb in rule["verbs"].as_array().unwrap() {
            assert!(["get", "list", "watch"].contains(&verb.as_str().unwrap()), "{rule}");
        }
        let text = rule.to_string();
        assert!(!text.contains("secrets") && !text.contains('*') && !text.contains("configmaps"), "{text}");
    }
    let reviews = json!([
        { "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"] },
        { "apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"] },
    ]);
    assert_eq!(json!(rules("mesh-function-mesh-console-reviews")), reviews);
    let quiet = render("console: {enabled: true, logs: false}");
    assert!(!find(&quiet, "ClusterRole", "mesh-function-mesh-console").to_string().contains("pods/log"));
    for object in of_console(&render("{console: {enabled: true}, rbac: {create: false}}")) {
        assert!(["Deployment", "Service"].contains(&object["kind"].as_str().unwrap()), "{object}");
    }
}

#[test]
fn watched_namespaces_limit_what_it_reads() {
    let objects = render("{console: {enabled: true}, watchedNamespaces: [a, b]}");
    assert_eq!(names(&objects, "ClusterRole"), ["mesh-function-mesh-console-reviews"]);
    let roles = of_console(&objects).into_iter().filter(|object| object["kind"] == "Role");
    let places: Vec<_> = roles.map(|role| role["metadata"]["namespace"].as_str().unwrap()).collect();
    assert_eq!(places, ["a", "b"]);
    assert!(arguments(find(&objects, "Deployment", CONSOLE)).contains("--watched-namespace=a,b"));
}

#[test]
fn the_page_can_have_its_own_tokens_tls_and_clients() {
    let objects = render(
        "{networkPolicy: {enabled: true}, console: {enabled: true, replicas: 2, audiences: [mesh, other], \
          tlsSecret: page, grafanaURL: 'https://g.example/{name}', allowedClients: [{podSelector: {matchLabels: {app: proxy}}}]}}",
    );
    let deployment = find(&objects, "Deployment", CONSOLE);
    let arguments = arguments(deployment);
    assert!(arguments.contains("--grafana-url=https://g.example/{name}"));
    assert!(arguments.contains("--audience=mesh,other") && arguments.contains("--cert-dir=/etc/certs"));
    let pod = &deployment["spec"]["template"]["spec"];
    let cert = pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "cert").unwrap();
    assert_eq!(cert["secret"]["secretName"], "page");
    assert_eq!(find(&objects, "Service", CONSOLE)["spec"]["ports"][0]["port"], 443);
    assert_eq!(names(&objects, "PodDisruptionBudget"), ["function-mesh-webhook", CONSOLE]);
    let policy = find(&objects, "NetworkPolicy", CONSOLE);
    let page = &policy["spec"]["ingress"][1];
    assert_eq!(page["ports"], json!([{ "port": "console" }]));
    assert_eq!(page["from"], json!([{ "podSelector": { "matchLabels": { "app": "proxy" } } }]));

    let plain = render(ON);
    assert_eq!(find(&plain, "Service", CONSOLE)["spec"]["ports"][0]["port"], 80);
    assert!(find(&plain, "NetworkPolicy", CONSOLE)["spec"]["ingress"][1].get("from").is_none());
    assert!(render_error("console: {audience: x}").contains("'audience' not allowed"));
    assert!(render_error("console: {grafanaURL: 'javascript:x'}").contains("/console/grafanaURL"));
    assert!(render_error("console: {audiences: ['a,b']}").contains("/console/audiences/0"));
}
