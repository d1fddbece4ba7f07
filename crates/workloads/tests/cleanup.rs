//! What a clean-up Job does under real shells, with programs in place of Pulsar's that keep a broker's state in files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so when it fails")]

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

/// A broker in two files: `topics`, one a line, and `subscriptions`, `TOPIC SUBSCRIPTION`. It speaks as pulsar-admin or
/// as pulsarctl does, and has the errors that files of those names ask for.
const BROKER: &str = r#"#!/bin/sh
cd "$BROKER" || exit 9
echo "$*" >> calls
name=${0##*/}
shift 2
reply() {
  case $name in
    pulsarctl) echo "[✖]  code: $1 reason: $2" ;;
    *)
      # Before 4.0, and since.
      if test -f old; then printf '%s\n\nReason: HTTP %s {"reason":"%s"}\n' "$2" "$1" "$2"
      else printf 'WARN - Failed to perform http request: Exception: HTTP %s\n%s\n\nReason: %s\n' "$1" "$2" "$2"; fi ;;
  esac >&2
  exit 1
}
test ! -f html || { if test $name = pulsarctl; then echo '[✖]  404 page not found'; else echo 'HTTP 404 Not Found: 404 page not found'; fi; exit 1; }
test ! -f lies || exit 0
rows() {
  if test $name = pulsarctl; then
    echo '+----+'; echo "| $1 | PARTITIONED ? |"; echo '+----+'
    sed "s/^\(.*\)\$/| \1 $2/"
  else cat; fi
}
has_topic() { grep -Eq "^$1(-partition-[0-9]+)?\$" topics; }
unsubscribe() {
  has_topic "$2" || reply 404 "Topic $2 not found"
  grep -Fxq "$2 $1" subscriptions || reply 404 'Subscription not found'
  if test -s busy; then sed -i 1d busy; reply 412 'Subscription has active connected consumers'; fi
  if grep -Fxq "$2" locked 2>/dev/null; then reply 401 'not allowed'; fi
  test -f keeps || { grep -Fxv "$2 $1" subscriptions > new; mv new subscriptions; }
}
subscriptions() {
  has_topic "$1" || reply 404 "Topic $1 not found"
  grep "^$1 " subscriptions | cut -d ' ' -f 2- | rows SUBSCRIPTIONS '|'
}
remove_topic() {
  grep -q "^$1 " subscriptions && reply 412 'Topic has active producers/subscriptions'
  grep -Fxv "$1" topics > new; mv new topics
}
case "$*" in
  'topics unsubscribe -s '*) unsubscribe "$4" "$5" ;;
  'subscriptions delete '*) unsubscribe "$4" "$3" ;;
  'topics subscriptions '* | 'subscriptions list '*) subscriptions "$3" ;;
  "topics list t/n" | "topics list public/default")
    test ! -f gone || reply 404 'Namespace does not exist'
    { grep "://$3/" topics; test $name != pulsarctl || cat partitioned; } | rows 'TOPIC NAME' '| N |' ;;
  "topics list-partitioned-topics "*) cat partitioned ;;
  "namespaces list "*) echo "$3/other" | rows NAMESPACE '|' ;;
  "topics delete --non-partitioned "*) remove_topic "$4" ;;
  "topics delete "*) remove_topic "$3" ;;
  *) echo "unknown: $*" >&2; exit 2 ;;
esac
"#;

const SHELLS: [&str; 3] = ["sh", "dash", "bash"];
const TOOLS: [&str; 2] = ["bin/pulsarctl", "pulsar/bin/pulsar-admin"];

struct World {
    folder: TempDir,
    shell: &'static str,
}

struct End {
    code: Option<i32>,
    log: String,
    /// What the container says last.
    told: String,
    /// Subscriptions that the broker still has.
    left: Vec<String>,
}

impl World {
    fn new(shell: &'static str, tool: &str, topics: &[&str], subscriptions: &[&str]) -> Self {
        let world = Self { folder: tempfile::tempdir().expect("a folder"), shell };
        let lines = |lines: &[&str]| lines.iter().flat_map(|line| [*line, "\n"]).collect::<String>();
        world.write("broker/topics", &lines(topics));
        world.write("broker/subscriptions", &lines(subscriptions));
        world.write("broker/partitioned", "");
        fs::create_dir_all(world.path("bin")).expect("a folder");
        world.program(tool, BROKER);
        // Nobody waits in a test.
        world.program("bin/sleep", "#!/bin/sh\n");
        world
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
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

    fn run<C: Component>(&self, component: C, targets: impl FnOnce(&mut Targets)) -> End {
        let mut wanted = Targets::all(subscriptions(&component));
        targets(&mut wanted);
        let component = valid_component(component).expect("a valid component");
        let job = cleanup_job(&component, Backends::default(), &Settings::default(), &wanted);
        let container = job.spec.and_then(|spec| spec.template.spec).expect("a pod").containers.remove(0);
        let root = self.folder.path().to_str().expect("a path");
        let words: Vec<_> = container.command.expect("a command").into_iter().skip(1).collect();
        let mut words = words.into_iter();
        let script = words.next().zip(words.next()).expect("a script").1;
        // Nothing of this machine's.
        let script = script.replace("/pulsar/bin", &format!("{root}/pulsar/bin"));
        let script = script.replace("/dev/termination-log", &format!("{root}/told"));
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
        End { code: output.status.code(), log, told: read("told"), left }
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

fn everywhere(check: impl Fn(&'static str, &'static str)) {
    for shell in SHELLS {
        for tool in TOOLS {
            check(shell, tool);
        }
    }
}

const A: &str = "persistent://public/default/a";
const B: &str = "persistent://public/default/b";

#[test]
fn what_the_broker_lists_no_more_is_done() {
    everywhere(|shell, tool| {
        let world =
            World::new(shell, tool, &[A, B], &[&format!("{A} s"), &format!("{A} s2"), &format!("{B} s")]);
        let end = world.run(topics(&["a", "b"]), |_| {});
        assert_eq!(end.code, Some(0), "{shell} {tool}: {}", end.log);
        assert_eq!(end.left, [format!("{A} s2")]);
        assert!(world.calls().iter().any(|call| call.contains("subscriptions") && call.ends_with(A)));
    });
}

#[test]
fn an_image_without_the_program_fails_at_once_and_is_named() {
    everywhere(|shell, tool| {
        let world = World::new(shell, tool, &[A], &[&format!("{A} s")]);
        fs::remove_file(world.path(tool)).expect("removed");
        let end = world.run(topics(&["a"]), |_| {});
        assert_eq!(end.code, Some(127), "{}", end.log);
        assert!(end.told.starts_with("image image-of-mine:1 has neither pulsarctl nor "), "{}", end.told);
    });
}

#[test]
fn a_program_that_cannot_be_started_fails_at_once() {
    everywhere(|shell, tool| {
        let world = World::new(shell, tool, &[A], &[&format!("{A} s")]);
        for (text, code) in [("#!/bin/sh\nexec no-java-here\n", 127), ("#!/nowhere/sh\n", 126)] {
            world.program(tool, text);
            let end = world.run(topics(&["a"]), |_| {});
            assert!(end.code == Some(code) || end.code == Some(127), "{shell} {:?} {}", end.code, end.log);
            assert!(end.told.contains("cannot be started"), "{}", end.told);
        }
    });
}

#[test]
fn the_program_is_chosen_by_what_is_in_the_image() {
    for (asked, tool) in [(true, TOOLS[1]), (false, TOOLS[0])] {
        let world = World::new("sh", tool, &[A], &[&format!("{A} s")]);
        let mut sink = topics(&["a"]);
        sink.spec.image_has_pulsarctl = Some(asked);
        let end = world.run(sink, |_| {});
        assert_eq!((end.code, end.left.len()), (Some(0), 0), "{}", end.log);
    }
}

#[test]
fn a_page_of_some_web_server_is_no_success() {
    everywhere(|shell, tool| {
        let world = World::new(shell, tool, &[A], &[&format!("{A} s")]);
        world.write("broker/html", "");
        let end = world.run(topics(&["a"]), |_| {});
        assert_eq!(end.code, Some(1), "{}", end.log);
        assert!(
            end.told.starts_with("subscription s of persistent://public/default/a: exit status 1: "),
            "{}",
            end.told
        );
    });
}

#[test]
fn a_404_counts_when_the_broker_knows_the_topic_or_lists_its_namespace_without_it() {
    everywhere(|shell, tool| {
        // No such subscription; no such topic; no such namespace.
        let cases = [(&[A][..], "", 0), (&[B][..], "", 0), (&[][..], "gone", 0)];
        for ((known, error, code), is_old) in cases.into_iter().flat_map(|case| [(case, true), (case, false)])
        {
            let world = World::new(shell, tool, known, &[]);
            if is_old {
                world.write("broker/old", "");
            }
            if !error.is_empty() {
                world.write(&format!("broker/{error}"), "");
            }
            let end = world.run(topics(&["a"]), |_| {});
            assert_eq!(end.code, Some(code), "{shell} {tool} {known:?} {error}: {}", end.log);
        }
    });
}

#[test]
fn an_exit_status_alone_is_no_success() {
    everywhere(|shell, tool| {
        let world = World::new(shell, tool, &[A], &[&format!("{A} s")]);
        world.write("broker/keeps", "");
        let end = world.run(topics(&["a"]), |_| {});
        assert_eq!(end.code, Some(1), "{}", end.log);
        assert!(end.told.contains("the broker still lists it"), "{}", end.told);
    });
}

#[test]
fn what_is_busy_is_tried_again_and_what_fails_does_not_keep_the_others() {
    everywhere(|shell, tool| {
        let world = World::new(shell, tool, &[A, B], &[&format!("{A} s"), &format!("{B} s")]);
        world.write("broker/busy", "1\n2\n3\n");
        let end = world.run(topics(&["a", "b"]), |_| {});
        assert_eq!((end.code, end.left.len()), (Some(0), 0), "{}", end.log);

        let world = World::new(shell, tool, &[A, B], &[&format!("{A} s"), &format!("{B} s")]);
        world.write("broker/locked", &format!("{A}\n"));
        let end = world.run(topics(&["a", "b"]), |_| {});
        assert_eq!((end.code, end.left), (Some(1), vec![format!("{A} s")]), "{}", end.log);
        assert!(
            end.told.contains(&format!("subscription s of {A}: exit status 1: "))
                && end.told.contains("not allowed"),
            "{}",
            end.told
        );
        assert!(!end.told.contains(B), "{}", end.told);
    });
}

#[test]
fn a_pattern_loses_it_on_its_own_topics_alone_and_not_on_those_of_others() {
    let topic = |name: &str| format!("persistent://t/n/{name}");
    everywhere(|shell, tool| {
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
        let world = World::new(
            shell,
            tool,
            &all.iter().map(String::as_str).collect::<Vec<_>>(),
            &subscriptions.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        world.write("broker/partitioned", &format!("{}\n", topic("orders-2")));
        let sink = sink(json!({ "topicPattern": "persistent://t/n/orders-.*", "typeClassName": "[B" }));
        let kept = Subscription { name: "s".into(), topic: topic("orders-kept"), is_pattern: false };
        let end = world.run(sink, |targets| targets.keep = vec![kept]);
        assert_eq!(end.code, Some(0), "{shell} {tool}: {}", end.log);
        let expected = ["orders-kept", "payments", "my-orders-1"].map(|name| format!("{} s", topic(name)));
        assert_eq!(end.left, expected, "{}", end.log);
        assert!(!world.calls().iter().any(|call| call.starts_with("namespaces unsubscribe")));
    });
}

#[test]
fn a_pattern_that_only_java_knows_needs_java() {
    let world = |with_java: bool| {
        let all = ["persistent://t/n/a1", "persistent://t/n/secret"];
        let world = World::new(
            "dash",
            TOOLS[1],
            &all,
            &all.map(|it| format!("{it} s")).each_ref().map(String::as_str),
        );
        if !with_java {
            world.program("bin/java", "#!/bin/sh\nexit 1\n");
        }
        let end = world.run(
            sink(json!({ "topicPattern": "persistent://t/n/(?!secret).*", "typeClassName": "[B" })),
            |_| {},
        );
        (end.code, end.left.join(" "), end.told)
    };
    let (code, left, told) = world(true);
    assert_eq!((code, left.as_str()), (Some(0), "persistent://t/n/secret s"), "{told}");
    let (code, left, told) = world(false);
    assert_eq!((code, left.split(' ').count()), (Some(1), 4));
    assert!(told.starts_with("subscription s of all topics that match t/n/(?!secret).*: no Java "), "{told}");
}

#[test]
fn a_batch_topic_goes_only_when_nobody_else_subscribes_to_it() {
    let topic = "persistent://public/default/f-intermediate";
    let source = || {
        let mut spec = fixtures::source("f");
        spec.batch_source_config =
            from_value(json!({ "discoveryTriggererClassName": "T" })).expect("a configuration");
        Source::with_spec("f", spec)
    };
    everywhere(|shell, tool| {
        let own = format!("{topic} BatchSourceExecutor-public/default/f");
        let world = World::new(shell, tool, &[topic], &[&own]);
        let end = world.run(source(), |_| {});
        assert_eq!(end.code, Some(0), "{}", end.log);
        assert_eq!(fs::read_to_string(world.path("broker/topics")).expect("topics"), "");

        let world = World::new(shell, tool, &[topic], &[&own, &format!("{topic} other")]);
        let end = world.run(source(), |_| {});
        assert_eq!((end.code, end.left), (Some(1), vec![format!("{topic} other")]), "{}", end.log);
        assert!(end.told.contains("active producers/subscriptions"), "{}", end.told);
        assert!(
            !world.calls().iter().any(|call| call.contains("-f") && call.contains("delete -f")),
            "{:?}",
            world.calls()
        );
    });
}

#[test]
fn a_component_of_a_thousand_topics_is_cleaned_up_too() {
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
