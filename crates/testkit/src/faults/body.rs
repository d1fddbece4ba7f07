//! Bodies of responses: injected errors, and watches that end early.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame};
use serde_json::{Value, json};
use tower::BoxError;

/// Body of any response.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// The error response of an API server.
pub(super) fn error_response(code: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(text(&status(code).to_string()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if code == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// A watch that responds with an expired resource version.
pub(super) fn gone() -> Response<ResponseBody> {
    let event = json!({ "type": "ERROR", "object": status(StatusCode::GONE) });
    Response::new(text(&format!("{event}\n")))
}

fn status(code: StatusCode) -> Value {
    let reason = match code {
        StatusCode::CONFLICT => "Conflict",
        StatusCode::GONE => "Expired",
        StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "rejected by a test", "reason": reason, "code": code.as_u16(),
    })
}

fn text(text: &str) -> ResponseBody {
    Full::new(Bytes::from(text.to_owned())).map_err(|never| match never {}).boxed_unsync()
}

/// Converts any body.
pub(super) fn whole<B>(body: B) -> ResponseBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// A watch that ends after some events: gracefully, or with a broken connection.
pub(super) fn shortened(body: ResponseBody, events: usize, in_order: bool) -> ResponseBody {
    Shortened { body, left: events, in_order }.boxed_unsync()
}

/// A watch whose connection breaks when this is cancelled.
pub(super) fn breakable(body: ResponseBody, broken: BoxFuture<'static, ()>) -> ResponseBody {
    Breakable { body, broken }.boxed_unsync()
}

struct Breakable {
    body: ResponseBody,
    broken: BoxFuture<'static, ()>,
}

impl Body for Breakable {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.broken.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(connection_reset())));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }
}

struct Shortened {
    body: ResponseBody,
    /// Events, one per line, that are still delivered.
    left: usize,
    in_order: bool,
}

impl Body for Shortened {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left == 0 {
            let broken = (!self.in_order).then(|| Err(connection_reset()));
            return Poll::Ready(broken);
        }
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            other => return other,
        };
        let Ok(mut data) = frame.into_data() else { return Poll::Ready(None) };
        for at in 0..data.len() {
            if data[at] == b'\n' {
                self.left -= 1;
            }
            if self.left == 0 {
                data.truncate(at + 1);
                break;
            }
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

/// The error of a closed connection.
pub(super) fn connection_reset() -> BoxError {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by a test").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shortened_watch_delivers_some_events() {
        let read = async |events, in_order| {
            let mut body = shortened(text("{1}\n{2}\n{3}\n"), events, in_order);
            let mut seen = Vec::new();
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => seen.extend(frame.into_data().unwrap()),
                    Err(error) => return Err(error.to_string()),
                }
            }
            Ok(String::from_utf8(seen).unwrap())
        };
        assert_eq!(read(2, true).await, Ok("{1}\n{2}\n".to_owned()));
        assert_eq!(read(9, true).await, Ok("{1}\n{2}\n{3}\n".to_owned()));
        assert_eq!(read(0, true).await, Ok(String::new()));
        assert_eq!(read(1, false).await, Err("connection reset by a test".to_owned()));
    }
}
