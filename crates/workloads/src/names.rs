//! Names of what belongs to a component. Clusters in use hold objects by these names; none may change.

use function_mesh_api::Role;

/// Name of the StatefulSet and of the autoscalers: `<object>-function`, `<object>-source` or `<object>-sink`.
pub fn stateful_set(object: &str, role: Role) -> String {
    format!("{object}-{role}")
}

/// Name of the headless Service.
pub fn service(object: &str, role: Role) -> String {
    format!("{object}-{role}-headless")
}

/// Name of the Job that cleans up subscriptions.
pub fn cleanup_job(object: &str, role: Role) -> String {
    format!("{object}-{role}-cleanup")
}

/// Name of the object of one component of a mesh.
pub fn component(mesh: &str, name: &str) -> String {
    format!("{mesh}-{name}")
}

/// Name of a volume made of names of other objects: lower case, what a volume's name cannot hold replaced by
/// `-`, and no longer than a label.
pub(crate) fn volume(parts: &str) -> String {
    let mut name = String::with_capacity(parts.len());
    let mut replaced = false;
    for letter in parts.chars().flat_map(char::to_lowercase) {
        let keep = letter == '-' || letter.is_ascii_lowercase() || letter.is_ascii_digit();
        if keep {
            name.push(letter);
        } else if !replaced {
            name.push('-');
        }
        replaced = !keep;
    }
    name.truncate(63);
    name.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_called_after_their_component() {
        assert_eq!(stateful_set("f", Role::Function), "f-function");
        assert_eq!(service("f", Role::Source), "f-source-headless");
        assert_eq!(cleanup_job("f", Role::Sink), "f-sink-cleanup");
        assert_eq!(component("mesh", "f"), "mesh-f");
    }

    #[test]
    fn volumes_get_names_that_kubernetes_takes() {
        assert_eq!(volume("s-ca.crt"), "s-ca-crt");
        assert_eq!(volume("s1-k_1"), "s1-k-1");
        assert_eq!(volume("A..B__c"), "a-b-c");
        assert_eq!(volume(".x."), "x");
        assert_eq!(volume(&format!("{}.y", "x".repeat(62))), "x".repeat(62));
    }
}
