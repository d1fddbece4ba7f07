//! A CA, a directory that behaves like a mounted Secret, and a TLS client that exposes the server's certificate.

#![allow(dead_code, unreachable_pub, reason = "the tests of the webhook use a part")]

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A certificate and its key, in PEM and DER.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
    pub der: CertificateDer<'static>,
}

pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl CertificateAuthority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// A certificate for `localhost`, valid until the end of `last_year`.
    pub fn issue(&self, last_year: i32) -> Pair {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(last_year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().clone() }
    }

    /// A client that trusts only this CA.
    pub fn client(&self) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A resumed session has no certificate.
        config.resumption = rustls::client::Resumption::disabled();
        Client { connector: TlsConnector::from(Arc::new(config)) }
    }
}

/// A directory as the kubelet mounts it: files are symlinks into `..data`, which is a symlink to the real directory.
pub struct MountedSecret {
    folder: TempDir,
    version: usize,
}

impl MountedSecret {
    pub fn new(pair: &Pair) -> Self {
        let mut secret = Self { folder: TempDir::new().unwrap(), version: 0 };
        secret.swap(&pair.certificate, &pair.key);
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), secret.path().join(name)).unwrap();
        }
        secret
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces both files atomically, as the kubelet does.
    pub fn swap(&mut self, certificate: &str, key: &str) {
        let (old, new) = (format!("..{}", self.version), format!("..{}", self.version + 1));
        self.version += 1;
        let real = self.path().join(&new);
        std::fs::create_dir(&real).unwrap();
        std::fs::write(real.join("tls.crt"), certificate).unwrap();
        std::fs::write(real.join("tls.key"), key).unwrap();
        let link = self.path().join("..data_tmp");
        symlink(&new, &link).unwrap();
        std::fs::rename(link, self.path().join("..data")).unwrap();
        let _ = std::fs::remove_dir_all(self.path().join(old));
    }
}

#[derive(Clone)]
pub struct Client {
    connector: TlsConnector,
}

/// An open TLS connection.
pub struct Connection {
    pub sender: SendRequest<Full<Bytes>>,
    pub certificate: CertificateDer<'static>,
}

impl Client {
    pub async fn connect(&self, addr: SocketAddr) -> std::io::Result<Connection> {
        let stream = TcpStream::connect(("localhost", addr.port())).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = self.connector.connect(name, stream).await?;
        let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(Connection { sender, certificate })
    }
}

impl Connection {
    pub async fn get(&mut self, path: &str) -> hyper::Result<String> {
        get(&mut self.sender, path).await
    }
}

pub async fn connect_plain(addr: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(("localhost", addr.port())).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub async fn get(sender: &mut SendRequest<Full<Bytes>>, path: &str) -> hyper::Result<String> {
    sender.ready().await?;
    let request = Request::get(path).header("host", "localhost").body(Full::default()).unwrap();
    text(sender.send_request(request).await?).await
}

pub async fn text(response: Response<Incoming>) -> hyper::Result<String> {
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
