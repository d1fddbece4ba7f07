//! Answers of the API server, read as text: what an object holds cannot make a request fail that was done.

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use kube::core::request::Error as BuildError;

use crate::decode_error::DecodeError;

/// A refusal is a few words.
const LONGEST_REFUSAL: usize = 256 << 10;

/// A request that could not be built is an error like any other.
pub type Built = Result<Request<Vec<u8>>, BuildError>;

/// Sends a request. What the API server refuses is an error.
pub(crate) async fn send(client: &Client, request: Built) -> Result<Response<Body>, kube::Error> {
    let request = request.map_err(kube::Error::BuildRequest)?;
    let answer = client.send(request.map(Body::from)).await?;
    let code = answer.status();
    if !code.is_client_error() && !code.is_server_error() {
        return Ok(answer);
    }
    let text = read(answer.into_body(), LONGEST_REFUSAL).await?;
    // A proxy answers with a page of its own. It is nobody's to read: it may quote the request.
    let status = serde_json::from_str::<Status>(&text).unwrap_or_else(|_| {
        Status::failure(&format!("the answer {code} is not a Kubernetes Status"), "Unknown")
    });
    let status = if status.code == 0 { status.with_code(code.as_u16()) } else { status };
    Err(kube::Error::Api(Box::new(status)))
}

/// Sends a request and reads the answer. Bytes that are no UTF-8 are replaced, as the API server does in most places.
pub async fn text(client: &Client, request: Built) -> Result<String, kube::Error> {
    read(send(client, request).await?.into_body(), usize::MAX).await
}

async fn read(mut body: Body, most: usize) -> Result<String, kube::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data()
            && bytes.len() < most
        {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// An answer that cannot be decoded, as an error of the client.
pub(crate) fn undecodable(error: DecodeError) -> kube::Error {
    kube::Error::Service(Box::new(error))
}
