//! Metrics: one registry a program, handed down to whatever counts, and the page that Prometheus reads.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{IntGauge, Opts, Registry, TEXT_FORMAT, TextEncoder};
use tokio::sync::Mutex;
use tokio::time::Instant;

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

/// How long a rendering of the page is given to others who ask.
const FRESH: Duration = Duration::from_millis(200);

/// The page `/metrics`. It is rendered for one at a time; whoever asks meanwhile, or right after it, is given the same.
pub fn routes(registry: Registry) -> Router {
    let page = Arc::new(Page { registry, last: Mutex::new(None) });
    Router::new().route("/metrics", get(async move || page.render().await))
}

struct Page {
    registry: Registry,
    last: Mutex<Option<(Instant, String)>>,
}

impl Page {
    async fn render(&self) -> Response {
        let mut last = self.last.lock().await;
        if let Some((at, text)) = &*last
            && at.elapsed() < FRESH
        {
            return page(text.clone());
        }
        match TextEncoder::new().encode_to_string(&self.registry.gather()) {
            Ok(text) => {
                *last = Some((Instant::now(), text.clone()));
                page(text)
            }
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}

fn page(text: String) -> Response {
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response()
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

    /// Counts how often it is read.
    struct Read(Arc<std::sync::atomic::AtomicUsize>, IntGauge);

    impl prometheus::core::Collector for Read {
        fn desc(&self) -> Vec<&prometheus::core::Desc> {
            prometheus::core::Collector::desc(&self.1)
        }

        fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            prometheus::core::Collector::collect(&self.1)
        }
    }

    #[tokio::test]
    async fn s18_many_scrapes_at_a_time_are_one_rendering() {
        let registry = Registry::new();
        let reads = Arc::new(std::sync::atomic::AtomicUsize::default());
        let gauge = IntGauge::new("a", "A.").unwrap();
        registry.register(Box::new(Read(Arc::clone(&reads), gauge))).unwrap();
        let routes = routes(registry);
        let ask = || routes.clone().oneshot(Request::get("/metrics").body(Body::empty()).unwrap());
        let begun = Instant::now();
        let asked: Vec<_> = (0..100).map(|_| tokio::spawn(ask())).collect();
        for response in asked {
            assert_eq!(response.await.unwrap().unwrap().status(), StatusCode::OK);
        }
        let most = begun.elapsed().as_millis() / FRESH.as_millis() + 1;
        assert!(reads.load(std::sync::atomic::Ordering::Relaxed) as u128 <= most, "{reads:?} of {most}");
        tokio::time::sleep(FRESH).await;
        let before = reads.load(std::sync::atomic::Ordering::Relaxed);
        ask().await.unwrap();
        assert_eq!(
            reads.load(std::sync::atomic::Ordering::Relaxed),
            before + 1,
            "an old rendering is not given"
        );
    }
}
