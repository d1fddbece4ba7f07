//! The console of one person: on the loopback interface, with the permissions of a kubeconfig.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::hub::{Hub, Times};
use crate::link::LinkTemplate;
use crate::watch;
use crate::web::access::{Access, Loopback, NoRandomness};
use crate::web::{App, router};

/// Time for open requests after the end was asked for.
const DRAIN: Duration = Duration::from_secs(2);

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The port is not free.
    #[error("failed to listen on 127.0.0.1:{port}: {source}; choose another --port")]
    Listen {
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// No token can be made.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The server has failed.
    #[error("the console has failed: {0}")]
    Serve(#[from] io::Error),
}

/// A console that listens.
#[derive(Debug)]
pub struct Local {
    listener: TcpListener,
    access: Loopback,
    one_time: String,
    port: u16,
    dashboard: Option<LinkTemplate>,
    flags: Vec<String>,
}

impl Local {
    /// Listens on a port of the loopback interface; 0 is any free one.
    pub async fn listen(port: u16) -> Result<Self, LocalError> {
        let error = |source| LocalError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(error)?;
        let port = listener.local_addr().map_err(error)?.port();
        let (access, one_time) = Loopback::new(port)?;
        Ok(Self { listener, access, one_time, port, dashboard: None, flags: Vec::new() })
    }

    /// Links components to a dashboard.
    #[must_use]
    pub fn with_dashboard(self, dashboard: Option<LinkTemplate>) -> Self {
        Self { dashboard, ..self }
    }

    /// Adds flags to the commands that the page shows, which select the cluster, such as `--context=NAME`.
    #[must_use]
    pub fn with_flags(self, flags: Vec<String>) -> Self {
        Self { flags, ..self }
    }

    /// The URL of a page, with the one-time token. The page is the part after `#/`, such as `shop/orders`.
    pub fn url(&self, page: &str) -> String {
        format!("http://127.0.0.1:{}/#/{page}?token={}", self.port, self.one_time)
    }

    /// Serves until shutdown.
    pub async fn serve(
        self,
        client: Client,
        namespace: Option<String>,
        times: Times,
        shutdown: CancellationToken,
    ) -> Result<(), LocalError> {
        let hub = Hub::new(namespace.into_iter().collect(), times);
        tokio::spawn(watch::run(client.clone(), hub.clone(), "you", shutdown.clone()));
        tokio::spawn(hub.clone().run(shutdown.clone()));
        let app = App::new(hub, client, Access::Loopback(self.access), shutdown.clone());
        let mut app = app.with_flags(self.flags);
        app.dashboard = self.dashboard;
        let end = shutdown.clone();
        let serving =
            axum::serve(self.listener, router(app)).with_graceful_shutdown(shutdown.cancelled_owned());
        let late = async {
            end.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            served = serving => Ok(served?),
            () = late => Ok(()),
        }
    }
}
