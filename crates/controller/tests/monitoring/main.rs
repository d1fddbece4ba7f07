//! Documented metrics, dashboard and alerts match a real Prometheus that scrapes the real programs under load.

mod documents;
mod load;
mod programs;
mod prometheus;

use anyhow::{Context, ensure};
use documents::{Metric, alerts, dashboard, runbooks, table};
use function_mesh_testkit::{ControlPlane, PATIENCE, eventually};
use load::Load;
use programs::Operator;
use prometheus::{Prometheus, promtool};
use serde_json::Value;

type Nothing = anyhow::Result<()>;

/// Both programs with a control plane and a load, scraped by a Prometheus.
async fn watched() -> anyhow::Result<(Operator, Prometheus)> {
    let plane = ControlPlane::shared().await?;
    let load = Load::new(plane).await?;
    let operator = Operator::start(plane, load.namespace()).await?;
    let prometheus = Prometheus::start(&operator.metrics())?;
    Box::pin(load.run()).await?;
    // A rate needs two samples of a series.
    prometheus.scrapes(3).await?;
    load.check(&prometheus).await?;
    Ok((operator, prometheus))
}

#[tokio::test]
async fn documented_metrics_match_scraped_metrics() -> Nothing {
    let (operator, prometheus) = Box::pin(watched()).await?;

    let (mut queries, mut silent) = (0, Vec::new());
    for query in dashboard()?.queries.into_iter().chain(alerts()?.into_iter().map(|alert| alert.query)) {
        queries += 1;
        let found = prometheus.query(&query.evaluated()).await.with_context(|| query.place.clone())?;
        if found.is_empty() {
            silent.push(format!("{}: {}", query.place, query.text));
        }
    }
    ensure!(silent.is_empty(), "these queries return nothing:\n{}", silent.join("\n"));
    println!("{queries} queries return data");

    let rules = prometheus.get("rules", &[]).await?;
    let groups = rules["groups"].as_array().context("groups")?;
    let rules: Vec<&Value> = groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
    ensure!(
        rules.len() == alerts()?.len() && rules.iter().all(|rule| rule["lastError"].is_null()),
        "{rules:?}"
    );

    let mut differences = Vec::new();
    for program in Operator::PROGRAMS {
        let written = table(program)?;
        let exposed = prometheus.exposed(program).await?;
        ensure!(!exposed.is_empty(), "{program} exposes nothing");
        differences.extend(
            written.difference(&exposed).map(|metric| format!("{program}: only written: {metric:?}")),
        );
        differences.extend(
            exposed.difference(&written).map(|metric| format!("{program}: only exposed: {metric:?}")),
        );
        println!("{program}: {} metrics", exposed.len());
    }
    ensure!(differences.is_empty(), "docs/monitoring.md is not right:\n{}", differences.join("\n"));

    for (program, address) in operator.metrics() {
        let page = reqwest::get(format!("http://{address}/metrics")).await?.text().await?;
        promtool(&["check", "metrics"], &page).await.context(program)?;
    }
    Ok(())
}

#[tokio::test]
async fn alert_rules_fire_on_their_conditions() -> Nothing {
    let folder = documents::chart();
    let path = |name: &str| folder.join(name).display().to_string();
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", &path("alerts.yaml")], "").await?;
    promtool(&["test", "rules", &path("alerts.test.yaml")], "").await?;
    let tested = std::fs::read_to_string(path("alerts.test.yaml"))?;
    let runbooks = runbooks()?;
    for alert in alerts()? {
        let name = &alert.name;
        ensure!(tested.contains(&format!("alertname=\"{name}\"")), "{name} has no test");
        ensure!(
            ["critical", "warning", "info"].contains(&alert.severity.as_str()),
            "{name}: {}",
            alert.severity
        );
        for (key, text) in [("summary", &alert.summary), ("description", &alert.description)] {
            ensure!(!text.is_empty() && !text.contains("  "), "{name} has no good {key}: {text:?}");
        }
        let anchor = name.to_lowercase();
        ensure!(alert.runbook == format!("docs/troubleshooting.md#{anchor}"), "{name}: {}", alert.runbook);
        if let Some(runbooks) = &runbooks {
            ensure!(runbooks.contains(&anchor), "docs/troubleshooting.md has no section {name}");
        }
        ensure!(alert.query.thresholds() > 0, "{name} has no threshold in the format of monitoring.md");
    }
    Ok(())
}

#[test]
fn dashboard_has_the_grafana_schema() -> Nothing {
    let dashboard = dashboard()?;
    ensure!(dashboard.queries.len() > 20, "{} queries", dashboard.queries.len());
    dashboard.check()
}

#[test]
fn each_metric_is_in_one_table() -> Nothing {
    let [controller, webhook] = Operator::PROGRAMS.map(table);
    let both: Vec<Metric> = controller?.intersection(&webhook?).cloned().collect();
    ensure!(both.len() == 4, "{both:?}");
    Ok(())
}

/// Waits until a query returns this number.
async fn becomes(prometheus: &Prometheus, query: &str, expected: f64) -> Nothing {
    eventually(PATIENCE, async || {
        let found = prometheus.query(query).await?;
        let sum: f64 = found.iter().map(|(_, value)| value).sum();
        ensure!((sum - expected).abs() < 1e-9, "{query} gives {found:?}, not {expected}");
        Ok(())
    })
    .await
}
