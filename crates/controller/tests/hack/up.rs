//! `hack/up` and `hack/down`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::{Machine, assert_order, root, stderr, stderr_at_once, stdout};

const CONTEXT: [&str; 8] = [
    "--context",
    "c",
    "--pulsar-web",
    "http://p:8080",
    "--pulsar-broker",
    "pulsar://p:6650",
    "--runner-image",
    "i",
];

#[test]
fn begins_with_the_time_by_what_is_missing() {
    let machine = Machine::new();
    machine.program("kubectl", "");
    machine.program("curl", "");
    machine.program("cargo", "echo 'error: no such crate' >&2; echo 'help: none' >&2; exit 101");
    let output = machine.hack("up", &CONTEXT);
    let expected = "[  0 s] this takes about 5 minutes on two cores: compiling the operator 4, starting 1\n\
                    [  0 s] building the operator\nerror: no such crate\nhelp: none\n";
    assert_eq!((stderr_at_once(&output).as_str(), output.status.code()), (expected, Some(101)));
    let built = machine.path("target/debug/function-mesh-controller-manager");
    fs::create_dir_all(built.parent().expect("a folder")).expect("target");
    fs::write(&built, "").expect("a program");
    fs::set_permissions(&built, fs::Permissions::from_mode(0o755)).expect("executable");
    let output = machine.hack("up", &CONTEXT);
    assert!(
        stderr_at_once(&output).starts_with("[  0 s] everything is built: this takes about a minute\n"),
        "{output:?}"
    );
}

const KIND: &str = r#"
case "$1 $2" in
  "get clusters") cat "$dir/clusters" 2>/dev/null ;;
  "create cluster") echo function-mesh >"$dir/clusters" ;;
  "get kubeconfig") echo "the kubeconfig" ;;
  "delete cluster") rm "$dir/clusters" ;;
esac"#;
const K3D: &str = r#"
case "$1 $2" in
  "cluster get") [[ -f $dir/clusters ]] ;;
  "cluster create") echo function-mesh >"$dir/clusters" ;;
  "kubeconfig get") echo "the kubeconfig" ;;
  "cluster delete") rm "$dir/clusters" ;;
esac"#;
const ENGINE: &str = r#"
case "$1 $2" in
  "save --output") [[ ! -e $3 ]] && echo archive >"$3" ;;
  "image inspect") [[ $3 != --format ]] || cat "$dir/images" ;;
esac"#;
const KUBECTL: &str = r#"
case $* in
  *port-forward*) echo "Forwarding from 127.0.0.1:45678 -> 8080"; exec sleep 300 ;;
  *" -f -") cat >>"$dir/applied" ;;
esac"#;
const HELM: &str = r#"
echo "KUBECONFIG=$KUBECONFIG" >>"$dir/calls"
while (($#)); do [[ $1 != --values ]] || cp "$2" "$dir/values"; shift; done"#;

/// A machine without a static C library: the Dockerfile compiles.
fn machine(engine: &str, (tool, script): (&str, &str)) -> Machine {
    let machine = Machine::new();
    machine.program("cc", "echo libc.a");
    machine.program("docker", "exit 1");
    machine.program("podman", "exit 1");
    machine.program(engine, ENGINE);
    machine.program(tool, script);
    machine.program("kubectl", KUBECTL);
    machine.program("helm", HELM);
    fs::write(machine.path("images"), "sha256:1\nsha256:2\n").expect("images");
    machine
}

fn value(machine: &Machine, key: &str) -> String {
    let values = fs::read_to_string(machine.path("values")).expect("values");
    let line = values.lines().find(|line| line.contains(key)).unwrap_or_else(|| panic!("no {key}: {values}"));
    line.trim().to_owned()
}

#[test]
fn kind_installs_everything_in_order_and_down_deletes_it() {
    let machine = machine("docker", ("kind", KIND));
    let output = machine.hack("up", &["--kind", "--no-mesh"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let calls = machine.calls();
    let file = machine.path("state/kind/kubeconfig");
    let kubectl = format!("kubectl --kubeconfig {}", file.display());
    let apply = format!("{kubectl} apply --server-side -f -");
    let manifest =
        format!("{kubectl} apply --server-side -f https://github.com/cert-manager/cert-manager/releases/");
    let rollout = format!("{kubectl} rollout status deployment/pulsar");
    let dockerfile = format!("docker build --file {}/Dockerfile --target controller", root().display());
    let create = format!("kind create cluster --name function-mesh --kubeconfig {}", file.display());
    let load = "kind load image-archive";
    let check = format!("{kubectl} create --dry-run=server");
    assert_order(
        &calls,
        &[
            "docker info",
            &dockerfile,
            "docker build",
            &create,
            "docker save",
            load,
            "docker save",
            load,
            &apply,
            &rollout,
            &manifest,
            &check,
            &apply,
            "helm upgrade --install function-mesh",
        ],
    );
    assert!(calls.iter().any(|call| call.contains("--build-arg PROFILE=tryout")), "{calls:#?}");
    assert!(calls.contains(&format!("KUBECONFIG={}", file.display())), "{calls:#?}");
    assert_eq!(fs::read_to_string(&file).expect("a kubeconfig"), "the kubeconfig\n");
    assert!(value(&machine, "runnerImages").contains("java: \"apachepulsar/pulsar:4.0.8\""));
    assert!(value(&machine, "webServiceURL").contains("\"http://pulsar.pulsar:8080\""));
    assert!(fs::read_to_string(machine.path("applied")).expect("applied").contains("bin/pulsar standalone"));
    assert!(stdout(&output).contains("Broker:        http://127.0.0.1:45678"), "{}", stdout(&output));

    // Again, with other images: the cluster and the forward stay, the pods restart.
    let before = value(&machine, "podAnnotations");
    fs::write(machine.path("images"), "sha256:3\nsha256:2\n").expect("images");
    assert!(machine.hack("up", &["--kind", "--no-mesh"]).status.success());
    let calls = machine.calls();
    assert!(
        !calls.iter().any(|call| call.starts_with("kind create") || call.contains("port-forward")),
        "{calls:#?}"
    );
    assert_ne!(value(&machine, "podAnnotations"), before);

    assert!(machine.hack("down", &[]).status.success());
    assert_eq!(machine.calls(), ["kind delete cluster --name function-mesh"]);
    assert!(!machine.path("state").exists());
    let left = Command::new("pgrep").arg("-f").arg(machine.path("state")).output().expect("pgrep");
    assert_eq!(stdout(&left), "", "the forward still runs");
}

#[test]
fn cluster_of_somebody_else_is_used_and_kept() {
    let machine = machine("docker", ("kind", KIND));
    fs::write(machine.path("clusters"), "other\nfunction-mesh\n").expect("clusters");
    assert!(machine.hack("up", &["--kind", "--no-mesh"]).status.success());
    assert!(machine.hack("down", &[]).status.success());
    let calls = machine.calls();
    assert!(
        !calls.iter().any(|call| call.starts_with("kind create") || call.starts_with("kind delete")),
        "{calls:#?}"
    );
}

#[test]
fn podman_and_k3d_are_used_where_they_are_all_there_is() {
    let podman = machine(
        "podman",
        ("kind", &format!("[[ $KIND_EXPERIMENTAL_PROVIDER == podman ]] || exit 9\n{KIND}")),
    );
    assert!(podman.hack("up", &["--kind", "--no-mesh"]).status.success());
    assert_order(&podman.calls(), &["podman build", "kind create", "podman save", "kind load image-archive"]);
    assert!(
        podman.hack("down", &[]).status.success(),
        "without the provider kind would not find the cluster"
    );
    let k3d = machine("docker", ("k3d", K3D));
    assert!(k3d.hack("up", &["--kind", "--no-mesh"]).status.success());
    assert_order(
        &k3d.calls(),
        &["docker build", "k3d cluster create function-mesh", "docker save", "k3d image import"],
    );
    assert!(k3d.hack("down", &[]).status.success());
    assert_eq!(k3d.calls(), ["k3d cluster delete function-mesh"]);
}

#[test]
fn missing_engine_or_tool_is_named() {
    let without_tool = machine("docker", ("other", ""));
    let output = without_tool.hack("up", &["--kind"]);
    assert_eq!((stderr(&output).as_str(), output.status.code()), ("up: --kind needs kind or k3d\n", Some(1)));
    let without_engine = machine("other", ("kind", KIND));
    let output = without_engine.hack("up", &["--kind"]);
    assert!(stderr(&output).starts_with("up: --kind needs Docker or Podman"), "{output:?}");
    let k3d = machine("podman", ("k3d", K3D));
    let output = k3d.hack("up", &["--kind"]);
    assert_eq!(stderr(&output), "up: k3d needs Docker; install kind to use Podman\n");
}

#[test]
fn failure_of_a_step_ends_with_its_output() {
    let machine = machine("docker", ("kind", KIND));
    machine.program("docker", "[[ $1 == info ]] || { echo 'COPY failed: no space' >&2; exit 3; }");
    let output = machine.hack("up", &["--kind"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(stderr(&output).ends_with("COPY failed: no space\n"), "{}", stderr(&output));
    assert!(!machine.calls().iter().any(|call| call.starts_with("kind create")));
}
