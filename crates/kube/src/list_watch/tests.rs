//! Lists and watches of a mock API server.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::client::Body;
use kube::runtime::WatchStreamExt;
use tower::service_fn;

use super::*;
use crate::compact::Compact;

type RequestLog = Arc<Mutex<Vec<String>>>;

/// A client that gets these responses in order; later requests hang.
fn client(responses: Vec<(u16, Vec<u8>)>) -> (Client, RequestLog) {
    let requested = RequestLog::default();
    let (log, responses) = (Arc::clone(&requested), Arc::new(Mutex::new(responses.into_iter())));
    let service = service_fn(move |request: Request<Body>| {
        log.lock().unwrap().push(request.uri().to_string());
        let response = responses.lock().unwrap().next();
        async move {
            let Some((code, body)) = response else { return std::future::pending().await };
            Ok::<_, Infallible>(Response::builder().status(code).body(Body::from(body)).unwrap())
        }
    });
    (Client::new(service, "default"), requested)
}

fn events(client: &Client) -> impl Stream<Item = Result<Event<Compact<ConfigMap>>, Error>> + use<> {
    let config = watcher::Config::default().labels("a=b");
    let target = Target::new::<ConfigMap>(client, None, &config, &Memory::default());
    list_watch(target, |_| {})
}

/// The next events, one string each.
async fn messages<S>(events: S, count: usize) -> Vec<String>
where
    S: Stream<Item = Result<Event<Compact<ConfigMap>>, Error>>,
{
    let word = |event: Result<Event<Compact<ConfigMap>>, Error>| match event {
        Ok(Event::Init) => "init".to_owned(),
        Ok(Event::InitApply(object)) => format!("listed {}", object.name_any()),
        Ok(Event::InitDone) => "done".to_owned(),
        Ok(Event::Apply(object)) => format!("applied {}", object.name_any()),
        Ok(Event::Delete(object)) => format!("deleted {}", object.name_any()),
        Err(error) => crate::cache::watch_error_message(&error),
    };
    let events = events.take(count).map(word).collect();
    tokio::time::timeout(Duration::from_mins(10), events).await.expect("more events")
}

fn object(name: &str, read_chunk: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"n","resourceVersion":"{name}-version"{read_chunk}}}}}"#
    )
}

fn list(metadata: &str, items: &[String]) -> (u16, Vec<u8>) {
    (200, format!(r#"{{"kind":"L","metadata":{metadata},"items":[{}]}}"#, items.join(",")).into_bytes())
}

fn deep() -> String {
    format!(r#","managedFields":{}{}"#, "[".repeat(100_000), "]".repeat(100_000))
}

#[tokio::test(start_paused = true)]
async fn invalid_items_do_not_affect_valid_ones() {
    let odd =
        ["{}".to_owned(), "3".to_owned(), object("deep", &deep()), object("wrong", r#","generation":"x""#)];
    let utf8 = String::from_utf8_lossy(b"");
    let mut bytes = object("bytes", &format!(r#","annotations":{{"a":"{utf8}X"}}"#)).into_bytes();
    let phase = bytes.iter().position(|byte| *byte == b'X').unwrap();
    bytes[phase] = 0xff;
    let mut second = list(r#"{"resourceVersion":"7"}"#, &[object("last", "")]).1;
    let end = second.len() - 2;
    second.splice(end..end, [b",".to_vec(), bytes.clone()].concat());
    let next_line =
        |kind: &str, object: &str| format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into_bytes();
    let watch = [
        next_line("MODIFIED", &object("deep", &deep())),
        next_line("ADDED", "{}"),
        next_line("ADDED", "[[3]]"),
        [b"{\"type\":\"ADDED\",\"object\":".to_vec(), bytes, b"}\n".to_vec()].concat(),
        next_line("BOOKMARK", r#"{"metadata":{"resourceVersion":"12"}}"#),
        b"\n".to_vec(),
        next_line(
            "DELETED",
            &object("last", &format!(r#","annotations":{{"a":{}1{}}}"#, "[".repeat(200), "]".repeat(200))),
        ),
    ];
    let (client, requested) = client(vec![
        list(r#"{"resourceVersion":"7","continue":"more"}"#, &odd),
        (200, second),
        (200, watch.concat()),
    ]);
    let found = messages(events(&client), 9).await;
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
    let requested = requested.lock().unwrap().clone();
    assert!(
        requested[0].contains("labelSelector=a%3Db") && requested[0].contains("limit=50"),
        "{requested:?}"
    );
    assert!(requested[1].contains("continue=more"), "{requested:?}");
    assert!(
        requested[2].contains("watch=true") && requested[2].contains("resourceVersion=7"),
        "{requested:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn watch_resumes_and_relists_after_expiry() {
    let next_line = |name: &str| format!("{{\"type\":\"ADDED\",\"object\":{}}}\n", object(name, ""));
    let gone =
        r#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"too old","code":410}}"#;
    let (client, requested) = client(vec![
        list(r#"{"resourceVersion":"7"}"#, &[]),
        (200, format!("{}{}", next_line("a"), &next_line("cut")[..20]).into_bytes()),
        (200, format!("{gone}\n").into_bytes()),
        list(r#"{"resourceVersion":"20"}"#, &[object("a", "")]),
    ]);
    let found = messages(events(&client), 7).await;
    assert_eq!(found, ["init", "done", "applied a", "watch failed: too old", "init", "listed a", "done"]);
    assert!(requested.lock().unwrap()[2].contains("resourceVersion=a-version"));
}

#[tokio::test(start_paused = true)]
async fn invalid_responses_are_retried_and_not_quoted() {
    let (client, _) = client(vec![
        (200, b"<html>SECRET</html>".to_vec()),
        (502, b"<html>SECRET</html>".to_vec()),
        (200, b"{\"items\":[{\"metadata\":{\"name\":\"SECRET".to_vec()),
        list("\"SECRET\"", &[]),
        list(r#"{"resourceVersion":"7"}"#, &[]),
        (200, b"SECRET\n".to_vec()),
        (200, format!("{{\"type\":\"ADDED\",\"object\":{}}}\n", object("a", "")).into_bytes()),
    ]);
    let found = messages(events(&client).boxed().default_backoff(), 12).await;
    let text = found.join("; ");
    assert!(!text.contains("SECRET"), "{text}");
    assert_eq!(found[found.len() - 1], "applied a", "{text}");
    assert!(
        text.contains("invalid JSON at byte 0")
            && text.contains("502")
            && text.contains("unexpected end of list"),
        "{text}"
    );
}

#[test]
fn page_limit_follows_item_size() {
    assert_eq!(next_limit(50, 50 * 3000, 50), 200);
    assert_eq!(next_limit(200, 200 * 3000, 200), 400);
    assert_eq!(next_limit(50, 50 * 1_400_000, 50), 5);
    assert_eq!(next_limit(5, 0, 0), 5);
}

#[tokio::test(start_paused = true)]
async fn large_object_is_fetched_on_demand() {
    let large = object("large", &format!(r#","annotations":{{"a":"{}"}}"#, "x".repeat(1_000_000)));
    let (client, requested) = client(vec![list("{}", &[large])]);
    let memory = Memory::default();
    let found = fetch_one::<Compact<ConfigMap>>(&client, "n", "large", &memory, Compact::from_json);
    let found = found.await.expect("an answer").expect("an object");
    assert!(found.decode().is_ok_and(|map| map.annotations()["a"].len() == 1_000_000));
    assert!(
        requested.lock().unwrap()[0]
            .contains("/namespaces/n/configmaps?&fieldSelector=metadata.name%3Dlarge")
    );
}

/// Whether the API server could send this item: it is JSON, of any depth.
fn is_json(input: &[u8]) -> bool {
    serde_json::from_slice::<Box<serde_json::value::RawValue>>(input).is_ok()
}

#[tokio::test]
async fn fuzz_any_item_leaves_its_neighbours_listed() {
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
