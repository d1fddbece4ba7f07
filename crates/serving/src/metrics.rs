//! The Prometheus registry of a program, and the /metrics endpoint.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{IntGauge, Opts, Registry, TEXT_FORMAT, TextEncoder};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A registry with the build info of a program.
pub fn registry(program: &str, version: &str) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    let build_info = Opts::new("function_mesh_build_info", "Name and version of the program; always 1.")
        .const_label("program", program)
        .const_label("version", version);
    let build_info = IntGauge::with_opts(build_info)?;
    build_info.set(1);
    registry.register(Box::new(build_info))?;
    Ok(registry)
}

/// How long a rendered page is served from the cache.
const CACHE_TTL: Duration = Duration::from_millis(200);

/// The endpoint `/metrics`. Concurrent scrapes share one rendering, so that scraping in a loop costs little.
pub fn routes(registry: Registry) -> Router {
    let page = Arc::new(CachedPage { registry, last: Mutex::new(None) });
    Router::new().route("/metrics", get(async move || page.render().await))
}

struct CachedPage {
    registry: Registry,
    last: Mutex<Option<(Instant, String)>>,
}

impl CachedPage {
    async fn render(&self) -> Response {
        let mut last = self.last.lock().await;
        if let Some((at, text)) = &*last
            && at.elapsed() < CACHE_TTL
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
    async fn page_has_build_info() {
        let routes = routes(registry("a-program", "1.2.3").unwrap());
        let response = routes.oneshot(Request::get("/metrics").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], TEXT_FORMAT);
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let line = "function_mesh_build_info{program=\"a-program\",version=\"1.2.3\"} 1";
        assert!(String::from_utf8_lossy(&text).contains(line));
    }

    /// Counts how often it is collected.
    struct CountingCollector(Arc<std::sync::atomic::AtomicUsize>, IntGauge);

    impl prometheus::core::Collector for CountingCollector {
        fn desc(&self) -> Vec<&prometheus::core::Desc> {
            prometheus::core::Collector::desc(&self.1)
        }

        fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            prometheus::core::Collector::collect(&self.1)
        }
    }

    #[tokio::test]
    async fn s18_concurrent_scrapes_share_one_rendering() {
        let registry = Registry::new();
        let reads = Arc::new(std::sync::atomic::AtomicUsize::default());
        let gauge = IntGauge::new("a", "A.").unwrap();
        registry.register(Box::new(CountingCollector(Arc::clone(&reads), gauge))).unwrap();
        let routes = routes(registry);
        let scrape = || routes.clone().oneshot(Request::get("/metrics").body(Body::empty()).unwrap());
        let begun = Instant::now();
        let scrapes: Vec<_> = (0..100).map(|_| tokio::spawn(scrape())).collect();
        for response in scrapes {
            assert_eq!(response.await.unwrap().unwrap().status(), StatusCode::OK);
        }
        let most = begun.elapsed().as_millis() / CACHE_TTL.as_millis() + 1;
        assert!(reads.load(std::sync::atomic::Ordering::Relaxed) as u128 <= most, "{reads:?} of {most}");
        tokio::time::sleep(CACHE_TTL).await;
        let before = reads.load(std::sync::atomic::Ordering::Relaxed);
        scrape().await.unwrap();
        assert_eq!(
            reads.load(std::sync::atomic::Ordering::Relaxed),
            before + 1,
            "an expired page is rendered again"
        );
    }
}
