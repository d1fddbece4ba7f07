//! `graph --rates` with a fake broker.

#![cfg(feature = "cluster")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use assert_cmd::Command;

const MESH: &str = r#"{
  "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh", "metadata": { "name": "m" },
  "spec": {
    "functions": [
      { "name": "one", "input": { "topics": ["in"] }, "output": { "topic": "parts" } },
      { "name": "two", "input": { "topics": ["parts"] }, "output": { "topic": "never written" } }
    ]
  }
}"#;

/// A fake broker and its URL. `answer` gets the path, the token, and the number of earlier requests of the path.
fn broker(answer: impl Fn(&str, Option<&str>, u64) -> (u16, String) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let mut requests = std::collections::BTreeMap::<String, u64>::new();
        for stream in listener.incoming() {
            serve(stream.unwrap(), |path, token| {
                let before = requests.entry(path.to_owned()).or_default();
                *before += 1;
                answer(path, token, *before - 1)
            });
        }
    });
    address
}

/// Answers one request and closes the connection.
fn serve(mut stream: TcpStream, answer: impl FnOnce(&str, Option<&str>) -> (u16, String)) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    let Some(first) = lines.next() else { return };
    let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let token = head.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then_some(value)
    });
    let (status, body) = answer(first.split(' ').nth(1).unwrap_or_default(), token);
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .unwrap();
}

fn graph(url: &str, token: Option<&str>) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-mesh"));
    command.args(["graph", "-f", "-", "--interval", "1", "--rates", url]).write_stdin(MESH);
    command.env_remove("PULSAR_TOKEN").envs(token.map(|token| ("PULSAR_TOKEN", token)));
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn rates_are_measured_over_the_interval() {
    let url = broker(|path, token, before| {
        assert_eq!(token, None);
        let stats = |counter, backlog| {
            format!(
                r#"{{"msgRateIn": 9.5, "msgInCounter": {counter}, "subscriptions": {{"s": {{"msgBacklog": {backlog}}}}}}}"#
            )
        };
        match path {
            "/admin/v2/persistent/public/default/in/stats" => (200, stats(5000 + 100_000 * before, 2)),
            "/admin/v2/persistent/public/default/parts/partitioned-stats?perPartition=false" => {
                (200, stats(70, 7000))
            }
            _ => (404, r#"{"reason": "not found"}"#.to_owned()),
        }
    });
    let (status, shown, stderr) = graph(&url, None);
    assert_eq!((status, stderr.as_str()), (0, ""));
    let line =
        |name: &str| shown.lines().map(str::trim).find(|line| line.starts_with(name)).unwrap_or_default();
    let rate = line("in · ").trim_start_matches("in · ").trim_end_matches("/s");
    // Measured over a second, or more on a busy machine.
    assert!(rate.parse::<f64>().is_ok_and(|rate| (1000.0..100_001.0).contains(&rate)), "{shown}");
    assert_eq!(line("parts"), "parts · 0/s, backlog 7000", "{shown}");
    assert_eq!(line("never"), "never written", "{shown}");
}

#[test]
fn token_is_sent_and_required() {
    let url = broker(|_, token, _| match token {
        Some("Bearer right") => (200, r#"{"msgInCounter": 1}"#.to_owned()),
        _ => (401, r#"{"reason": "no"}"#.to_owned()),
    });
    let (status, shown, _) = graph(&url, Some("right"));
    assert!(status == 0 && shown.contains("in · 0/s"), "{shown}");
    for token in [None, Some("wrong")] {
        let (status, shown, stderr) = graph(&url, token);
        assert_eq!((status, shown.as_str()), (2, ""));
        assert!(
            stderr.contains("persistent://public/default/in (401") && stderr.contains("set PULSAR_TOKEN"),
            "{stderr}"
        );
    }
}

#[test]
fn errors_name_topic_and_remedy() {
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
    let page = broker(|_, _, _| (200, "<html>".to_owned()));
    check(&page, &["persistent://public/default/in", "is it the web service URL of Pulsar?"]);
    let broken = broker(|_, _, _| (500, "oh".to_owned()));
    check(&broken, &["persistent://public/default/in", "500"]);
    for address in ["broker:8080", "pulsar://broker:6650", "http://", ""] {
        check(address, &["such as http://broker:8080"]);
    }
}
