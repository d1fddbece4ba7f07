//! What becomes of messages between two topics: their form, their size, their order, how often they are tried, and
//! who can read them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_e2e::{Message, Story, Tally};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::DeleteParams;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(3);
/// How long nothing more comes, before it is taken for all.
const QUIET: Duration = Duration::from_secs(5);

#[tokio::test]
async fn messages_have_the_schema_that_is_asked_for() -> Result<()> {
    Story::tell("schema", async |story| {
        let typed = |name, from: &str, reads: &str, to: &str, writes: &str| {
            story.java(name, "stories.Celsius", from, to).with(json!({
                "input": {
                    "topics": null, "typeClassName": "stories.Reading",
                    "customSchemaSources": { story.pulsar.topic(from): reads },
                },
                "output": { "typeClassName": "stories.Reading", "sinkSchemaType": writes },
            }))
        };
        let parts = [
            typed("pack", "fahrenheit", "JSON", "packed", "AVRO"),
            typed("unpack", "packed", "AVRO", "twice", "JSON"),
        ];
        story.apply::<FunctionMesh>(story.mesh("weather", &parts)).await?;
        story.pulsar.await_consumer("fahrenheit", PATIENCE).await?;
        story.pulsar.await_consumer("packed", PATIENCE).await?;
        let readings = [r#"{"place":"Oslo","degrees":32.0}"#, r#"{"place":"São Paulo","degrees":413.6}"#];
        story.pulsar.send("fahrenheit", &readings).await?;
        let twice = story.pulsar.receive("twice", 2, PATIENCE).await?;
        let twice: Vec<Value> =
            twice.iter().map(|text| serde_json::from_str(text)).collect::<Result<_, _>>()?;
        let expected =
            [json!({ "place": "Oslo", "degrees": -17.8 }), json!({ "place": "São Paulo", "degrees": 100.0 })];
        ensure!(twice == expected, "{twice:?}");

        // What lies between is no JSON, and the broker knows what each topic holds.
        let (_, packed) = story.pulsar.examine("packed", 1).await?;
        ensure!(!packed.contains(&b'{'), "{packed:?}");
        for (topic, kind) in [("fahrenheit", "JSON"), ("packed", "AVRO"), ("twice", "JSON")] {
            let schema = story.pulsar.schema(topic).await?.context("no schema")?;
            ensure!(schema["type"] == kind, "{topic}: {schema}");
            let fields: Value = serde_json::from_str(schema["data"].as_str().unwrap_or_default())?;
            let fields = fields["fields"].as_array().into_iter().flatten();
            let mut fields: Vec<_> = fields.filter_map(|field| field["name"].as_str()).collect();
            fields.sort_unstable();
            ensure!(fields == ["degrees", "place"], "{topic}: {schema}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn messages_are_written_and_read_by_a_serde_of_ones_own() -> Result<()> {
    Story::tell("serde", async |story| {
        let serde = "stories.ReadingSerDe";
        let function = story.java("celsius", "stories.Celsius", "fahrenheit", "celsius").with(json!({
            "input": {
                "topics": null, "typeClassName": "stories.Reading",
                "customSerdeSources": { story.pulsar.topic("fahrenheit"): serde },
            },
            "output": { "typeClassName": "stories.Reading", "sinkSerdeClassName": serde },
        }));
        story.start(&function, "fahrenheit", PATIENCE).await?;
        story.pulsar.send("fahrenheit", &["Oslo=32.0", "a=b=212.0", "=-40.0"]).await?;
        let celsius = story.pulsar.receive("celsius", 3, PATIENCE).await?;
        ensure!(celsius == ["Oslo=0.0", "a=b=100.0", "=-40.0"], "{celsius:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn messages_are_compressed_as_asked() -> Result<()> {
    Story::tell("compressed", async |story| {
        let codecs = ["NONE", "LZ4", "ZLIB", "ZSTD", "SNAPPY"];
        let parts = codecs.map(|codec| {
            let name = codec.to_lowercase();
            story
                .python(&name, "double.Double", "words", &name)
                .with(json!({ "output": { "producerConf": { "compressionType": codec } } }))
        });
        story.apply::<FunctionMesh>(story.mesh("codecs", &parts)).await?;
        story.pulsar.await_consumers("words", codecs.len(), PATIENCE).await?;
        let word = "again and ".repeat(1_000);
        story.pulsar.send("words", &[word.as_str()]).await?;
        for codec in codecs {
            let topic = codec.to_lowercase();
            ensure!(story.pulsar.receive(&topic, 1, PATIENCE).await? == [word.repeat(2)], "{codec}");
            let (notes, _) = story.pulsar.examine(&topic, 1).await?;
            let found = notes.get("x-pulsar-compression").map_or("NONE", String::as_str);
            ensure!(found == codec, "{codec}: {notes:?}");
            // What is kept of twenty thousand letters that repeat themselves.
            let size = story.pulsar.internal_stats(&topic).await?["totalSize"].as_u64().context("no size")?;
            ensure!((size > 20_000) == (codec == "NONE") && size > 0, "{codec}: {size}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_fails_again_and_again_becomes_a_dead_letter_and_the_rest_goes_on() -> Result<()> {
    Story::tell("dead-letters", async |story| {
        let function = story.java("flaky", "stories.Flaky", "orders", "done").with(json!({
            "maxMessageRetry": 2, "deadLetterTopic": story.pulsar.topic("failed"),
            "processingGuarantee": "atleast_once", "timeout": 1_000,
        }));
        story.start(&function, "orders", PATIENCE).await?;
        let orders: Vec<_> =
            (0..30).map(|n| if n % 10 == 3 { format!("bad-{n}") } else { format!("good-{n}") }).collect();
        story.pulsar.send("orders", &orders).await?;
        let (bad, good): (BTreeSet<_>, BTreeSet<_>) =
            orders.iter().cloned().partition(|order| order.starts_with("bad"));
        let failed = story.pulsar.receive_whole("failed", bad.len(), PATIENCE).await?;
        ensure!(failed.iter().map(Message::text).collect::<BTreeSet<_>>() == bad, "{failed:?}");
        let from = story.pulsar.topic("orders");
        ensure!(failed.iter().all(|order| order.properties.get("REAL_TOPIC") == Some(&from)), "{failed:?}");
        story.await_read("orders", PATIENCE).await?;
        let done: Vec<_> = story.pulsar.receive_all("done", QUIET).await?.iter().map(Message::text).collect();
        ensure!(done.len() == good.len() && done.into_iter().collect::<BTreeSet<_>>() == good);
        ensure!(story.pulsar.receive_all("failed", QUIET).await?.len() == bad.len(), "some failed twice");
        // Each was tried three times.
        let log = story.log("flaky-function-0", "pulsar-function").await?;
        for order in bad {
            let tried = log
                .lines()
                .filter(|line| line.ends_with(&format!("IllegalArgumentException: refused: {order}")))
                .count();
            ensure!(tried == 3, "{order} was tried {tried} times");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn order_is_kept_by_one_replica_at_a_time() -> Result<()> {
    Story::tell("order", async |story| {
        let ordered = json!({ "replicas": 2, "retainOrdering": true });
        let function = story.python("which", "which.Which", "numbers", "seen").with(ordered);
        story.start(&function, "numbers", PATIENCE).await?;
        ensure!(subscription_type(story, "numbers", "which").await? == "Failover");
        let numbers: Vec<_> = (0..100).map(|n| format!("number-{n}")).collect();
        story.pulsar.send("numbers", &numbers).await?;
        let seen = story.pulsar.receive("seen", numbers.len(), PATIENCE).await?;
        let by: BTreeSet<_> = seen.iter().filter_map(|text| text.split(':').next()).collect();
        ensure!(by.len() == 1, "{by:?}");
        ensure!(
            seen.iter().zip(&numbers).all(|(seen, sent)| seen.ends_with(&format!(":{sent}"))),
            "{seen:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_order_of_each_key_is_kept_while_all_replicas_share_the_work() -> Result<()> {
    Story::tell("keys", async |story| {
        let ordered = json!({ "replicas": 2, "retainKeyOrdering": true });
        let function = story.python("which", "which.Which", "numbers", "seen").with(ordered);
        story.start(&function, "numbers", PATIENCE).await?;
        ensure!(subscription_type(story, "numbers", "which").await? == "Key_Shared");
        let numbers: Vec<_> = (0..200)
            .map(|n| {
                let key = format!("key-{}", n % 20);
                Message { key: Some(key.clone()), ..format!("{key}/{n}").as_str().into() }
            })
            .collect();
        story.pulsar.send("numbers", &numbers).await?;
        let mut seen = BTreeMap::<_, (BTreeSet<_>, Vec<u32>)>::new();
        for text in story.pulsar.receive("seen", numbers.len(), PATIENCE).await? {
            let (by, message) = text.split_once(':').context("no replica")?;
            let (key, number) = message.split_once('/').context("no key")?;
            let of_key = seen.entry(key.to_owned()).or_default();
            of_key.0.insert(by.to_owned());
            of_key.1.push(number.parse()?);
        }
        let mut replicas = BTreeSet::new();
        for n in 0..20_u32 {
            let (by, numbers) =
                seen.remove(&format!("key-{n}")).with_context(|| format!("key {n} is lost"))?;
            ensure!(by.len() == 1, "key {n} was with {by:?}");
            ensure!(numbers == (0..10).map(|turn| n + 20 * turn).collect::<Vec<_>>(), "key {n}: {numbers:?}");
            replicas.extend(by);
        }
        ensure!(replicas.len() == 2, "all keys were with {replicas:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn each_message_has_one_result_though_its_pod_is_killed_meanwhile() -> Result<()> {
    Story::tell("once", async |story| {
        story.pulsar.policy("deduplication", &json!(true)).await?;
        let once = json!({ "processingGuarantee": "effectively_once", "funcConfig": { "delayMs": 20 } });
        let function = story.java("double", "stories.Double", "words", "doubled").with(once);
        story.start(&function, "words", PATIENCE).await?;
        let words: Vec<_> = (0..300).map(|n| format!("word-{n}/")).collect();
        story.pulsar.send("words", &words).await?;
        let some = async || Ok(story.came_out("doubled").await? > 30);
        story.eventually("some are done", PATIENCE, some).await?;
        let now = DeleteParams::default().grace_period(0);
        story.api::<Pod>().delete("double-function-0", &now).await?;
        ensure!(story.came_out("doubled").await? < 300, "all were done before the pod was killed");

        let done = story.pulsar.receive_whole("doubled", words.len(), PATIENCE).await?;
        let more = story.pulsar.receive_all("doubled", QUIET).await?;
        ensure!(more.len() == words.len(), "{} instead of {}", more.len(), words.len());
        let done: Vec<_> = done.iter().map(Message::text).collect();
        let tally = Tally::of(&words, &done, |word| word.repeat(2));
        tally.record(&story.world, "a pod is killed, each message effectively once")?;
        ensure!(tally == Tally { sent: 300, received: 300, ..Tally::default() }, "{tally:?}");
        ensure!(subscription_type(story, "words", "double").await? == "Failover");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn encrypted_messages_are_read_by_who_has_the_key_and_by_nobody_else() -> Result<()> {
    Story::tell("secret", async |story| {
        let private = story.world.run("/usr/bin/openssl", &["genpkey", "-algorithm", "RSA", "-quiet"], "").await?;
        let public = story.world.run("/usr/bin/openssl", &["pkey", "-pubout"], &private).await?;
        story
            .apply::<Secret>(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "keys" },
                "stringData": { "public.pem": public, "private.pem": private },
            }))
            .await?;
        let crypto = |half: &str| {
            let (file, folder) = (format!("{half}.pem"), format!("/keys/{half}"));
            json!({
                "cryptoKeyReaderClassName": "stories.FileKeys",
                "cryptoKeyReaderConfig": { format!("{half}Key"): format!("{folder}/{file}") },
                "cryptoSecrets": [{ "secretName": "keys", "secretKey": file, "asVolume": folder }],
                "encryptionKeys": ["team"],
            })
        };
        let lock = story.java("lock", "stories.Double", "plain", "locked").with(json!({
            "output": { "producerConf": { "compressionType": "NONE", "cryptoConfig": crypto("public") } },
        }));
        let open = story.java("open", "stories.Double", "locked", "open").with(json!({
            "input": { "topics": null, "sourceSpecs": { story.pulsar.topic("locked"): { "cryptoConfig": crypto("private") } } },
        }));
        story.apply::<FunctionMesh>(story.mesh("locks", &[lock, open])).await?;
        story.pulsar.await_consumer("plain", PATIENCE).await?;
        story.pulsar.await_consumer("locked", PATIENCE).await?;
        let words = ["attack at dawn; ", "and tell nobody; "];
        story.pulsar.send("plain", &words).await?;
        let open = story.pulsar.receive("open", words.len(), PATIENCE).await?;
        ensure!(open == words.map(|word| word.repeat(4)), "{open:?}");

        let (notes, bytes) = story.pulsar.examine("locked", 1).await?;
        ensure!(notes.get("x-pulsar-is-encrypted").map(String::as_str) == Some("true"), "{notes:?}");
        let found = words.iter().any(|word| bytes.windows(word.len()).any(|part| part == word.as_bytes()));
        ensure!(!found && !bytes.is_empty(), "it can be read: {:?}", String::from_utf8_lossy(&bytes));
        Ok(())
    })
    .await
}

/// How the replicas of a function share this topic, by the broker's word.
async fn subscription_type(story: &Story, topic: &str, function: &str) -> Result<String> {
    let stats = story.pulsar.stats(topic).await?.unwrap_or_default();
    let subscription = &stats["subscriptions"][format!("public/{}/{function}", story.namespace)];
    subscription["type"].as_str().map(str::to_owned).with_context(|| stats.to_string())
}
