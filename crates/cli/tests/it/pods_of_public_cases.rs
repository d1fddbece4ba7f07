//! Manifests from public reports: what their pods and clean-up Jobs look like.

use std::collections::BTreeSet;
use std::path::Path;

use assert_cmd::Command;
use serde_json::{Value, json};

/// The rendered objects of a case, with its clean-up Job.
fn render(case: &str, options: &[&str]) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/public-cases");
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = files.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(case)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-mesh"));
    command.args(["render", "--with-cleanup", "-o", "json"]).args(options).arg("-f").arg(file);
    for variable in
        ["CONFIG_FILE", "GLOBAL_BACKEND_CONFIG", "NAMESPACED_BACKEND_CONFIG", "ENABLE_INIT_CONTAINERS"]
    {
        command.env_remove(variable);
    }
    let output = command.assert().success().get_output().clone();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    list["items"].as_array().unwrap().clone()
}

fn object<'a>(items: &'a [Value], kind: &str) -> &'a Value {
    items.iter().find(|item| item["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

/// All containers of a StatefulSet or Job.
fn containers(object: &Value) -> Vec<&Value> {
    let spec = &object["spec"]["template"]["spec"];
    ["initContainers", "containers"].iter().filter_map(|list| spec[list].as_array()).flatten().collect()
}

fn container<'a>(object: &'a Value, name: &str) -> &'a Value {
    containers(object).into_iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn case_11_added_containers_have_resources() {
    for options in [&[][..], &["--enable-init-containers"]] {
        let items = render("11", options);
        for kind in ["StatefulSet", "HorizontalPodAutoscaler"] {
            object(&items, kind);
        }
        for container in containers(object(&items, "StatefulSet")) {
            for amount in ["/requests/cpu", "/requests/memory", "/limits/cpu", "/limits/memory"] {
                let found = container["resources"].pointer(amount);
                assert!(found.is_some_and(Value::is_string), "{amount} of {}", container["name"]);
            }
        }
        let metrics = &object(&items, "HorizontalPodAutoscaler")["spec"]["metrics"];
        assert_eq!(metrics[0]["type"], "ContainerResource");
        assert_eq!(metrics[0]["containerResource"]["container"], "pulsar-sink");
    }
}

#[test]
fn case_11_resources_are_a_setting() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(
        &file,
        "logSidecarResources: {requests: {cpu: 1m}}\ncleanupResources: {limits: {memory: 2Gi}}\n",
    )
    .unwrap();
    let option = ["--config-file", file.to_str().unwrap()];
    let items = render("11", &option);
    let sidecar = container(object(&items, "StatefulSet"), "filebeat");
    assert_eq!(sidecar["resources"], json!({ "requests": { "cpu": "1m" } }));
    let items = render("13", &option);
    let cleanup = container(object(&items, "Job"), "cleanup");
    assert_eq!(cleanup["resources"], json!({ "limits": { "memory": "2Gi" } }));
}

#[test]
fn case_13_nothing_names_a_user() {
    for options in [&[][..], &["--enable-init-containers"]] {
        let items = render("13", options);
        for kind in ["StatefulSet", "Job"] {
            let template = object(&items, kind)["spec"]["template"].to_string();
            for field in ["runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"] {
                assert!(!template.contains(field), "{field} in the {kind}");
            }
            for container in containers(object(&items, kind)) {
                assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
            }
        }
    }
}

#[test]
fn case_14_cleanup_pods_bear_labels_and_annotations() {
    let items = render("14", &[]);
    let job = &object(&items, "Job")["spec"]["template"]["metadata"];
    assert_eq!(job["labels"]["example.com/cost-center"], "4711");
    assert_eq!(job["labels"]["azure.workload.identity/use"], "true");
    assert_eq!(job["annotations"]["vault.hashicorp.com/agent-inject"], "true");
    // The Service, the StatefulSet and the autoscaler do not select them.
    let selector = object(&items, "StatefulSet")["spec"]["selector"]["matchLabels"].as_object().unwrap();
    assert!(selector.iter().any(|(key, value)| &job["labels"][key] != value));
}

/// The package is at the path of the manifest, in the volume of the user, which each container mounts that needs it.
#[test]
fn case_21_package_goes_to_the_path_given() {
    for (options, downloader) in [(&[][..], "pulsar-function"), (&["--enable-init-containers"], "downloader")]
    {
        let items = render("21", options);
        let set = object(&items, "StatefulSet");
        let script = |name: &str| container(set, name)["command"][2].as_str().unwrap().to_owned();
        assert!(
            script(downloader)
                .contains(" packages download function://public/default/f@1 --path /scratch/f.jar ")
        );
        assert!(script("pulsar-function").contains(" --jar /scratch/f.jar "));
        for name in [downloader, "pulsar-function"] {
            let mounts = container(set, name)["volumeMounts"].as_array().unwrap();
            let at: Vec<_> = mounts.iter().filter(|mount| mount["mountPath"] == "/scratch").collect();
            assert_eq!(at, [&json!({ "name": "scratch", "mountPath": "/scratch" })], "{name}");
        }
        let volumes = set["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
        let names: BTreeSet<_> = volumes.iter().filter_map(|volume| volume["name"].as_str()).collect();
        assert_eq!(names, BTreeSet::from(["scratch"]));
    }
}

#[test]
fn case_30_default_container_is_the_runner() {
    let default = |items: &[Value]| {
        let annotations = &object(items, "StatefulSet")["spec"]["template"]["metadata"]["annotations"];
        annotations["kubectl.kubernetes.io/default-container"].clone()
    };
    for (case, expected) in [("30", "pulsar-function"), ("11", "pulsar-sink")] {
        assert_eq!(default(&render(case, &[])), expected);
    }
}
