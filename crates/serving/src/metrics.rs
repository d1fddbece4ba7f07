//! Metrics: one registry a program, handed down to whatever counts, and the page that Prometheus reads.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{IntGauge, Opts, Registry, TEXT_FORMAT, TextEncoder};

/// A registry that tells which program in which version it stands for.
pub fn registry(program: &str, version: &str) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    let built = Opts::new("function_mesh_build_info", "The program and its version; always 1.")
        .const_label("program", program)
        .const_label("version", version);
    let built = IntGauge::with_opts(built)?;
    built.set(1);
    registry.register(Box::new(built))?;
    Ok(registry)
}

/// The page `/metrics`.
pub fn routes(registry: Registry) -> Router {
    Router::new().route("/metrics", get(async move || page(&registry)))
}

fn page(registry: &Registry) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn the_page_names_the_program() {
        let routes = routes(registry("a-program", "1.2.3").unwrap());
        let response = routes.oneshot(Request::get("/metrics").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], TEXT_FORMAT);
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let line = "function_mesh_build_info{program=\"a-program\",version=\"1.2.3\"} 1";
        assert!(String::from_utf8_lossy(&text).contains(line));
    }
}
