//! `shadow` with a real control plane and a stand-in for the broker, without the operator.

use anyhow::Context;
use function_mesh_api::{Function, FunctionMesh, labels};
use function_mesh_testkit::{WebAnswer, WebRequest, WebServer, fixtures};
use serde_json::{Value, json};

use crate::harness::Harness;

/// `MessageIdData` of ledger 7 with entries 0, 1 and 2, in base64.
const INPUTS: [&str; 3] = ["CAcQAA==", "CAcQAQ==", "CAcQAg=="];

/// Exit code of a subcommand of `shadow`, and standard output and standard error together.
fn run(harness: &Harness, arguments: &[&str]) -> anyhow::Result<(i32, String)> {
    let (status, out, err) = harness.run(&[&["shadow"], arguments].concat())?;
    Ok((status, out + &err))
}

/// A broker on which a function has answered three messages, and its shadow one of them in another way.
async fn broker() -> WebServer {
    let answers = |requests: &[WebRequest]| {
        let path = requests.last().unwrap().path.clone();
        let Some(rest) = path.strip_prefix("/admin/v2/persistent/public/default/shouts") else {
            return WebAnswer::Text(404, String::new());
        };
        let (is_shadow, rest) = match rest.strip_prefix("-shadow") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        if rest == "/internalStats" {
            return WebAnswer::ok(
                r#"{"ledgers": [{"ledgerId": 9, "entries": 0}], "lastConfirmedEntry": "9:2"}"#,
            );
        }
        let Some(entry) = rest.strip_prefix("/ledger/9/entry/").and_then(|entry| entry.parse::<usize>().ok())
        else {
            return WebAnswer::Text(404, String::new());
        };
        let mark = if is_shadow && entry == 1 { "?" } else { "!" };
        let headers = vec![
            ("x-pulsar-property-__pfn_input_msg_id__", INPUTS[entry].to_owned()),
            ("x-pulsar-property-__pfn_input_topic__", "persistent://public/default/words".to_owned()),
        ];
        WebAnswer::Headed(headers, format!("text-{entry}{mark}"))
    };
    WebServer::start_answering(answers).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_compared_and_promoted() -> anyhow::Result<()> {
    let harness = Harness::new("shadow").await?;
    harness.apply(&fixtures::function(fixtures::java_function("f"))?).await?;
    let (status, out) = run(&harness, &["start", "f", "--image", "shout:2"])?;
    assert_eq!(
        (status, out.starts_with("function/f-shadow created\nIt writes to shouts-shadow.")),
        (0, true),
        "{out}"
    );
    let shadow = harness.get::<Function>("f-shadow").await?;
    assert_eq!(shadow.spec.image.as_deref(), Some("shout:2"));
    assert_eq!(labels::annotation(&shadow.metadata, labels::SHADOW_OF), Some("f"));
    assert_eq!(shadow.metadata.owner_references.context("an owner")?[0].name, "f");
    let (status, out) = run(&harness, &["start", "function/f", "--image", "shout:3"])?;
    assert!(status == 2 && out.contains("function/f-shadow exists; promote or discard it first"), "{out}");

    let broker = broker().await;
    let (status, out) = run(&harness, &["diff", "f", "--pulsar", broker.url()])?;
    assert_eq!(status, 1, "{out}");
    for expected in [
        "2 of 3 inputs have the same result.\n1 have different results.",
        "input persistent://public/default/words 7:1\n  function  \"text-1!\"\n  shadow    \"text-1?\"",
        "exceptions  unknown",
    ] {
        assert!(out.contains(expected), "{out}");
    }
    let (_, out) = run(&harness, &["diff", "f", "--pulsar", broker.url(), "-o", "json"])?;
    let view: Value = serde_json::from_str(&out)?;
    assert_eq!((&view["messages"]["compared"], &view["messages"]["different"]), (&json!(3), &json!(1)));
    // Without a broker there is the traffic alone.
    assert_eq!(run(&harness, &["diff", "f"])?.0, 0);
    let (status, out) = run(&harness, &["diff", "f", "--pulsar", "http://127.0.0.1:9"])?;
    assert!(status == 2 && out.contains("--pulsar must be a web service URL"), "{out}");

    let (status, out) = run(&harness, &["promote", "f"])?;
    assert_eq!((status, out.contains("function/f-shadow deleted")), (0, true), "{out}");
    assert_eq!(harness.get::<Function>("f").await?.spec.image.as_deref(), Some("shout:2"));
    assert!(harness.find::<Function>("f-shadow").await?.is_none());
    let (status, out) = run(&harness, &["promote", "f"])?;
    assert!(status == 2 && out.contains("function/f has no shadow"), "{out}");
    Ok(())
}

#[tokio::test]
async fn of_a_mesh_one_component_changes_and_foreign_objects_stay() -> anyhow::Result<()> {
    let harness = Harness::new("shadow-mesh").await?;
    let parts = ["a", "b"].map(|name| fixtures::java_function(name).into());
    harness.apply(&fixtures::mesh("m", parts)?).await?;
    let mesh = harness.get::<FunctionMesh>("m").await?;
    // As the operator creates it.
    let mut component = fixtures::function(fixtures::java_function("m-b"))?;
    component.metadata.owner_references = Some(serde_json::from_value(json!([{
        "apiVersion": labels::API_VERSION, "kind": "FunctionMesh", "name": "m", "uid": mesh.metadata.uid, "controller": true,
    }]))?);
    harness.apply(&component).await?;
    assert_eq!(
        run(&harness, &["start", "m/b", "--patch", r#"{"funcConfig": {"limit": 5}, "image": "x:2"}"#])?.0,
        0
    );
    let (status, out) = run(&harness, &["promote", "m/b"])?;
    assert!(status == 0 && out.starts_with("functionmesh/m changed"), "{out}");
    let functions = harness.get::<FunctionMesh>("m").await?.spec.functions.context("functions")?;
    let images: Vec<_> = functions.iter().map(|it| it.image.as_deref()).collect();
    assert_eq!(images, [None, Some("x:2")]);

    // A function of this name that is no shadow.
    harness.apply(&fixtures::function(fixtures::java_function("m-b-shadow"))?).await?;
    for command in ["promote", "discard", "diff"] {
        let (status, out) = run(&harness, &[command, "m/b"])?;
        assert!(status == 2 && out.contains("is no shadow"), "{command}: {out}");
    }
    assert!(harness.find::<Function>("m-b-shadow").await?.is_some());
    let (status, out) = run(&harness, &["start", "m/b", "--patch", r#"{"output": {"topic": "x"}}"#])?;
    assert!(status == 2 && out.contains("`output` cannot be tried"), "{out}");
    let (status, out) = run(&harness, &["start", "m/b"])?;
    assert!(status == 2 && out.contains("--image"), "{out}");
    let (status, out) = run(&harness, &["start", "sink/b", "--image", "x"])?;
    assert!(status == 2 && out.contains("only a function can have a shadow"), "{out}");
    Ok(())
}
