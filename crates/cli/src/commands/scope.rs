//! The flags of a command that names one object of a cluster: its namespace, and how to connect.

use function_mesh_kube::connect::ConnectArgs;

use crate::cluster::{Cluster, ClusterError};

#[derive(Debug, clap::Args)]
pub(crate) struct Scope {
    /// Namespace of the object [default: the context's]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    #[command(flatten, next_help_heading = "Cluster")]
    connect: ConnectArgs,
}

impl Scope {
    /// A connection, and the namespace of the object.
    pub(crate) fn open(&self) -> Result<(Cluster, String), ClusterError> {
        let cluster = Cluster::open(&self.connect)?;
        let namespace = self.namespace.clone().unwrap_or_else(|| cluster.namespace().to_owned());
        Ok((cluster, namespace))
    }
}
