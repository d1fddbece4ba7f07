//! What a user may do with a resource, as RBAC names it.

use std::fmt;

use function_mesh_api::labels;
use k8s_openapi::api::authorization::v1::ResourceAttributes;

/// A verb on a resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permission<'a> {
    /// None for all namespaces.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) verb: &'static str,
    pub(crate) group: &'static str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'static str,
    /// Empty for all objects.
    pub(crate) name: &'a str,
}

impl<'a> Permission<'a> {
    /// Of one of our kinds.
    pub(crate) const fn ours(verb: &'static str, resource: &'a str, namespace: Option<&'a str>) -> Self {
        Self { namespace, verb, group: labels::GROUP, resource, subresource: "", name: "" }
    }

    /// Of a kind of the core group.
    pub(crate) const fn core(verb: &'static str, resource: &'a str, namespace: &'a str) -> Self {
        Self { namespace: Some(namespace), verb, group: "", resource, subresource: "", name: "" }
    }

    pub(in crate::web) fn attributes(&self) -> ResourceAttributes {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        ResourceAttributes {
            namespace: self.namespace.map(str::to_owned),
            verb: text(self.verb),
            group: text(self.group),
            resource: text(self.resource),
            subresource: text(self.subresource),
            name: text(self.name),
            ..ResourceAttributes::default()
        }
    }
}

/// `get pods/log in the namespace shop`.
impl fmt::Display for Permission<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        match self.namespace {
            Some(namespace) => write!(f, " in the namespace {namespace}"),
            None => f.write_str(" in all namespaces"),
        }
    }
}
