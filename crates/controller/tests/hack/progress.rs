//! Progress of long commands.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{Machine, root, stderr, stderr_at_once, stdout};

#[test]
fn failure_shows_the_whole_output_and_keeps_the_status() {
    let fails = "fails() { echo path; for i in {1..400}; do printf 'bar %s\\r' $i >&2; echo \"line $i\" >&2; done; \
                 (exit 7); echo not reached; }; progress 'a step' fails";
    let output = Machine::new().script(fails).output().expect("bash");
    let lines: Vec<_> = (1..=400).map(|index| format!("line {index}")).collect();
    assert_eq!(stderr_at_once(&output), format!("[  0 s] a step\n{}\n", lines.join("\n")));
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(7), "path\n"));
}

#[test]
fn success_shows_the_step_and_passes_standard_output() {
    let output = Machine::new()
        .script("work() { echo noise >&2; echo path; }; x=$(progress 'a step' work); echo got $x");
    let output = { output }.output().expect("bash");
    assert_eq!(
        (stdout(&output).as_str(), stderr_at_once(&output).as_str()),
        ("got path\n", "[  0 s] a step\n")
    );
}

#[test]
fn long_step_prints_a_line_within_ten_seconds() {
    let script = "cargo() { printf '    Building [==>   ] 45/310: serde, tokio(build)   \\r' >&2; sleep 12; }; \
                  progress 'compiling' cargo";
    let output = Machine::new().script(script).output().expect("bash");
    let text = stderr(&output);
    let second = text.lines().nth(1).unwrap_or_else(|| panic!("only {text:?}"));
    assert!(second.ends_with(" s: 45 of 310 (serde, tokio(build))"), "{text}");
    let seconds: u64 = second[1..4].trim().parse().expect("seconds");
    assert!((8..=11).contains(&seconds), "{text}");
}

#[test]
fn terminal_shows_one_line_that_is_rewritten() {
    let machine = Machine::new();
    let source = root().join("hack/progress.sh");
    let text = format!(
        "set -e; source {}; inner() {{ progress 'the inner step' sleep 4; }}; progress 'a step' inner; echo end",
        source.display()
    );
    fs::write(machine.path("script"), text).expect("a script");
    let bash = format!("bash {}", machine.path("script").display());
    let output = machine.command("script").env("TERM", "xterm").args(["-qec", &bash, "/dev/null"]).output();
    let text = stdout(&output.expect("script, of the package bsdutils"));
    assert_eq!(text.matches('\n').count(), 2, "{text:?}");
    assert!(text.matches("\r\x1b[K[").count() >= 2, "{text:?}");
    assert!(text.contains("a step, 3 s: the inner step"), "{text:?}");
    assert!(text.ends_with("\r\x1b[Kend\r\n"), "{text:?}");
}

#[test]
fn packages_of_go_are_counted() {
    let machine = Machine::new();
    let detail = |log: &str| {
        fs::write(machine.path("log"), log).expect("a log");
        let script = format!("progress_detail {} go 3000", machine.path("log").display());
        stdout(&machine.script(&script).output().expect("bash"))
    };
    assert_eq!(detail("go: downloading k8s.io/api v0.36.2\n"), "go: downloading k8s.io/api v0.36.2\n");
    assert_eq!(
        detail("go: downloading a v1\nbytes\nk8s.io/api/core/v1\n"),
        "2 of 3000 packages (k8s.io/api/core/v1)\n"
    );
}

#[test]
fn failure_of_one_of_two_stops_the_other() {
    let machine = Machine::new();
    machine.program("good", "sleep 1; echo path");
    machine.program("bad", "sleep 1; echo why >&2; exit 1");
    machine.program("slow", "sleep 300.25");
    let run = |first: &str, second: &str| {
        let script = format!(
            "d=$(mktemp -d); progress both side_by_side $d {first} {second}; cat $d/1 $d/2; rm -r $d"
        );
        machine.script(&script).output().expect("bash")
    };
    assert_eq!(stdout(&run("good", "good")), "path\npath\n");
    let started = Instant::now();
    let output = run("slow", "bad");
    assert!(!output.status.success() && stderr(&output).ends_with("why\n"), "{output:?}");
    assert!(started.elapsed() < Duration::from_secs(30), "it waited for the other one");
    let left = Command::new("pgrep").args(["-f", "sleep 300.25"]).output().expect("pgrep");
    assert_eq!(stdout(&left), "", "the other one still runs");
}
