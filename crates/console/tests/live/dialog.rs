//! The actions of the page in a browser: the dialog, the keyboard, and buttons of actions that would be denied.

use anyhow::ensure;
use function_mesh_api::{Function, labels};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{Console, Harness, component};
use crate::rights::grant;
use crate::users::ours;

async fn open(console: &Console, page: &str) -> anyhow::Result<Browser> {
    let mut browser = Browser::start().await?;
    browser.open(&format!("http://{}/#/{page}?token={}", console.host, console.one_time)).await?;
    Ok(browser)
}

async fn function(harness: &Harness) -> anyhow::Result<Function> {
    harness.get("m-shout").await
}

const FOCUS: &str = "document.activeElement";

#[tokio::test]
async fn a_command_is_shown_before_it_runs() -> anyhow::Result<()> {
    let harness = Harness::new("dialog").await?;
    harness.report("function/m-shout", &component(&json!({ "backlog": 5 }))).await?;
    let console = harness.console().await?;
    let mut browser = open(&console, &format!("{}/m/function/m-shout", harness.namespace)).await?;
    browser.until("document.getElementById('component-suspend')").await?;
    browser.until("document.getElementById('mesh-suspend')").await?;

    // Enter on the button opens the dialog; Cancel has the focus, so that a second Enter does no harm.
    browser.eval("document.getElementById('component-suspend').focus()").await?;
    browser.press("Enter").await?;
    browser.until("document.querySelector('dialog[open]')").await?;
    browser.until(&format!("{FOCUS}.textContent === 'Cancel'")).await?;
    let command = format!(
        "kubectl annotate functions.compute.functionmesh.io/m-shout -n {} {}=true --overwrite",
        harness.namespace,
        labels::SUSPEND
    );
    ensure!(browser.eval("document.querySelector('dialog code').textContent").await? == command);
    let found = browser.accessible().await?;
    let has = |role: &str, name: &str| found.iter().any(|(of, text)| of == role && text == name);
    for (role, name) in [("dialog", "Suspend: function/m-shout"), ("button", "Cancel"), ("button", "Suspend")]
    {
        ensure!(has(role, name), "{role} {name}: {found:?}");
    }
    browser.picture("dialog").await?;
    browser.press("Enter").await?;
    browser.until("!document.querySelector('dialog')").await?;
    browser.until(&format!("{FOCUS}.id === 'component-suspend'")).await?;
    // The same with Escape, which leaves the panel open.
    browser.press("Enter").await?;
    browser.until("document.querySelector('dialog[open]')").await?;
    browser.press("Escape").await?;
    browser.until("!document.querySelector('dialog') && !document.getElementById('panel').hidden").await?;
    ensure!(!labels::is_suspended(&function(&harness).await?.metadata), "it ran without a confirmation");

    browser.press("Enter").await?;
    browser.until("document.querySelector('dialog[open]')").await?;
    browser.eval("document.querySelector('dialog .run').click()").await?;
    browser.until("document.getElementById('component-resume')").await?;
    browser.until("document.querySelector('#panel .result').textContent.includes('annotated')").await?;
    ensure!(labels::is_suspended(&function(&harness).await?.metadata), "it did not run");

    // The command follows the number.
    browser.eval("document.getElementById('component-scale').click()").await?;
    let number = |number: &str| {
        format!(
            "(() => {{ const field = document.querySelector('dialog input'); field.value = '{number}'; \
             field.dispatchEvent(new Event('input')); return document.querySelector('dialog code').textContent; }})()"
        )
    };
    let shown = browser.eval(&number("4")).await?;
    ensure!(shown.as_str().is_some_and(|it| it.ends_with("--replicas=4")), "{shown}");
    browser.eval(&number("")).await?;
    ensure!(browser.eval("document.querySelector('dialog .run').disabled").await? == true);
    browser.eval(&number("4")).await?;
    // Meanwhile another person changes the object: nothing is overwritten, and the page says why.
    let annotate = ["annotate", "function/m-shout", "-n", &harness.namespace, "team=other"];
    harness.plane.kubectl(&annotate, "").await?;
    browser.eval("document.querySelector('dialog .run').click()").await?;
    browser
        .until("document.querySelector('dialog [role=alert]').textContent.includes('has changed')")
        .await?;
    browser.until("document.querySelector('dialog .run').disabled").await?;
    browser.eval("document.querySelector('dialog .cancel').click()").await?;
    // What a browser logs of an answer 409 is expected.
    browser.log.retain(|line| !line.contains("409"));
    browser.check(&format!("http://{}/", console.host)).await
}

#[tokio::test]
async fn a_button_of_a_denied_action_says_why() -> anyhow::Result<()> {
    let harness = Harness::new("refused").await?;
    let rules = json!([ours(&["*"], &["get", "list", "watch"]), ours(&["functions"], &["patch"])]);
    grant(&harness, "annotator", &rules).await?;
    let kubeconfig = harness.plane.kubeconfig_by_roles("annotator").await?;
    let console = Console::start(&kubeconfig, &harness.namespace).await?;
    let mut browser = open(&console, &format!("{}/m/function/m-shout", harness.namespace)).await?;
    browser.until("document.getElementById('component-scale')").await?;
    let found = browser.eval(
        "['suspend', 'scale'].map((it) => document.getElementById(`component-${it}`)).map((it) => \
         [it.getAttribute('aria-disabled'), document.getElementById(it.getAttribute('aria-describedby'))?.textContent ?? null])",
    );
    let reason = format!("you may not patch functions/scale in the namespace {}", harness.namespace);
    assert_eq!(found.await?, json!([[Value::Null, Value::Null], ["true", reason]]));
    // It can be reached, and says why instead of opening a dialog.
    browser.eval("document.getElementById('component-scale').focus()").await?;
    browser.press("Enter").await?;
    browser.until(&format!("document.getElementById('announcer').textContent === {reason:?}")).await?;
    ensure!(browser.eval("document.querySelector('dialog')").await?.is_null());
    browser
        .until("document.getElementById('mesh-suspend')?.getAttribute('aria-disabled') === 'true'")
        .await?;
    browser.check(&format!("http://{}/", console.host)).await
}

#[tokio::test]
async fn the_panel_shows_the_rollout() -> anyhow::Result<()> {
    let harness = Harness::new("rollout").await?;
    let mut status = component(&json!({}));
    status["phase"] = "RolledBack".into();
    status["rollout"] = json!({
        "state": "RolledBack", "generation": 4, "failedRevision": "m-shout-function-b", "goodRevision": "m-shout-function-a",
        "reason": "ProgressDeadlineExceeded", "message": "no progress within 2m", "since": "2026-01-01T00:00:00Z",
    });
    harness.report("function/m-shout", &status).await?;
    let console = harness.console().await?;
    let mut browser = open(&console, &format!("{}/m/function/m-shout", harness.namespace)).await?;
    let panel = "document.getElementById('panel').textContent";
    for shown in [
        "RolledBack",
        "m-shout-function-b",
        "m-shout-function-a",
        "ProgressDeadlineExceeded",
        "no progress within 2m",
    ] {
        browser.until(&format!("{panel}.includes({shown:?})")).await?;
    }
    browser.until("document.querySelector('.component.back')?.textContent.includes('rolled back')").await?;

    status["phase"] = "Progressing".into();
    status["rollout"] = json!({
        "state": "Progressing", "recreate": { "step": "Draining", "message": "waits for 2 messages", "since": "2026-01-01T00:00:00Z" },
    });
    harness.report("function/m-shout", &status).await?;
    browser.until("document.querySelector('.component.rolling')?.textContent.includes('draining')").await?;
    browser.until(&format!("{panel}.includes('waits for 2 messages')")).await?;

    // Without nodes there are no logs, and so no exceptions.
    browser.eval("document.getElementById('tab-exceptions').click()").await?;
    browser.until(&format!("{panel}.includes('No exceptions in the last lines')")).await?;
    browser.check(&format!("http://{}/", console.host)).await
}
