//! The logs of all pods of a component as one, with search. Logs can show secrets; reading them needs a separate permission.

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use function_mesh_api::{labels, printable};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client, ResourceExt};
use serde::{Deserialize, Serialize};

use super::App;
use super::access::{Permission, Permissions};
use super::error::ApiError;
use super::pods::{ComponentRef, pods};

/// Lines of each pod.
const DEFAULT_LINES: i64 = 500;
const MOST_LINES: i64 = 5000;
/// Bytes of all pods together.
const MOST_BYTES: i64 = 4 << 20;
/// Requests that read logs at a time.
pub(super) const AT_A_TIME: usize = 2;
/// Pods whose logs are read.
const MOST_PODS: usize = 20;
/// Lines of the answer.
const SHOWN: usize = 2000;
/// Letters of a line.
const LINE: usize = 4000;

/// Which lines.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    /// A text that a line contains, in upper or lower case.
    #[serde(default)]
    search: String,
    /// Lines from the end of each log.
    lines: Option<i64>,
    /// The log of the containers before their last restart.
    #[serde(default)]
    previous: bool,
}

/// Lines of all pods in the order of their time.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Logs {
    lines: Vec<Line>,
    /// Whether there are more lines than these.
    is_cut: bool,
    problems: Vec<Problem>,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
struct Line {
    time: String,
    pod: String,
    text: String,
}

/// Why the log of a pod is missing.
#[derive(Debug, Serialize)]
struct Problem {
    pod: String,
    message: String,
}

pub(super) async fn logs(
    State(app): State<App>,
    Extension(permissions): Extension<Permissions>,
    Path(path): Path<(String, String, String)>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Logs>, ApiError> {
    let component = ComponentRef::new(path)?;
    let namespace = &component.namespace;
    let logs = Permission { subresource: "log", ..Permission::core("get", "pods", namespace) };
    permissions.require(logs).await?;
    let object = component.read(&app.client, &permissions).await?;
    let pods = pods(&app.client, &permissions, &object, namespace).await?;
    let _permit = app.log_permits.acquire().await;
    let bytes = MOST_BYTES / i64::try_from(pods.len().clamp(1, MOST_PODS)).unwrap_or(1);
    let read = |pod: &Pod| read(app.client.clone(), namespace.clone(), pod.clone(), &wanted, bytes);
    let found = join_all(pods.iter().take(MOST_PODS).map(read)).await;
    let mut logs = Logs { is_cut: pods.len() > MOST_PODS, ..Logs::default() };
    for (pod, found) in pods.iter().zip(found) {
        match found {
            Ok(text) => logs.lines.extend(lines(&pod.name_any(), &text, &wanted.search)),
            Err(error) => {
                let message = printable(error.message()).into_owned();
                logs.problems.push(Problem { pod: pod.name_any(), message });
            }
        }
    }
    // Of lines of one time those of one pod stay in order.
    logs.lines.sort_by(|one, other| one.time.cmp(&other.time));
    if logs.lines.len() > SHOWN {
        logs.is_cut = true;
        logs.lines.drain(..logs.lines.len() - SHOWN);
    }
    Ok(Json(logs))
}

async fn read(
    client: Client,
    namespace: String,
    pod: Pod,
    wanted: &Wanted,
    bytes: i64,
) -> Result<String, ApiError> {
    let first = pod.spec.as_ref().and_then(|spec| spec.containers.first()).map(|it| it.name.clone());
    let params = LogParams {
        container: pod.annotations().get(labels::DEFAULT_CONTAINER).cloned().or(first),
        tail_lines: Some(wanted.lines.unwrap_or(DEFAULT_LINES).clamp(1, MOST_LINES)),
        limit_bytes: Some(bytes),
        timestamps: true,
        previous: wanted.previous,
        ..LogParams::default()
    };
    Ok(Api::<Pod>::namespaced(client, &namespace).logs(&pod.name_any(), &params).await?)
}

/// The lines of a log that contain a text.
fn lines(pod: &str, text: &str, search: &str) -> Vec<Line> {
    let search = search.to_lowercase();
    let line = |line: &str| {
        let (time, text) = line.split_once(' ').unwrap_or((line, ""));
        let shown: String = printable(text).chars().take(LINE).collect();
        let is_wanted = search.is_empty() || shown.to_lowercase().contains(&search);
        is_wanted.then(|| Line { time: printable(time).into_owned(), pod: pod.to_owned(), text: shown })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_text_and_sanitized() {
        let log = "2026-01-01T00:00:00.1Z Started\n2026-01-01T00:00:01Z ERROR \u{1b}[31mno\n\n";
        let found = lines("p-0", log, "error");
        let time = "2026-01-01T00:00:01Z".to_owned();
        let text = "ERROR \u{fffd}[31mno".to_owned();
        assert_eq!(found, [Line { time, pod: "p-0".to_owned(), text }]);
        assert_eq!(lines("p-0", log, "").len(), 3);
        assert_eq!(lines("p-0", &format!("t {}", "x".repeat(9999)), "")[0].text.len(), LINE);
    }
}
