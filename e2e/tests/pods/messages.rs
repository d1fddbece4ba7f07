//! Messages between two topics: schemas, serdes, compression, order, retries, guarantees and encryption.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_e2e::{DeliveryReport, Message, Scenario};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::DeleteParams;
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_mins(3);
/// Time without a message after which a topic counts as read.
const QUIET: Duration = Duration::from_secs(5);

#[tokio::test]
async fn messages_have_the_schema_that_is_asked_for() -> Result<()> {
    Scenario::run("schema", async |scenario| {
        let typed = |name, from: &str, reads: &str, to: &str, writes: &str| {
            scenario.java(name, "e2e.Celsius", from, to).with(json!({
                "input": {
                    "topics": null, "typeClassName": "e2e.Reading",
                    "customSchemaSources": { scenario.pulsar.topic(from): reads },
                },
                "output": { "typeClassName": "e2e.Reading", "sinkSchemaType": writes },
            }))
        };
        let components = [
            typed("pack", "fahrenheit", "JSON", "packed", "AVRO"),
            typed("unpack", "packed", "AVRO", "twice", "JSON"),
        ];
        scenario.apply::<FunctionMesh>(scenario.mesh("weather", &components)).await?;
        scenario.pulsar.await_consumer("fahrenheit", TIMEOUT).await?;
        scenario.pulsar.await_consumer("packed", TIMEOUT).await?;
        let readings = [r#"{"place":"Oslo","degrees":32.0}"#, r#"{"place":"São Paulo","degrees":413.6}"#];
        scenario.pulsar.send("fahrenheit", &readings).await?;
        let twice = scenario.pulsar.receive("twice", 2, TIMEOUT).await?;
        let twice: Vec<Value> =
            twice.iter().map(|text| serde_json::from_str(text)).collect::<Result<_, _>>()?;
        let expected =
            [json!({ "place": "Oslo", "degrees": -17.8 }), json!({ "place": "São Paulo", "degrees": 100.0 })];
        ensure!(twice == expected, "{twice:?}");

        // The topic in between is not JSON, and the broker knows each topic's schema.
        let (_, packed) = scenario.pulsar.examine("packed", 1).await?;
        ensure!(!packed.contains(&b'{'), "{packed:?}");
        for (topic, kind) in [("fahrenheit", "JSON"), ("packed", "AVRO"), ("twice", "JSON")] {
            let schema = scenario.pulsar.schema(topic).await?.context("no schema")?;
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
async fn messages_are_written_and_read_by_a_custom_serde() -> Result<()> {
    Scenario::run("serde", async |scenario| {
        let serde = "e2e.ReadingSerDe";
        let function = scenario.java("celsius", "e2e.Celsius", "fahrenheit", "celsius").with(json!({
            "input": {
                "topics": null, "typeClassName": "e2e.Reading",
                "customSerdeSources": { scenario.pulsar.topic("fahrenheit"): serde },
            },
            "output": { "typeClassName": "e2e.Reading", "sinkSerdeClassName": serde },
        }));
        scenario.start(&function, "fahrenheit", TIMEOUT).await?;
        scenario.pulsar.send("fahrenheit", &["Oslo=32.0", "a=b=212.0", "=-40.0"]).await?;
        let celsius = scenario.pulsar.receive("celsius", 3, TIMEOUT).await?;
        ensure!(celsius == ["Oslo=0.0", "a=b=100.0", "=-40.0"], "{celsius:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn messages_are_compressed_as_asked() -> Result<()> {
    Scenario::run("compressed", async |scenario| {
        let codecs = ["NONE", "LZ4", "ZLIB", "ZSTD", "SNAPPY"];
        let components = codecs.map(|codec| {
            let name = codec.to_lowercase();
            scenario
                .python(&name, "double.Double", "words", &name)
                .with(json!({ "output": { "producerConf": { "compressionType": codec } } }))
        });
        scenario.apply::<FunctionMesh>(scenario.mesh("codecs", &components)).await?;
        scenario.pulsar.await_consumers("words", codecs.len(), TIMEOUT).await?;
        let word = "again and ".repeat(1_000);
        scenario.pulsar.send("words", &[word.as_str()]).await?;
        for codec in codecs {
            let topic = codec.to_lowercase();
            ensure!(scenario.pulsar.receive(&topic, 1, TIMEOUT).await? == [word.repeat(2)], "{codec}");
            let (headers, _) = scenario.pulsar.examine(&topic, 1).await?;
            let found = headers.get("x-pulsar-compression").map_or("NONE", String::as_str);
            ensure!(found == codec, "{codec}: {headers:?}");
            // Storage size of twenty thousand repetitive characters.
            let size =
                scenario.pulsar.internal_stats(&topic).await?["totalSize"].as_u64().context("no size")?;
            ensure!((size > 20_000) == (codec == "NONE") && size > 0, "{codec}: {size}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn failing_messages_become_dead_letters_and_others_are_processed() -> Result<()> {
    Scenario::run("dead-letters", async |scenario| {
        let function = scenario.java("flaky", "e2e.Flaky", "orders", "done").with(json!({
            "maxMessageRetry": 2, "deadLetterTopic": scenario.pulsar.topic("failed"),
            "processingGuarantee": "atleast_once", "timeout": 1_000,
        }));
        scenario.start(&function, "orders", TIMEOUT).await?;
        let orders: Vec<_> =
            (0..30).map(|n| if n % 10 == 3 { format!("bad-{n}") } else { format!("good-{n}") }).collect();
        scenario.pulsar.send("orders", &orders).await?;
        let (bad, good): (BTreeSet<_>, BTreeSet<_>) =
            orders.iter().cloned().partition(|order| order.starts_with("bad"));
        let failed = scenario.pulsar.receive_whole("failed", bad.len(), TIMEOUT).await?;
        ensure!(failed.iter().map(Message::text).collect::<BTreeSet<_>>() == bad, "{failed:?}");
        let from = scenario.pulsar.topic("orders");
        ensure!(failed.iter().all(|order| order.properties.get("REAL_TOPIC") == Some(&from)), "{failed:?}");
        scenario.await_read("orders", TIMEOUT).await?;
        let done: Vec<_> =
            scenario.pulsar.receive_all("done", QUIET).await?.iter().map(Message::text).collect();
        ensure!(done.len() == good.len() && done.into_iter().collect::<BTreeSet<_>>() == good);
        ensure!(scenario.pulsar.receive_all("failed", QUIET).await?.len() == bad.len(), "some failed twice");
        // Each had three attempts.
        let log = scenario.log("flaky-function-0", "pulsar-function").await?;
        for order in bad {
            let tried = log
                .lines()
                .filter(|line| line.ends_with(&format!("IllegalArgumentException: rejected: {order}")))
                .count();
            ensure!(tried == 3, "{order} was tried {tried} times");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn order_is_kept_by_one_replica_at_a_time() -> Result<()> {
    Scenario::run("order", async |scenario| {
        let ordered = json!({ "replicas": 2, "retainOrdering": true });
        let function = scenario.python("which", "which.Which", "numbers", "seen").with(ordered);
        scenario.start(&function, "numbers", TIMEOUT).await?;
        ensure!(subscription_type(scenario, "numbers", "which").await? == "Failover");
        let numbers: Vec<_> = (0..100).map(|n| format!("number-{n}")).collect();
        scenario.pulsar.send("numbers", &numbers).await?;
        let seen = scenario.pulsar.receive("seen", numbers.len(), TIMEOUT).await?;
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
    Scenario::run("keys", async |scenario| {
        let ordered = json!({ "replicas": 2, "retainKeyOrdering": true });
        let function = scenario.python("which", "which.Which", "numbers", "seen").with(ordered);
        scenario.start(&function, "numbers", TIMEOUT).await?;
        ensure!(subscription_type(scenario, "numbers", "which").await? == "Key_Shared");
        let numbers: Vec<_> = (0..200)
            .map(|n| {
                let key = format!("key-{}", n % 20);
                Message { key: Some(key.clone()), ..format!("{key}/{n}").as_str().into() }
            })
            .collect();
        scenario.pulsar.send("numbers", &numbers).await?;
        let mut seen = BTreeMap::<_, (BTreeSet<_>, Vec<u32>)>::new();
        for text in scenario.pulsar.receive("seen", numbers.len(), TIMEOUT).await? {
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
    Scenario::run("once", async |scenario| {
        scenario.pulsar.policy("deduplication", &json!(true)).await?;
        let once = json!({ "processingGuarantee": "effectively_once", "funcConfig": { "delayMs": 20 } });
        let function = scenario.java("double", "e2e.Double", "words", "doubled").with(once);
        scenario.start(&function, "words", TIMEOUT).await?;
        let words: Vec<_> = (0..300).map(|n| format!("word-{n}/")).collect();
        scenario.pulsar.send("words", &words).await?;
        let some = async || Ok(scenario.published("doubled").await? > 30);
        scenario.eventually("some are done", TIMEOUT, some).await?;
        let now = DeleteParams::default().grace_period(0);
        scenario.api::<Pod>().delete("double-function-0", &now).await?;
        ensure!(scenario.published("doubled").await? < 300, "all were done before the pod was killed");

        let done = scenario.pulsar.receive_whole("doubled", words.len(), TIMEOUT).await?;
        let more = scenario.pulsar.receive_all("doubled", QUIET).await?;
        ensure!(more.len() == words.len(), "{} instead of {}", more.len(), words.len());
        let done: Vec<_> = done.iter().map(Message::text).collect();
        let report = DeliveryReport::compare(&words, &done, |word| word.repeat(2));
        report.record(&scenario.harness, "a pod is killed, each message effectively once")?;
        ensure!(
            report == DeliveryReport { sent: 300, received: 300, ..DeliveryReport::default() },
            "{report:?}"
        );
        ensure!(subscription_type(scenario, "words", "double").await? == "Failover");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn only_owners_of_the_key_read_encrypted_messages() -> Result<()> {
    Scenario::run("secret", async |scenario| {
        let private = scenario.harness.run("/usr/bin/openssl", &["genpkey", "-algorithm", "RSA", "-quiet"], "").await?;
        let public = scenario.harness.run("/usr/bin/openssl", &["pkey", "-pubout"], &private).await?;
        scenario
            .apply::<Secret>(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "keys" },
                "stringData": { "public.pem": public, "private.pem": private },
            }))
            .await?;
        let crypto = |half: &str| {
            let (file, folder) = (format!("{half}.pem"), format!("/keys/{half}"));
            json!({
                "cryptoKeyReaderClassName": "e2e.FileKeys",
                "cryptoKeyReaderConfig": { format!("{half}Key"): format!("{folder}/{file}") },
                "cryptoSecrets": [{ "secretName": "keys", "secretKey": file, "asVolume": folder }],
                "encryptionKeys": ["team"],
            })
        };
        let lock = scenario.java("lock", "e2e.Double", "plain", "locked").with(json!({
            "output": { "producerConf": { "compressionType": "NONE", "cryptoConfig": crypto("public") } },
        }));
        let open = scenario.java("open", "e2e.Double", "locked", "open").with(json!({
            "input": { "topics": null, "sourceSpecs": { scenario.pulsar.topic("locked"): { "cryptoConfig": crypto("private") } } },
        }));
        scenario.apply::<FunctionMesh>(scenario.mesh("locks", &[lock, open])).await?;
        scenario.pulsar.await_consumer("plain", TIMEOUT).await?;
        scenario.pulsar.await_consumer("locked", TIMEOUT).await?;
        let words = ["attack at dawn; ", "and keep quiet; "];
        scenario.pulsar.send("plain", &words).await?;
        let open = scenario.pulsar.receive("open", words.len(), TIMEOUT).await?;
        ensure!(open == words.map(|word| word.repeat(4)), "{open:?}");

        let (headers, bytes) = scenario.pulsar.examine("locked", 1).await?;
        ensure!(headers.get("x-pulsar-is-encrypted").map(String::as_str) == Some("true"), "{headers:?}");
        let found = words.iter().any(|word| bytes.windows(word.len()).any(|component| component == word.as_bytes()));
        ensure!(!found && !bytes.is_empty(), "it can be read: {:?}", String::from_utf8_lossy(&bytes));
        Ok(())
    })
    .await
}

/// The type of a function's subscription, as the broker reports it.
async fn subscription_type(scenario: &Scenario, topic: &str, function: &str) -> Result<String> {
    let stats = scenario.pulsar.stats(topic).await?.unwrap_or_default();
    let subscription = &stats["subscriptions"][format!("public/{}/{function}", scenario.namespace)];
    subscription["type"].as_str().map(str::to_owned).with_context(|| stats.to_string())
}
