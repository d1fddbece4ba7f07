//! The tables of metrics in docs/, as data.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, ensure};
use regex::Regex;
use serde_json::Value;

#[allow(clippy::expect_used, reason = "a pattern that is wrong is wrong always")]
static THRESHOLD: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r" (==|!=|>=|<=|>|<) (-?[0-9.]+)\b").expect("a pattern"));

/// The folder docs/.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// The chart's folder with the dashboard, the alerts and their tests.
pub(crate) fn chart() -> PathBuf {
    folder().join("../charts/function-mesh-operator/files/monitoring")
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// A metric: its name, its type and its labels.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) labels: BTreeSet<String>,
}

/// The metrics of a program according to monitoring.md.
pub(crate) fn table(program: &str) -> anyhow::Result<BTreeSet<Metric>> {
    let own = if program.ends_with("webhook") { "## The webhook" } else { "## The controller" };
    let (mut metrics, mut section) = (BTreeSet::new(), "");
    let text = read(&folder().join("monitoring.md"))?;
    for line in text.lines() {
        if line.starts_with("## ") {
            section = line;
        }
        let Some(row) =
            line.strip_prefix("| `function_mesh_").filter(|_| section == own || section == "## Both")
        else {
            continue;
        };
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [name, kind, labels, meaning, ""] = cells[..] else { anyhow::bail!("not four cells: {line}") };
        ensure!(!meaning.is_empty(), "{name} is not documented");
        metrics.insert(Metric {
            name: format!("function_mesh_{}", name.trim_end_matches('`')),
            kind: kind.to_owned(),
            labels: labels.split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect(),
        });
    }
    Ok(metrics)
}

/// A query and its origin.
pub(crate) struct Query {
    pub(crate) place: String,
    pub(crate) text: String,
}

impl Query {
    /// The query as the test runs it: with the dashboard's variables set, and each threshold as a query that
    /// always has a result. Fallbacks for missing results are removed.
    pub(crate) fn evaluated(&self) -> String {
        let text =
            self.text.replace("$__rate_interval", "1m").replace("$kind", ".*").replace(" or vector(0)", "");
        THRESHOLD.replace_all(&text, " $1 bool $2").into_owned()
    }

    pub(crate) fn thresholds(&self) -> usize {
        THRESHOLD.find_iter(&self.text).count()
    }
}

pub(crate) struct Alert {
    pub(crate) name: String,
    pub(crate) query: Query,
    pub(crate) severity: String,
    pub(crate) summary: String,
    pub(crate) description: String,
    pub(crate) runbook: String,
}

/// The alerts of alerts.yaml.
pub(crate) fn alerts() -> anyhow::Result<Vec<Alert>> {
    let file: Value = serde_saphyr::from_str(&read(&chart().join("alerts.yaml"))?)?;
    let groups = file["groups"].as_array().context("no groups")?;
    let rules = groups.iter().filter_map(|group| group["rules"].as_array()).flatten();
    let alert = |rule: &Value| {
        let text = |value: &Value| value.as_str().map(|text| text.trim().to_owned()).unwrap_or_default();
        let name = rule["alert"].as_str().context("a rule is no alert")?;
        Ok(Alert {
            name: name.to_owned(),
            query: Query { place: format!("alert {name}"), text: text(&rule["expr"]) },
            severity: text(&rule["labels"]["severity"]),
            summary: text(&rule["annotations"]["summary"]),
            description: text(&rule["annotations"]["description"]),
            runbook: text(&rule["annotations"]["runbook_url"]),
        })
    };
    rules.map(alert).collect()
}

/// Anchors in troubleshooting.md, once there is one.
pub(crate) fn runbooks() -> anyhow::Result<Option<BTreeSet<String>>> {
    if !folder().join("troubleshooting.md").exists() {
        return Ok(None);
    }
    let text = read(&folder().join("troubleshooting.md"))?;
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    Ok(Some(headings.map(|heading| heading.trim_start_matches(['#', ' ']).trim().to_lowercase()).collect()))
}

/// The dashboard.
pub(crate) struct Dashboard {
    json: Value,
    pub(crate) queries: Vec<Query>,
}

pub(crate) fn dashboard() -> anyhow::Result<Dashboard> {
    let json: Value = serde_json::from_str(&read(&chart().join("dashboard.json"))?)?;
    let mut queries = Vec::new();
    for panel in json["panels"].as_array().context("no panels")? {
        let title = panel["title"].as_str().context("a panel has no title")?;
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = target["expr"].as_str().with_context(|| format!("panel {title} has no query"))?;
            queries.push(Query { place: format!("panel {title}"), text: text.to_owned() });
        }
    }
    Ok(Dashboard { json, queries })
}

impl Dashboard {
    /// Fields that Grafana requires without validating them.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let json = &self.json;
        ensure!(json["uid"].is_string() && json["title"].is_string() && json["id"].is_null());
        ensure!(json["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
        let variables = json["templating"]["list"].as_array().context("no variables")?;
        let variables: BTreeSet<_> =
            variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
        let used = Regex::new(r"\$\{?([a-z]+)\}?").context("a pattern")?;
        let text = json.to_string().replace("$__rate_interval", "").replace("$__all", "");
        let used: BTreeSet<_> =
            used.captures_iter(&text).filter_map(|found| found.get(1)).map(|m| m.as_str()).collect();
        ensure!(variables == used, "variables {variables:?}, and {used:?} are used");
        let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for panel in json["panels"].as_array().context("no panels")? {
            let title = panel["title"].as_str().unwrap_or_default();
            ensure!(ids.insert(panel["id"].as_u64().context("no id")?), "{title}: its id is taken");
            let at = |key: &str| panel["gridPos"][key].as_u64().with_context(|| format!("{title}: no place"));
            let (x, y, w, h) = (at("x")?, at("y")?, at("w")?, at("h")?);
            ensure!(w > 0 && h > 0 && x + w <= 24, "{title} is outside of the grid");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                ensure!(taken.insert(cell), "{title} lies on another panel at {cell:?}");
            }
            if panel["type"] == "row" {
                continue;
            }
            ensure!(
                ["timeseries", "stat", "table"].contains(&panel["type"].as_str().unwrap_or_default()),
                "{title}"
            );
            ensure!(
                panel["description"].as_str().is_some_and(|text| text.ends_with('.')),
                "{title}: no description"
            );
            ensure!(panel["datasource"]["uid"] == "${datasource}", "{title}: its data source is fixed");
            ensure!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}: no unit");
            let targets = panel["targets"].as_array().with_context(|| format!("{title} has no queries"))?;
            let names: BTreeSet<_> = targets.iter().filter_map(|target| target["refId"].as_str()).collect();
            ensure!(
                names.len() == targets.len() && !targets.is_empty(),
                "{title}: queries need names of their own"
            );
            ensure!(targets.iter().all(|target| target["datasource"]["uid"] == "${datasource}"), "{title}");
        }
        Ok(())
    }
}
