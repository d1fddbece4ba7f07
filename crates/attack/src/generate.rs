//! Generates the attackers' objects: small documents that are expensive to process. Depth, width, size and counts are
//! parameters.

use std::fmt::Write;

/// Required fields of every component besides its input.
const COMPONENT: &str = r#""className":"C","java":{"jar":"/x.jar"},"pulsar":{"pulsarConfig":"c"}"#;

/// The label by which the controller selects children, pods and clean-up Jobs.
pub(crate) const LABEL: &str = r#""compute.functionmesh.io/component":"function""#;

/// A valid Function; `metadata` and `spec` are additional fields, each with a leading comma.
pub(crate) fn function(name: &str, metadata: &str, spec: &str) -> String {
    format!(
        r#"{{"apiVersion":"compute.functionmesh.io/v1alpha1","kind":"Function","metadata":{{"name":"{name}"{metadata}}},"spec":{{{COMPONENT},"replicas":1,"input":{{"topics":["a"]}},"output":{{"topic":"b"}}{spec}}}}}"#
    )
}

/// A FunctionMesh; `functions` and `sinks` are the items of the lists, separated by commas.
pub(crate) fn mesh(name: &str, metadata: &str, functions: &str, sinks: &str) -> String {
    format!(
        r#"{{"apiVersion":"compute.functionmesh.io/v1alpha1","kind":"FunctionMesh","metadata":{{"name":"{name}"{metadata}}},"spec":{{"functions":[{functions}],"sinks":[{sinks}]}}}}"#
    )
}

/// Nested maps.
pub(crate) fn deep(levels: usize) -> String {
    format!("{}{{}}{}", r#"{"f:a":"#.repeat(levels), "}".repeat(levels))
}

/// Nested lists.
pub(crate) fn deep_list(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

/// A list of about `bytes` bytes, of the values with the highest memory cost per byte once parsed.
pub(crate) fn expensive_list(bytes: usize) -> String {
    repeated(r#"{"":0}"#, bytes)
}

/// A list of about `bytes` bytes that repeats `item`.
pub(crate) fn repeated(item: &str, bytes: usize) -> String {
    let mut list = format!("[{}", format!("{item},").repeat(bytes / (item.len() + 1)));
    list.push_str(item);
    list.push(']');
    list
}

/// A JSON string of `bytes` letters.
pub(crate) fn plain_text(bytes: usize) -> String {
    format!("\"{}\"", "a".repeat(bytes))
}

/// managedFields with an entry of `levels` nested maps, which every user with write access to the object can set.
pub(crate) fn managed_fields(api_version: &str, levels: usize) -> String {
    let fields = deep(levels);
    format!(
        r#""managedFields":[{{"manager":"x","operation":"Update","apiVersion":"{api_version}","fieldsType":"FieldsV1","time":"2026-01-01T00:00:00Z","fieldsV1":{{"f:spec":{{"f:a":{fields}}}}}}}]"#
    )
}

/// Built-in kinds that the controller watches: path of the API group, plural, kind, spec.
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

/// An object to create: path of the collection, and JSON.
pub(crate) struct NewObject {
    pub(crate) path: String,
    pub(crate) body: String,
}

/// One object of each built-in kind that the controller watches, with managedFields of `levels` nested maps;
/// `metadata` as for [`function`].
pub(crate) fn watched_objects(namespace: &str, name: &str, levels: usize, metadata: &str) -> Vec<NewObject> {
    let object = |&(group, plural, kind, spec): &(&str, &str, &str, &str)| {
        let api_version = group.trim_start_matches("apis/").trim_start_matches("api/");
        let fields = managed_fields(api_version, levels);
        let labels = format!(r#"{{{LABEL},"compute.functionmesh.io/name":"{name}"}}"#);
        NewObject {
            path: format!("/{group}/namespaces/{namespace}/{plural}"),
            body: format!(
                r#"{{"apiVersion":"{api_version}","kind":"{kind}","metadata":{{"name":"{name}","labels":{labels},{fields}{metadata}}},"spec":{spec}}}"#
            ),
        }
    };
    WATCHED.iter().map(object).collect()
}

/// A valid mesh whose patterns are expensive to match against its topics.
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

/// A mesh with `count` input and `count` output topics of `length` characters that differ only in the last ones.
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

/// A mesh of `count` functions that all read from and write to the same topic.
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
    fn generated_objects_are_json_of_the_given_size() {
        let parse = |text: &str| serde_json::from_str::<Value>(text).map(|_| ());
        parse(&function("f", r#","labels":{}"#, r#","funcConfig":{}"#)).unwrap();
        parse(&deep(100)).unwrap();
        parse(&deep_list(100)).unwrap();
        parse(&expensive_list(10_000)).unwrap();
        parse(&plain_text(10)).unwrap();
        parse(&patterns("m", "", 2, 3)).unwrap();
        parse(&one_topic("m", "", 3)).unwrap();
        parse(&format!("{{{}}}", managed_fields("v1", 10))).unwrap();
        assert!((9_900..10_100).contains(&expensive_list(10_000).len()));
        let mesh = near_misses("m", "", 1000, 600);
        parse(&mesh).unwrap();
        assert!((1_200_000..1_450_000).contains(&mesh.len()), "{}", mesh.len());
        for object in watched_objects("n", "o", 10, r#","annotations":{}"#) {
            parse(&object.body).unwrap();
            assert!(object.path.contains("/namespaces/n/"), "{}", object.path);
        }
    }
}
