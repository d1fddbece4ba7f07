//! The build of the cluster program.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use crate::{Machine, root, stderr, stdout};

/// Go without compiling: it creates the file that -o names.
const GO: &str = r#"
case $1 in
  env) echo go1.26 linux amd64 ;;
  list) if [[ $2 == -m ]]; then echo "$dir/module"; else printf '%s\n' a b c; fi ;;
  build)
    while [[ $1 != -o ]]; do shift; done
    mkdir -p "$GOCACHE" "$GOMODCACHE" && echo runtime >&2
    install -m 755 /dev/null "$2"
    ;;
esac"#;

fn build(machine: &Machine, keep: &str) -> Output {
    build_version(machine, keep, &[])
}

fn build_version(machine: &Machine, keep: &str, arguments: &[&str]) -> Output {
    let mut command = machine.command(root().join("hack/cluster/build"));
    command.args(arguments).env("FUNCTION_MESH_KEEP_BUILD_CACHE", keep).output().expect("it starts")
}

#[test]
fn programs_are_built_once_and_caches_of_go_stay() {
    let machine = Machine::new();
    machine.program("go", GO);
    // Free space does not decide here.
    machine.program("df", "printf 'Filesystem 1024-blocks Used Available\\nx 1 1 99999999 1%% /\\n'");
    fs::create_dir_all(machine.path("module/deploy/charts/cert-manager")).expect("a chart");
    fs::write(machine.path("module/deploy/charts/cert-manager/Chart.yaml"), "version: v0\n")
        .expect("a chart");
    let first = build(&machine, "1");
    assert!(first.status.success(), "{}", stderr(&first));
    assert!(stderr(&first).contains("compiling cluster"), "{}", stderr(&first));
    let program = PathBuf::from(stdout(&first).trim());
    assert!(program.is_file() && program.starts_with(machine.path("cache")), "{}", program.display());
    assert_eq!(machine.calls().iter().filter(|call| call.starts_with("go build -v ")).count(), 3);
    let caches = machine.path("cache/cluster/build-cache");
    assert!(caches.join("go").is_dir());
    let second = build(&machine, "0");
    assert_eq!((stdout(&second), stderr(&second)), (stdout(&first), String::new()));
    assert!(!machine.calls().iter().any(|call| call.starts_with("go build")));
    fs::remove_dir_all(program.parent().expect("a folder")).expect("removed");
    assert!(build(&machine, "0").status.success());
    assert!(!caches.exists(), "kept");
}

#[test]
fn an_older_kubernetes_has_a_program_of_its_own() {
    let machine = Machine::new();
    machine.program("go", GO);
    machine.program("df", "printf 'Filesystem 1024-blocks Used Available\\nx 1 1 99999999 1%% /\\n'");
    let older = build_version(&machine, "1", &["--kubernetes", "1.30"]);
    assert!(older.status.success(), "{}", stderr(&older));
    let calls = machine.calls();
    let builds: Vec<_> = calls.iter().filter(|call| call.starts_with("go build -v ")).collect();
    assert!(builds.len() == 2 && builds[0].contains("gitVersion=v1.30."), "{builds:?}");
    let keys = [&["--key"][..], &["--kubernetes", "1.30", "--key"]];
    let [newest, oldest] = keys.map(|arguments| stdout(&build_version(&machine, "1", arguments)));
    assert!(newest != oldest && stdout(&older).contains(oldest.trim()), "{newest} {oldest}");
    let unknown = build_version(&machine, "1", &["--kubernetes", "1.2"]);
    assert!(
        !unknown.status.success() && stderr(&unknown).contains("kubernetes-1.2.mod"),
        "{}",
        stderr(&unknown)
    );
}
