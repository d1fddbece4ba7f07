//! Requests whose responses are read as text: a response that cannot be decoded does not turn a successful write into
//! an error.

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use kube::core::request::Error as BuildError;

use crate::decode_error::DecodeError;

/// Bytes of an error response that are read.
const MAX_ERROR_BODY: usize = 256 << 10;

/// A request, or why it could not be built.
pub type BuiltRequest = Result<Request<Vec<u8>>, BuildError>;

/// Sends a request. A response with a status of 400 or above is an error.
pub(crate) async fn send(client: &Client, request: BuiltRequest) -> Result<Response<Body>, kube::Error> {
    let request = request.map_err(kube::Error::BuildRequest)?;
    let response = client.send(request.map(Body::from)).await?;
    let code = response.status();
    if !code.is_client_error() && !code.is_server_error() {
        return Ok(response);
    }
    let body = read_body(response.into_body(), MAX_ERROR_BODY).await?;
    // A proxy responds with an HTML page that may quote the request: it is not part of the error.
    let status = serde_json::from_str::<Status>(&body).unwrap_or_else(|_| {
        Status::failure(&format!("response {code} is not a Kubernetes Status"), "Unknown")
    });
    let status = if status.code == 0 { status.with_code(code.as_u16()) } else { status };
    Err(kube::Error::Api(Box::new(status)))
}

/// Sends a request and returns the body of the response. Invalid UTF-8 is replaced, as the API server does in most
/// places.
pub async fn send_for_text(client: &Client, request: BuiltRequest) -> Result<String, kube::Error> {
    read_body(send(client, request).await?.into_body(), usize::MAX).await
}

async fn read_body(mut body: Body, limit: usize) -> Result<String, kube::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data()
            && bytes.len() < limit
        {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Wraps a decode error as an error of the client.
pub(crate) fn into_client_error(error: DecodeError) -> kube::Error {
    kube::Error::Service(Box::new(error))
}
