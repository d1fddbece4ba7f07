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
#[derive(Clone, Debug, Default, Deserialize)]
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

impl Wanted {
    /// So many lines from the end of the logs, of now or of before the last restart.
    pub(super) fn last(lines: i64, previous: bool) -> Self {
        Self { lines: Some(lines), previous, ..Self::default() }
    }
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
pub(super) struct Problem {
    pod: String,
    message: String,
}

pub(super) async fn logs(
    State(app): State<App>,
    Extension(permissions): Extension<Permissions>,
    Path(path): Path<(String, String, String)>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Logs>, ApiError> {
    let texts = read_pods(&app, &permissions, path, std::slice::from_ref(&wanted)).await?;
    let mut logs = Logs { is_cut: texts.is_cut, problems: texts.problems, ..Logs::default() };
    for (pod, text) in &texts.found {
        logs.lines.extend(lines(pod, text, &wanted.search));
    }
    // Of lines of one time those of one pod stay in order.
    logs.lines.sort_by(|one, other| one.time.cmp(&other.time));
    if logs.lines.len() > SHOWN {
        logs.is_cut = true;
        logs.lines.drain(..logs.lines.len() - SHOWN);
    }
    Ok(Json(logs))
}

/// The logs of the pods of a component.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// Name of the pod, and its log.
    pub(super) found: Vec<(String, String)>,
    /// Whether there are more pods than these.
    pub(super) is_cut: bool,
    pub(super) problems: Vec<Problem>,
}

/// Reads logs of the pods of a component, in each of these ways. The log before a restart is read only of pods that have
/// restarted, unless it is all that is wanted.
pub(super) async fn read_pods(
    app: &App,
    permissions: &Permissions,
    path: (String, String, String),
    ways: &[Wanted],
) -> Result<Texts, ApiError> {
    let component = ComponentRef::new(path)?;
    let namespace = &component.namespace;
    let logs = Permission { subresource: "log", ..Permission::core("get", "pods", namespace) };
    permissions.require(logs).await?;
    let object = component.read(&app.client, permissions).await?;
    let pods = pods(&app.client, permissions, &object, namespace).await?;
    let _permit = app.log_permits.acquire().await;
    let mut requests = Vec::new();
    for pod in pods.iter().take(MOST_PODS) {
        let is_read = |wanted: &&Wanted| ways.len() == 1 || !wanted.previous || has_restarted(pod);
        requests.extend(ways.iter().filter(is_read).map(|wanted| (pod, wanted)));
    }
    let bytes = MOST_BYTES / i64::try_from(requests.len().max(1)).unwrap_or(1);
    let read = |(pod, wanted): &(&Pod, &Wanted)| {
        read(app.client.clone(), namespace.clone(), (*pod).clone(), (*wanted).clone(), bytes)
    };
    let found = join_all(requests.iter().map(read)).await;
    let mut texts = Texts { is_cut: pods.len() > MOST_PODS, ..Texts::default() };
    for ((pod, _), found) in requests.iter().zip(found) {
        match found {
            Ok(text) => texts.found.push((pod.name_any(), text)),
            Err(error) => {
                let message = printable(error.message()).into_owned();
                texts.problems.push(Problem { pod: pod.name_any(), message });
            }
        }
    }
    Ok(texts)
}

fn has_restarted(pod: &Pod) -> bool {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    containers.into_iter().any(|it| it.restart_count > 0)
}

async fn read(
    client: Client,
    namespace: String,
    pod: Pod,
    wanted: Wanted,
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
