//! Flags that select a cluster.

use std::path::PathBuf;

use kube::Config;
use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};

/// Flags that select a cluster.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConnectArgs {
    /// Path of a kubeconfig; defaults to KUBECONFIG, ~/.kube/config, or the in-cluster config
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; defaults to the current context
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// Why there is no cluster to connect to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file of `--kubeconfig` is invalid.
    #[error("failed to load {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KubeconfigError,
    },
    /// The kubeconfig has no such context, or is invalid.
    #[error("failed to load the kubeconfig: {0}")]
    Context(#[from] KubeconfigError),
    /// There is no kubeconfig, and this is no pod.
    #[error(
        "no kubeconfig found: pass --kubeconfig, set KUBECONFIG, or run in a pod with a ServiceAccount: {0}"
    )]
    NotFound(#[from] InferConfigError),
}

impl ConnectArgs {
    /// The client config of the cluster.
    pub async fn config(&self) -> Result<Config, ConnectError> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        match &self.kubeconfig {
            Some(path) => {
                let error = |source| ConnectError::File { path: path.clone(), source };
                let kubeconfig = Kubeconfig::read_from(path).map_err(error)?;
                Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(error)
            }
            None if options.context.is_some() => Ok(Config::from_kubeconfig(&options).await?),
            None => Ok(Config::infer().await?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn missing_file_is_named() {
        let args = ConnectArgs { kubeconfig: Some("/no/such/file".into()), context: None };
        let error = args.config().await.expect_err("no file").to_string();
        assert!(error.starts_with("failed to load /no/such/file: "), "{error}");
    }
}
