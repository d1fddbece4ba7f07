//! The clean-up Job in real shells, with fake admin tools that keep the state of a broker in files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use function_mesh_api::types::Subscription;
use function_mesh_api::validate::valid_component;
use function_mesh_api::{Component, Sink, Source};
use function_mesh_testkit::fixtures;
use function_mesh_workloads::subscriptions::{Targets, subscriptions};
use function_mesh_workloads::{Backends, Settings, cleanup_job};
use serde_json::{Value, from_value, json, to_value};
use tempfile::TempDir;

/// A fake broker with its state in two files: `topics`, one on each line, and `subscriptions`, `TOPIC SUBSCRIPTION`. It
/// has the output of pulsar-admin or pulsarctl, by its name, and fails as other files request.
const FAKE_TOOL: &str = include_str!("../cleanup/fake_tool.sh");

const SHELLS: [&str; 3] = ["sh", "dash", "bash"];
const TOOLS: [&str; 2] = ["bin/pulsarctl", "pulsar/bin/pulsar-admin"];

/// A container with a fake broker.
struct Fixture {
    directory: TempDir,
    shell: &'static str,
}

/// The result of a clean-up.
struct Outcome {
    code: Option<i32>,
    log: String,
    /// Termination message of the container.
    message: String,
    /// Remaining subscriptions of the broker.
    left: Vec<String>,
}

impl Fixture {
    fn new(shell: &'static str, tool: &str, topics: &[&str], subscriptions: &[&str]) -> Self {
        let fixture = Self { directory: tempfile::tempdir().expect("a directory"), shell };
        let lines = |lines: &[&str]| lines.iter().flat_map(|line| [*line, "\n"]).collect::<String>();
        fixture.write("broker/topics", &lines(topics));
        fixture.write("broker/subscriptions", &lines(subscriptions));
        fixture.write("broker/partitioned", "");
        fs::create_dir_all(fixture.path("bin")).expect("a directory");
        fixture.program(tool, FAKE_TOOL);
        // Retries do not wait.
        fixture.program("bin/sleep", "#!/bin/sh\n");
        fixture
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.directory.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn program(&self, path: &str, text: &str) {
        self.write(path, text);
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).expect("a program");
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("broker/calls")).unwrap_or_default();
        calls.lines().map(|line| line.split(' ').skip(2).collect::<Vec<_>>().join(" ")).collect()
    }

    fn run<C: Component>(&self, component: C, targets: impl FnOnce(&mut Targets)) -> Outcome {
        let mut wanted = Targets::all(subscriptions(&component));
        targets(&mut wanted);
        let component = valid_component(component).expect("a valid component");
        let job = cleanup_job(&component, Backends::default(), &Settings::default(), &wanted);
        let container = job.spec.and_then(|spec| spec.template.spec).expect("a pod").containers.remove(0);
        let root = self.directory.path().to_str().expect("a path");
        let words: Vec<_> = container.command.expect("a command").into_iter().skip(1).collect();
        let mut words = words.into_iter();
        let script = words.next().zip(words.next()).expect("a script").1;
        // Replaces absolute paths of the container.
        let script = script.replace("/pulsar/bin", &format!("{root}/pulsar/bin"));
        let script = script.replace("/dev/termination-log", &format!("{root}/termination-log"));
        let output = Command::new(self.shell)
            .args(["-c", &script])
            .args(words)
            .env_clear()
            .env("PATH", format!("{root}/bin:/usr/bin:/bin"))
            .env("BROKER", self.path("broker"))
            .env("webServiceURL", "http://web")
            .output()
            .expect("a shell");
        let log =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let read = |path: &str| fs::read_to_string(self.path(path)).unwrap_or_default();
        let left = read("broker/subscriptions").lines().map(str::to_owned).collect();
        Outcome { code: output.status.code(), log, message: read("termination-log"), left }
    }
}

fn sink(input: Value) -> Sink {
    let mut spec = fixtures::sink("f");
    spec.input = from_value(input).expect("an input");
    spec.subscription_name = Some("s".to_owned());
    spec.cleanup_subscription = Some(true);
    spec.image = Some("image-of-mine:1".to_owned());
    let mut sink = Sink::with_spec("f", spec);
    sink.metadata.namespace = Some("default".to_owned());
    sink
}

fn topics(topics: &[&str]) -> Sink {
    sink(json!({ "topics": topics, "typeClassName": "[B" }))
}

fn for_each_shell_and_tool(check: impl Fn(&'static str, &'static str)) {
    for shell in SHELLS {
        for tool in TOOLS {
            check(shell, tool);
        }
    }
}

const A: &str = "persistent://public/default/a";
const B: &str = "persistent://public/default/b";

#[test]
fn unlisted_subscriptions_are_done() {
    for_each_shell_and_tool(|shell, tool| {
        let fixture =
            Fixture::new(shell, tool, &[A, B], &[&format!("{A} s"), &format!("{A} s2"), &format!("{B} s")]);
        let outcome = fixture.run(topics(&["a", "b"]), |_| {});
        assert_eq!(outcome.code, Some(0), "{shell} {tool}: {}", outcome.log);
        assert_eq!(outcome.left, [format!("{A} s2")]);
        assert!(fixture.calls().iter().any(|call| call.contains("subscriptions") && call.ends_with(A)));
    });
}

#[test]
fn image_without_tool_fails_immediately() {
    for_each_shell_and_tool(|shell, tool| {
        let fixture = Fixture::new(shell, tool, &[A], &[&format!("{A} s")]);
        fs::remove_file(fixture.path(tool)).expect("removed");
        let outcome = fixture.run(topics(&["a"]), |_| {});
        assert_eq!(outcome.code, Some(127), "{}", outcome.log);
        assert!(
            outcome.message.starts_with("image image-of-mine:1 has neither pulsarctl nor "),
            "{}",
            outcome.message
        );
    });
}

#[test]
fn tool_that_cannot_start_fails_immediately() {
    for_each_shell_and_tool(|shell, tool| {
        let fixture = Fixture::new(shell, tool, &[A], &[&format!("{A} s")]);
        for (text, code) in [("#!/bin/sh\nexec no-java-here\n", 127), ("#!/nowhere/sh\n", 126)] {
            fixture.program(tool, text);
            let outcome = fixture.run(topics(&["a"]), |_| {});
            assert!(
                outcome.code == Some(code) || outcome.code == Some(127),
                "{shell} {:?} {}",
                outcome.code,
                outcome.log
            );
            assert!(outcome.message.contains("cannot be started"), "{}", outcome.message);
        }
    });
}

#[test]
fn tool_is_selected_by_the_image() {
    for (has_pulsarctl, tool) in [(true, TOOLS[1]), (false, TOOLS[0])] {
        let fixture = Fixture::new("sh", tool, &[A], &[&format!("{A} s")]);
        let mut sink = topics(&["a"]);
        sink.spec.image_has_pulsarctl = Some(has_pulsarctl);
        let outcome = fixture.run(sink, |_| {});
        assert_eq!((outcome.code, outcome.left.len()), (Some(0), 0), "{}", outcome.log);
    }
}

#[test]
fn html_response_is_a_failure() {
    for_each_shell_and_tool(|shell, tool| {
        let fixture = Fixture::new(shell, tool, &[A], &[&format!("{A} s")]);
        fixture.write("broker/html", "");
        let outcome = fixture.run(topics(&["a"]), |_| {});
        assert_eq!(outcome.code, Some(1), "{}", outcome.log);
        assert!(
            outcome.message.starts_with("subscription s of persistent://public/default/a: exit status 1: "),
            "{}",
            outcome.message
        );
    });
}

#[test]
fn not_found_is_verified_by_the_listing() {
    for_each_shell_and_tool(|shell, tool| {
        // Missing subscription, topic and namespace.
        let cases = [(&[A][..], "", 0), (&[B][..], "", 0), (&[][..], "gone", 0)];
        for ((known, error, code), is_old) in cases.into_iter().flat_map(|case| [(case, true), (case, false)])
        {
            let fixture = Fixture::new(shell, tool, known, &[]);
            if is_old {
                fixture.write("broker/old", "");
            }
            if !error.is_empty() {
                fixture.write(&format!("broker/{error}"), "");
            }
            let outcome = fixture.run(topics(&["a"]), |_| {});
            assert_eq!(outcome.code, Some(code), "{shell} {tool} {known:?} {error}: {}", outcome.log);
        }
    });
}

#[test]
fn exit_status_alone_is_not_enough() {
    for_each_shell_and_tool(|shell, tool| {
        let fixture = Fixture::new(shell, tool, &[A], &[&format!("{A} s")]);
        fixture.write("broker/keeps", "");
        let outcome = fixture.run(topics(&["a"]), |_| {});
        assert_eq!(outcome.code, Some(1), "{}", outcome.log);
        assert!(outcome.message.contains("the broker still lists it"), "{}", outcome.message);
    });
}

#[test]
fn busy_targets_are_retried() {
    for_each_shell_and_tool(|shell, tool| {
        let fixture = Fixture::new(shell, tool, &[A, B], &[&format!("{A} s"), &format!("{B} s")]);
        fixture.write("broker/busy", "1\n2\n3\n");
        let outcome = fixture.run(topics(&["a", "b"]), |_| {});
        assert_eq!((outcome.code, outcome.left.len()), (Some(0), 0), "{}", outcome.log);

        let fixture = Fixture::new(shell, tool, &[A, B], &[&format!("{A} s"), &format!("{B} s")]);
        fixture.write("broker/locked", &format!("{A}\n"));
        let outcome = fixture.run(topics(&["a", "b"]), |_| {});
        assert_eq!((outcome.code, outcome.left), (Some(1), vec![format!("{A} s")]), "{}", outcome.log);
        assert!(
            outcome.message.contains(&format!("subscription s of {A}: exit status 1: "))
                && outcome.message.contains("not allowed"),
            "{}",
            outcome.message
        );
        assert!(!outcome.message.contains(B), "{}", outcome.message);
    });
}

#[test]
fn pattern_excludes_other_topics() {
    let topic = |name: &str| format!("persistent://t/n/{name}");
    for_each_shell_and_tool(|shell, tool| {
        let names = [
            "orders-1",
            "orders-2-partition-0",
            "orders-2-partition-1",
            "orders-kept",
            "payments",
            "my-orders-1",
        ];
        let all = names.map(topic);
        let mut subscriptions: Vec<String> =
            all.iter().filter(|it| !it.contains("-partition-")).map(|it| format!("{it} s")).collect();
        subscriptions.push(format!("{} s", topic("orders-2")));
        let refs = |all: &[String]| all.iter().map(String::as_str).map(str::to_owned).collect::<Vec<_>>();
        let (all, subscriptions) = (refs(&all), refs(&subscriptions));
        let fixture = Fixture::new(
            shell,
            tool,
            &all.iter().map(String::as_str).collect::<Vec<_>>(),
            &subscriptions.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        fixture.write("broker/partitioned", &format!("{}\n", topic("orders-2")));
        let sink = sink(json!({ "topicPattern": "persistent://t/n/orders-.*", "typeClassName": "[B" }));
        let kept = Subscription { name: "s".into(), topic: topic("orders-kept"), is_pattern: false };
        let outcome = fixture.run(sink, |targets| targets.keep = vec![kept]);
        assert_eq!(outcome.code, Some(0), "{shell} {tool}: {}", outcome.log);
        let expected = ["orders-kept", "payments", "my-orders-1"].map(|name| format!("{} s", topic(name)));
        assert_eq!(outcome.left, expected, "{}", outcome.log);
        assert!(!fixture.calls().iter().any(|call| call.starts_with("namespaces unsubscribe")));
    });
}

#[test]
fn untranslatable_pattern_needs_java() {
    let fixture = |with_java: bool| {
        let all = ["persistent://t/n/a1", "persistent://t/n/secret"];
        let fixture = Fixture::new(
            "dash",
            TOOLS[1],
            &all,
            &all.map(|it| format!("{it} s")).each_ref().map(String::as_str),
        );
        if !with_java {
            fixture.program("bin/java", "#!/bin/sh\nexit 1\n");
        }
        let outcome = fixture.run(
            sink(json!({ "topicPattern": "persistent://t/n/(?!secret).*", "typeClassName": "[B" })),
            |_| {},
        );
        (outcome.code, outcome.left.join(" "), outcome.message)
    };
    let (code, left, message) = fixture(true);
    assert_eq!((code, left.as_str()), (Some(0), "persistent://t/n/secret s"), "{message}");
    let (code, left, message) = fixture(false);
    assert_eq!((code, left.split(' ').count()), (Some(1), 4));
    assert!(
        message.starts_with("subscription s of all topics that match t/n/(?!secret).*: no Java "),
        "{message}"
    );
}

#[test]
fn batch_topic_with_other_subscriptions_is_kept() {
    let topic = "persistent://public/default/f-intermediate";
    let source = || {
        let mut spec = fixtures::source("f");
        spec.batch_source_config =
            from_value(json!({ "discoveryTriggererClassName": "T" })).expect("a configuration");
        Source::with_spec("f", spec)
    };
    for_each_shell_and_tool(|shell, tool| {
        let own = format!("{topic} BatchSourceExecutor-public/default/f");
        let fixture = Fixture::new(shell, tool, &[topic], &[&own]);
        let outcome = fixture.run(source(), |_| {});
        assert_eq!(outcome.code, Some(0), "{}", outcome.log);
        assert_eq!(fs::read_to_string(fixture.path("broker/topics")).expect("topics"), "");

        let fixture = Fixture::new(shell, tool, &[topic], &[&own, &format!("{topic} other")]);
        let outcome = fixture.run(source(), |_| {});
        assert_eq!(
            (outcome.code, outcome.left),
            (Some(1), vec![format!("{topic} other")]),
            "{}",
            outcome.log
        );
        assert!(outcome.message.contains("active producers/subscriptions"), "{}", outcome.message);
        assert!(
            !fixture.calls().iter().any(|call| call.contains("-f") && call.contains("delete -f")),
            "{:?}",
            fixture.calls()
        );
    });
}

#[test]
fn thousand_topics_fit_into_the_command() {
    let names: Vec<_> = (0..1000).map(|number| format!("{}-{number}", "x".repeat(150))).collect();
    let job = {
        let sink = topics(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let targets = Targets::all(subscriptions(&sink));
        let sink = valid_component(sink).expect("a valid component");
        to_value(cleanup_job(&sink, Backends::default(), &Settings::default(), &targets)).expect("JSON")
    };
    let command = job["spec"]["template"]["spec"]["containers"][0]["command"].as_array().expect("a command");
    let longest = command.iter().filter_map(Value::as_str).map(str::len).max();
    assert!(longest.is_some_and(|length| length < 128 * 1024), "one argument has {longest:?} bytes");
    assert_eq!(command.len(), 4 + 5 * 1000);
}
