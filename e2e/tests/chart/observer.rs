//! Access to Pulsar: flags, the access file and its volume, permissions, egress, and invalid entries.

use std::collections::BTreeSet;

use function_mesh_pulsar::AccessFile;
use serde_json::{Value, json};

use crate::{arguments, find, names, render, render_error};

const CONTROLLER: &str = "function-mesh-controller-manager";
const ACCESS: &str = "function-mesh-pulsar-access";
const FOLDER: &str = "/etc/pulsar-access";

/// Entries with each kind of access.
const CLUSTERS: &str = r#"
observer:
  componentMetrics: true
  clusters:
    - url: https://pulsar.example:8443/
      namespaces: [team-a, team-b]
      tokenSecret: {name: reader}
      caConfigMap: {name: roots}
      brokers: ["https://broker-0.pulsar.example:8444"]
    - {url: "https://pulsar.example:8443", namespaces: [team-c], serviceAccountToken: {audience: pulsar}}
    - {url: "https://other.example", tlsSecret: {name: client}, caSecret: {name: ca, key: root.pem}}
    - {url: "http://plain.example:8080"}
    - {url: "http://token.example:8080", tokenSecret: {name: reader}, allowPlainHttp: true}
networkPolicy: {enabled: true}
"#;

fn pod(objects: &[Value]) -> &Value {
    &find(objects, "Deployment", CONTROLLER)["spec"]["template"]
}

/// The clusters in the access file, which the controller accepts.
fn clusters(objects: &[Value]) -> Vec<Value> {
    let text = find(objects, "ConfigMap", ACCESS)["data"]["access.yaml"].as_str().unwrap();
    AccessFile::parse(text).unwrap();
    let file: Value = serde_saphyr::from_str(text).unwrap();
    file["clusters"].as_array().unwrap().clone()
}

/// The sources of the volume with the access file.
fn sources(objects: &[Value]) -> Vec<Value> {
    let volumes = pod(objects)["spec"]["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == "pulsar-access").unwrap();
    volume["projected"]["sources"].as_array().unwrap().clone()
}

/// The paths of all files in the volume.
fn mounted(objects: &[Value]) -> BTreeSet<String> {
    let mut paths = Vec::new();
    for source in sources(objects) {
        for kind in ["configMap", "secret"] {
            paths.extend(
                source[kind]["items"].as_array().into_iter().flatten().map(|item| item["path"].clone()),
            );
        }
        paths.push(source["serviceAccountToken"]["path"].clone());
    }
    let paths = paths.iter().filter_map(Value::as_str);
    paths.map(|path| format!("{FOLDER}/{path}")).collect()
}

fn may(objects: &[Value], resource: &str, verb: &str) -> bool {
    may_in(objects, "", resource, verb)
}

fn may_in(objects: &[Value], group: &str, resource: &str, verb: &str) -> bool {
    let role = find(objects, "ClusterRole", "mesh-function-mesh-controller-manager");
    role["rules"].as_array().unwrap().iter().any(|rule| {
        let has = |key: &str, value: &str| rule[key].as_array().unwrap().contains(&json!(value));
        has("apiGroups", group) && has("resources", resource) && has("verbs", verb)
    })
}

/// Scaling reads a component with its field managers, and writes the scale subresource: no more than a mesh needs anyway.
#[test]
fn scaling_on_messages_needs_the_scale_subresource_only() {
    let group = "compute.functionmesh.io";
    for objects in [render(""), render("{observer: {enabled: false}}")] {
        for kind in ["functions", "sources", "sinks"] {
            assert!(may_in(&objects, group, kind, "get"), "{kind}");
            let scale = format!("{kind}/scale");
            assert!(may_in(&objects, group, &scale, "patch"), "{scale}");
            assert!(!may_in(&objects, group, &scale, "update") && !may_in(&objects, group, kind, "update"));
        }
    }
}

#[test]
fn observing_is_one_flag_with_its_permissions() {
    let on = render("");
    let flags = arguments(find(&on, "Deployment", CONTROLLER));
    assert!(flags.contains("--observe=true") && flags.contains("--observe-metrics=false"), "{flags:?}");
    assert!(!flags.iter().any(|flag| flag.starts_with("--observe-access")), "{flags:?}");
    assert!(!names(&on, "ConfigMap").iter().any(|name| name == ACCESS));
    assert!(may(&on, "configmaps", "get") && may(&on, "pods", "delete"));
    assert!(!may(&on, "configmaps", "list") && !may(&on, "secrets", "get"));

    let off = render(&CLUSTERS.replace("observer:", "observer:\n  enabled: false"));
    assert!(arguments(find(&off, "Deployment", CONTROLLER)).contains("--observe=false"));
    assert!(!may(&off, "configmaps", "get") && !may(&off, "pods", "delete"));
    assert!(!names(&off, "ConfigMap").iter().any(|name| name == ACCESS));
    assert!(!pod(&off).to_string().contains("pulsar-access"), "{}", pod(&off));

    let watched = render("watchedNamespaces: [a]");
    let roles = watched.iter().filter(|object| object["kind"] == "Role");
    let places: Vec<_> = roles
        .filter(|role| role["rules"].to_string().contains(r#"["configmaps"],"verbs":["get"]}"#))
        .filter(|role| !role["rules"].to_string().contains("resourceNames"))
        .map(|role| &role["metadata"]["namespace"])
        .collect();
    assert_eq!(places, ["a"]);
}

#[test]
fn access_file_names_mounted_files() {
    let objects = render(CLUSTERS);
    let flags = arguments(find(&objects, "Deployment", CONTROLLER));
    for flag in
        ["--observe=true", "--observe-access=/etc/pulsar-access/access.yaml", "--observe-metrics=true"]
    {
        assert!(flags.contains(flag), "{flag} is not among {flags:?}");
    }
    let mounts = pod(&objects)["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
    let mount = json!({ "name": "pulsar-access", "mountPath": FOLDER, "readOnly": true });
    assert!(mounts.contains(&mount), "{mounts:?}");

    let clusters = clusters(&objects);
    let keys = |cluster: &Value| cluster.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let has = |cluster: &Value, wanted: &[&str]| {
        assert_eq!(keys(cluster), wanted.iter().map(|it| (*it).to_owned()).collect());
    };
    has(&clusters[0], &["url", "namespaces", "brokers", "tokenFile", "caFile"]);
    has(&clusters[1], &["url", "namespaces", "tokenFile"]);
    has(&clusters[2], &["url", "certificateFile", "keyFile", "caFile"]);
    has(&clusters[3], &["url"]);
    has(&clusters[4], &["url", "tokenFile", "allowPlainHttp"]);
    assert_eq!(clusters[4]["allowPlainHttp"], true);
    assert_eq!(clusters[0]["url"], "https://pulsar.example:8443");
    assert_eq!(clusters[0]["namespaces"], json!(["team-a", "team-b"]));
    assert_eq!(clusters[0]["brokers"], json!(["https://broker-0.pulsar.example:8444"]));

    let named = clusters.iter().flat_map(|cluster| cluster.as_object().unwrap());
    let files = named.filter(|(key, _)| key.ends_with("File"));
    let mut files: BTreeSet<_> = files.map(|(_, path)| path.as_str().unwrap().to_owned()).collect();
    assert_eq!(files.len(), 7);
    files.insert(format!("{FOLDER}/access.yaml"));
    assert_eq!(mounted(&objects), files);
}

#[test]
fn plain_http_gets_a_token_only_where_it_is_allowed() {
    for entry in [
        "{url: 'http://p', tokenSecret: {name: a}, allowPlainHttp: true}",
        "{url: 'http://p', serviceAccountToken: {audience: p}, allowPlainHttp: true, brokers: ['http://b']}",
        "{url: 'https://p', tokenSecret: {name: a}, allowPlainHttp: true, brokers: ['http://b']}",
    ] {
        let found = clusters(&render(&format!("observer: {{clusters: [{entry}]}}")));
        assert_eq!(found[0]["allowPlainHttp"], true, "{entry}");
    }
    // Without a credential there is nothing to protect.
    for entry in ["{url: 'http://p', brokers: ['http://b']}", "{url: 'http://p', allowPlainHttp: false}"] {
        let found = clusters(&render(&format!("observer: {{clusters: [{entry}]}}")));
        assert!(found[0]["allowPlainHttp"].is_null(), "{entry}");
    }
}

#[test]
fn credentials_come_from_the_named_objects() {
    let objects = render(CLUSTERS);
    let sources = sources(&objects);
    let find = |kind: &str, name: &str| {
        let source = sources.iter().map(|source| &source[kind]).find(|source| source["name"] == name);
        source.unwrap_or_else(|| panic!("no {kind} {name}")).clone()
    };
    let keys = |source: &Value| {
        let items = source["items"].as_array().unwrap().iter();
        items.map(|item| item["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (kind, name, wanted) in [
        ("secret", "reader", &["token"][..]),
        ("secret", "client", &["tls.crt", "tls.key"]),
        ("secret", "ca", &["root.pem"]),
        ("configMap", "roots", &["ca.crt"]),
    ] {
        let source = find(kind, name);
        assert_eq!(keys(&source), wanted, "{name}");
        // A missing credential must not keep the controller from starting.
        assert_eq!(source["optional"], true, "{name}");
    }
    let token = sources.iter().map(|source| &source["serviceAccountToken"]).find(|token| token.is_object());
    let token = token.unwrap();
    assert_eq!((&token["audience"], &token["expirationSeconds"]), (&json!("pulsar"), &json!(3600)));
}

/// While an upgrade replaces pods, an old pod that restarts reads the new file: a path must then not lead to a credential
/// of another cluster.
#[test]
fn path_of_a_credential_belongs_to_its_entry() {
    let a = r#"{url: "https://a", tokenSecret: {name: a}}"#;
    let b = r#"{url: "https://b", tokenSecret: {name: b}}"#;
    let paths = |entries: &[&str]| {
        let objects = render(&format!("observer: {{clusters: [{}]}}", entries.join(", ")));
        let paths = clusters(&objects).into_iter().map(|it| (it["url"].clone(), it["tokenFile"].clone()));
        let mut paths: Vec<_> = paths.map(|(url, path)| (url.to_string(), path.to_string())).collect();
        paths.sort();
        paths
    };
    assert_eq!(paths(&[a, b]), paths(&[b, a]));
    assert_ne!(paths(&[a]), paths(&[&a.replace("https://a", "https://c")]));
    assert_ne!(paths(&[a])[0].1, paths(&[&a.replace("https://a", "https://c")])[0].1);
}

#[test]
fn change_of_access_restarts_the_controller() {
    let checksum =
        |values: &str| pod(&render(values))["metadata"]["annotations"]["checksum/pulsar-access"].clone();
    let first = checksum(CLUSTERS);
    assert!(first.is_string());
    assert_eq!(checksum(CLUSTERS), first);
    assert_ne!(checksum(&CLUSTERS.replace("team-b", "team-d")), first);
    assert!(checksum("").is_null());
}

/// Prometheus would otherwise replace the namespace of a component with that of the controller.
#[test]
fn scrapes_keep_the_namespace_of_a_component() {
    let objects = render("serviceMonitor: {enabled: true}");
    let monitor = find(&objects, "ServiceMonitor", CONTROLLER);
    assert_eq!(monitor["spec"]["endpoints"][0]["honorLabels"], true, "{monitor}");
}

#[test]
fn network_policy_lets_the_controller_reach_pulsar_and_pods() {
    let ports = |values: &str| {
        let objects = render(values);
        let egress =
            find(&objects, "NetworkPolicy", CONTROLLER)["spec"]["egress"].as_array().unwrap().clone();
        let ports = egress.iter().skip(2).flat_map(|rule| rule["ports"].as_array().unwrap().clone());
        ports.map(|port| port["port"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ports(CLUSTERS), [443, 8080, 8443, 8444, 9094]);
    assert_eq!(ports("networkPolicy: {enabled: true, pulsarPorts: [80]}"), [80, 9094]);
    assert_eq!(ports("{networkPolicy: {enabled: true}, observer: {enabled: false}}"), [0; 0]);
    let webhook = render(CLUSTERS);
    assert!(find(&webhook, "NetworkPolicy", "function-mesh-webhook")["spec"]["egress"].is_null());
}

#[test]
fn invalid_entries_are_rejected_with_what_to_do() {
    for (clusters, words) in [
        ("{}", "observer.clusters[0].url: set it to the webServiceURL"),
        ("{url: 'pulsar:8080'}", "observer.clusters[0].url: set it to scheme, host and port"),
        ("{url: 'https://user:hunter2@p'}", "credentials belong in a Secret"),
        ("{url: 'https://a,b:8443'}", "each host in an entry of its own"),
        (
            "{url: 'https://p', tokenSecret: {name: a}, tlsSecret: {name: b}}",
            "set only one of tokenSecret, serviceAccountToken and tlsSecret; it has tokenSecret, tlsSecret",
        ),
        (
            "{url: 'https://p', caSecret: {name: a}, caConfigMap: {name: b}}",
            "only one of caSecret and caConfigMap",
        ),
        (
            "{url: 'https://p', namespaces: [a, b]}, {url: 'HTTPS://P:443/', namespaces: [b]}",
            "observer.clusters[1]: an earlier entry for https://p:443 is for the namespace b too",
        ),
        (
            "{url: 'https://p'}, {url: 'https://p', namespaces: [a]}",
            "give each entry of a URL its own namespaces",
        ),
        (
            "{url: 'https://p', namespaces: [a]}, {url: 'https://p'}",
            "give each entry of a URL its own namespaces",
        ),
        ("{url: 'http://p', tlsSecret: {name: a}}", "set url to https://"),
        ("{url: 'https://p', brokers: ['http://b']}", "observer.clusters[0].brokers[0]: http://b would get"),
        (
            "{url: 'http://p:8080', tokenSecret: {name: a}}",
            "observer.clusters[0].url: http://p:8080 would get the token without TLS",
        ),
        ("{url: 'http://p', serviceAccountToken: {audience: pulsar}}", "or set allowPlainHttp: true"),
        (
            "{url: 'https://p', tokenSecret: {name: a}, brokers: ['https://a', 'http://b']}",
            "observer.clusters[0].brokers[1]: http://b would get",
        ),
        ("{url: 'https://p', allowPlainHttp: 'yes'}", "allowPlainHttp"),
        ("{url: 'https://p', tokensecret: {name: a}}", "'tokensecret' not allowed"),
        ("{url: 'https://p', serviceAccountToken: {}}", "missing property 'audience'"),
        (
            "{url: 'https://p', serviceAccountToken: {audience: 'https://kubernetes.default.svc.cluster.local'}}",
            "Pulsar could act as the operator",
        ),
    ] {
        let error = render_error(&format!("observer: {{clusters: [{clusters}]}}"));
        assert!(error.contains(words), "{clusters}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
