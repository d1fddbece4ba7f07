//! A real Prometheus with the alerts of docs/, and its HTTP API.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_testkit::{PATIENCE, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::documents::{Metric, chart};
use crate::programs::Program;

const MISSING: &str = "it comes with the Debian package prometheus, which hack/test installs";

pub(crate) struct Prometheus {
    address: SocketAddr,
    program: Program,
    _data: TempDir,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes these programs every second.
    pub(crate) fn start(targets: &[(&'static str, SocketAddr)]) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let rules = chart().join("alerts.yaml").canonicalize()?;
        let jobs: Vec<_> = targets
            .iter()
            .map(|(job, address)| json!({ "job_name": job, "static_configs": [{ "targets": [address] }] }))
            .collect();
        // JSON is valid YAML.
        let config = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [rules],
            "scrape_configs": jobs,
        });
        let file = data.path().join("prometheus.yml");
        std::fs::write(&file, config.to_string())?;
        // Prometheus does not report a port that the system selected.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let args = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", data.path().join("data").display()),
            format!("--web.listen-address={address}"),
        ];
        let program = Program::start("prometheus".as_ref(), &args, &[]).context(MISSING)?;
        Ok(Self { address, program, _data: data })
    }

    /// A response of the HTTP API.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let request =
            reqwest::Client::new().get(format!("http://{}/api/v1/{path}", self.address)).query(query);
        let answer: Value = request.send().await.with_context(|| self.program.log())?.json().await?;
        ensure!(answer["status"] == "success", "{path} {query:?}: {answer}");
        Ok(answer["data"].clone())
    }

    /// The current result of a query: labels and values.
    pub(crate) async fn query(&self, query: &str) -> anyhow::Result<Vec<(Value, f64)>> {
        let data = self.get("query", &[("query", query)]).await?;
        let found = data["result"].as_array().context("no result")?;
        let sample = |sample: &Value| {
            let value = sample["value"][1].as_str().context("no value")?.parse()?;
            Ok((sample["metric"].clone(), value))
        };
        found.iter().map(sample).collect()
    }

    /// Waits until each program was scraped this often.
    pub(crate) async fn scrapes(&self, count: u32) -> anyhow::Result<()> {
        eventually(PATIENCE, async || {
            let up = self.query("min(sum_over_time(up[1m]))").await?;
            ensure!(up.first().is_some_and(|(_, scrapes)| *scrapes >= f64::from(count)), "{up:?}");
            Ok(())
        })
        .await?;
        // The rules were evaluated after these scrapes.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    /// The metrics of a program, from its /metrics page.
    pub(crate) async fn exposed(&self, program: &str) -> anyhow::Result<BTreeSet<Metric>> {
        let target = format!("{{job=\"{program}\"}}");
        let metadata = self.get("targets/metadata", &[("match_target", &target)]).await?;
        let mut kinds = BTreeMap::new();
        for entry in metadata.as_array().context("no metadata")? {
            let text = |key: &str| entry[key].as_str().map(str::to_owned).context("no text");
            ensure!(!text("help")?.is_empty(), "no help: {entry}");
            kinds.insert(text("metric")?, text("type")?);
        }
        let mut metrics = BTreeSet::new();
        for (name, kind) in kinds {
            let series = if kind == "histogram" { format!("{name}_bucket") } else { name.clone() };
            let selector = format!("{series}{target}");
            let found = self.get("series", &[("match[]", &selector)]).await?;
            let found = found.as_array().filter(|found| !found.is_empty()).context("no series")?;
            let mut labels: BTreeSet<String> =
                found.iter().filter_map(Value::as_object).flat_map(|labels| labels.keys().cloned()).collect();
            for ours in ["__name__", "job", "instance", "le"] {
                labels.remove(ours);
            }
            metrics.insert(Metric { name, kind, labels });
        }
        Ok(metrics)
    }
}

/// Runs promtool with this text on its standard input.
pub(crate) async fn promtool(args: &[&str], input: &str) -> anyhow::Result<()> {
    let mut child = tokio::process::Command::new("promtool")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(MISSING)?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let text = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "promtool {}:\n{}", args.join(" "), String::from_utf8_lossy(&text));
    Ok(())
}
