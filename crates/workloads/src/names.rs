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

/// Longest name that fits into a label, as a Job's must.
const MAX_LABEL: usize = 63;

/// Name of the Job that cleans up after one very object: with the head of its UID in it, so that it meets neither the
/// Job of an earlier object of that name nor anybody else's. An object that no API server has seen has none.
pub fn cleanup_job(object: &str, role: Role, uid: Option<&str>) -> String {
    // The zero UID stands for none.
    let is_given = |uid: &&str| uid.chars().any(|letter| letter.is_ascii_alphanumeric() && letter != '0');
    let Some(uid) = uid.filter(is_given) else { return legacy_cleanup_job(object, role) };
    let head: String =
        uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect::<String>().to_lowercase();
    let suffix = format!("-{role}-cleanup-{head}");
    let object: String = object.chars().take(MAX_LABEL.saturating_sub(suffix.len())).collect();
    format!("{}{suffix}", object.trim_end_matches(['-', '.']))
}

/// Name of that Job in earlier releases, and in the original operator.
pub fn legacy_cleanup_job(object: &str, role: Role) -> String {
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
        assert_eq!(legacy_cleanup_job("f", Role::Sink), "f-sink-cleanup");
        assert_eq!(component("mesh", "f"), "mesh-f");
    }

    #[test]
    fn each_object_has_a_cleanup_job_of_its_own() {
        let uid = Some("0A1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9");
        assert_eq!(cleanup_job("f", Role::Sink, uid), "f-sink-cleanup-0a1b2c3d");
        assert_eq!(cleanup_job("f", Role::Sink, None), "f-sink-cleanup");
        let long = cleanup_job(&"x".repeat(43), Role::Function, uid);
        assert!(long.len() == 63 && long.ends_with("x-function-cleanup-0a1b2c3d"), "{long}");
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
