//! What values render: those of the upstream chart, images, CRDs, monitoring, and invalid ones.

use serde_json::{Value, json};

use crate::{CHART, ROOT, arguments, find, names, render, render_error, with_float_numbers};

#[test]
fn upstream_values_keep_their_meaning() {
    let objects = render(
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
fn invalid_values_are_rejected_with_their_names() {
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
        let error = render_error(values);
        assert!(error.contains(words), "{values}: {error}");
    }
}

#[test]
fn images_are_selectable_by_digest() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let image = |values: &str, name: &str| {
        let objects = render(values);
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
    assert!(render_error("operatorImageDigest: 'sha256:12'").contains("operatorImageDigest"));
}

#[test]
fn crds_are_kept_and_optional() {
    let kept = render("");
    let definitions: Vec<_> =
        kept.iter().filter(|object| object["kind"] == "CustomResourceDefinition").collect();
    assert_eq!(definitions.len(), 5);
    for definition in definitions {
        assert_eq!(definition["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
        let file = definition["spec"]["names"]["plural"].as_str().unwrap();
        let file = std::fs::read_to_string(format!("{ROOT}/deploy/crds/{file}.yaml")).unwrap();
        let file: Value = serde_saphyr::from_str(&file).unwrap();
        assert!(
            with_float_numbers(&definition["spec"]) == with_float_numbers(&file["spec"]),
            "{}",
            definition["metadata"]["name"]
        );
    }
    let left = render("crds: {enabled: false}");
    assert_eq!(names(&left, "CustomResourceDefinition"), [] as [&str; 0]);
}

#[test]
fn optional_objects_are_off_by_default() {
    let none = render("");
    let all = render(
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
