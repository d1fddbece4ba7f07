//! What the chart renders, by the real helm and without a cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so when it fails")]

use std::collections::BTreeSet;
use std::env;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use function_mesh_webhook::manifests::{ClientTarget, webhook_configurations};
use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const CHART: &str = "charts/function-mesh-operator";

/// Runs `helm template` with these values.
fn helm(values: &str) -> Output {
    let cluster = env::var("FUNCTION_MESH_CLUSTER").expect("FUNCTION_MESH_CLUSTER: hack/test sets it");
    let mut helm = Command::new(Path::new(&cluster).with_file_name("helm"))
        .args(["template", "mesh", CHART, "--namespace", "ops", "--values", "-"])
        .current_dir(ROOT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    helm.stdin.take().unwrap().write_all(values.as_bytes()).unwrap();
    helm.wait_with_output().unwrap()
}

fn rendered(values: &str) -> Vec<Value> {
    let output = helm(values);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    objects.into_iter().filter(|object| !object.is_null()).collect()
}

fn refused(values: &str) -> String {
    let output = helm(values);
    assert!(!output.status.success(), "rendered with {values}");
    String::from_utf8(output.stderr).unwrap()
}

fn names(objects: &[Value], kind: &str) -> Vec<String> {
    let of_kind = objects.iter().filter(|object| object["kind"] == kind);
    of_kind.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name} among {:?}", names(objects, kind)))
}

fn arguments(deployment: &Value) -> BTreeSet<&str> {
    let arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    arguments.iter().map(|argument| argument.as_str().unwrap()).collect()
}

/// The same with every number as a float: Helm writes `0.0` as `0`.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), plain(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

#[test]
fn admission_is_registered_as_the_program_itself_would() {
    let objects = rendered("");
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
            // Whose objects are sent is a matter of where it is installed.
            let selector = webhook.as_object_mut().unwrap().remove("namespaceSelector").unwrap();
            let left_out = &selector["matchExpressions"][0];
            // The cluster's BackendConfig stands in the release's namespace, and is checked.
            let is_backend = webhook["name"].as_str().unwrap().contains("backendconfig");
            let places = if is_backend { json!(["kube-system"]) } else { json!(["kube-system", "ops"]) };
            assert_eq!((&left_out["operator"], &left_out["values"]), (&json!("NotIn"), &places));
        }
        assert_eq!(webhooks, wanted["webhooks"], "{kind}");
    }
}

#[test]
fn values_of_the_original_chart_mean_what_they_meant() {
    let objects = rendered(
        r"
installation: {namespace: function-mesh-system}
rbac: {create: true}
operatorImage: registry.example.com/operator:1
imagePullPolicy: Always
imagePullSecrets: [{name: pull}]
nameOverride: other
controllerManager:
  create: true
  serviceAccount: account
  replicas: 3
  autoFailover: true
  selector: []
  resources: {requests: {cpu: 1, memory: 1Gi}}
  priorityClassName: high
  affinity: {nodeAffinity: {}}
  nodeSelector: {disk: fast}
  tolerations: [{key: dedicated, operator: Exists}]
  runnerImages: {java: java:1, genericRuntime: {nodejs: node:1}}
  runnerImagePullSecrets: [{name: runners}]
  runnerImagePullPolicy: Never
  resourceLabels: {team: a}
  resourceAnnotations: {note: b}
  configFile: /etc/other/file.yaml
  enableLeaderElection: true
  metrics: {port: 9090}
  healthProbe: {port: 9091}
  pprof: {enable: false, port: 8090}
  enableInitContainers: true
  globalBackendConfig: global
  globalBackendConfigNamespace: commons
  namespacedBackendConfig: local
  addDefaultAffinity: false
  pauseRollout: true
admissionWebhook: {enabled: true, secretsWebhookNamespace: default, failurePolicy: Ignore, certificate: {provider: cert-manager}}
",
    );
    let deployment = find(&objects, "Deployment", "function-mesh-controller-manager");
    let arguments = arguments(deployment);
    for argument in [
        "--enable-leader-election=true",
        "--config-file=/etc/other/file.yaml",
        "--enable-init-containers=true",
        "--global-backend-config=global",
        "--global-backend-config-namespace=commons",
        "--namespaced-backend-config=local",
        "--add-default-affinity=false",
        "--pause-rollout=true",
        "--metrics-addr=:9090",
        "--health-probe-addr=:9091",
    ] {
        assert!(arguments.contains(argument), "{argument} is not among {arguments:?}");
    }
    let selector = json!({
        "app.kubernetes.io/name": "other",
        "app.kubernetes.io/instance": "mesh",
        "app.kubernetes.io/component": "controller-manager",
    });
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], selector);
    assert_eq!(deployment["spec"]["replicas"], 3);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "account");
    assert_eq!(pod["imagePullSecrets"], json!([{ "name": "pull" }]));
    assert_eq!(pod["priorityClassName"], "high");
    assert_eq!(pod["affinity"], json!({ "nodeAffinity": {} }));
    assert_eq!(pod["nodeSelector"], json!({ "disk": "fast" }));
    assert_eq!(pod["tolerations"], json!([{ "key": "dedicated", "operator": "Exists" }]));
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "registry.example.com/operator:1");
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(container["resources"]["requests"], json!({ "cpu": 1, "memory": "1Gi" }));

    let file = find(&objects, "ConfigMap", "function-mesh-controller-manager-configs");
    let file: Value = serde_saphyr::from_str(file["data"]["file.yaml"].as_str().unwrap()).unwrap();
    let wanted = json!({
        "runnerImages": { "java": "java:1", "genericRuntime": { "nodejs": "node:1" } },
        "runnerImagePullSecrets": [{ "name": "runners" }],
        "runnerImagePullPolicy": "Never",
        "resourceLabels": { "team": "a" },
        "resourceAnnotations": { "note": "b" },
    });
    assert_eq!(file, wanted);
    let mutating = find(&objects, "MutatingWebhookConfiguration", "mesh-mutating-webhook-configuration");
    assert_eq!(mutating["webhooks"][0]["failurePolicy"], "Ignore");
    assert_eq!(
        mutating["metadata"]["annotations"]["cert-manager.io/inject-ca-from"],
        "ops/function-mesh-admission-webhook-server-cert"
    );
}

#[test]
fn what_cannot_be_is_refused_with_its_name() {
    for (values, words) in [
        ("controllerManager: {replica: 2}", "'replica' not allowed"),
        ("controllerManager: {replicas: 2, enableLeaderElection: false}", "/controllerManager/replicas"),
        ("admissionWebhook: {failurePolicy: Maybe}", "/admissionWebhook/failurePolicy"),
        ("admissionWebhook: {certificate: {provider: secret}}", "admissionWebhook.certificate."),
        (
            "admissionWebhook: {certificate: {provider: custom}}",
            "function-mesh-admission-webhook-server-cert-ca",
        ),
        ("watchedNamespaces: [Upper]", "/watchedNamespaces/0"),
    ] {
        let error = refused(values);
        assert!(error.contains(words), "{values}: {error}");
    }
}

#[test]
fn with_a_list_of_namespaces_it_has_no_rights_elsewhere() {
    let objects = rendered("{watchedNamespaces: [a, b], controllerManager: {globalBackendConfig: ''}}");
    assert_eq!(names(&objects, "ClusterRole"), [] as [&str; 0]);
    let mut places: Vec<_> = objects
        .iter()
        .filter(|object| object["kind"] == "Role" && object["metadata"]["annotations"].is_null())
        .map(|object| object["metadata"]["namespace"].as_str().unwrap())
        .collect();
    places.sort_unstable();
    assert_eq!(places, ["a", "b", "ops"]);
    let deployment = find(&objects, "Deployment", "function-mesh-controller-manager");
    assert!(arguments(deployment).contains("--watched-namespace=a,b"));
    let validating =
        find(&objects, "ValidatingWebhookConfiguration", "mesh-validating-webhook-configuration");
    let selector = &validating["webhooks"][0]["namespaceSelector"]["matchExpressions"];
    assert_eq!((&selector[0]["operator"], &selector[0]["values"]), (&json!("In"), &json!(["a", "b"])));
}

#[test]
fn tokens_are_projected_and_never_automounted() {
    let objects = rendered("admissionWebhook: {certificate: {provider: self-signed}}");
    for account in ["function-mesh-controller-manager", "function-mesh-webhook"] {
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
    // A webhook that asks the API server for nothing has no token at all.
    let plain = rendered("");
    let pod = &find(&plain, "Deployment", "function-mesh-webhook")["spec"]["template"]["spec"];
    assert!(!pod["volumes"].to_string().contains("serviceAccountToken"));
}

#[test]
fn own_and_protected_namespaces_are_refused_by_policy() {
    let policy = "mesh-function-mesh-protected-namespaces";
    let places = |values: &str| {
        let objects = rendered(values);
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
        assert_eq!(names(&rendered(values), "ValidatingAdmissionPolicy"), [] as [&str; 0], "{values}");
    }
    let objects = rendered("protectedNamespaces: [infra]");
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

#[test]
fn clusters_backend_config_stands_in_the_releases_namespace() {
    let place = |values: &str| {
        let objects = rendered(values);
        let arguments = arguments(find(&objects, "Deployment", "function-mesh-controller-manager"));
        let flag = "--global-backend-config-namespace=";
        arguments.iter().find_map(|argument| argument.strip_prefix(flag)).unwrap().to_owned()
    };
    assert_eq!(place(""), "ops");
    assert_eq!(place("controllerManager: {globalBackendConfigNamespace: commons}"), "commons");
    // Where there are Roles only, one lets the controller read it there.
    let objects = rendered("watchedNamespaces: [a]");
    let role = find(&objects, "Role", "mesh-function-mesh-controller-manager-backend");
    assert_eq!(role["metadata"]["namespace"], "ops");
}

#[test]
fn rights_are_asked_for_only_where_they_are_checked() {
    let off = rendered("");
    let names_of = |objects: &[Value]| names(objects, "ClusterRole");
    assert!(!names_of(&off).iter().any(|name| name.ends_with("webhook-permissions")));
    let on = rendered("admissionWebhook: {checkPermissions: true}");
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
fn limits_of_the_webhook_are_flags() {
    let objects = rendered("admissionWebhook: {limits: {memory-budget: 33554432, decision-timeout: 3s}}");
    let arguments = arguments(find(&objects, "Deployment", "function-mesh-webhook"));
    assert!(arguments.contains("--memory-budget=33554432") && arguments.contains("--decision-timeout=3s"));
    assert!(refused("admissionWebhook: {limits: {memory: 1}}").contains("memory"));
}

#[test]
fn images_are_selectable_by_digest() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let image = |values: &str, name: &str| {
        let objects = rendered(values);
        find(&objects, "Deployment", name)["spec"]["template"]["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    for (values, wanted) in [
        (format!("{{operatorImage: r/c:1, operatorImageDigest: '{digest}'}}"), format!("r/c:1@{digest}")),
        (format!("operatorImage: r/c@{digest}"), format!("r/c@{digest}")),
    ] {
        assert_eq!(image(&values, "function-mesh-controller-manager"), wanted);
    }
    let values = format!("admissionWebhook: {{image: r/w, imageDigest: '{digest}'}}");
    assert_eq!(image(&values, "function-mesh-webhook"), format!("r/w@{digest}"));
    assert!(refused("operatorImageDigest: 'sha256:12'").contains("operatorImageDigest"));
}

#[test]
fn definitions_are_kept_and_may_be_left_to_others() {
    let kept = rendered("");
    let definitions: Vec<_> =
        kept.iter().filter(|object| object["kind"] == "CustomResourceDefinition").collect();
    assert_eq!(definitions.len(), 5);
    for definition in definitions {
        assert_eq!(definition["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
        let file = definition["spec"]["names"]["plural"].as_str().unwrap();
        let file = std::fs::read_to_string(format!("{ROOT}/deploy/crds/{file}.yaml")).unwrap();
        let file: Value = serde_saphyr::from_str(&file).unwrap();
        assert!(plain(&definition["spec"]) == plain(&file["spec"]), "{}", definition["metadata"]["name"]);
    }
    let left = rendered("crds: {enabled: false}");
    assert_eq!(names(&left, "CustomResourceDefinition"), [] as [&str; 0]);
}

#[test]
fn every_switch_makes_what_it_is_named_after_and_nothing_by_default() {
    let none = rendered("");
    let all = rendered(
        "{networkPolicy: {enabled: true}, serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}, \
          dashboard: {enabled: true}, controllerManager: {replicas: 2, metrics: {scheme: https}}}",
    );
    let both = ["function-mesh-controller-manager", "function-mesh-webhook"];
    for kind in ["NetworkPolicy", "ServiceMonitor"] {
        assert_eq!(names(&none, kind), [] as [&str; 0]);
        assert_eq!(names(&all, kind), both);
    }
    assert_eq!(names(&none, "PodDisruptionBudget"), ["function-mesh-webhook"]);
    assert_eq!(names(&all, "PodDisruptionBudget"), both);
    let text =
        |file: &str| std::fs::read_to_string(format!("{ROOT}/{CHART}/files/monitoring/{file}")).unwrap();
    let rules: Value = serde_saphyr::from_str(&text("alerts.yaml")).unwrap();
    assert_eq!(find(&all, "PrometheusRule", "function-mesh-operator")["spec"], rules);
    let dashboard = find(&all, "ConfigMap", "function-mesh-operator-dashboard");
    let shown: Value =
        serde_json::from_str(dashboard["data"]["function-mesh.json"].as_str().unwrap()).unwrap();
    assert_eq!(shown, serde_json::from_str::<Value>(&text("dashboard.json")).unwrap());
    let secure = find(&all, "Deployment", "function-mesh-controller-manager");
    assert!(arguments(secure).contains("--cert-dir=/etc/certs"));
    find(&all, "Certificate", "function-mesh-controller-manager-metrics-cert");
}

#[test]
fn all_images_belong_to_restricted_pods() {
    for values in ["", "admissionWebhook: {certificate: {provider: self-signed}}"] {
        for object in rendered(values) {
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
