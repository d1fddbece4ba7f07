//! The permissions that an action needs, as RBAC names them.

use function_mesh_api::{Role, labels};
use function_mesh_status::object_ref::ObjectRef;

use crate::action::{Action, Write};
use crate::run::{component_resource, resource};

/// A verb on a resource in the namespace of the object.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Need {
    /// Verb.
    pub verb: &'static str,
    /// API group.
    pub group: &'static str,
    /// Resource.
    pub resource: String,
    /// Subresource; empty for the object.
    pub subresource: &'static str,
    /// Name of the object; empty for all.
    pub name: String,
}

impl Action {
    /// The permissions that this action needs on an object.
    pub fn needs(&self, id: &ObjectRef) -> Vec<Need> {
        let plural = resource(&id.kind).map(|it| it.plural).unwrap_or_default();
        let own = |verb, subresource| Need {
            verb,
            group: labels::GROUP,
            resource: plural.clone(),
            subresource,
            name: id.name.clone(),
        };
        match self.write() {
            Some(Write::Annotation(..)) => vec![own("patch", "")],
            Some(Write::Replicas(_)) => vec![own("patch", "scale")],
            None => {
                let mut needs = match self {
                    Self::UndoRollout { .. } => {
                        vec![need("get", "apps", "statefulsets"), need("list", "apps", "controllerrevisions")]
                    }
                    _ => Vec::new(),
                };
                if id.kind == "FunctionMesh" {
                    let all = |verb| {
                        Role::ALL.map(|role| need(verb, labels::GROUP, &component_resource(role).plural))
                    };
                    needs.extend(["list", "patch"].into_iter().flat_map(all));
                } else {
                    needs.push(own("patch", ""));
                }
                needs
            }
        }
    }
}

/// A verb on all objects of a resource.
fn need(verb: &'static str, group: &'static str, resource: &str) -> Need {
    Need { verb, group, resource: resource.to_owned(), subresource: "", name: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_those_of_the_requests() {
        let needs = |action: Action, kind| {
            let needs = action.needs(&ObjectRef::new(kind, "shop", "m"));
            let text = |it: &Need| format!("{} {}/{} {}", it.verb, it.resource, it.subresource, it.name);
            needs.iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(needs(Action::Suspend, "FunctionMesh"), ["patch functionmeshes/ m"]);
        assert_eq!(needs(Action::Scale { replicas: 1 }, "Sink"), ["patch sinks/scale m"]);
        let undo = Action::UndoRollout { to_revision: None };
        let revisions = ["get statefulsets/ ", "list controllerrevisions/ "];
        assert_eq!(needs(undo.clone(), "Source"), [&revisions[..], &["patch sources/ m"]].concat());
        assert_eq!(needs(undo, "FunctionMesh").len(), 8);
        assert_eq!(needs(Action::PromoteCanary, "Function"), ["patch functions/ m"]);
        assert_eq!(needs(Action::PromoteCanary, "FunctionMesh").len(), 6);
    }
}
