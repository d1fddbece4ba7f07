//! Inputs: objects that cost more than they weigh. Depth, width, bytes and counts are parameters, so that each attack is
//! a kind and not a case.

use std::fmt::Write;

/// What every component needs beside its input.
const COMPONENT: &str = r#""className":"C","java":{"jar":"/x.jar"},"pulsar":{"pulsarConfig":"c"}"#;

/// The label by which the controller finds children, pods and clean-up Jobs.
pub(crate) const LABEL: &str = r#""compute.functionmesh.io/component":"function""#;

/// A valid Function; `metadata` and `spec` are more fields, each with a comma before it.
pub(crate) fn function(name: &str, metadata: &str, spec: &str) -> String {
    format!(
        r#"{{"apiVersion":"compute.functionmesh.io/v1alpha1","kind":"Function","metadata":{{"name":"{name}"{metadata}}},"spec":{{{COMPONENT},"replicas":1,"input":{{"topics":["a"]}},"output":{{"topic":"b"}}{spec}}}}}"#
    )
}

/// A FunctionMesh with these lists.
pub(crate) fn mesh(name: &str, metadata: &str, functions: &str, sinks: &str) -> String {
    format!(
        r#"{{"apiVersion":"compute.functionmesh.io/v1alpha1","kind":"FunctionMesh","metadata":{{"name":"{name}"{metadata}}},"spec":{{"functions":[{functions}],"sinks":[{sinks}]}}}}"#
    )
}

/// Maps in maps.
pub(crate) fn deep(levels: usize) -> String {
    format!("{}{{}}{}", r#"{"f:a":"#.repeat(levels), "}".repeat(levels))
}

/// Lists in lists.
pub(crate) fn deep_list(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

/// A list of about so many bytes of the values that are dearest as a tree.
pub(crate) fn dear(bytes: usize) -> String {
    repeated(r#"{"":0}"#, bytes)
}

/// A list of about so many bytes, of this item.
pub(crate) fn repeated(item: &str, bytes: usize) -> String {
    let mut list = format!("[{}", format!("{item},").repeat(bytes / (item.len() + 1)));
    list.push_str(item);
    list.push(']');
    list
}

/// Plain letters.
pub(crate) fn letters(bytes: usize) -> String {
    format!("\"{}\"", "a".repeat(bytes))
}

/// managedFields with an entry that nests so deep, as one who may write the object may leave them.
pub(crate) fn managed_fields(api_version: &str, levels: usize) -> String {
    let fields = deep(levels);
    format!(
        r#""managedFields":[{{"manager":"x","operation":"Update","apiVersion":"{api_version}","fieldsType":"FieldsV1","time":"2026-01-01T00:00:00Z","fieldsV1":{{"f:spec":{{"f:a":{fields}}}}}}}]"#
    )
}

/// Objects of kinds that the controller watches beside ours: path below `/`, API version and kind, specification.
const WATCHED: [(&str, &str, &str, &str); 5] = [
    ("api/v1", "services", "Service", r#"{"clusterIP":"None","ports":[{"port":1}]}"#),
    (
        "apis/apps/v1",
        "statefulsets",
        "StatefulSet",
        r#"{"replicas":0,"serviceName":"x","selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"x"}]}}}"#,
    ),
    (
        "apis/autoscaling/v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        r#"{"maxReplicas":1,"scaleTargetRef":{"apiVersion":"apps/v1","kind":"StatefulSet","name":"x"}}"#,
    ),
    ("api/v1", "pods", "Pod", r#"{"containers":[{"name":"c","image":"x"}]}"#),
    (
        "apis/batch/v1",
        "jobs",
        "Job",
        r#"{"suspend":true,"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"x"}]}}}"#,
    ),
];

/// An object for a namespace: where it is created, and itself.
pub(crate) struct Watched {
    pub(crate) path: String,
    pub(crate) body: String,
}

/// One object of each kind that the controller watches beside ours, with managedFields so deep and `metadata` more.
pub(crate) fn watched(namespace: &str, name: &str, levels: usize, metadata: &str) -> Vec<Watched> {
    let object = |&(group, plural, kind, spec): &(&str, &str, &str, &str)| {
        let api_version = group.trim_start_matches("apis/").trim_start_matches("api/");
        let fields = managed_fields(api_version, levels);
        let labels = format!(r#"{{{LABEL},"compute.functionmesh.io/name":"{name}"}}"#);
        Watched {
            path: format!("/{group}/namespaces/{namespace}/{plural}"),
            body: format!(
                r#"{{"apiVersion":"{api_version}","kind":"{kind}","metadata":{{"name":"{name}","labels":{labels},{fields}{metadata}}},"spec":{spec}}}"#
            ),
        }
    };
    WATCHED.iter().map(object).collect()
}

/// A valid mesh whose patterns are dear to compare with its topics.
pub(crate) fn patterns(name: &str, metadata: &str, patterns: usize, topics: usize) -> String {
    let mut functions = String::new();
    for k in 0..topics {
        let topic = format!("{}{k:05}", "a".repeat(195));
        component(
            &mut functions,
            &format!("a{k}"),
            &format!(r#""input":{{"topics":["in"]}},"output":{{"topic":"{topic}"}}"#),
        );
    }
    let mut sinks = String::new();
    for k in 0..patterns {
        let pattern = format!("public/default/(?:a?){{1900}}x{}", "y".repeat(k));
        component(
            &mut sinks,
            &format!("s{k}"),
            &format!(r#""sinkConfig":{{}},"input":{{"topicPattern":"{pattern}"}}"#),
        );
    }
    mesh(name, metadata, &functions, &sinks)
}

/// A mesh with `count` topics read and `count` written, all of `length` letters and nearly the same.
pub(crate) fn near_misses(name: &str, metadata: &str, count: usize, length: usize) -> String {
    let topic = |prefix: char, k: usize| format!("{}{prefix}{k:04}", "a".repeat(length.saturating_sub(5)));
    let list = |prefix: char| {
        let mut list = String::new();
        for k in 0..count {
            separate(&mut list);
            _ = write!(list, "\"{}\"", topic(prefix, k));
        }
        list
    };
    let mut functions = String::new();
    component(
        &mut functions,
        "r",
        &format!(r#""input":{{"topics":[{}]}},"output":{{"topic":"b"}}"#, list('r')),
    );
    for k in 0..count {
        component(
            &mut functions,
            &format!("w{k}"),
            &format!(r#""input":{{"topics":["in"]}},"output":{{"topic":"{}"}}"#, topic('w', k)),
        );
    }
    mesh(name, metadata, &functions, "")
}

/// A mesh in which everyone reads and writes one topic.
pub(crate) fn one_topic(name: &str, metadata: &str, count: usize) -> String {
    let mut functions = String::new();
    for k in 0..count {
        component(&mut functions, &format!("f{k}"), r#""input":{"topics":["t"]},"output":{"topic":"t"}"#);
    }
    mesh(name, metadata, &functions, "")
}

fn component(list: &mut String, name: &str, fields: &str) {
    separate(list);
    _ = write!(list, r#"{{"name":"{name}","replicas":0,{COMPONENT},{fields}}}"#);
}

fn separate(list: &mut String) {
    if !list.is_empty() {
        list.push(',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn inputs_are_json_of_the_size_that_was_asked_for() {
        let parse = |text: &str| serde_json::from_str::<Value>(text).map(|_| ());
        parse(&function("f", r#","labels":{}"#, r#","funcConfig":{}"#)).unwrap();
        parse(&deep(100)).unwrap();
        parse(&deep_list(100)).unwrap();
        parse(&dear(10_000)).unwrap();
        parse(&letters(10)).unwrap();
        parse(&patterns("m", "", 2, 3)).unwrap();
        parse(&one_topic("m", "", 3)).unwrap();
        parse(&format!("{{{}}}", managed_fields("v1", 10))).unwrap();
        assert!((9_900..10_100).contains(&dear(10_000).len()));
        let mesh = near_misses("m", "", 1000, 600);
        parse(&mesh).unwrap();
        assert!((1_200_000..1_450_000).contains(&mesh.len()), "{}", mesh.len());
        for object in watched("n", "o", 10, r#","annotations":{}"#) {
            parse(&object.body).unwrap();
            assert!(object.path.contains("/namespaces/n/"), "{}", object.path);
        }
    }
}
