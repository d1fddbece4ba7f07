//! The page in a browser. With `CONSOLE_IMAGES=docs/images` it also draws the pictures of docs/console.md.

use std::time::{Duration, SystemTime};

use anyhow::ensure;
use function_mesh_api::types::{InputConf, OutputConf};
use function_mesh_testkit::fixtures::{self, Part};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{Console, Harness};

fn input(topics: &[&str]) -> Option<InputConf> {
    Some(InputConf {
        topics: Some(topics.iter().map(|it| (*it).to_owned()).collect()),
        ..InputConf::default()
    })
}

fn output(topic: &str) -> Option<OutputConf> {
    Some(OutputConf { topic: Some(topic.to_owned()), ..OutputConf::default() })
}

fn function(name: &str, from: &[&str], to: &str) -> Part {
    let mut spec = fixtures::java_function(name);
    (spec.input, spec.output) = (input(from), output(to));
    spec.into()
}

fn sink(name: &str, from: &[&str]) -> Part {
    let mut spec = fixtures::sink(name);
    spec.input = input(from);
    spec.into()
}

fn source(name: &str, to: &str) -> Part {
    let mut spec = fixtures::source(name);
    spec.output = output(to);
    spec.into()
}

/// A time so many seconds ago.
fn ago(seconds: u64) -> String {
    let at = SystemTime::now() - Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(at).to_string()
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 1,
        "lastTransitionTime": ago(1200),
    })
}

fn status(phase: &str, (ready, updated, wanted): (i32, i32, i32), traffic: Value) -> Value {
    json!({
        "phase": phase, "observedGeneration": 1, "replicas": wanted, "readyReplicas": ready,
        "updatedReplicas": updated, "traffic": traffic,
    })
}

fn traffic(rate: f64, backlog: u64, lag: u64) -> Value {
    json!({ "inRate": rate, "outRate": rate, "backlog": backlog, "lagSeconds": lag, "exceptions": 0 })
}

/// A shop: a mesh under load with everything that can be drawn, and two quiet ones.
async fn shop() -> anyhow::Result<Harness> {
    let harness = Harness::empty("shop").await?;
    let mut score = fixtures::java_function("score");
    (score.input, score.output) = (input(&["enriched", "retries"]), output("scored"));
    score.dead_letter_topic = Some("dead".to_owned());
    score.max_message_retry = Some(3);
    let parts = vec![
        source("orders", "raw"),
        function("clean", &["raw"], "clean"),
        function("enrich", &["clean"], "enriched"),
        score.into(),
        function("route", &["scored"], "decided"),
        function("retry", &["decided"], "retries"),
        sink("database", &["decided"]),
        sink("archive", &["raw"]),
        sink("alerts", &["suspicious"]),
    ];
    harness.mesh("orders", parts).await?;
    harness
        .mesh("invoices", vec![function("print", &["invoices"], "printed"), sink("mail", &["printed"])])
        .await?;
    harness
        .mesh("people", vec![source("people", "names"), function("greet", &["names"], "greetings")])
        .await?;
    let ready = |message: &str| json!({ "observedGeneration": 1, "conditions": [condition("Ready", "True", "ComponentsReady", message)] });
    harness.report("functionmesh/people", &ready("all 2 components are ready")).await?;
    harness.report("functionmesh/invoices", &ready("all 2 components are ready")).await?;
    harness.report("functionmesh/orders", &ready("all 9 components are ready")).await?;
    let all = (2, 2, 2);
    for (object, status) in [
        ("source/orders-orders", status("Ready", (1, 1, 1), json!({ "outRate": 450 }))),
        ("function/orders-clean", status("Ready", all, traffic(450.0, 1300, 3))),
        ("function/orders-enrich", status("Ready", (4, 4, 4), traffic(448.0, 52_000, 200))),
        (
            "function/orders-score",
            status(
                "Ready",
                all,
                json!({ "inRate": 440, "outRate": 431, "backlog": 90, "lagSeconds": 1, "exceptions": 12 }),
            ),
        ),
        ("function/orders-route", status("Ready", all, traffic(431.0, 0, 0))),
        ("function/orders-retry", status("Ready", (1, 1, 1), traffic(2.5, 0, 0))),
        ("sink/orders-database", status("Ready", all, traffic(428.0, 12, 0))),
        ("sink/orders-archive", status("Ready", (1, 1, 1), traffic(450.0, 800, 2))),
        ("sink/orders-alerts", status("Ready", (1, 1, 1), traffic(0.02, 0, 0))),
        ("source/people-people", status("Ready", (1, 1, 1), json!({ "outRate": 45 }))),
        ("function/people-greet", status("Ready", all, traffic(45.0, 0, 0))),
        ("function/invoices-print", status("Suspended", (0, 0, 0), traffic(0.0, 40, 3600))),
        ("sink/invoices-mail", status("Suspended", (0, 0, 0), traffic(0.0, 0, 0))),
    ] {
        harness.report(object, &status).await?;
    }
    Ok(harness)
}

/// A browser at a page of a console.
async fn browser(console: &Console, page: &str) -> anyhow::Result<Browser> {
    let mut browser = Browser::start().await?;
    browser.open(&format!("http://{}/#/{page}?token={}", console.host, console.one_time)).await?;
    Ok(browser)
}

const COMPONENTS: &str = "document.querySelectorAll('svg .component').length";

#[tokio::test]
async fn the_page_shows_meshes_and_follows_the_cluster() -> anyhow::Result<()> {
    let harness = Box::pin(shop()).await?;
    let console = harness.console().await?;
    let origin = format!("http://{}/", console.host);
    let mut browser = browser(&console, "").await?;
    browser.until("document.querySelectorAll('tbody tr').length === 3").await?;
    ensure!(browser.eval("location.hash").await? == "#/", "the token is still in the URL");
    browser.picture("overview").await?;

    // A link leads to the graph.
    browser.eval("document.querySelector('a[href$=\"/orders\"]').click()").await?;
    browser.until(&format!("{COMPONENTS} === 9")).await?;
    let text = browser.eval("document.querySelector('svg').textContent").await?;
    for shown in ["Ready 4/4 · 448/s", "52k · 3m20s", "!12", "from outside", "dead letters"] {
        ensure!(text.as_str().is_some_and(|it| it.contains(shown)), "{shown}: {text}");
    }
    browser.picture("load").await?;
    browser.resize(1280, 800, true).await?;
    browser.picture("dark").await?;
    browser.resize(400, 800, false).await?;
    browser.eval("document.querySelectorAll('main button')[1].click()").await?;
    browser.until("document.querySelectorAll('main table tbody tr').length === 9").await?;
    browser.picture("narrow").await?;
    browser.resize(1280, 800, false).await?;
    browser.eval("document.querySelectorAll('main button')[0].click()").await?;

    // A change of the cluster arrives without a reload.
    let mut stalled = status(
        "Degraded",
        (2, 2, 2),
        json!({ "inRate": 448, "outRate": 0, "backlog": 61_000, "lagSeconds": 520 }),
    );
    let message = "the consumers hold 1,000 messages that they do not acknowledge: a call may not return";
    stalled["message"] = message.into();
    stalled["standardConditions"] = json!([condition("Stalled", "True", "BlockedOnUnacked", message)]);
    harness.report("function/orders-enrich", &stalled).await?;
    harness.report("function/orders-route", &status("Progressing", (1, 1, 2), traffic(431.0, 0, 0))).await?;
    harness.report("sink/orders-archive", &status("Suspended", (0, 0, 0), json!({ "backlog": 900 }))).await?;
    browser
        .until("document.querySelector('.component.stalled')?.textContent.includes('■ stalled 2/2')")
        .await?;
    browser
        .until("document.querySelector('.component.rolling')?.textContent.includes('rolling out 1/2')")
        .await?;
    browser.until("document.querySelector('.component.asleep')?.textContent.includes('☾ asleep')").await?;
    browser.until("document.getElementById('announcer').textContent !== ''").await?;
    browser.picture("asleep").await?;
    browser.eval("document.querySelector('.component.stalled').dispatchEvent(new MouseEvent('click', { bubbles: true }))").await?;
    browser.until("document.getElementById('panel').textContent.includes('Stalled: True')").await?;
    browser.picture("stalled").await?;
    browser.check(&origin).await
}

#[tokio::test]
async fn the_keyboard_leads_through_the_graph() -> anyhow::Result<()> {
    let harness = Harness::new("keys").await?;
    harness.report_backlog(5).await?;
    let console = harness.console().await?;
    let mesh = format!("{}/m", harness.namespace);
    let mut browser = browser(&console, &mesh).await?;
    browser.until(&format!("{COMPONENTS} === 2")).await?;
    browser.eval("document.querySelector('svg .component').focus()").await?;
    let focused = "document.activeElement.getAttribute('aria-label')";
    browser
        .until(&format!("{focused}?.startsWith('Function shout, healthy, Ready, 2 of 2 pods ready')"))
        .await?;
    browser.press("ArrowRight").await?;
    browser.until(&format!("{focused}.startsWith('Function scream')")).await?;
    browser.press("ArrowLeft").await?;
    browser.until(&format!("{focused}.startsWith('Function shout')")).await?;
    browser.press("Enter").await?;
    browser.until("location.hash.endsWith('/function/m-shout')").await?;
    browser.until("document.activeElement.textContent === 'm-shout'").await?;
    let found = browser.accessible().await?;
    let has = |role: &str, name: &str| found.iter().any(|(of, text)| of == role && text.contains(name));
    for (role, name) in [
        ("button", "Function scream"),
        ("navigation", "Path"),
        ("tab", "Logs"),
        ("tabpanel", "Status"),
        ("complementary", "Component"),
        ("heading", "m-shout"),
    ] {
        ensure!(has(role, name), "{role} {name}: {found:?}");
    }
    browser.press("Escape").await?;
    browser.until("document.getElementById('panel').hidden").await?;
    browser.until(&format!("{focused}.startsWith('Function shout')")).await?;

    // A deep link is a state; the session is that of the tab.
    browser.eval(&format!("location.hash = '#/{mesh}/function/m-scream?tab=yaml'")).await?;
    browser.until("document.querySelector('#panel pre')?.textContent.includes('className:')").await?;
    browser.reload().await?;
    browser.until("document.querySelector('#panel pre')?.textContent.includes('className:')").await?;
    browser.check(&format!("http://{}/", console.host)).await
}

#[tokio::test]
async fn the_last_hour_is_drawn() -> anyhow::Result<()> {
    let harness = Harness::new("charts").await?;
    let console = harness.console().await?;
    let mut browser = browser(&console, &format!("{}/m/function/m-shout", harness.namespace)).await?;
    browser.until("document.getElementById('panel').textContent.includes('Pods ready')").await?;
    ensure!(!browser.requests.iter().any(|url| url.contains("uplot")), "charts are loaded when asked for");
    for backlog in [5, 1300, 52_000, 40, 61_000] {
        let rate = f64::from(u32::try_from(backlog)?) / 100.0;
        harness
            .report("function/m-shout", &status("Ready", (1, 1, 2), traffic(rate, backlog, backlog / 50)))
            .await?;
    }
    browser.eval("document.getElementById('tab-charts').click()").await?;
    browser.until("document.querySelectorAll('.chart canvas').length === 4").await?;
    let found = browser.accessible().await?;
    let label = "Backlog of the last hour: backlog 61k, at most 61k";
    ensure!(found.iter().any(|(_, name)| name == label), "{found:?}");
    let painted = "(() => { const canvas = document.querySelectorAll('.chart canvas')[1]; \
        return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((byte) => byte > 0); })()";
    ensure!(browser.eval(painted).await? == true, "the canvas is empty");
    browser.picture("charts").await?;

    // What is unknown is no line, and not zero.
    browser.eval("location.hash = location.hash.replace('m-shout', 'm-scream')").await?;
    browser.until("[...document.querySelectorAll('.chart')].filter((it) => it.textContent.includes(': unknown')).length === 4").await?;
    browser.check(&format!("http://{}/", console.host)).await
}

#[tokio::test]
async fn hostile_texts_stay_texts() -> anyhow::Result<()> {
    let harness = Harness::new("hostile").await?;
    let attack =
        "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script>\u{202e}";
    let mut status = status("Degraded", (0, 0, 2), json!({ "message": attack }));
    status["message"] = attack.into();
    status["standardConditions"] = json!([condition("Degraded", "True", "PodsFailing", attack)]);
    harness.report("function/m-shout", &status).await?;
    let console = harness.console().await?;
    let mut browser = browser(&console, &format!("{}/m/function/m-shout", harness.namespace)).await?;
    browser.until("document.getElementById('panel').textContent.includes('Degraded: True')").await?;
    let found = browser.eval("[document.querySelectorAll('img, main script, aside script').length, document.title.includes('pwned'), document.body.textContent.includes('\\u202e')]").await?;
    ensure!(found == json!([0, false, false]), "{found}");
    let text = browser.eval("document.getElementById('panel').textContent").await?;
    ensure!(text.as_str().is_some_and(|it| it.contains("<script>document.title")), "{text}");
    browser.check(&format!("http://{}/", console.host)).await
}

#[tokio::test]
async fn a_page_without_a_session_says_so() -> anyhow::Result<()> {
    let harness = Harness::new("used").await?;
    let console = harness.console().await?;
    console.exchange(&console.one_time).await?;
    let mut browser = browser(&console, "").await?;
    browser.until("document.getElementById('problem').textContent.includes('was used already')").await?;
    ensure!(browser.eval(COMPONENTS).await? == 0);
    Ok(())
}

#[tokio::test]
#[allow(clippy::print_stderr, reason = "a figure for people")]
async fn a_thousand_nodes_are_drawn() -> anyhow::Result<()> {
    let harness = Harness::empty("large").await?;
    let functions: Vec<Value> = (0..500)
        .map(|n| {
            json!({
                "name": format!("f{n}"), "className": "C", "java": { "jar": "/a.jar" }, "pulsar": { "pulsarConfig": "p" },
                "input": { "topics": [format!("t{}", n / 3)] }, "output": { "topic": format!("t{}", n + 1) },
            })
        })
        .collect();
    let mesh = json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh",
        "metadata": { "name": "m", "namespace": harness.namespace }, "spec": { "functions": functions },
    });
    harness.create_manifest(&mesh).await?;
    let console = harness.console().await?;
    let mut browser = browser(&console, &format!("{}/m", harness.namespace)).await?;
    browser.until(&format!("{COMPONENTS} === 500")).await?;
    ensure!(browser.eval("document.querySelectorAll('svg .topic').length").await? == 501);
    browser.check(&format!("http://{}/", console.host)).await?;
    let time = browser.eval("performance.getEntriesByName('draw')[0].duration").await?;
    eprintln!("501 topics and 500 components drawn in {time} ms");
    browser.picture("large").await
}
