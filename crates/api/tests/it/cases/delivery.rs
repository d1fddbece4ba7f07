//! Delivery, Pulsar, state and windows.

#![allow(clippy::too_many_lines, reason = "it is a table")]

use serde_json::{Value, json};

use super::{ALL, F, FK, Table, merge};

pub(super) fn delivery(t: &mut Table) {
    let once = |more: Value| {
        let mut change = json!({ "processingGuarantee": "effectively_once" });
        merge(&mut change, &more);
        change
    };
    t.add("T", FK, &["spec.timeout"], once(json!({ "timeout": 5 })), once(json!({ "timeout": 0 })));
    t.add("T", FK, &["spec.timeout"], once(json!({ "timeout": -5 })), json!({ "timeout": 5 }));
    t.add(
        "M1",
        FK,
        &["spec.maxMessageRetry"],
        once(json!({ "maxMessageRetry": 1 })),
        json!({ "maxMessageRetry": 1, "processingGuarantee": "manual" }),
    );
    t.add(
        "M2",
        FK,
        &["spec.maxMessageRetry"],
        json!({ "deadLetterTopic": "dead" }),
        json!({ "deadLetterTopic": "dead", "maxMessageRetry": 1 }),
    );
    t.add(
        "M2",
        FK,
        &["spec.maxMessageRetry"],
        json!({ "deadLetterTopic": "dead", "maxMessageRetry": -1 }),
        json!({ "deadLetterTopic": "", "maxMessageRetry": -1 }),
    );
    t.add(
        "O1",
        F,
        &["spec.retainKeyOrdering"],
        once(json!({ "retainKeyOrdering": true })),
        once(json!({ "retainKeyOrdering": false })),
    );
    t.add(
        "O2",
        F,
        &["spec.retainKeyOrdering"],
        json!({ "retainKeyOrdering": true, "retainOrdering": true }),
        json!({ "retainKeyOrdering": true, "retainOrdering": false }),
    );
}

pub(super) fn pulsar_and_state(t: &mut Table) {
    let state = json!({ "statefulConfig": { "pulsar": { "serviceUrl": "bk://b:4181" } } });
    let mut in_go = json!({ "java": null, "golang": { "go": "f" } });
    merge(&mut in_go, &state);
    t.add("ST1", F, &["spec.statefulConfig"], in_go, state);
    t.add(
        "ST2",
        F,
        &["spec.statefulConfig.pulsar.serviceUrl"],
        json!({ "statefulConfig": { "pulsar": { "serviceUrl": "" } } }),
        json!({ "statefulConfig": {} }),
    );
    t.add("PU", ALL, &["spec.pulsar.pulsarConfig"], json!({ "pulsar": null }), json!({}));
    t.add(
        "PU",
        ALL,
        &["spec.pulsar.pulsarConfig"],
        json!({ "pulsar": { "pulsarConfig": "" } }),
        json!({ "pulsar": { "pulsarConfig": "q" } }),
    );
    t.add(
        "PK",
        ALL,
        &["spec.pulsarPackageService.pulsarConfig"],
        json!({ "pulsarPackageService": {} }),
        json!({ "pulsarPackageService": { "pulsarConfig": "q" } }),
    );
    let oauth2 = |issuer: &str| {
        json!({ "pulsar": { "authConfig": { "oauth2Config": {
            "audience": "a", "issuerUrl": issuer, "keySecretName": "s", "keySecretKey": "k",
        } } } })
    };
    t.add("auth", ALL, &["spec.pulsar.authConfig.oauth2Config.issuerUrl"], oauth2(""), oauth2("https://i"));
}

pub(super) fn windows(t: &mut Table) {
    let window = |config: Value| json!({ "windowConfig": config });
    t.add(
        "W1",
        F,
        &["spec.windowConfig.windowLengthCount"],
        window(json!({})),
        window(json!({ "windowLengthCount": 1 })),
    );
    t.add(
        "W2",
        F,
        &["spec.windowConfig.windowLengthCount"],
        window(json!({ "windowLengthCount": 1, "windowLengthDurationMs": 1 })),
        window(json!({ "windowLengthDurationMs": 1 })),
    );
    t.add(
        "W3",
        F,
        &["spec.windowConfig.windowLengthCount"],
        window(json!({ "windowLengthCount": 0, "slidingIntervalCount": 1 })),
        window(json!({ "windowLengthCount": 1, "slidingIntervalCount": 1 })),
    );
    t.add(
        "W4",
        F,
        &["spec.windowConfig.windowLengthDurationMs"],
        window(json!({ "windowLengthDurationMs": -1, "slidingIntervalDurationMs": 1 })),
        window(json!({ "windowLengthDurationMs": 9 })),
    );
    t.add(
        "W5",
        F,
        &["spec.windowConfig.slidingIntervalCount"],
        window(json!({ "windowLengthCount": 1, "slidingIntervalCount": 0 })),
        window(json!({ "windowLengthCount": 2 })),
    );
    t.add(
        "W6",
        F,
        &["spec.windowConfig.slidingIntervalDurationMs"],
        window(json!({ "windowLengthDurationMs": 1, "slidingIntervalDurationMs": 0 })),
        window(json!({ "windowLengthDurationMs": 2 })),
    );
    let timed = |lag: Value, interval: Value| {
        window(
            json!({ "windowLengthCount": 1, "timestampExtractorClassName": "C", "maxLagMs": lag, "watermarkEmitIntervalMs": interval }),
        )
    };
    // Function Mesh for Go rejects a lag of 0, although that is its default.
    t.add("W7", F, &["spec.windowConfig.maxLagMs"], timed(json!(-1), json!(1)), timed(json!(0), json!(1)));
    t.add(
        "W7",
        F,
        &["spec.windowConfig.watermarkEmitIntervalMs"],
        timed(json!(1), json!(0)),
        timed(Value::Null, Value::Null),
    );
}
