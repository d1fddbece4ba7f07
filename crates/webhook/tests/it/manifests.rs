//! The webhook configurations, and the subcommand that prints them.

use std::process::{Command, Output};

use function_mesh_webhook::manifests::{ClientTarget, webhook_configurations};
use serde_json::{Value, json};

const KINDS: [&str; 5] = ["function", "source", "sink", "functionmesh", "backendconfig"];

fn program(args: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_function-mesh-webhook"));
    program.args(args).env_clear().output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn each_kind_has_its_own_path() {
    let target = ClientTarget::Service { name: "webhook".into(), namespace: "mesh".into(), port: 443 };
    let (mutating, validating) = webhook_configurations("mesh", &target, Some(b"certificates"));
    for (object, kind, action) in [
        (serde_json::to_value(mutating).unwrap(), "MutatingWebhookConfiguration", "mutate"),
        (serde_json::to_value(validating).unwrap(), "ValidatingWebhookConfiguration", "validate"),
    ] {
        assert_eq!(
            (&object["apiVersion"], &object["kind"]),
            (&json!("admissionregistration.k8s.io/v1"), &json!(kind))
        );
        let webhooks = object["webhooks"].as_array().unwrap();
        assert_eq!(webhooks.len(), KINDS.len());
        for (webhook, name) in webhooks.iter().zip(KINDS) {
            let initial = &action[..1];
            assert_eq!(webhook["name"], format!("{initial}{name}.functionmesh.io"));
            let path = format!("/{action}-compute-functionmesh-io-v1alpha1-{name}");
            let service = json!({ "name": "webhook", "namespace": "mesh", "port": 443, "path": path });
            assert_eq!(
                webhook["clientConfig"],
                json!({ "caBundle": "Y2VydGlmaWNhdGVz", "service": service })
            );
            let plural =
                if name == "functionmesh" { "functionmeshes".to_owned() } else { format!("{name}s") };
            let rule = json!({
                "apiGroups": ["compute.functionmesh.io"],
                "apiVersions": ["v1alpha1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": [plural],
                "scope": "Namespaced",
            });
            assert_eq!(webhook["rules"], json!([rule]));
            assert_eq!(
                [&webhook["failurePolicy"], &webhook["sideEffects"], &webhook["matchPolicy"]],
                ["Fail", "None", "Equivalent"]
            );
            assert_eq!(
                (&webhook["timeoutSeconds"], &webhook["admissionReviewVersions"]),
                (&json!(5), &json!(["v1"]))
            );
        }
    }
}

#[test]
fn subcommand_prints_yaml_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, "certificates").unwrap();
    let ca = ca.to_str().unwrap();
    let url = "https://192.0.2.1:9443/";
    let json = program(&["manifests", "--url", url, "--ca-file", ca, "-o", "json"]);
    assert!(json.status.success(), "{}", text(&json.stderr));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let first = &json["items"][0]["webhooks"][0]["clientConfig"];
    assert_eq!(first["url"], "https://192.0.2.1:9443/mutate-compute-functionmesh-io-v1alpha1-function");
    assert_eq!(first["caBundle"], "Y2VydGlmaWNhdGVz");

    let yaml = program(&["manifests", "--url", url, "--ca-file", ca]);
    let yaml = text(&yaml.stdout);
    let documents: Vec<Value> =
        yaml.split("---\n").map(|text| serde_saphyr::from_str(text).unwrap()).collect();
    assert_eq!(json["items"], json!(documents));
}

#[test]
fn errors_name_the_flag() {
    for (args, expected) in [
        (&["manifests"][..], "--url"),
        (&["manifests", "--url", "http://x"], "must start with https://"),
        (&["manifests", "--url", "https://x", "--ca-file", "/nowhere"], "failed to read /nowhere"),
        (&["--cert-dir", "/nowhere"], "failed to read /nowhere/tls.crt"),
        (&["--webhook-addr", "9443"], "use `:8443`"),
    ] {
        let output = program(args);
        assert!(!output.status.success());
        let error = text(&output.stderr);
        assert!(error.contains(expected), "{args:?}: {error}");
    }
}

#[test]
fn help_has_examples() {
    let help = text(&program(&["--help"]).stdout);
    for expected in
        ["MutatingWebhookConfiguration", "--cert-dir", "[env: CERT_DIR=]", "Examples:", "tls.crt and tls.key"]
    {
        assert!(help.contains(expected), "{expected} is not in {help}");
    }
}
