//! Namespaces in which no component runs.
//!
//! A component is a pod of its author's choice, with any account of its namespace. In the operator's own namespace
//! that account could be the operator's, and in those of Kubernetes the cluster's: whoever may create components
//! there would have their rights.

use std::collections::BTreeSet;

use function_mesh_api::validate::{FieldPath, Violation, Violations};

/// Where Kubernetes tells a pod its namespace.
const IN_CLUSTER: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Namespaces in which no component runs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Protected {
    own: BTreeSet<String>,
    others: BTreeSet<String>,
}

impl Protected {
    /// The operator's own namespaces, and others.
    pub fn new(own: impl IntoIterator<Item = String>, others: impl IntoIterator<Item = String>) -> Self {
        let names = |name: String| Some(name.trim().to_owned()).filter(|name| !name.is_empty());
        Self {
            own: own.into_iter().filter_map(names).collect(),
            others: others.into_iter().filter_map(names).collect(),
        }
    }

    /// Why no component runs in this namespace, if none does.
    pub fn violation(&self, namespace: &str) -> Option<Violation> {
        let message = if self.own.contains(namespace) {
            format!(
                "{namespace:?} is the operator's own namespace, where a component could use the operator's account; \
                 move it to another namespace, or let the operator allow it with --allow-own-namespace"
            )
        } else if self.others.contains(namespace) {
            format!(
                "{namespace:?} is a protected namespace, where a component could use the cluster's accounts; move it \
                 to another namespace, or take this one out of --protected-namespaces"
            )
        } else {
            return None;
        };
        Some(Violation { field: FieldPath::root("metadata.namespace"), message })
    }

    /// Refuses what stands in such a namespace.
    pub fn check(&self, namespace: Option<&str>) -> Result<(), Violations> {
        match namespace.and_then(|namespace| self.violation(namespace)) {
            Some(violation) => Err(Violations(vec![violation])),
            None => Ok(()),
        }
    }
}

/// The namespace of the pod that this program runs in, if it runs in one.
pub(crate) fn of_this_pod() -> Option<String> {
    let name = std::fs::read_to_string(IN_CLUSTER).ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_and_protected_namespaces_are_refused_with_what_to_do() {
        let protected = Protected::new(
            ["ops".to_owned(), String::new()],
            ["kube-system".to_owned(), " kube-public ".to_owned()],
        );
        let said = |namespace| protected.check(Some(namespace)).unwrap_err().to_string();
        assert!(said("ops").starts_with("metadata.namespace: \"ops\" is the operator's own namespace"));
        assert!(said("ops").contains("--allow-own-namespace"));
        assert!(said("kube-system").contains("move it to another namespace"));
        assert!(protected.check(Some("kube-public")).is_err());
        for free in ["default", "ops-2", "kube", ""] {
            assert_eq!(protected.check(Some(free)), Ok(()), "{free}");
        }
        assert_eq!(protected.check(None), Ok(()));
        assert_eq!(Protected::default().check(Some("ops")), Ok(()));
    }
}
