//! The port of pods' metrics, which is the same for all pods: tests that answer on it take turns, also those of other processes.

use std::fs::File;
use std::net::IpAddr;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::wait::{PATIENCE, eventually};

/// Port of the metrics of a component's pods.
const PORT: u16 = 9094;

/// The turn of one test. It ends when this is dropped.
#[derive(Debug)]
pub struct PodPort {
    _lock: File,
}

impl PodPort {
    /// Waits for the turn, and listens.
    pub async fn listen(ip: IpAddr) -> anyhow::Result<(Self, TcpListener)> {
        let path = std::env::temp_dir().join("function-mesh-pod-port.lock");
        let lock = tokio::task::spawn_blocking(move || {
            let file = File::create(&path)?;
            file.lock()?;
            std::io::Result::Ok(file)
        });
        let port = Self { _lock: lock.await?.context("the lock of the port of pods' metrics")? };
        // The task of the test before may have yet to end.
        let listener = eventually(PATIENCE, async || {
            let listener = TcpListener::bind((ip, PORT)).await;
            listener.with_context(|| format!("port {PORT}, where observers expect pods' metrics"))
        });
        Ok((port, listener.await?))
    }
}
