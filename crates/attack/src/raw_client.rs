//! A client that reaches the webhook from any pod: TLS without certificate verification, and hand-written HTTP/1.1 and
//! HTTP/2 bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Path of the validating webhook for Functions.
pub(crate) const PATH: &str = "/validate-compute-functionmesh-io-v1alpha1-function";

/// Accepts every certificate.
#[derive(Debug)]
struct AnyCertificate(CryptoProvider);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Opens connections to the webhook.
#[derive(Clone)]
pub(crate) struct RawClient {
    connector: TlsConnector,
    address: SocketAddr,
}

impl RawClient {
    pub(crate) fn new(address: SocketAddr, protocol: &[u8]) -> anyhow::Result<Self> {
        let provider = aws_lc_rs::default_provider();
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), address })
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let connect = async {
            let stream = TcpStream::connect(self.address).await?;
            let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
            self.connector.connect(name, stream).await
        };
        Ok(timeout(Duration::from_secs(5), connect).await.context("TLS handshake timed out after 5 s")??)
    }

    /// Sends the head of a POST with this Content-Length.
    pub(crate) async fn head(&self, length: usize) -> anyhow::Result<TlsStream<TcpStream>> {
        let mut stream = self.connect().await?;
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        Ok(stream)
    }

    /// Sends a complete request and returns the response status.
    pub(crate) async fn post(&self, body: &[u8]) -> anyhow::Result<u16> {
        let mut stream = self.head(body.len()).await?;
        // The server may respond early and close the connection; the response is readable all the same.
        _ = stream.write_all(body).await;
        _ = stream.flush().await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.context("connection closed without a response")?;
        let status = std::str::from_utf8(&answer).ok().and_then(|text| text.rsplit(' ').next()?.parse().ok());
        let Some(status) = status else { bail!("invalid HTTP response: {answer:?}") };
        Ok(status)
    }

    /// Opens an HTTP/2 connection with `count` streams, each with `bytes` bytes of body and without END_STREAM.
    pub(crate) async fn streams(&self, count: u32, bytes: usize) -> anyhow::Result<TlsStream<TcpStream>> {
        let mut stream = self.connect().await?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        stream.write_all(&frame(4, 0, 0, &[])).await?;
        for number in 0..count {
            let id = 2 * number + 1;
            // HEADERS with END_HEADERS, and DATA without END_STREAM.
            stream.write_all(&frame(1, 4, id, &headers())).await?;
            stream.write_all(&frame(0, 0, id, &vec![b'['; bytes])).await?;
        }
        stream.flush().await?;
        Ok(stream)
    }
}

/// An HTTP/2 frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A POST in HPACK: indexed fields of the static table, and literals without indexing.
fn headers() -> Vec<u8> {
    // :method POST, :scheme https
    let mut block = vec![0x83, 0x87];
    for (index, value) in [(4_u8, PATH), (1, "localhost")] {
        block.extend([index, u8::try_from(value.len()).unwrap_or(0)]);
        block.extend(value.as_bytes());
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_follow_rfc_9113() {
        assert_eq!(frame(0, 1, 3, b"ab"), [0, 0, 2, 0, 1, 0, 0, 0, 3, b'a', b'b']);
        let headers = headers();
        assert_eq!(headers[..2], [0x83, 0x87]);
        assert_eq!(headers[2..4], [4, u8::try_from(PATH.len()).unwrap()]);
        assert!(PATH.len() < 127, "a longer length takes more than one byte in HPACK");
    }
}
