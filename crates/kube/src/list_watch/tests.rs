//! Lists and watches of a service that stands for the API server.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use tower::service_fn;

use super::*;
use crate::compact::Compact;

type Asked = Arc<Mutex<Vec<String>>>;

/// A client that is answered in this order; then nothing more comes.
fn client(answers: Vec<(u16, Vec<u8>)>) -> (Client, Asked) {
    let asked = Asked::default();
    let (log, answers) = (Arc::clone(&asked), Arc::new(Mutex::new(answers.into_iter())));
    let service = service_fn(move |request: Request<Body>| {
        log.lock().unwrap().push(request.uri().to_string());
        let answer = answers.lock().unwrap().next();
        async move {
            let Some((code, body)) = answer else { return std::future::pending().await };
            Ok::<_, Infallible>(Response::builder().status(code).body(Body::from(body)).unwrap())
        }
    });
    (Client::new(service, "default"), asked)
}

fn events(client: &Client) -> impl Stream<Item = Result<Event<Compact<ConfigMap>>, Error>> + use<> {
    let config = watcher::Config::default().labels("a=b");
    let target = Target::new::<ConfigMap>(client, None, &config, &Memory::default());
    list_watch(target, |_| {})
}

/// The next events, in words.
async fn words<S>(events: S, count: usize) -> Vec<String>
where
    S: Stream<Item = Result<Event<Compact<ConfigMap>>, Error>>,
{
    let word = |event: Result<Event<Compact<ConfigMap>>, Error>| match event {
        Ok(Event::Init) => "init".to_owned(),
        Ok(Event::InitApply(object)) => format!("listed {}", object.name_any()),
        Ok(Event::InitDone) => "done".to_owned(),
        Ok(Event::Apply(object)) => format!("applied {}", object.name_any()),
        Ok(Event::Delete(object)) => format!("deleted {}", object.name_any()),
        Err(error) => crate::cache::words(&error),
    };
    let events = events.take(count).map(word).collect();
    tokio::time::timeout(Duration::from_mins(10), events).await.expect("more events")
}

fn object(name: &str, more: &str) -> String {
    format!(r#"{{"metadata":{{"name":"{name}","namespace":"n","resourceVersion":"{name}-version"{more}}}}}"#)
}

fn list(metadata: &str, items: &[String]) -> (u16, Vec<u8>) {
    (200, format!(r#"{{"kind":"L","metadata":{metadata},"items":[{}]}}"#, items.join(",")).into_bytes())
}

fn deep() -> String {
    format!(r#","managedFields":{}{}"#, "[".repeat(100_000), "]".repeat(100_000))
}

#[tokio::test(start_paused = true)]
async fn s1_pages_and_events_hold_what_can_be_taken_up_whatever_else_is_in_them() {
    let odd =
        ["{}".to_owned(), "3".to_owned(), object("deep", &deep()), object("wrong", r#","generation":"x""#)];
    let utf8 = String::from_utf8_lossy(b"");
    let mut bytes = object("bytes", &format!(r#","annotations":{{"a":"{utf8}X"}}"#)).into_bytes();
    let at = bytes.iter().position(|byte| *byte == b'X').unwrap();
    bytes[at] = 0xff;
    let mut second = list(r#"{"resourceVersion":"7"}"#, &[object("last", "")]).1;
    let end = second.len() - 2;
    second.splice(end..end, [b",".to_vec(), bytes.clone()].concat());
    let line =
        |kind: &str, object: &str| format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into_bytes();
    let watch = [
        line("MODIFIED", &object("deep", &deep())),
        line("ADDED", "{}"),
        line("ADDED", "[[3]]"),
        [b"{\"type\":\"ADDED\",\"object\":".to_vec(), bytes, b"}\n".to_vec()].concat(),
        line("BOOKMARK", r#"{"metadata":{"resourceVersion":"12"}}"#),
        b"\n".to_vec(),
        line(
            "DELETED",
            &object("last", &format!(r#","annotations":{{"a":{}1{}}}"#, "[".repeat(200), "]".repeat(200))),
        ),
    ];
    let (client, asked) = client(vec![
        list(r#"{"resourceVersion":"7","continue":"more"}"#, &odd),
        (200, second),
        (200, watch.concat()),
    ]);
    let found = words(events(&client), 9).await;
    assert_eq!(
        found,
        [
            "init",
            "listed deep",
            "listed wrong",
            "listed last",
            "listed bytes",
            "done",
            "applied deep",
            "applied bytes",
            "deleted last"
        ]
    );
    let asked = asked.lock().unwrap().clone();
    assert!(asked[0].contains("labelSelector=a%3Db") && asked[0].contains("limit=50"), "{asked:?}");
    assert!(asked[1].contains("continue=more"), "{asked:?}");
    assert!(asked[2].contains("watch=true") && asked[2].contains("resourceVersion=7"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_where_it_was_and_begins_anew_when_its_history_is_lost() {
    let line = |name: &str| format!("{{\"type\":\"ADDED\",\"object\":{}}}\n", object(name, ""));
    let gone =
        r#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"too old","code":410}}"#;
    let (client, asked) = client(vec![
        list(r#"{"resourceVersion":"7"}"#, &[]),
        (200, format!("{}{}", line("a"), &line("cut")[..20]).into_bytes()),
        (200, format!("{gone}\n").into_bytes()),
        list(r#"{"resourceVersion":"20"}"#, &[object("a", "")]),
    ]);
    let found = words(events(&client), 7).await;
    assert_eq!(found, ["init", "done", "applied a", "the watch failed: too old", "init", "listed a", "done"]);
    assert!(asked.lock().unwrap()[2].contains("resourceVersion=a-version"));
}

#[tokio::test(start_paused = true)]
async fn s9_garbage_is_an_error_without_its_content_and_is_tried_again() {
    let (client, _) = client(vec![
        (200, b"<html>SECRET</html>".to_vec()),
        (502, b"<html>SECRET</html>".to_vec()),
        (200, b"{\"items\":[{\"metadata\":{\"name\":\"SECRET".to_vec()),
        list("\"SECRET\"", &[]),
        list(r#"{"resourceVersion":"7"}"#, &[]),
        (200, b"SECRET\n".to_vec()),
        (200, format!("{{\"type\":\"ADDED\",\"object\":{}}}\n", object("a", "")).into_bytes()),
    ]);
    let found = words(events(&client).boxed().default_backoff(), 12).await;
    let text = found.join("; ");
    assert!(!text.contains("SECRET"), "{text}");
    assert_eq!(found[found.len() - 1], "applied a", "{text}");
    assert!(
        text.contains("invalid JSON at byte 0") && text.contains("502") && text.contains("ends early"),
        "{text}"
    );
}

#[test]
fn s3_pages_are_as_large_as_their_items_allow() {
    assert_eq!(next_limit(50, 50 * 3000, 50), 200);
    assert_eq!(next_limit(200, 200 * 3000, 200), 400);
    assert_eq!(next_limit(50, 50 * 1_400_000, 50), 5);
    assert_eq!(next_limit(5, 0, 0), 5);
}

#[tokio::test(start_paused = true)]
async fn s3_a_large_object_is_read_when_it_is_needed() {
    let large = object("large", &format!(r#","annotations":{{"a":"{}"}}"#, "x".repeat(1_000_000)));
    let (client, asked) = client(vec![list("{}", &[large])]);
    let memory = Memory::default();
    let found = read_one::<Compact<ConfigMap>>(&client, "n", "large", &memory, Compact::from_json);
    let found = found.await.expect("an answer").expect("an object");
    assert!(found.decode().is_ok_and(|map| map.annotations()["a"].len() == 1_000_000));
    assert!(
        asked.lock().unwrap()[0].contains("/namespaces/n/configmaps?&fieldSelector=metadata.name%3Dlarge")
    );
}

/// Only what the API server could send: an item that is JSON, of any depth.
fn is_json(input: &[u8]) -> bool {
    serde_json::from_slice::<Box<serde_json::value::RawValue>>(input).is_ok()
}

#[tokio::test]
async fn fuzz_neighbours_of_any_item_are_listed() {
    let sample: serde_json::Value = serde_json::from_str(&object("x", r#","labels":{"a":"b"}"#)).unwrap();
    let fuzz = function_mesh_testkit::Fuzz::new([sample]).unwrap();
    let runtime = tokio::runtime::Handle::current();
    let run = tokio::task::spawn_blocking(move || {
        fuzz.run(|input| {
            if !is_json(input) {
                return Ok(());
            }
            let item = String::from_utf8(input.to_vec())?;
            let (client, _) =
                client(vec![list(r#"{"resourceVersion":"1"}"#, &[object("a", ""), item, object("b", "")])]);
            let listed = runtime.block_on(async {
                let listed = events(&client)
                    .take_while(|event| std::future::ready(!matches!(event, Ok(Event::InitDone))));
                let names = listed.filter_map(|event| async {
                    match event {
                        Ok(Event::InitApply(object)) => Some(object.name_any()),
                        _ => None,
                    }
                });
                tokio::time::timeout(Duration::from_secs(5), names.collect::<Vec<_>>()).await
            })?;
            anyhow::ensure!(listed.first().is_some_and(|name| name == "a"), "{listed:?}");
            anyhow::ensure!(listed.last().is_some_and(|name| name == "b"), "{listed:?}");
            Ok(())
        })
    });
    println!("{:?}", run.await.unwrap().unwrap());
}
