use crate::testing::{bare_function, details, function, sink, source};
use serde_json::{Value, json};

fn inner(details: &Value, pointer: &str) -> Value {
    let text = details.pointer(pointer).and_then(Value::as_str).expect(pointer);
    serde_json::from_str(text).expect(pointer)
}

#[test]
fn defaults_are_omitted_and_integers_quoted() {
    let function = function(json!({
        "resources": { "requests": { "cpu": "0.7", "memory": "1G", "storage": "2G" }, "limits": { "memory": "2G" } },
        "subscriptionPosition": "latest", "forwardSourceMessageProperty": false, "autoAck": false,
    }));
    assert_eq!(
        details(&function),
        json!({
            "tenant": "public", "namespace": "default", "name": "f", "className": "com.example.Code",
            "parallelism": 1, "componentType": "FUNCTION",
            "source": { "typeClassName": "[B", "inputSpecs": { "in": {} } },
            "sink": { "typeClassName": "[B", "topic": "out" },
            "resources": { "cpu": 0.7, "ram": "1000000000", "disk": "2000000000" },
        })
    );
}

#[test]
fn most_specific_consumer_wins() {
    let function = function(json!({ "input": {
        "topics": ["a", "b"], "topicPattern": "t/n/.*", "customSerdeSources": { "b": "Serde", "c": "Serde" },
        "customSchemaSources": { "c": "avro" },
        "sourceSpecs": { "d": { "receiverQueueSize": 0, "isRegexPattern": true, "schemaProperties": {} } },
    } }));
    assert_eq!(
        details(&function)["source"]["inputSpecs"],
        json!({
            "a": {}, "b": { "serdeClassName": "Serde" }, "c": { "schemaType": "avro" },
            "d": { "isRegexPattern": true, "receiverQueueSize": {} }, "t/n/.*": { "isRegexPattern": true },
        })
    );
}

#[test]
fn subscription_type_by_ordering() {
    for (spec, expected) in [
        (json!({}), Value::Null),
        (json!({ "retainOrdering": true }), json!("FAILOVER")),
        (json!({ "retainKeyOrdering": true }), json!("KEY_SHARED")),
        (json!({ "processingGuarantee": "effectively_once" }), json!("FAILOVER")),
    ] {
        assert_eq!(details(&sink(spec))["source"]["subscriptionType"], expected);
    }
}

#[test]
fn dead_letter_topic_is_named_if_pulsar_cannot() {
    let retry = |spec: Value| details(&sink(spec))["retryDetails"].clone();
    let named = json!({ "maxMessageRetries": 3, "deadLetterTopic": "public-default-f-DLQ" });
    assert_eq!(retry(json!({ "maxMessageRetry": 3 })), named);
    assert_eq!(retry(json!({ "maxMessageRetry": 3, "subscriptionName": "a/b" })), named);
    assert_eq!(
        retry(json!({ "maxMessageRetry": 3, "subscriptionName": "s" })),
        json!({ "maxMessageRetries": 3 })
    );
    assert_eq!(
        retry(json!({ "maxMessageRetry": 3, "deadLetterTopic": "d" })),
        json!({ "maxMessageRetries": 3, "deadLetterTopic": "d" })
    );
    assert_eq!(retry(json!({})), Value::Null);
}

#[test]
fn window_function_executor_gets_the_class() {
    let details = details(&function(json!({
        "funcConfig": { "u": "v" },
        "windowConfig": { "actualWindowFunctionClassName": "other", "windowLengthDurationMs": 1000 },
    })));
    assert_eq!(details["className"], super::WINDOWS);
    assert_eq!(
        inner(&details, "/userConfig"),
        json!({
            "u": "v",
            "__WINDOWCONFIGS__": {
                "actualWindowFunctionClassName": "com.example.Code", "windowLengthDurationMs": 1000,
                "slidingIntervalDurationMs": 1000,
            },
        })
    );
}

#[test]
fn source_configuration() {
    let details = details(&source(json!({ "processingGuarantee": "atmost_once" })));
    assert_eq!(details["className"], super::IDENTITY);
    assert_eq!(details["processingGuarantees"], "ATMOST_ONCE");
    assert_eq!(details["source"]["className"], "com.example.Code");
    assert_eq!(inner(&details, "/source/configs"), json!({ "k": "v" }));
    assert_eq!(inner(&details, "/userConfig"), json!({ "k": "v" }));
    assert_eq!(details["sink"]["producerSpec"]["maxPendingMessages"], 1000);
}

#[test]
fn batch_source_runs_in_its_executor() {
    let batch = json!({ "discoveryTriggererClassName": "T", "discoveryTriggererConfig": { "c": 1 } });
    let source = details(&source(json!({ "batchSourceConfig": batch })));
    assert_eq!(source["source"]["className"], "org.apache.pulsar.functions.source.batch.BatchSourceExecutor");
    let configs = inner(&source, "/source/configs");
    assert_eq!(configs["__BATCHSOURCECLASSNAME__"], "com.example.Code");
    assert_eq!(inner(&configs, "/__BATCHSOURCECONFIGS__"), batch);
    assert_eq!(inner(&source, "/userConfig"), json!({ "k": "v" }));

    let config = json!({ "className": "Src", "configs": { "a": 1 }, "batchSourceConfig": batch });
    let function = details(&function(json!({ "sourceConfig": config })));
    assert_eq!(function["source"]["className"], source["source"]["className"]);
    assert_eq!(inner(&function, "/source/configs")["__BATCHSOURCECLASSNAME__"], "Src");
}

#[test]
fn connector_type_class_replaces_the_default() {
    let with = |source: Value, sink: Value| {
        details(&function(json!({ "sourceConfig": source, "sinkConfig": sink })))
    };
    let own = with(json!({ "typeClassName": "A" }), json!({ "configs": { "typeClassName": "B" } }));
    assert_eq!((&own["source"]["typeClassName"], &own["sink"]["typeClassName"]), (&json!("A"), &json!("B")));
    let none = with(json!({}), json!({}));
    assert_eq!(
        (&none["source"]["typeClassName"], &none["sink"]["typeClassName"]),
        (&json!("[B"), &json!("[B"))
    );
    let given = json!({ "sourceConfig": { "typeClassName": "A" }, "input": { "typeClassName": "T" } });
    assert_eq!(details(&function(given))["source"]["typeClassName"], "T");
}

#[test]
fn log_topic_only_for_the_runtime_agent() {
    let topic = |agent: &str| {
        let spec = json!({ "logTopic": "logs", "logTopicAgent": agent });
        (details(&function(spec.clone()))["logTopic"].clone(), details(&sink(spec))["logTopic"].clone())
    };
    assert_eq!(topic("runtime"), (json!("logs"), json!("logs")));
    assert_eq!(topic("sidecar"), (Value::Null, Value::Null));
}

#[test]
fn output_schema_is_parsed_from_json() {
    let schema = r#"{"schemaProperties":{"a":"b"},"consumerProperties":{"c":"d"}}"#;
    let sink = |text: &str| {
        let output = json!({ "output": { "customSchemaSinks": { "out": text, "other": schema } } });
        details(&function(output))["sink"].clone()
    };
    assert_eq!(sink(schema)["schemaProperties"], json!({ "a": "b" }));
    assert_eq!(sink(schema)["consumerProperties"], json!({ "c": "d" }));
    assert_eq!(sink("{no JSON")["schemaProperties"], Value::Null);
}

#[test]
fn crypto_spec_omits_default_actions() {
    let crypto = json!({
        "cryptoKeyReaderClassName": "K", "cryptoKeyReaderConfig": { "p": "/k" }, "encryptionKeys": ["k"],
        "producerCryptoFailureAction": "SEND", "consumerCryptoFailureAction": "unknown",
    });
    let producer = json!({ "cryptoConfig": crypto, "compressionType": "ZSTD", "batchBuilder": "KEY_BASED" });
    let details = details(&function(json!({ "output": { "producerConf": producer } })));
    assert_eq!(
        details["sink"]["producerSpec"],
        json!({
            "cryptoSpec": {
                "cryptoKeyReaderClassName": "K", "cryptoKeyReaderConfig": r#"{"p":"/k"}"#,
                "producerEncryptionKeyName": ["k"], "producerCryptoFailureAction": "SEND",
            },
            "batchBuilder": "KEY_BASED", "compressionType": "ZSTD",
        })
    );
}

#[test]
fn runtime_is_set_unless_java() {
    let python =
        bare_function(json!({ "python": { "py": "f.py" }, "showPreciseParallelism": true, "replicas": 3 }));
    assert_eq!(details(&python)["runtime"], "PYTHON");
    assert_eq!(details(&python)["parallelism"], 3);
    let generic = bare_function(json!({ "genericRuntime": { "functionFile": "f", "language": "wasm" } }));
    assert_eq!(details(&generic)["runtime"], Value::Null);
}
