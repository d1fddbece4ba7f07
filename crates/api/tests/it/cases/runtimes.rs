//! Runtimes, files and connectors.

#![allow(clippy::too_many_lines, reason = "it is a table")]

use serde_json::json;

use super::{ALL, F, Table};

pub(super) fn runtimes(t: &mut Table) {
    let long = "a".repeat(44);
    t.add(
        "N1",
        ALL,
        &["metadata.name"],
        json!({ "metadata.name": long }),
        json!({ "metadata.name": "a".repeat(43) }),
    );
    t.add(
        "name",
        ALL,
        &["metadata.name"],
        json!({ "metadata.name": "a.b" }),
        json!({ "metadata.name": "1a" }),
    );
    t.add("RT1", F, &["spec.java"], json!({ "java": null }), json!({}));
    t.add(
        "RT2",
        F,
        &["spec.python"],
        json!({ "python": { "py": "f.py" } }),
        json!({ "java": null, "python": { "py": "f.py" } }),
    );
    t.add(
        "RT2",
        F,
        &["spec.golang"],
        json!({ "golang": { "go": "f" } }),
        json!({ "java": null, "golang": { "go": "f" } }),
    );
    t.add(
        "RT2",
        F,
        &["spec.golang"],
        json!({ "java": null, "python": { "py": "f.py" }, "golang": { "go": "f" } }),
        json!({ "java": null, "python": { "py": "f.py" } }),
    );
    t.add("RT3", &["Sink", "Source"], &["spec.java"], json!({ "java": null }), json!({}));
    t.add(
        "CF",
        &["Sink"],
        &["spec.sinkConfig"],
        json!({ "sinkConfig": null }),
        json!({ "sinkConfig": { "a": 1 } }),
    );
    t.add(
        "CF",
        &["Source"],
        &["spec.sourceConfig"],
        json!({ "sourceConfig": null }),
        json!({ "sourceConfig": { "a": 1 } }),
    );
    t.add("J1", ALL, &["spec.className"], json!({ "className": "" }), json!({ "className": "C" }));
    t.add("J1", ALL, &["spec.className"], json!({ "className": null }), json!({ "className": "C" }));
    t.add("J2", ALL, &["spec.java.jar"], json!({ "java": { "jar": "" } }), json!({ "java": { "jar": "x" } }));
    for (bad, good) in [
        ("default/x", "function://public/default/x@v1"),
        ("/pulsar/x.jar", "public/default/x"),
        ("x", "public/default/x@v1"),
        ("function://a/b", "sink://a/b/c"),
        ("ftp://x", "HTTPS://x"),
    ] {
        t.add(
            "J3",
            ALL,
            &["spec.java.jarLocation"],
            json!({ "java": { "jarLocation": bad } }),
            json!({ "java": { "jarLocation": good } }),
        );
    }
    let python = |class: &str, py: &str, location: &str| json!({ "java": null, "className": class, "python": { "py": py, "pyLocation": location } });
    t.add("P1", F, &["spec.className"], python("", "f.py", ""), python("c", "f.py", ""));
    t.add("P2", F, &["spec.python.py"], python("c", "", ""), python("c", "f.py", ""));
    t.add("P3", F, &["spec.python.pyLocation"], python("c", "f.py", "x"), python("c", "f.py", "http://x"));
    t.add("P3", F, &["spec.python.pyLocation"], python("c", "f.py", "a/x"), python("c", "f.py", "a/b/x"));
    let go = |go: &str, location: &str| json!({ "java": null, "className": null, "golang": { "go": go, "goLocation": location } });
    t.add("G1", F, &["spec.golang.go"], go("", ""), go("f", ""));
    t.add("G2", F, &["spec.golang.goLocation"], go("f", "x"), go("f", "source://a/b/c"));
    t.add("G2", F, &["spec.golang.goLocation"], go("f", "a/b"), go("f", "a/b/c@1"));
    let generic = |file: &str, language: &str, location: &str| {
        json!({ "java": null, "className": null,
            "genericRuntime": { "functionFile": file, "language": language, "functionFileLocation": location } })
    };
    t.add(
        "generic",
        F,
        &["spec.genericRuntime.functionFile"],
        generic("", "nodejs", ""),
        generic("f", "nodejs", ""),
    );
    t.add("generic", F, &["spec.genericRuntime.language"], generic("f", "", ""), generic("f", "wasm", ""));
    t.add(
        "generic",
        F,
        &["spec.genericRuntime.functionFileLocation"],
        generic("f", "wasm", "x"),
        generic("f", "wasm", "http://x"),
    );
    t.add(
        "generic",
        F,
        &["spec.genericRuntime.functionFileLocation"],
        generic("f", "wasm", "a/b"),
        generic("f", "wasm", "a/b/c/file"),
    );
    t.add(
        "batch",
        &["Source"],
        &["spec.batchSourceConfig.discoveryTriggererClassName"],
        json!({ "batchSourceConfig": { "discoveryTriggererClassName": "" } }),
        json!({ "batchSourceConfig": { "discoveryTriggererClassName": "C" } }),
    );
}
