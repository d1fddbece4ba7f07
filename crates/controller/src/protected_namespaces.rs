//! Namespaces in which components are rejected.
//!
//! A component runs code of its author with any ServiceAccount of its namespace. In the operator's namespace that can be
//! the operator's account, in Kubernetes' own namespaces one with cluster-wide permissions: permission to create
//! components there would be privilege escalation.

use std::collections::BTreeSet;

use function_mesh_api::validate::{FieldPath, Violation, Violations};

/// The file in which Kubernetes mounts the namespace of a pod.
const IN_CLUSTER: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Namespaces in which components are rejected.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ProtectedNamespaces {
    own: BTreeSet<String>,
    others: BTreeSet<String>,
}

impl ProtectedNamespaces {
    /// The operator's own namespaces, and others.
    pub fn new(own: impl IntoIterator<Item = String>, others: impl IntoIterator<Item = String>) -> Self {
        let names = |name: String| Some(name.trim().to_owned()).filter(|name| !name.is_empty());
        Self {
            own: own.into_iter().filter_map(names).collect(),
            others: others.into_iter().filter_map(names).collect(),
        }
    }

    /// Why components are rejected in this namespace; None if they are allowed.
    pub fn violation(&self, namespace: &str) -> Option<Violation> {
        let message = if self.own.contains(namespace) {
            format!(
                "{namespace:?} is the operator's own namespace: a component could use the operator's ServiceAccount; \
                 use another namespace, or start the operator with --allow-own-namespace"
            )
        } else if self.others.contains(namespace) {
            format!(
                "{namespace:?} is a protected namespace: a component could use a privileged ServiceAccount; use \
                 another namespace, or remove this one from --protected-namespaces"
            )
        } else {
            return None;
        };
        Some(Violation { field: FieldPath::root("metadata.namespace"), message })
    }

    /// Rejects an object in a protected namespace.
    pub fn check(&self, namespace: Option<&str>) -> Result<(), Violations> {
        match namespace.and_then(|namespace| self.violation(namespace)) {
            Some(violation) => Err(Violations(vec![violation])),
            None => Ok(()),
        }
    }
}

/// The namespace of this pod; None outside of a pod.
pub(crate) fn pod_namespace() -> Option<String> {
    let name = std::fs::read_to_string(IN_CLUSTER).ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_own_and_protected_namespaces_with_a_remedy() {
        let protected = ProtectedNamespaces::new(
            ["ops".to_owned(), String::new()],
            ["kube-system".to_owned(), " kube-public ".to_owned()],
        );
        let message = |namespace| protected.check(Some(namespace)).unwrap_err().to_string();
        assert!(message("ops").starts_with("metadata.namespace: \"ops\" is the operator's own namespace"));
        assert!(message("ops").contains("--allow-own-namespace"));
        assert!(message("kube-system").contains("use another namespace"));
        assert!(protected.check(Some("kube-public")).is_err());
        for allowed in ["default", "ops-2", "kube", ""] {
            assert_eq!(protected.check(Some(allowed)), Ok(()), "{allowed}");
        }
        assert_eq!(protected.check(None), Ok(()));
        assert_eq!(ProtectedNamespaces::default().check(Some("ops")), Ok(()));
    }
}
