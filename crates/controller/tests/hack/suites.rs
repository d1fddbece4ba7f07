//! `hack/suites`: which tests run a second time, and what that changes.

use std::fs;

use serde_json::json;

use crate::{Machine, stderr, stdout};

/// A machine with a suite: a test `shaky` fails beside others, `broken` always fails.
fn machine(tests: &[&str]) -> Machine {
    let machine = Machine::new();
    let names = tests.join(" ");
    machine.program(
        "suite",
        &format!(
            r#"tests="{names}" alone=
            while (($#)); do [[ $1 != --exact ]] || {{ shift; tests=$* alone=yes; break; }}; shift; done
            rc=0
            for test in $tests; do
              result=ok
              [[ $test != killed ]] || kill -9 $$
              [[ $test != broken* && ( $test != shaky || $alone ) ]] || {{ result=FAILED; rc=101; }}
              echo "test $test ... $result <0.100s>"
            done
            exit $rc"#
        ),
    );
    fs::write(machine.path("Cargo.toml"), "[package]\nname = 'crate'\n").expect("a manifest");
    let artifact = json!({
        "reason": "compiler-artifact", "manifest_path": machine.path("Cargo.toml"), "profile": { "test": true },
        "target": { "name": "suite" }, "executable": machine.path("bin/suite"),
    });
    machine.program("cargo", &format!("cat <<'JSON'\n{artifact}\nJSON"));
    machine
}

#[test]
fn a_test_that_fails_beside_others_runs_again_alone_and_is_named() {
    let machine = machine(&["good", "shaky"]);
    let done = machine.hack("suites", &["--", "--workspace"]);
    let said = stdout(&done) + &stderr(&done);
    assert!(done.status.success(), "{said}");
    assert!(said.contains("test shaky ... FAILED"), "the first failure is shown: {said}");
    assert!(said.contains("failed beside others, passed alone: "), "{said}");
    let calls = machine.calls();
    let again: Vec<_> = calls.iter().filter(|call| call.contains("--exact")).collect();
    assert!(
        matches!(&again[..], [call] if call.ends_with("--test-threads 1 -Zunstable-options --report-time --exact shaky"))
    );
}

#[test]
fn tests_that_run_apart_run_once() {
    let machine = machine(&["good", "slow"]);
    let done = machine.hack("suites", &["--apart", "suite:slow", "--", "--workspace"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let calls = machine.calls();
    let mut selected: Vec<_> =
        calls.iter().filter_map(|call| call.split("--report-time").nth(1)).map(str::trim).collect();
    selected.sort_unstable();
    assert_eq!(selected, ["--skip slow", "slow"]);
}

#[test]
fn an_unknown_suite_is_an_error() {
    for name in ["another", "another/suite"] {
        let done =
            machine(&["good"]).hack("suites", &["--apart", &format!("{name}:slow"), "--", "--workspace"]);
        assert_eq!(done.status.code(), Some(2), "{}", stdout(&done));
        assert!(stderr(&done).contains(&format!("no suite is named {name}")), "{}", stderr(&done));
    }
}

#[test]
fn a_test_that_fails_alone_too_is_a_failure() {
    let done = machine(&["good", "shaky", "broken"]).hack("suites", &["--", "--workspace"]);
    assert_eq!(done.status.code(), Some(1), "{}", stdout(&done));
    assert!(stderr(&done).starts_with("failed: "), "{}", stderr(&done));
}

#[test]
fn many_failures_are_not_repeated() {
    let machine = machine(&["shaky", "broken-1", "broken-2", "broken-3"]);
    let done = machine.hack("suites", &["--", "--workspace"]);
    assert_eq!(done.status.code(), Some(1), "{}", stdout(&done));
    assert!(!machine.calls().iter().any(|call| call.contains("--exact")));
}

#[test]
fn tests_of_a_program_that_was_killed_are_not_repeated() {
    let machine = machine(&["shaky", "killed", "good"]);
    let done = machine.hack("suites", &["--", "--workspace"]);
    assert_eq!(done.status.code(), Some(1), "the last test never ran: {}", stdout(&done));
    assert!(!machine.calls().iter().any(|call| call.contains("--exact")));
}
