//! Why an action was not carried out.

use function_mesh_status::object_ref::ObjectRef;

/// Why an action was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// There is no such object.
    #[error("{0} not found")]
    NotFound(ObjectRef),
    /// The object is not the one that was seen.
    #[error("{0} has changed since you saw it, and nothing was written: look at it again")]
    Changed(ObjectRef),
    /// The action does not apply to this object.
    #[error("{0}")]
    Refused(String),
    /// The object cannot be read.
    #[error("failed to read {id}: {source}")]
    Read {
        /// The object.
        id: ObjectRef,
        /// The answer of the API server.
        source: Box<kube::Error>,
    },
    /// Objects cannot be listed.
    #[error(
        "failed to list {plural} in namespace {namespace}: {source}{}",
        advice(plural, namespace, source)
    )]
    List {
        /// The kind.
        plural: String,
        /// The namespace.
        namespace: String,
        /// The answer of the API server.
        source: Box<kube::Error>,
    },
    /// The API server rejects the write.
    #[error("failed to {what} {id}: {source}")]
    Write {
        /// `annotate` or `scale`.
        what: &'static str,
        /// The object.
        id: ObjectRef,
        /// The answer of the API server.
        source: Box<kube::Error>,
    },
    /// Of several components some were written.
    #[error("{source}; before that: {}", written.join("; "))]
    Partial {
        /// What was written.
        written: Vec<String>,
        /// Why the rest was not.
        source: Box<Self>,
    },
}

fn advice(plural: &str, namespace: &str, source: &kube::Error) -> String {
    if matches!(source, kube::Error::Api(status) if status.is_forbidden()) {
        let command = format!("kubectl auth can-i list {plural} -n {namespace}");
        return format!("; grant the permission: `{command}` must print yes");
    }
    String::new()
}
