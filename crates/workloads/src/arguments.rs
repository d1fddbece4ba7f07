//! Linux' limits for arguments and environment variables. A container beyond them fails with "argument list too long"
//! before any program runs, and restarts do not help. So such a component is rejected with its size and the limit.

use function_mesh_api::validate::{FieldPath, MAX_ARGUMENT, Violation, Violations};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Container;

/// Maximum bytes of all arguments and variables: a quarter of the default stack limit of 8 MiB.
const MAX_ARGUMENTS: usize = 2 * 1024 * 1024;

/// Rejects a StatefulSet with a container that Linux cannot start.
pub fn check_arguments(stateful_set: &StatefulSet) -> Result<(), Violations> {
    let pod = stateful_set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let containers =
        pod.into_iter().flat_map(|pod| pod.init_containers.iter().flatten().chain(&pod.containers));
    let found: Vec<_> = containers.filter_map(too_long).collect();
    if found.is_empty() { Ok(()) } else { Err(Violations(found)) }
}

fn too_long(container: &Container) -> Option<Violation> {
    let arguments = container.command.iter().chain(&container.args).flatten();
    let arguments = arguments.map(|argument| ("one argument of the command", argument.len()));
    let variables = container.env.iter().flatten().map(|variable| {
        let value = variable.value.as_ref().map_or(0, String::len);
        ("one environment variable", variable.name.len() + 1 + value)
    });
    let all: Vec<_> = arguments.chain(variables).collect();
    // Each has a terminating NUL and a pointer.
    let sum: usize = all.iter().map(|(_, size)| size + 1 + size_of::<usize>()).sum();
    let (what, size, limit) = match all.iter().max_by_key(|(_, size)| *size) {
        Some((what, size)) if *size > MAX_ARGUMENT => (*what, *size, MAX_ARGUMENT),
        _ if sum > MAX_ARGUMENTS => ("command and environment together", sum, MAX_ARGUMENTS),
        _ => return None,
    };
    let name = &container.name;
    let message = format!(
        "container {name} cannot start: {what} takes {size} bytes with quotes and escapes, and Linux limits it to \
         {limit}; move large values into a ConfigMap or Secret and mount it"
    );
    Some(Violation { field: FieldPath::root("spec"), message })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(container: &serde_json::Value) -> Result<(), String> {
        let set =
            json!({ "spec": { "selector": {}, "template": { "spec": { "containers": [container] } } } });
        let set = serde_json::from_value(set).expect("a StatefulSet");
        check_arguments(&set).map_err(|violations| violations.to_string())
    }

    #[test]
    fn arguments_and_variables_beyond_the_limits_are_rejected() {
        let text = |length: usize| "x".repeat(length);
        assert_eq!(checked(&json!({ "name": "c", "command": ["bash", "-c", text(MAX_ARGUMENT)] })), Ok(()));
        let rejected = checked(&json!({ "name": "c", "command": ["bash", "-c", text(MAX_ARGUMENT + 1)] }));
        assert!(rejected.is_err_and(|it| it.contains("takes 131072 bytes") && it.contains("131071")));
        let rejected =
            checked(&json!({ "name": "c", "env": [{ "name": "A", "value": text(MAX_ARGUMENT) }] }));
        assert!(rejected.is_err_and(|it| it.contains("takes 131073 bytes")));
        let rejected = checked(&json!({ "name": "c", "args": vec![text(100_000); 21] }));
        assert!(rejected.is_err_and(|it| it.contains("together takes 2100") && it.contains("2097152")));
    }
}
