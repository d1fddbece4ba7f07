//! Replicas, autoscalers and resources.

#![allow(clippy::too_many_lines, reason = "it is a table")]

use serde_json::{Value, json};

use super::{ALL, F, Table};

pub(super) fn numbers(t: &mut Table) {
    t.add(
        "R1",
        ALL,
        &["spec.replicas"],
        json!({ "replicas": -1, "minReplicas": 1 }),
        json!({ "replicas": 0 }),
    );
    t.add(
        "R2",
        ALL,
        &["spec.maxReplicas"],
        json!({ "replicas": 3, "minReplicas": 1, "maxReplicas": 2 }),
        json!({ "replicas": 3, "maxReplicas": 3 }),
    );
    t.add(
        "R3",
        ALL,
        &["spec.replicas", "spec.minReplicas"],
        json!({ "replicas": 0, "minReplicas": 1, "maxReplicas": 2 }),
        json!({ "replicas": 0, "minReplicas": 1 }),
    );
    t.add(
        "R4",
        ALL,
        &["spec.minReplicas"],
        json!({ "replicas": 1, "minReplicas": 0, "maxReplicas": 2 }),
        json!({ "replicas": 1, "minReplicas": 0 }),
    );
    t.add(
        "R5",
        ALL,
        &["spec.minReplicas"],
        json!({ "replicas": 1, "minReplicas": 2, "maxReplicas": 3 }),
        json!({ "replicas": 1, "minReplicas": 2 }),
    );
    t.add(
        "R6",
        ALL,
        &["spec.minReplicas"],
        json!({ "replicas": 3, "minReplicas": 4, "maxReplicas": 3 }),
        json!({ "replicas": 4, "minReplicas": 4, "maxReplicas": 4 }),
    );
    for max in [0, -1] {
        t.add("max", ALL, &["spec.maxReplicas"], json!({ "maxReplicas": max }), json!({ "maxReplicas": 1 }));
    }
    t.add(
        "max",
        ALL,
        &["spec.maxReplicas"],
        json!({ "replicas": 0, "minReplicas": 0, "maxReplicas": 0 }),
        json!({ "replicas": 0, "minReplicas": 0 }),
    );
    t.add(
        "V1",
        ALL,
        &["spec.pod.vpa"],
        json!({ "maxReplicas": 2, "pod": { "vpa": {} } }),
        json!({ "pod": { "vpa": {} } }),
    );
    let vpa = |policy: Value| json!({ "pod": { "vpa": { "resourcePolicy": { "containerPolicies": [{ "containerName": "*" }, policy] } } } });
    t.add(
        "V2",
        ALL,
        &["spec.pod.vpa.resourcePolicy.containerPolicies[1].containerName"],
        vpa(json!({ "mode": "Off" })),
        vpa(json!({ "mode": "Off", "containerName": "c" })),
    );
    t.add(
        "VPA quantities",
        ALL,
        &["spec.pod.vpa.resourcePolicy.containerPolicies[1].maxAllowed.cpu"],
        vpa(json!({ "containerName": "c", "maxAllowed": { "cpu": "lots" } })),
        vpa(json!({ "containerName": "c", "maxAllowed": { "cpu": "2", "memory": 1024 } })),
    );
    let resources =
        |requests: Value, limits: Value| json!({ "resources": { "requests": requests, "limits": limits } });
    t.add(
        "R",
        ALL,
        &["spec.resources.requests.memory"],
        resources(json!({ "memory": "2Gi" }), json!({ "memory": "1Gi" })),
        resources(json!({ "memory": "1Gi" }), json!({ "memory": "1024Mi" })),
    );
    t.add(
        "R",
        ALL,
        &["spec.resources.requests.cpu"],
        resources(json!({ "cpu": 2 }), json!({ "cpu": "500m" })),
        resources(json!({ "cpu": 2 }), json!({ "cpu": 0 })),
    );
    t.add(
        "R",
        ALL,
        &["spec.resources.limits.cpu"],
        resources(json!({}), json!({ "cpu": "-1" })),
        resources(json!({}), json!({ "cpu": "0" })),
    );
    t.add(
        "R",
        ALL,
        &["spec.resources.requests.storage"],
        resources(json!({ "storage": "-1" }), json!({})),
        resources(json!({ "storage": "1G" }), json!({})),
    );
    t.add(
        "R",
        ALL,
        &["spec.resources.requests.memory"],
        resources(json!({ "memory": "-1Gi" }), json!({ "memory": "1Gi" })),
        resources(json!({ "memory": "1G" }), json!({})),
    );
    t.add(
        "R",
        ALL,
        &["spec.resources.limits.memory"],
        resources(json!({ "memory": "1Gi" }), json!({ "memory": "-1" })),
        resources(json!({}), json!({})),
    );
    t.add(
        "H", F, &["spec.pod.builtinAutoscaler[1]"],
        json!({ "pod": { "builtinAutoscaler": ["AverageUtilizationCPUPercent80", "AverageUtilizationCPUPercent20"] } }),
        json!({ "pod": { "builtinAutoscaler": ["AverageUtilizationCPUPercent80", "AverageUtilizationMemoryPercent20", "Own"] } }),
    );
    t.add(
        "H", F, &["spec.pod.builtinAutoscaler[1]"],
        json!({ "pod": { "builtinAutoscaler": ["AverageUtilizationMemoryPercent50", "AverageUtilizationMemoryPercent50"] } }),
        json!({ "pod": { "builtinAutoscaler": [] } }),
    );
}
