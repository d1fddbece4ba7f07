//! The API server is away and comes back.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use kube::Client;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::{Console, Harness, Stream};

/// Forwards connections, unless it is switched off: then it closes all of them, and every new one.
async fn forward(to: SocketAddr) -> anyhow::Result<(SocketAddr, Arc<watch::Sender<bool>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let switch = Arc::new(watch::Sender::new(true));
    let is_on = Arc::clone(&switch);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut on = is_on.subscribe();
            tokio::spawn(async move {
                if !*on.borrow_and_update() {
                    return;
                }
                let Ok(mut far) = TcpStream::connect(to).await else { return };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = on.wait_for(|on| !on) => {}
                }
            });
        }
    });
    Ok((address, switch))
}

/// A kubeconfig whose server is reached through a switch.
pub(crate) async fn forward_kubeconfig(
    kubeconfig: &Path,
) -> anyhow::Result<(NamedTempFile, Arc<watch::Sender<bool>>)> {
    let text = std::fs::read_to_string(kubeconfig)?;
    let mut config: Value = serde_saphyr::from_str(&text)?;
    let server = config.pointer_mut("/clusters/0/cluster/server").context("no server")?;
    let url: http::Uri = server.as_str().context("no URL")?.parse()?;
    let authority = url.authority().context("no host")?.as_str();
    let to = tokio::net::lookup_host(authority).await?.next().context("no address")?;
    let (address, switch) = forward(to).await?;
    *server = format!("https://{address}").into();
    let file = NamedTempFile::new()?;
    std::fs::write(file.path(), config.to_string())?;
    Ok((file, switch))
}

#[tokio::test]
async fn a_page_survives_an_outage() -> anyhow::Result<()> {
    let harness = Harness::new("outage").await?;
    harness.report_backlog(1).await?;
    let mut config = harness.plane.config().await?;
    let host = config.cluster_url.host().context("no host")?.to_owned();
    let port = config.cluster_url.port_u16().context("no port")?;
    let server = tokio::net::lookup_host((host.as_str(), port)).await?.next().context("no address")?;
    let (address, switch) = forward(server).await?;
    config.cluster_url = format!("https://{address}").parse()?;
    let console = Console::with(Client::try_from(config)?, &harness.namespace).await?;
    let session = console.session().await?;
    let path = format!("/api/v1/meshes/{}/m/events", harness.namespace);
    let mut viewer = Stream::new(console.get(&path, &[("authorization", &session)]).await?);
    viewer.until(|it| it.backlog() == Some(1) && it.state.head["problem"].is_null()).await?;

    switch.send_replace(false);
    viewer
        .until(|it| it.state.head["problem"].as_str().is_some_and(|it| it.contains("no connection")))
        .await?;
    assert_eq!(viewer.backlog(), Some(1), "the last state stays");
    harness.report_backlog(2).await?;

    switch.send_replace(true);
    viewer.until(|it| it.backlog() == Some(2) && it.state.head["problem"].is_null()).await?;
    assert_eq!(viewer.names.iter().filter(|name| *name == "snapshot").count(), 1);
    Ok(())
}
