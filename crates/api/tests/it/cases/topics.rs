//! Topics.

#![allow(clippy::too_many_lines, reason = "it is a table")]

use serde_json::{Value, json};

use super::{Case, F, FK, FS, Table};

pub(super) fn topics(t: &mut Table) {
    t.add(
        "I1",
        FK,
        &["spec.input.topics"],
        json!({ "input": null }),
        json!({ "input": { "topics": [], "topicPattern": "persistent://a/b/.*" } }),
    );
    t.add(
        "I1",
        FK,
        &["spec.input.topics"],
        json!({ "input": { "topics": [], "sourceSpecs": {} } }),
        json!({ "input": { "topics": null, "sourceSpecs": { "t": {} } } }),
    );
    t.add(
        "I1",
        F,
        &["spec.input.topics"],
        json!({ "input": { "topics": null } }),
        json!({ "input": { "topics": null }, "sourceConfig": {} }),
    );
    t.add(
        "I2",
        FK,
        &["spec.input.topics[1]"],
        json!({ "input": { "topics": ["a", "a/b"] } }),
        json!({ "input": { "topics": ["a", "a/b/c"] } }),
    );
    t.add(
        "I2",
        FK,
        &["spec.input.topicPattern"],
        json!({ "input": { "topicPattern": "a/b" } }),
        json!({ "input": { "topicPattern": "a/b/.*" } }),
    );
    for (field, value, at) in [
        ("customSerdeSources", json!("S"), "spec.input.customSerdeSources[\"x://t\"]"),
        ("customSchemaSources", json!("S"), "spec.input.customSchemaSources[\"x://t\"]"),
        ("sourceSpecs", json!({}), "spec.input.sourceSpecs[\"x://t\"]"),
    ] {
        let (bad, good) = (
            json!({ "input": { field: { "x://t": value } } }),
            json!({ "input": { field: { "t": value } } }),
        );
        t.0.push(Case {
            rule: "I2",
            kind: "Function",
            fields: vec![at],
            bad: bad.clone(),
            good: good.clone(),
        });
        t.0.push(Case { rule: "I2", kind: "Sink", fields: vec![at], bad, good });
    }
    let consumer = |config: Value| json!({ "input": { "sourceSpecs": { "t": config } } });
    t.add(
        "I3",
        FK,
        &["spec.input.sourceSpecs[\"t\"].receiverQueueSize"],
        consumer(json!({ "receiverQueueSize": -1 })),
        consumer(json!({ "receiverQueueSize": 0 })),
    );
    t.add(
        "I4",
        FK,
        &["spec.input.sourceSpecs[\"t\"].cryptoConfig.cryptoKeyReaderClassName"],
        consumer(json!({ "cryptoConfig": { "cryptoKeyReaderClassName": "" } })),
        consumer(json!({ "cryptoConfig": { "cryptoKeyReaderClassName": "C" } })),
    );
    t.add(
        "O3",
        FS,
        &["spec.output.topic"],
        json!({ "output": { "topic": "a/b" } }),
        json!({ "output": { "topic": "" } }),
    );
    t.add(
        "O3",
        F,
        &["spec.output.topic"],
        json!({ "output": { "topic": "a/b" } }),
        json!({ "output": { "topic": "a/b" }, "sinkConfig": {} }),
    );
    t.add(
        "O4",
        F,
        &["spec.output.topic"],
        json!({ "output": { "topic": "in" } }),
        json!({ "output": { "topic": "in2" } }),
    );
    t.add(
        "O4",
        F,
        &["spec.output.topic"],
        json!({ "output": { "topic": "a/b/in" }, "input": { "topics": ["a/b/in"] } }),
        json!({ "output": { "topic": "a/b/in" } }),
    );
    t.add(
        "O4",
        F,
        &["spec.output.topic"],
        json!({ "output": { "topic": "in" }, "sourceConfig": {} }),
        json!({ "output": { "topic": "other" }, "sourceConfig": {} }),
    );
    let crypto = |config: Value| json!({ "output": { "producerConf": { "cryptoConfig": config } } });
    let whole = json!({ "cryptoKeyReaderClassName": "C", "encryptionKeys": ["k"] });
    t.add(
        "O5",
        FS,
        &["spec.output.producerConf.cryptoConfig.cryptoKeyReaderClassName"],
        crypto(json!({ "encryptionKeys": ["k"] })),
        crypto(whole.clone()),
    );
    t.add(
        "O5",
        FS,
        &["spec.output.producerConf.cryptoConfig.encryptionKeys"],
        crypto(json!({ "cryptoKeyReaderClassName": "C" })),
        crypto(whole.clone()),
    );
    let mounted = |second: Value| {
        let mut config = whole.clone();
        let first = json!({ "secretName": "a", "secretKey": "k", "asVolume": "/keys" });
        config["cryptoSecrets"] = json!([first, second]);
        crypto(config)
    };
    t.add(
        "O5",
        FS,
        &["spec.output.producerConf.cryptoConfig.cryptoSecrets[1].asVolume"],
        mounted(json!({ "secretName": "b", "secretKey": "k", "asVolume": "/keys" })),
        mounted(json!({ "secretName": "b", "secretKey": "k", "asVolume": "/other" })),
    );
    t.add("L", F, &["spec.logTopic"], json!({ "logTopic": "a/b" }), json!({ "logTopic": "a/b/c" }));
    t.add(
        "D",
        FK,
        &["spec.deadLetterTopic"],
        json!({ "deadLetterTopic": "a/b", "maxMessageRetry": 1 }),
        json!({ "deadLetterTopic": "a/b/c", "maxMessageRetry": 1 }),
    );
}
