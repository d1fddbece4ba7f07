//! `graph --rates` with a fake broker.

use std::net::TcpListener;

use assert_cmd::Command;
use function_mesh_testkit::{WebAnswer, WebRequest, WebServer};

const MESH: &str = r#"{
  "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh", "metadata": { "name": "m" },
  "spec": {
    "functions": [
      { "name": "one", "input": { "topics": ["in"] }, "output": { "topic": "parts" } },
      { "name": "two", "input": { "topics": ["parts"] }, "output": { "topic": "never written" } }
    ]
  }
}"#;

/// A fake broker. `answer` gets the path, the token, and the number of earlier requests of the path.
async fn broker(
    answer: impl Fn(&str, Option<&str>, usize) -> (u16, String) + Send + Sync + 'static,
) -> WebServer {
    let answers = move |requests: &[WebRequest]| {
        let now = requests.last().unwrap();
        let before = requests.iter().filter(|request| request.path == now.path).count() - 1;
        let (status, body) = answer(&now.path, now.header("authorization"), before);
        WebAnswer::Text(status, body)
    };
    WebServer::start_answering(answers).await.unwrap()
}

fn graph(url: &str, token: Option<&str>) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-mesh"));
    command.args(["graph", "-f", "-", "--interval", "1", "--rates", url]).write_stdin(MESH);
    command.env_remove("PULSAR_TOKEN").envs(token.map(|token| ("PULSAR_TOKEN", token)));
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_are_measured_over_the_interval() {
    let broker = broker(|path, token, before| {
        assert_eq!(token, None);
        let stats = |counter, backlog| {
            format!(
                r#"{{"msgRateIn": 9.5, "msgInCounter": {counter}, "subscriptions": {{"s": {{"msgBacklog": {backlog}}}}}}}"#
            )
        };
        match path.split('?').next().unwrap() {
            "/admin/v2/persistent/public/default/in/stats" => (200, stats(5000 + 100_000 * before, 2)),
            "/admin/v2/persistent/public/default/parts/partitioned-stats" => {
                let partition = |number| {
                    format!(r#""persistent://public/default/parts-partition-{number}": {}"#, stats(70, 3500))
                };
                let partitions = format!("{}, {}", partition(0), partition(1));
                (200, format!(r#"{{"metadata": {{"partitions": 2}}, "partitions": {{{partitions}}}}}"#))
            }
            _ => (404, r#"{"reason": "not found"}"#.to_owned()),
        }
    });
    let broker = broker.await;
    let (status, shown, stderr) = graph(broker.url(), None);
    assert_eq!((status, stderr.as_str()), (0, ""));
    let line =
        |name: &str| shown.lines().map(str::trim).find(|line| line.starts_with(name)).unwrap_or_default();
    let rate = line("in · ").trim_start_matches("in · ").trim_end_matches("/s");
    // Measured over a second, or more on a busy machine.
    assert!(rate.parse::<f64>().is_ok_and(|rate| (1000.0..100_001.0).contains(&rate)), "{shown}");
    assert_eq!(line("parts"), "parts · 0/s, backlog 7000", "{shown}");
    assert_eq!(line("never"), "never written", "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn token_is_sent_and_required() {
    let broker = broker(|_, token, _| match token {
        Some("Bearer right") => (200, r#"{"msgInCounter": 1}"#.to_owned()),
        _ => (401, r#"{"reason": "no"}"#.to_owned()),
    });
    let broker = broker.await;
    let (status, shown, _) = graph(broker.url(), Some("right"));
    assert!(status == 0 && shown.contains("in · 0/s"), "{shown}");
    for token in [None, Some("wrong")] {
        let (status, shown, stderr) = graph(broker.url(), token);
        assert_eq!((status, shown.as_str()), (2, ""));
        assert!(
            stderr.contains("persistent://public/default/in (401") && stderr.contains("set PULSAR_TOKEN"),
            "{stderr}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_topic_and_remedy() {
    let check = |url: &str, words: &[&str]| {
        let (status, shown, stderr) = graph(url, None);
        assert_eq!((status, shown.as_str()), (2, ""), "{stderr}");
        assert!(words.iter().all(|word| stderr.contains(word)), "{stderr}");
    };
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    check(
        &format!("http://{unused}"),
        &["persistent://public/default/in", "refused", "that this machine can reach"],
    );
    for (answer, expected) in [
        ((200, "<html>"), "is it the web service URL of Pulsar?"),
        ((200, "{}"), "Pulsar does not report it"),
        ((500, "oh"), "500"),
    ] {
        let broker = broker(move |_, _, _| (answer.0, answer.1.to_owned())).await;
        check(broker.url(), &["persistent://public/default/in", expected]);
    }
    for address in ["broker:8080", "pulsar://broker:6650", "http://", "http://broker:8080/path", ""] {
        check(address, &["such as http://broker:8080"]);
    }
}
