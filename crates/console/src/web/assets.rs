//! The files of the page, which are part of the program.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::error::ApiError;

/// A file with its hash.
struct Asset {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
    /// Its SHA-256 as an entity tag.
    tag: String,
}

macro_rules! assets {
    ($($name:literal => $media_type:expr),* $(,)?) => {
        [$(($name, $media_type, include_str!(concat!("../../assets/", $name)))),*]
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const INDEX: &str = "index.html";

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let files = assets! {
        "index.html" => "text/html; charset=utf-8",
        "style.css" => "text/css; charset=utf-8",
        "icon.svg" => "image/svg+xml",
        "actions.js" => SCRIPT,
        "app.js" => SCRIPT,
        "client.js" => SCRIPT,
        "dom.js" => SCRIPT,
        "format.js" => SCRIPT,
        "graph.js" => SCRIPT,
        "overview.js" => SCRIPT,
        "panel.js" => SCRIPT,
        "charts.js" => SCRIPT,
        "route.js" => SCRIPT,
        "sign-in.js" => SCRIPT,
    };
    let asset = |(name, media_type, text): (_, _, &'static str)| {
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes()));
        Asset { name, media_type, text, tag: format!("\"{hash}\"") }
    };
    files.into_iter().chain(vendored()).map(asset).collect()
});

/// The files of others, byte for byte as published; a module needs one more line. Their licences are in LICENSE-*.
const fn vendored() -> [(&'static str, &'static str, &'static str); 2] {
    let script = concat!(include_str!("../../assets/vendor/uPlot.iife.min.js"), "\nexport default uPlot;\n");
    let style = include_str!("../../assets/vendor/uPlot.min.css");
    [("uplot.js", SCRIPT, script), ("uplot.css", "text/css; charset=utf-8", style)]
}

pub(super) async fn index(headers: HeaderMap) -> Response {
    answer(INDEX, &headers)
}

pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(&name, &headers)
}

/// A file; without its content if the browser has it.
fn answer(name: &str, headers: &HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return ApiError::not_found("no such file").into_response();
    };
    let known = headers.get(IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    let head = [(ETAG, asset.tag.as_str()), (CACHE_CONTROL, "no-cache"), (CONTENT_TYPE, asset.media_type)];
    if known == Some(asset.tag.as_str()) {
        return (StatusCode::NOT_MODIFIED, head).into_response();
    }
    (head, asset.text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_nothing_inline() {
        for asset in ASSETS.iter() {
            let home = "https://github.com/leeoniya/uPlot";
            let text = asset.text.replace("http://www.w3.org/", "").replace(home, "");
            for banned in [
                "http://",
                "https://",
                "//cdn",
                "innerHTML",
                "outerHTML",
                "eval(",
                "document.write",
                "style=",
                "@import",
            ] {
                assert!(!text.contains(banned), "{}: {banned}", asset.name);
            }
        }
        let index = ASSETS.iter().find(|asset| asset.name == INDEX).unwrap().text;
        for script in index.match_indices("<script").map(|(at, _)| &index[at..]) {
            let tag = script.split('>').next().unwrap();
            assert!(
                tag.contains("src=\"/assets/") && script[tag.len()..].starts_with("></script>"),
                "{script}"
            );
        }
    }

    /// From the package `uplot` 1.6.32 of the npm registry.
    #[test]
    fn vendored_files_are_as_published() {
        let hash = |text: &str| {
            Sha256::digest(text.as_bytes())
                .iter()
                .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
        };
        let script = hash(include_str!("../../assets/vendor/uPlot.iife.min.js"));
        let style = hash(include_str!("../../assets/vendor/uPlot.min.css"));
        assert_eq!(script, "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f");
        assert_eq!(style, "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04");
    }

    #[test]
    fn scripts_import_files_that_exist() {
        for asset in ASSETS.iter().filter(|asset| asset.media_type == SCRIPT) {
            for import in asset.text.lines().filter_map(|line| line.split_once(" from \"./")) {
                let name = import.1.trim_end_matches("\";");
                assert!(ASSETS.iter().any(|asset| asset.name == name), "{}: {name}", asset.name);
            }
        }
    }
}
