//! How long a new mesh takes from `apply` to its first result: in Java, in Python, both in a row, and both from the package service.
//!
//! `FIRST_RESULT_RUNS` sets how often each is measured (1). The figures are printed, not checked: they are the machine's.

use std::env;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_e2e::{Scenario, code};
use serde_json::{Value, json};
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_mins(3);

#[tokio::test]
async fn a_new_mesh_has_its_first_result_soon() -> Result<()> {
    Scenario::run("first-result", async |scenario| {
        let jar = scenario.pulsar.upload("function", "jar", code("functions.jar")?).await?;
        let py = scenario.pulsar.upload("function", "py", code("python/double.py")?).await?;
        let jar = json!({ "java": { "jar": "/pulsar/e2e.jar", "jarLocation": jar } });
        let py = json!({ "python": { "py": "/pulsar/double.py", "pyLocation": py } });
        let runs = env::var("FIRST_RESULT_RUNS").ok().map(|text| text.parse::<usize>()).transpose()?;
        let runs = runs.unwrap_or(1);
        for (what, code) in [("mounted", [None, None]), ("package", [Some(jar), Some(py)])] {
            for languages in [&["java"][..], &["python"], &["java", "python"]] {
                let mut seconds = Vec::new();
                for run in 0..runs {
                    let name = format!("{what}-{}-{run}", languages.join("-"));
                    seconds.push(first_result(scenario, &name, languages, &code).await?.as_secs_f64());
                }
                print(&format!("{}, {what}", languages.join(" then ")), &mut seconds);
            }
        }
        Ok(())
    })
    .await
}

/// Applies a mesh of functions in a row, and returns the time until the first message has passed through all of them.
async fn first_result(
    scenario: &Scenario,
    name: &str,
    languages: &[&str],
    [jar, py]: &[Option<Value>; 2],
) -> Result<Duration> {
    let topic = |place: usize| format!("{name}-{place}");
    let mut components = Vec::new();
    for (place, language) in languages.iter().enumerate() {
        let (from, to, function) = (topic(place), topic(place + 1), format!("f{place}"));
        let (component, code) = match *language {
            "java" => (scenario.java(&function, "e2e.Double", &from, &to), jar),
            "python" => (scenario.python(&function, "double.Double", &from, &to), py),
            other => bail!("no function in {other}"),
        };
        components.push(match code {
            Some(code) => component.with_code(code.clone()),
            None => component,
        });
    }
    let mut results = scenario.pulsar.consumer(&topic(languages.len()), "results").await?;
    let began = Instant::now();
    scenario.apply::<FunctionMesh>(scenario.mesh(name, &components)).await?;
    // A message before a consumer would decide the schema of its topic.
    for place in 0..languages.len() {
        scenario.pulsar.await_consumer(&topic(place), TIMEOUT).await?;
    }
    scenario.pulsar.send(&topic(0), &["first "]).await?;
    let result = timeout(TIMEOUT, results.receive()).await.context("no result")??;
    let took = began.elapsed();
    ensure!(result.text() == "first ".repeat(1 << languages.len()), "{}", result.text());
    scenario.api::<FunctionMesh>().delete(name, &kube::api::DeleteParams::foreground()).await?;
    scenario
        .eventually("the mesh is gone", TIMEOUT, async || {
            Ok(scenario.api::<FunctionMesh>().get_opt(name).await?.is_none())
        })
        .await?;
    Ok(took)
}

#[expect(clippy::print_stdout, reason = "the figures are the result")]
fn print(what: &str, seconds: &mut [f64]) {
    seconds.sort_by(f64::total_cmp);
    let all: Vec<_> = seconds.iter().map(|it| format!("{it:.1}")).collect();
    println!("to the first result, {what}: median {:.1} s of {}", seconds[seconds.len() / 2], all.join(" "));
}
