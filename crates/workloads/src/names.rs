//! Names of the objects of a component. Existing clusters contain objects with these names, so they must not change.

use function_mesh_api::Role;

/// Name of the StatefulSet and of the autoscalers: `<object>-function`, `<object>-source` or `<object>-sink`.
pub fn stateful_set(object: &str, role: Role) -> String {
    format!("{object}-{role}")
}

/// Name of the headless Service.
pub fn service(object: &str, role: Role) -> String {
    format!("{object}-{role}-headless")
}

/// Maximum length of a label value, which a Job name must fit.
const MAX_LABEL: usize = 63;

/// Name of the clean-up Job of an object. Contains the start of its UID, to distinguish it from the Job of an earlier
/// object with the same name. Without a UID it is the legacy name.
pub fn cleanup_job(object: &str, role: Role, uid: Option<&str>) -> String {
    // The zero UID means none.
    let is_given = |uid: &&str| uid.chars().any(|letter| letter.is_ascii_alphanumeric() && letter != '0');
    let Some(uid) = uid.filter(is_given) else { return legacy_cleanup_job(object, role) };
    let head: String =
        uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect::<String>().to_lowercase();
    let suffix = format!("-{role}-cleanup-{head}");
    let object: String = object.chars().take(MAX_LABEL.saturating_sub(suffix.len())).collect();
    format!("{}{suffix}", object.trim_end_matches(['-', '.']))
}

/// Name of the clean-up Job in Function Mesh for Go and in earlier releases.
pub fn legacy_cleanup_job(object: &str, role: Role) -> String {
    format!("{object}-{role}-cleanup")
}

/// Name of the component object of a mesh.
pub fn component(mesh: &str, name: &str) -> String {
    format!("{mesh}-{name}")
}

/// A valid volume name from names of other objects: lowercase, invalid characters replaced by `-`, and truncated to the
/// length of a label value.
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
    fn children_have_the_name_of_their_component() {
        assert_eq!(stateful_set("f", Role::Function), "f-function");
        assert_eq!(service("f", Role::Source), "f-source-headless");
        assert_eq!(legacy_cleanup_job("f", Role::Sink), "f-sink-cleanup");
        assert_eq!(component("mesh", "f"), "mesh-f");
    }

    #[test]
    fn cleanup_job_name_contains_the_uid() {
        let uid = Some("0A1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9");
        assert_eq!(cleanup_job("f", Role::Sink, uid), "f-sink-cleanup-0a1b2c3d");
        assert_eq!(cleanup_job("f", Role::Sink, None), "f-sink-cleanup");
        let long = cleanup_job(&"x".repeat(43), Role::Function, uid);
        assert!(long.len() == 63 && long.ends_with("x-function-cleanup-0a1b2c3d"), "{long}");
    }

    #[test]
    fn volume_names_are_valid() {
        assert_eq!(volume("s-ca.crt"), "s-ca-crt");
        assert_eq!(volume("s1-k_1"), "s1-k-1");
        assert_eq!(volume("A..B__c"), "a-b-c");
        assert_eq!(volume(".x."), "x");
        assert_eq!(volume(&format!("{}.y", "x".repeat(62))), "x".repeat(62));
    }
}
