//! Properties of rendering: it succeeds for any component, is deterministic and consistent, and containers pass every
//! text on unchanged. Commands run in a real shell.

use std::collections::BTreeMap;
use std::fmt::Debug;

use function_mesh_api::{Function, Sink, Source};
use function_mesh_workloads::{Backends, Settings};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Service;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::common;
use crate::common::sandbox::Sandbox;

/// Fragments with a meaning in shells, Kubernetes, JSON, YAML or Log4j.
const PIECES: [&str; 40] = [
    "a",
    "B",
    "7",
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "'",
    "\"",
    "\\",
    "$",
    "$$",
    "$(A)",
    "$(echo x)",
    "${HOME}",
    "$A",
    "`id`",
    "&",
    "&&",
    ";",
    "|",
    ">",
    "<",
    "(",
    ")",
    "{",
    "}",
    "*",
    "?",
    "[",
    "!",
    "#",
    "~",
    "%",
    "=",
    "-",
    "ä",
    "😀",
    "\u{2028}",
];

/// A hostile text that is not empty.
fn hostile() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&PIECES[..]), 1..10).prop_map(|pieces| pieces.concat())
}

/// A hostile text that is valid in file and variable names.
fn printable() -> impl Strategy<Value = String> {
    hostile().prop_map(|text| text.replace(|c: char| !(' '..='~').contains(&c) || c == '=' || c == '/', "x"))
}

/// Texts for all user-defined values of a component.
#[derive(Clone, Debug)]
struct Texts {
    name: String,
    class: String,
    tenant: String,
    cluster: String,
    topics: Vec<String>,
    key: String,
    value: String,
    secret: String,
    plugin: String,
    parameters: String,
    address: String,
    file: String,
    flags: u16,
}

impl Texts {
    fn any() -> impl Strategy<Value = Self> {
        let names = (hostile(), hostile(), hostile(), hostile());
        let config = (hostile(), hostile(), printable());
        let access = (hostile(), hostile(), hostile(), printable());
        let topics = prop::collection::vec(hostile(), 1..4);
        (names, topics, config, access, any::<u16>()).prop_map(|(names, topics, config, access, flags)| {
            let (name, class, tenant, cluster) = names;
            let (key, value, secret) = config;
            let (plugin, parameters, address, file) = access;
            Self {
                name,
                class,
                tenant,
                cluster,
                topics,
                key,
                value,
                secret,
                plugin,
                parameters,
                address,
                file,
                flags,
            }
        })
    }

    fn flag(&self, bit: u32) -> bool {
        self.flags >> bit & 1 == 1
    }

    fn topics(&self) -> Vec<String> {
        self.topics.iter().map(|topic| format!("persistent://t/n/{topic}")).collect()
    }

    fn config(&self) -> Value {
        json!({ &self.key: self.value, "nested": { "list": [self.value, 1, null, { "deep": self.key }] } })
    }

    /// A spec of a kind and runtime with these texts.
    fn spec(&self, kind: &str, runtime: &str) -> Value {
        let (file, location) = (format!("/pulsar/{}", self.file), format!("https://x/{}", self.address));
        let mut spec = json!({
            "name": self.name, "className": self.class, "tenant": self.tenant, "clusterName": self.cluster,
            "pulsar": { "pulsarConfig": "p", "authConfig": { "genericAuth": {
                "clientAuthenticationPlugin": self.plugin, "clientAuthenticationParameters": self.parameters,
            } } },
            "secretsMap": { &self.secret: { "path": self.value, "key": self.key } },
            "imageHasGet": true, "runtimeFlags": self.value, "showPreciseParallelism": self.flag(0),
        });
        spec[runtime] = match runtime {
            "java" => json!({ "jar": file, "jarLocation": location }),
            "python" => json!({ "py": file, "pyLocation": location }),
            "golang" => json!({ "go": file, "goLocation": location }),
            _ => json!({ "functionFile": file, "functionFileLocation": location, "language": self.class }),
        };
        if self.flag(1) {
            spec["maxReplicas"] = json!(3);
        } else if self.flag(2) {
            spec["pod"] = json!({ "vpa": {} });
        }
        if kind != "Source" {
            spec["input"] = json!({ "topics": self.topics() });
            spec["cleanupSubscription"] = json!(self.flag(3));
            spec["subscriptionName"] = json!(self.value);
        }
        if kind != "Sink" {
            spec["output"] = json!({ "topic": format!("t/n/out-{}", self.key.replace('/', "-")), "sinkSchemaType": self.value });
        }
        match kind {
            "Function" => spec["funcConfig"] = self.config(),
            "Source" => {
                spec["sourceConfig"] = self.config();
                if self.flag(4) {
                    spec["batchSourceConfig"] = json!({ "discoveryTriggererClassName": self.class });
                }
            }
            _ => spec["sinkConfig"] = self.config(),
        }
        spec
    }
}

const KINDS: [(&str, &str); 6] = [
    ("Function", "java"),
    ("Function", "python"),
    ("Function", "golang"),
    ("Function", "genericRuntime"),
    ("Source", "java"),
    ("Sink", "java"),
];

fn rendered(kind: &str, spec: &Value, settings: &Settings) -> Vec<Value> {
    let object = common::object(kind, spec);
    match kind {
        "Function" => common::rendered(&common::valid::<Function>(object), Backends::default(), settings),
        "Source" => common::rendered(&common::valid::<Source>(object), Backends::default(), settings),
        _ => common::rendered(&common::valid::<Sink>(object), Backends::default(), settings),
    }
}

/// A rendered object survives a round trip through its type.
fn assert_round_trip<K: DeserializeOwned + Serialize + Debug>(object: &Value) {
    let typed: K = serde_json::from_value(object.clone()).expect("an object of its kind");
    assert_eq!(&serde_json::to_value(typed).expect("JSON"), object);
}

fn map(value: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(value.clone()).expect("a map of texts")
}

fn check(kind: &str, objects: &[Value]) {
    for object in objects {
        let labels = map(&object["metadata"]["labels"]);
        assert_eq!(labels["compute.functionmesh.io/name"], "f");
        match object["kind"].as_str().expect("a kind") {
            "StatefulSet" => {
                assert_round_trip::<StatefulSet>(object);
                let pods = map(&object["spec"]["template"]["metadata"]["labels"]);
                let selector = map(&object["spec"]["selector"]["matchLabels"]);
                assert!(
                    !selector.is_empty() && selector.iter().all(|(key, value)| pods.get(key) == Some(value))
                );
                assert_eq!(map(&objects[1]["spec"]["selector"]), selector);
            }
            "Service" => assert_round_trip::<Service>(object),
            "HorizontalPodAutoscaler" => assert_round_trip::<HorizontalPodAutoscaler>(object),
            "Job" => {
                assert_round_trip::<Job>(object);
                let pods = map(&object["spec"]["template"]["metadata"]["labels"]);
                let selector = map(&objects[1]["spec"]["selector"]);
                assert!(selector.iter().any(|(key, value)| pods.get(key) != Some(value)));
                // With an owner reference, garbage collection would delete it too early.
                assert_eq!(object["metadata"]["ownerReferences"], Value::Null);
                continue;
            }
            _ => {}
        }
        let owners = object["metadata"]["ownerReferences"].as_array().expect("owners");
        assert_eq!(owners.len(), 1);
        assert_eq!(
            (&owners[0]["kind"], &owners[0]["name"], &owners[0]["uid"]),
            (&json!(kind), &json!("f"), &json!("u-1"))
        );
        assert_eq!(owners[0]["controller"], true);
    }
}

/// The function details that a runner gets, for any runtime.
fn function_details(runtime: &str, call: &common::sandbox::Call) -> Value {
    let option = if runtime == "golang" { "-instance-conf" } else { "--function_details" };
    serde_json::from_str(call.value(option)).expect("JSON")
}

fn parsed(text: &Value) -> Value {
    serde_json::from_str(text.as_str().expect("text")).expect("JSON")
}

fn assert_arrives_unchanged(texts: &Texts, kind: &str, runtime: &str) {
    let spec = texts.spec(kind, runtime);
    let objects = rendered(kind, &spec, &Settings::default());
    let container = format!("pulsar-{}", kind.to_lowercase());
    let sandbox = Sandbox::new();
    let file = format!("/pulsar/{}", texts.file);
    let is_go = runtime == "golang";
    if is_go {
        sandbox.stub(&file);
    }
    let env = [("A", "put in"), ("brokerServiceURL", "pulsar://b:6650/?a=b&c d")];
    let calls = sandbox.run(&common::command(&objects[0], &container), &env);
    assert_eq!(calls.len(), 2, "{calls:?}");
    let program = match runtime {
        "golang" => texts.file.as_str(),
        "genericRuntime" => "pulsar_rust_instance",
        runtime => runtime,
    };
    let (download, call) = (&calls[0], &calls[1]);
    assert_eq!((download.program.as_str(), call.program.as_str()), ("wget", program));
    let target = sandbox.path(&file).display().to_string();
    assert_eq!(download.args, [format!("https://x/{}", texts.address), "-O".to_owned(), target.clone()]);
    let details = function_details(runtime, call);
    assert_eq!((&details["name"], &details["tenant"]), (&json!(texts.name), &json!(texts.tenant)));
    if is_go {
        assert_eq!(details["clientAuthenticationPlugin"], texts.plugin);
        assert_eq!(details["clientAuthenticationParameters"], texts.parameters);
        assert_eq!(details["sourceSpecsTopic"], texts.topics()[0]);
        assert_eq!(details["clusterName"], texts.cluster);
        assert_eq!(details["pulsarServiceURL"], env[1].1);
    } else {
        assert_eq!(call.value("--client_auth_plugin"), texts.plugin);
        assert_eq!(call.value("--client_auth_params"), texts.parameters);
        assert_eq!(call.value("--cluster_name"), texts.cluster);
        assert_eq!(call.value("--pulsar_serviceurl"), env[1].1);
        assert_eq!(details["runtimeFlags"], texts.value);
        let secrets = parsed(&details["secretsMap"]);
        assert_eq!(secrets, json!({ &texts.secret: { "path": texts.value, "key": texts.key } }));
    }
    match kind {
        "Function" => assert_eq!(parsed(&details["userConfig"]), texts.config()),
        "Source" => assert_eq!(parsed(&details["source"]["configs"])[&texts.key], texts.value),
        _ => assert_eq!(parsed(&details["sink"]["configs"]), texts.config()),
    }
    if kind != "Source" && !is_go {
        let read: Vec<_> =
            details["source"]["inputSpecs"].as_object().expect("topics").keys().cloned().collect();
        let mut topics = texts.topics();
        topics.sort();
        topics.dedup();
        assert_eq!(read, topics);
    }
    match runtime {
        "java" => {
            assert_eq!(call.value("--jar"), target);
            let name = format!("-Dpulsar.function.log.file={}-0", texts.name.replace(['/', '%', '$'], "_"));
            assert!(call.args.contains(&name), "{call:?}");
        }
        "python" => assert_eq!(call.value("--py"), target),
        "genericRuntime" => {
            assert_eq!(call.value("--function_file"), target);
            assert_eq!(call.value("--language"), texts.class);
        }
        _ => {}
    }
}

fn assert_cleans_up(texts: &Texts) {
    let mut spec = texts.spec("Sink", "java");
    spec["cleanupSubscription"] = json!(true);
    let objects = rendered("Sink", &spec, &Settings::default());
    let job = objects.last().expect("a Job");
    let sandbox = Sandbox::new();
    let mut calls = sandbox.run(&common::command(job, "cleanup"), &[("webServiceURL", "http://b:8080/a b")]);
    let mut topics = texts.topics();
    topics.sort();
    topics.dedup();
    // For each topic, the script deletes the subscription and lists the rest.
    assert_eq!(calls.len(), 2 * topics.len());
    for (calls, topic) in calls.chunks_mut(2).zip(&topics) {
        for call in &*calls {
            assert_eq!(call.program, "pulsar-admin");
            assert_eq!(call.value("--admin-url"), "http://b:8080/a b");
            assert_eq!(call.value("--auth-params"), texts.parameters);
        }
        let [removal, listing]: &mut [_; 2] = calls.try_into().expect("two calls");
        let end = removal.args.split_off(removal.args.len() - 5);
        assert_eq!(end, ["topics", "unsubscribe", "-s", &texts.value, topic]);
        let end = listing.args.split_off(listing.args.len() - 3);
        assert_eq!(end, ["topics", "subscriptions", topic]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn rendering_is_deterministic_and_consistent(texts in Texts::any(), init in any::<bool>()) {
        let settings = Settings { enable_init_containers: init, ..Settings::default() };
        for (kind, runtime) in KINDS {
            let spec = texts.spec(kind, runtime);
            let objects = rendered(kind, &spec, &settings);
            check(kind, &objects);
            let text = |objects: Vec<Value>| serde_json::to_string(&objects).expect("JSON");
            prop_assert_eq!(text(objects), text(rendered(kind, &spec, &settings)));
        }
    }
}

proptest! {
    // Each case runs shells, which is slow.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_text_arrives_unchanged(texts in Texts::any()) {
        for (kind, runtime) in KINDS {
            assert_arrives_unchanged(&texts, kind, runtime);
        }
        assert_cleans_up(&texts);
    }
}

#[test]
fn large_configurations_render() {
    let large = "it's \"large\" & $(A)\n".repeat(3_900);
    // With quotes and escapes nearly the limit of one argument.
    assert!(large.len() > 75_000);
    for (kind, runtime) in KINDS {
        let spec = json!({
            "className": "C", "pulsar": { "pulsarConfig": "p" }, "input": { "topics": ["in"] }, "output": {},
            "funcConfig": { "a": large }, "sinkConfig": { "a": large }, "sourceConfig": { "a": large },
            runtime: { "jar": "f", "py": "f", "go": "f", "functionFile": "f", "language": "wasm" },
        });
        // Each kind has only some of the fields.
        let known = |field: &str| match kind {
            "Function" => !matches!(field, "sinkConfig" | "sourceConfig"),
            "Source" => !matches!(field, "input" | "funcConfig" | "sinkConfig"),
            _ => !matches!(field, "output" | "funcConfig" | "sourceConfig"),
        };
        let spec: serde_json::Map<_, _> =
            spec.as_object().expect("fields").clone().into_iter().filter(|(field, _)| known(field)).collect();
        let objects = rendered(kind, &Value::Object(spec), &Settings::default());
        check(kind, &objects);
        assert!(objects[0].to_string().len() > large.len());
    }
}
